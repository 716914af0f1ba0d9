"""What is known of files of images once all of their images were met; they may have been closed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from histokit.datasets.containers.archives import PathArchive
from histokit.datasets.containers.container import Container
from histokit.datasets.labels import LabelTable
from histokit.datasets.told_once import told_once
from histokit.errors import some


class MetContainers:
    """Takes what is to be told of containers, one after the other, for only the last few of them stay open."""

    def __init__(self) -> None:
        self._notes: list[tuple[str, str]] = []
        self._names: dict[str, int] = {}
        self._labels: dict[Path, list[str]] = {}
        self._table: LabelTable | None = None

    def add(self, container: Container) -> None:
        """Take what a container tells whose entries were all there."""
        self._notes.extend((container.path, note) for note in container.warnings)
        for name in container.class_names():
            self._names.setdefault(name, len(self._names))
        for file in container.label_files():
            self._labels.setdefault(file, []).append(container.path)
        if isinstance(container, PathArchive) and (table := container.label_table) is not None:
            # Each reads the same one, and asks for rows of its own.
            self._table = self._table or table
            self._table.join(table)

    def require_met(self) -> None:
        """Raise a `DataError` where there is a table of labels that knows no image."""
        if self._table is not None:
            self._table.require_met()

    def ordered(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Return classes in the order of their names, where these are numbered, or of their numbers."""
        labels, last = list(labels), len(self._names)
        if all(label.isdecimal() for label in labels):
            return tuple(sorted(labels, key=int))
        return tuple(sorted(labels, key=lambda label: (self._names.get(label, last), label)))

    def remarks(self) -> Iterator[str]:
        """Yield what the user should know of them."""
        yield from told_once(self._notes)
        if self._table is not None:
            yield from self._table.remarks()
            yield from self._table.lacking() if "label" in self._table.fields else ()
        for file, paths in self._labels.items():
            if len(paths) > 1:
                yield (
                    f"{file.name} gives the labels of {len(paths)} files of images, row by row: {some(paths, 3)}; "
                    "where each has labels of its own, give what these are called beside them: -o labels=NAME.npy"
                )
