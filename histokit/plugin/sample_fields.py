"""The fields of a sample that a plugin gave, checked, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

from histokit.plugin.calls import shown_value
from histokit.plugin.dataset import Sample
from histokit.plugin.names import fault_of


class WrongValueError(ValueError):
    """A field of a sample is not what it has to be; the text says what was given."""


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
        if not path or not _is_unicode(path):
            raise WrongValueError(f"the image {shown_value(path)}, which is no path that can be stored")
    return paths


def _is_unicode(text: str) -> bool:
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


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number of 32 bits, of Python or of numpy."""
    return hasattr(value, "__index__") and not isinstance(value, bool) and abs(int(value)) < 1 << 31
