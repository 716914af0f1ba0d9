"""The fields of samples and splits that a plugin gave, checked, as plain values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, cast, get_args

import numpy as np

from histokit.plugin.calls import shown_value
from histokit.plugin.dataset import PublishedSplit, Role, Sample, SplitRow
from histokit.plugin.names import fault_of

_ROLES = get_args(Role)

#: The types of a row's own.
_ROW = (int, int, str, str)


class WrongValueError(ValueError):
    """A field is not what it has to be; the text says what was given."""


def plain_sample(sample: Sample, columns: Mapping[str, type], files: bool) -> Sample:
    """Return a sample with texts, numbers and a box of Python's own: what a plugin derives from them may misbehave.

    Parameters
    ----------
    sample : Sample
    columns : mapping
        That the dataset declares for metadata.
    files : bool
        Whether a sample has to have an image file.

    Raises
    ------
    WrongValueError
    """
    if not isinstance(sample.metadata, Mapping):
        raise WrongValueError(f"the metadata {shown_value(sample.metadata)}, which are no mapping")
    metadata = dict(sample.metadata)
    for name in metadata:
        if name not in columns:
            raise WrongValueError(f"the metadata {shown_value(name)}, which `columns` does not declare")
    return replace(
        sample,
        id=_text("id", sample.id),
        image=_image(sample.image, files),
        part=None if sample.part is None else _text("part", sample.part),
        box=_box(sample.box),
        label=None if sample.label is None else _text("label", sample.label),
        mpp=_mpp(sample.mpp),
        metadata=metadata,
    )


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise WrongValueError(f"the {field} {shown_value(value)}, which is no text")
    if fault := fault_of(text := str.__str__(value)):
        raise WrongValueError(f"the {field} {shown_value(text)}, {fault}")
    return text


def _image(value: Any, files: bool) -> tuple[str, ...]:
    if not isinstance(value, tuple) or not all(isinstance(path, str) for path in value):
        raise WrongValueError(f"the image {shown_value(value)}, which is no tuple of paths as texts")
    if files and not value:
        raise WrongValueError("the image (), and its class has no read() of its own")
    paths = tuple(map(str.__str__, value))
    for path in paths:
        # One that cannot be read, or leads out of the root, comes from the data and is put aside with its sample.
        if not path or not is_unicode(path):
            raise WrongValueError(f"the image {shown_value(path)}, which is no path that can be stored")
    return paths


def is_unicode(text: str) -> bool:
    """Return whether a text can be written: halves of surrogate pairs cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _box(value: Any) -> tuple[int, int, int, int] | None:
    if value is None:
        return None
    if not (_is_sequence(value) and len(value) == 4 and all(is_whole(side) for side in value)):
        raise WrongValueError(f"the box {shown_value(value)}, which is not x, y, width, height in whole pixels")
    # Those of numpy are not written as JSON.
    x, y, width, height = map(int, value)
    if width < 1 or height < 1:
        raise WrongValueError(f"the box {shown_value(value)}, which holds no pixel")
    return x, y, width, height


def _mpp(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise WrongValueError(f"the mpp {shown_value(value)}, which is no number")
    try:
        number = float(value)
    except OverflowError:
        raise WrongValueError(f"the mpp {shown_value(value)}, which is too large") from None
    return value if type(value) is int else number


def _is_sequence(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, str | Mapping)


def plain_split(split: PublishedSplit, ids: Iterable[str] | None, columns: Collection[str]) -> PublishedSplit:
    """Return a split with rows of Python's own texts and numbers.

    Parameters
    ----------
    split : PublishedSplit
    ids : iterable of str, optional
        Of the samples, each once.
    columns : collection of str
        That may be its group.

    Raises
    ------
    WrongValueError
    """
    rows = _rows(split.rows, ids)
    _refuse_twice(rows)
    roles: dict[tuple[int, int], set[str]] = {}
    for row in rows:
        roles.setdefault(row[:2], set()).add(row.role)
    for (repeat, fold), present in roles.items() or [((0, 0), set[str]())]:
        if lacking := [role for role in ("train", "test") if role not in present]:
            raise WrongValueError(f"no {' and no '.join(lacking)} samples in fold {fold} of repeat {repeat}")
    if split.leaks is not None and not (isinstance(split.leaks, str) and is_unicode(split.leaks)):
        raise WrongValueError(f"leaks={shown_value(split.leaks)}, which is no text")
    if isinstance(split.notes, str) or not all(isinstance(note, str) and is_unicode(note) for note in split.notes):
        raise WrongValueError(f"notes={shown_value(split.notes)}, which are no texts")
    if split.group is not None and split.group not in columns:
        raise WrongValueError(f"the group {shown_value(split.group)}, which is no column")
    return replace(split, rows=rows, notes=tuple(map(str.__str__, split.notes)))


def _rows(given: Sequence[SplitRow], ids: Iterable[str] | None) -> list[SplitRow]:
    rows: list[SplitRow] = []
    try:
        rows.extend(row if _is_plain(row) else _row(SplitRow(*row)) for row in given)
    except WrongValueError:
        # The first row that is wrong is told.
        _refuse_unknown(rows, ids)
        raise
    _refuse_unknown(rows, ids)
    return rows


def _refuse_unknown(rows: Sequence[SplitRow], ids: Iterable[str] | None) -> None:
    if ids is None or not rows:
        return
    # The ids of all samples would take more memory.
    unknown = {row.sample_id for row in rows}
    for sample_id in ids:
        unknown.discard(sample_id)
    if unknown:
        name = next(row.sample_id for row in rows if row.sample_id in unknown)
        raise WrongValueError(f"the id {shown_value(name)}, which no sample has")


def _refuse_twice(rows: Sequence[SplitRow]) -> None:
    # Which takes a tenth of the memory of a set of the rows; only where hashes meet is it needed.
    hashes = np.fromiter((hash(row[:3]) for row in rows), np.int64, len(rows))
    hashes.sort()
    if not (hashes[1:] == hashes[:-1]).any():
        return
    met: set[tuple[int, int, str]] = set()
    for row in rows:
        if row[:3] in met:
            raise WrongValueError(f"the sample {row.sample_id!r} twice in fold {row.fold} of repeat {row.repeat}")
        met.add(row[:3])


def _is_plain(row: Any) -> bool:
    """Return whether a row is what `_row` would make of it."""
    if type(row) is not SplitRow or tuple(map(type, row)) != _ROW:
        return False
    return 0 <= row.repeat < 1 << 31 and 0 <= row.fold < 1 << 31 and row.role in _ROLES


def _row(row: SplitRow) -> SplitRow:
    numbers, name = (row.repeat, row.fold), row.sample_id
    if not (all(is_whole(n) and int(n) >= 0 for n in numbers) and isinstance(name, str)):
        raise WrongValueError(f"the row {shown_value(tuple(row))}")
    if not isinstance(row.role, str) or (role := str.__str__(row.role)) not in _ROLES:
        raise WrongValueError(f"the role {shown_value(row.role)}; roles are train, val and test")
    name = str.__str__(name)
    return SplitRow(int(row.repeat), int(row.fold), name, cast(Role, role))


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number of 32 bits, of Python or of numpy."""
    return hasattr(value, "__index__") and not isinstance(value, bool) and abs(int(value)) < 1 << 31
