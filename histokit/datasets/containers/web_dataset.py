"""Archives of WebDataset: files of one sample have one name up to its first point."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from histokit.datasets.cells import tidy_text
from histokit.datasets.containers.archive import Archive
from histokit.datasets.containers.archive_members import is_hidden
from histokit.datasets.containers.container import NO_LABELS, HeldImage, label_text
from histokit.datasets.tables import stored_name
from histokit.datasets.walk import IMAGE_SUFFIXES
from histokit.errors import DataError, UsageError
from histokit.plugin.dataset import RESERVED_COLUMNS
from histokit.plugin.options import typed_option

_CLASS, _JSON, _TEXT = "cls", "json", "txt"
_IMAGES = frozenset(suffix[1:] for suffix in IMAGE_SUFFIXES)

#: What fields of labels are called.
_FIELDS = ("label", "cls", "class", "class_name", "target", "category")

#: Fields that the format itself adds.
_OWN_FIELDS = ("__key__", "__url__")


def split_name(name: str) -> tuple[str, str]:
    """Return the key of a member, and what its name goes on with, in small letters."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return folder + slash + stem, ending.lower()


def _last(ending: str) -> str:
    """Return the last part of what a name goes on with, which says the format: ``png`` of ``left.png``."""
    return ending.rpartition(".")[2]


def is_web_dataset(names: Sequence[str], file: Path) -> bool:
    """Whether files of classes, records or texts have the names of images.

    Raises
    ------
    DataError
        If they have them up to the last point only, where the first one ends the key of a sample.
    """
    names = [name for name in names if not is_hidden(name)]
    described = {key for key, ending in map(split_name, names) if ending in (_CLASS, _JSON, _TEXT)}
    if any(key in described for key, ending in map(split_name, names) if _last(ending) in _IMAGES):
        return True
    stems = [name.rpartition(".") for name in names]
    described = {stem for stem, _, ending in stems if ending.lower() == _CLASS}
    images = (f"{stem}.{ending}" for stem, _, ending in stems if stem in described and ending.lower() in _IMAGES)
    met = next(images, None)
    if met is not None:
        key = split_name(met)[0]
        raise DataError(
            f"The archive {str(file)!r} holds {met!r}: WebDataset takes what stands before the first point of a name, "
            f"here {key!r}, for the sample, of which several have the same then.",
            next="Pack it again without points before endings, or say where labels stand: -o pattern=….",
        )
    return False


class WebDataset(Archive):
    """A shard of WebDataset: ``key.jpg`` with ``key.cls``, ``key.json`` or ``key.txt``."""

    @cached_property
    def _files(self) -> Mapping[str, Mapping[str, str]]:
        """Key → what a name goes on with → member."""
        found: dict[str, dict[str, str]] = {}
        for name in self.members.names:
            key, ending = split_name(name)
            before = name if is_hidden(name) else found.setdefault(key, {}).setdefault(ending, name)
            if before != name:
                raise DataError(
                    f"The archive {str(self.file)!r} holds {before!r} and {name!r}, which are one file of a sample.",
                    next="Pack it again, with names that differ in more than the case of their endings.",
                )
        return found

    @cached_property
    def _images(self) -> Mapping[str, str]:
        """Key → the member that is its image."""
        wanted = {ending.lstrip(".").lower() for ending in self.options.images} or _IMAGES
        found: dict[str, str] = {}
        for key, files in self._files.items():
            images = [name for ending, name in files.items() if ending in wanted]
            images = images or [name for ending, name in files.items() if _last(ending) in wanted]
            if len(images) > 1:
                raise UsageError(
                    f"The sample {key!r} of {str(self.file)!r} has several images: {', '.join(images)}.",
                    next="Name one by how its name ends: -o images=png.",
                )
            if images:
                found[key] = images[0]
        if not found:
            raise DataError(
                f"The archive {str(self.file)!r} holds no image ending in {', '.join(sorted(wanted))}; it holds "
                f"{', '.join(map(repr, self.members.names[:3]))}.",
                next="Name how images end: -o images=png.",
            )
        return found

    def image_names(self) -> Sequence[str]:
        """Return the members that are images of samples."""
        return list(self._images.values())

    @cached_property
    def _label(self) -> tuple[str, str | None] | None:
        """Where labels are: how the names of files end, and the field of records."""
        found, told = self._place_of_labels(), self.options.label_column
        if found is not None and told not in (None, *found):
            raise UsageError(
                f"The labels of {str(self.file)!r} are {found[1] or found[0]!r}, not {told!r}: label_column is for "
                "tables beside images.",
                next="Name how the file of labels ends, or a field of the record, with -o labels=NAME instead.",
            )
        return found

    def _place_of_labels(self) -> tuple[str, str | None] | None:
        asked = self.options.labels
        if asked == NO_LABELS:
            return None
        key, files = next((key, self._files[key]) for key in self._images)
        record = self._record(key)
        if asked:
            ending = asked[0].lstrip(".").lower()
            if ending in files and ending != _JSON:
                return ending, None
            if asked[0] in record:
                return _JSON, asked[0]
            raise UsageError(
                f"The sample {key!r} of {str(self.file)!r} has no labels {asked[0]!r}: {_listed(files, record)}.",
                next="Name how the file of labels ends, or a field of the record.",
            )
        field = next((name for name in _FIELDS if name in record), None)
        for ending, named in ((_CLASS, None), (_JSON, field), (_TEXT, None)):
            if ending in files and (ending != _JSON or named is not None):
                return ending, named
        raise DataError(
            f"The sample {key!r} of {str(self.file)!r} has no label: {_listed(files, record)}.",
            next="Name it with -o labels=FIELD, or how its file ends; without labels, add -o labels=none; for labels "
            "in paths, -o pattern='**/{label}/*'.",
        )

    def _record(self, key: str) -> dict[str, Any]:
        name = self._files[key].get(_JSON)
        if name is None:
            return {}
        try:
            record = json.loads(self._data(name))
        except ValueError as error:
            raise DataError(
                f"{name!r} of the archive {str(self.file)!r} is not JSON: {error}", next="Mend it, or pack it anew."
            ) from error
        return record if isinstance(record, dict) else {}

    def _text(self, key: str, ending: str) -> str | None:
        name = self._files[key].get(ending)
        return None if name is None else tidy_text(self._data(name).decode("utf-8", "replace")) or None

    @cached_property
    def _fields(self) -> tuple[Collection[str], Mapping[str, set[type]]]:
        """All fields of the records; and those that have values anywhere, with their types."""
        names: dict[str, None] = {}
        kinds: dict[str, set[type]] = {}
        for key in self._images:
            for name, value in self._record(key).items():
                names.setdefault(name)
                if value is not None:
                    kinds.setdefault(name, set()).add(type(value))
        return names, kinds

    @cached_property
    def _columns(self) -> Mapping[str, tuple[str, type]]:
        """Field of records → the name of its column, and its type."""
        field = self._label[1] if self._label else None
        kinds = {name: met for name, met in self._fields[1].items() if name != field and name not in _OWN_FIELDS}
        found: dict[str, tuple[str, type]] = {}
        for name, met in kinds.items():
            column = stored_name(name)
            if column in RESERVED_COLUMNS or not met <= {str, int, float, bool}:
                continue
            text = column in self.options.texts
            kind = str if text else float if met == {int, float} else next(iter(met))
            if len(met) > 1 and not text and kind is not float:
                raise DataError(
                    f"The field {name!r} in the records of {str(self.file)!r} is "
                    f"{' and '.join(sorted(each.__name__ for each in met))}.",
                    next=f"Add {typed_option('text', [column])} where it is meant as text.",
                )
            found[name] = column, kind
        left = [name for name in kinds if name not in found]
        if left:
            self._left_out = (
                f"Fields of {self.path} were left out, for they hold lists or records, or their names are taken: "
            )
            self._left_out += ", ".join(left)
        return found

    _left_out = ""

    def columns(self) -> Mapping[str, type]:
        """Return the fields of the records that are numbers, texts or truth values."""
        return dict(self._columns.values())

    def names(self) -> Collection[str]:
        """Return all fields of the records, as the store calls them."""
        return [stored_name(name) for name in self._fields[0] if name]

    def entries(self) -> Iterator[HeldImage]:
        """Yield the samples that have an image.

        Raises
        ------
        DataError
            If a record cannot be read, or a label is no class.
        """
        columns, where = self._columns, self._label
        self.warnings[:] = [*self.members.notes, *filter(None, [self._left_out])]
        without = [key for key in self._files if key not in self._images]
        if without:
            self.warnings.append(f"Names in {self.path} without an image: {len(without)}, for example {without[0]!r}")
        for key, name in self._images.items():
            record = self._record(key) if columns or (where and where[0] == _JSON) else {}
            label = None
            if where is not None:
                value = record.get(where[1]) if where[1] is not None else self._text(key, where[0])
                if isinstance(value, (list, dict)):
                    raise DataError(
                        f"The sample {key!r} of {str(self.file)!r} has several labels: {value}.",
                        next="Name another field: -o labels=FIELD.",
                    )
                label = label_text(value, self.options.names, f"The sample {key!r} of {str(self.file)!r}")
            metadata = {column: _as(kind, record.get(field)) for field, (column, kind) in columns.items()}
            yield HeldImage(name, label, self.role, metadata)


def _as(kind: type, value: Any) -> Any:
    if value is None:
        return None
    return tidy_text(str(value)) or None if kind is str else value


def _listed(files: Mapping[str, str], record: Mapping[str, Any]) -> str:
    fields = f", with the fields {', '.join(record)}" if record else ""
    return f"there are {', '.join(files.values())}{fields}"
