"""The files of annotations of a dataset, and the images that they are of."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from histokit.datasets.own_splits import role_in
from histokit.datasets.patterns import PathPattern
from histokit.datasets.regions.formats import FORMATS, SUFFIXES, format_of
from histokit.datasets.tables import find_table
from histokit.datasets.walk import Walk
from histokit.errors import DataError
from histokit.plugin.dataset import Role


class AnnotationFile(NamedTuple):
    """A file of annotations.

    Parameters
    ----------
    path : Path
    folder : str
        That it lies in, relative to the root; empty where it lies elsewhere.
    fields : mapping
        Field of the pattern → its part of the path.
    image : str
        The name of the image, where the file has one of its own.
    """

    path: Path
    folder: str
    fields: Mapping[str, str]
    image: str

    def role_of(self, image: str) -> Role | None:
        """Return the part of a split that an image is of, by the field ``split``, else by the path of the file.

        A file that is called as its image is says nothing by its own name.
        """
        if "split" in self.fields:
            return role_in(self.fields["split"])
        name = PurePosixPath(image).name
        return role_in(
            self.folder if self.image in (name, PurePosixPath(name).stem) else f"{self.folder}/{self.path.name}"
        )


class AnnotationFiles:
    """Finds the files of annotations.

    Parameters
    ----------
    root : Path
    given : str, optional
        A file, in the root or the current folder, a folder, or a pattern of paths; all files in the root where not
        given.
    format : str, optional
        Of `FORMATS`; found out from the first file where not given.
    """

    def __init__(self, root: Path, given: str | None, format: str | None):
        self.root, self.given, self._format = root, given, format
        self.single = given is not None and Path(given).suffix.lower() in (".xml", ".json", ".geojson", ".gz")
        self.single &= not any(letter in str(given) for letter in "{*")
        self.pattern = self._pattern(given)
        self.other_kinds: list[str] = []

    @property
    def _suffixes(self) -> tuple[str, ...]:
        if self._format is None:
            return SUFFIXES
        return tuple(suffix for suffix in SUFFIXES if (suffix == ".xml") == (self._format == "voc"))

    def _pattern(self, given: str | None) -> PathPattern:
        if given is None or self.single or given.strip("/") in ("", "."):
            return PathPattern("**")
        return PathPattern(given if any(letter in given for letter in "{*") else f"{given.strip('/')}/**")

    @cached_property
    def format(self) -> str:
        """The kind of all files.

        Raises
        ------
        DataError
            If no file of annotations is there.
        """
        if self._format is not None:
            return self._format
        for file in self._listed():
            found = format_of(file.path)
            if found is not None:
                return found
        kinds = ", ".join(FORMATS)
        raise DataError(
            f"There are no annotations in {str(self._place())!r}.",
            next=f"Name a file, a folder or a pattern with -o annotations=; it may be of {kinds} (-o format=).",
        )

    def of_another_kind(self) -> tuple[str, str] | None:
        """Return the first file, with its kind, that is not of the kind which was asked for."""
        if self._format is None:
            return None
        for file in self._listed():
            kind = format_of(file.path)
            if kind not in (None, self._format):
                return file.path.name, kind
        return None

    def __iter__(self) -> Iterator[AnnotationFile]:
        """Yield the files of one kind, in the order of their paths."""
        self.other_kinds.clear()
        count = 0
        for file in self._listed():
            if self._format is None and not self.single and format_of(file.path) != self.format:
                self.other_kinds.append(file.path.name)
                continue
            count += 1
            yield file
        if not count:
            raise DataError(
                f"There are no annotations in {str(self._place())!r}.", next="Name them with -o annotations=FILE."
            )

    def _place(self) -> Path:
        return self.root / (self.given or "")

    def _listed(self) -> Iterator[AnnotationFile]:
        if self.single:
            path = find_table(self.root, str(self.given), "annotations")
            inside = path.is_relative_to(self.root)
            folder = _folder(path.relative_to(self.root).as_posix()) if inside else ""
            yield AnnotationFile(path, folder, {}, _image(path.name))
            return
        for on_disk in Walk(self.root).files():
            name = unicodedata.normalize("NFC", on_disk)
            fields = self.pattern.match(name) if name.lower().endswith(self._suffixes) else None
            if fields is not None:
                yield AnnotationFile(self.root / on_disk, _folder(on_disk), fields, _image(on_disk.split("/")[-1]))


def _folder(path: str) -> str:
    parent = str(PurePosixPath(path).parent)
    return "" if parent == "." else parent


def _image(name: str) -> str:
    suffix = next((each for each in reversed(SUFFIXES) if name.lower().endswith(each)), "")
    return name[: len(name) - len(suffix)]
