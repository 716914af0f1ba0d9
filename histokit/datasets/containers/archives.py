"""Archives of images in folders whose names say what they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from histokit.datasets.cells import tidy_text
from histokit.datasets.containers.archive import Archive
from histokit.datasets.containers.archive_members import Members, is_hidden
from histokit.datasets.containers.container import NO_LABELS, Container, ContainerOptions, HeldImage, label_text
from histokit.datasets.containers.web_dataset import WebDataset, is_web_dataset
from histokit.datasets.labels import LabelTable, key_fields, pattern_of
from histokit.datasets.own_splits import role_of, role_of_name
from histokit.datasets.patterns import PathPattern
from histokit.datasets.tables import find_table, refuse_reserved
from histokit.datasets.walk import IMAGE_SUFFIXES, Tally, is_image
from histokit.errors import DataError, UsageError
from histokit.plugin.dataset import Role

#: The label is the folder that an image lies in, wherever that is.
_PARENT, _ANY = "**/{label}/*", "**"


class PathArchive(Archive):
    """An archive whose images are labelled by their paths, or by a table."""

    @cached_property
    def _pattern(self) -> PathPattern:
        options = self.options
        if options.pattern is not None:
            return options.pattern
        if options.on is not None:
            return PathPattern(pattern_of(options.on))
        return PathPattern(_ANY if options.labels == NO_LABELS else _PARENT)

    @cached_property
    def label_table(self) -> LabelTable | None:
        """The table of labels, where there is one."""
        options, pattern = self.options, self._pattern
        if options.labels in ((), NO_LABELS):
            if options.on is not None:
                raise UsageError(
                    f"The option on={options.on!r} needs a table of labels.", next="Add -o labels=FILE.csv."
                )
            return None
        fields = ", ".join(pattern.fields) or "none"
        keys = key_fields(options.on or "")
        if not set(keys) <= set(pattern.fields):
            raise UsageError(
                f"A table of labels for {self.path!r} needs the field of the pattern by which its rows are found; the "
                f"pattern {pattern.text!r} has {fields}.",
                next="Add -o on=FIELD, and a pattern that has it, such as -o pattern='**/{name}.png' -o on=name.",
            )
        return LabelTable(
            find_table(self.root, options.labels[0], "labels"),
            keys,
            options.label_column or "label",
            text=tuple(options.texts),
            needs_label="label" not in pattern.fields or options.label_column is not None,
            fields=pattern.fields,
        )

    def _shown(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the members that match the pattern, with the texts of its fields."""
        pattern, others, outside, first = self._pattern, Tally(), Tally(), None
        for name in self.members.names:
            # As in `is_hidden`.
            path = unicodedata.normalize("NFC", name).removeprefix("./")
            if ".." in path.split("/") and is_image(path):
                outside.add(name)
            if is_hidden(name) or not (pattern.names_suffix or is_image(path)):
                continue
            found = pattern.match(path)
            if found is None:
                if is_image(path):
                    others.add(name)
                continue
            self._require_clear(path)
            first = first or name
            yield name, found
        if first is None:
            self._refuse(others)
        if outside:
            example = f"{outside.count}, for example {outside.examples[0]!r}"
            self.warnings.append(f"Images in {self.path} whose names lead out of it were passed over: {example}")
        if others:
            self.warnings.append(
                f"Images in {self.path} that do not match the pattern: {others.count}, for example "
                f"{others.examples[0]!r}{self._pattern.suffix_hint(others.examples, IMAGE_SUFFIXES)}"
            )

    def _require_clear(self, path: str) -> None:
        unclear = [field for field in self._pattern.ambiguous_fields(path) if field in self.options.texts]
        if unclear:
            raise UsageError(
                f"The pattern {self._pattern.text!r} can divide {path!r} in more than one way, for {unclear[0]}.",
                next="Write out what separates the fields, such as {patient}_idx{idx}_{rest}.",
            )

    def _refuse(self, others: Tally) -> None:
        where = f"The archive {str(self.file)!r}"
        if not others:
            examples = ", ".join(map(repr, self.members.names[:3])) or "nothing"
            raise DataError(f"{where} holds no image; it holds {examples}.", next="Give an archive of images.")
        example = others.examples[0]
        raise DataError(
            f"None of {others.count} images in {where[0].lower() + where[1:]} matches the pattern "
            f"{self._pattern.text!r}: {self._pattern.failing_part(example)}. There are, for example, {others}.",
            next="Give a pattern that fits: -o pattern='{label}_*.png'; for images without labels, add -o labels=none.",
        )

    @cached_property
    def _names(self) -> Sequence[str]:
        return [name for name, _ in self._shown()]

    def image_names(self) -> Sequence[str]:
        """Return the members that match the pattern."""
        return self._names

    def columns(self) -> Mapping[str, type]:
        """Return the fields of the pattern, and the columns of the table of labels."""
        fields = [name for name in self._pattern.fields if name != "label"]
        refuse_reserved(fields, f"The pattern {self._pattern.text!r}")
        if self.label_table is not None and "label" in self._pattern.fields:
            self.label_table.refuse_labels(self._pattern.text)
        columns = self.label_table.columns() if self.label_table is not None else {}
        return {**columns, **dict.fromkeys(fields, str)}

    def names(self) -> Collection[str]:
        """Return the fields of the pattern, and all columns of the table of labels."""
        return [*self._pattern.fields, *([] if self.label_table is None else self.label_table.names)]

    def entries(self) -> Iterator[HeldImage]:
        """Yield the images that match the pattern.

        Raises
        ------
        DataError
            If there is none.
        """
        self.warnings[:] = self.members.notes
        empty = dict.fromkeys(self.columns())
        for name, found in self._shown():
            texts: dict[str, Any] = {field: tidy_text(text) or None for field, text in found.items()}
            label = label_text(texts.pop("label", None), self.options.names, repr(name))
            values: Mapping[str, Any] = {}
            if self.label_table is not None:
                told, values = self.label_table.row(*(texts[field] or "" for field in self.label_table.on))
                label = label if "label" in self._pattern.fields else told
            yield HeldImage(name, label, self._role(name), {**empty, **values, **texts})

    def _role(self, name: str) -> Role | None:
        """Return what one of the folders above the one that is the label says, else the archive's name.

        Names of more than the word say it where no folder is called as a part alone.
        """
        folders = PurePosixPath(name).parts[:-2] if self.options.pattern is None else ()
        for said in (role_of, role_of_name):
            if roles := {role for folder in folders if (role := said(folder)) is not None}:
                return roles.pop() if len(roles) == 1 else self.role
        return self.role


def archive_opener(open_members: Callable[[Path], Members]) -> Callable[[Path, str, ContainerOptions], Container]:
    """Return what opens archives of one kind: as WebDataset where files beside images have their name."""

    def opened(root: Path, path: str, options: ContainerOptions) -> Container:
        members = open_members(root / path)
        by_keys = options.pattern is None and options.on is None and is_web_dataset(members.names, file=root / path)
        return (WebDataset if by_keys else PathArchive)(members, root, path, options)

    return opened
