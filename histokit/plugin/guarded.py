"""A dataset whose methods are called with care: what its plugin raises, or gives wrongly, is told as the plugin's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from histokit.errors import PluginError
from histokit.plugin.calls import plugin_call, plugin_items, shown, shown_value
from histokit.plugin.dataset import RESERVED_COLUMNS, Dataset, PublishedSplit, Sample, SplitRow
from histokit.plugin.digests import DIGEST_BYTES, canonical_json
from histokit.plugin.manager import registry

_TEXTS = (str, type(None))
_NUMBERS = (int, float, type(None))


class Guarded:
    """Calls the methods of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Errors of histokit's own plugins stay what they are.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        entries = registry().datasets.get(dataset.name, [])
        self.owner = f"The dataset class {type(dataset).__name__!r}"
        if entries:
            self.owner = f"The dataset plugin {dataset.name!r} of {entries[0].distribution}"
        self._ours = bool(entries) and not entries[0].third_party

    def _call(self, method: str, about: str = "") -> AbstractContextManager[None]:
        return nullcontext() if self._ours else plugin_call(self.owner, method, about)

    def _wrong(self, method: str, what: str, about: str = "") -> PluginError:
        where = f"{method}{f' for {about}' if about else ''}"
        return PluginError(
            f"{self.owner} gave {what} in {where}.", next="Tell its author, or see: histokit plugins check"
        )

    def fit(self) -> Any:
        """Return what `Dataset.fit` returns.

        Raises
        ------
        PluginError
            If it cannot be kept as JSON.
        """
        with self._call("fit()"):
            state = self.dataset.fit()
        try:
            canonical_json(state)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._wrong("fit()", f"what JSON cannot hold ({error})") from error
        return state

    def samples(self) -> Iterator[Sample]:
        """Yield the samples.

        Raises
        ------
        PluginError
            If one of them is none, or has a field of another type.
        """
        with self._call("samples()"):
            found = self.dataset.samples()
        items = found if self._ours else plugin_items(self.owner, "samples()", found)
        for number, sample in enumerate(items):
            about = f"sample {number}"
            if not isinstance(sample, Sample):
                raise self._wrong("samples()", f"{shown(sample)} in place of a Sample", about)
            wrong = next(_wrong_fields(sample), None)
            if wrong is not None:
                raise self._wrong("samples()", wrong, f"{about} ({shown_value(sample.id)})")
            yield _with_plain_box(sample)

    def splits(self) -> dict[str, PublishedSplit]:
        """Return the published splits by name.

        Raises
        ------
        PluginError
            If they are none.
        """
        with self._call("splits()"):
            found = self.dataset.splits()
            found = dict(found) if isinstance(found, Mapping) else found
        if not isinstance(found, dict):
            raise self._wrong("splits()", f"{shown(found)} in place of name → PublishedSplit")
        return {name: self._split(name, split) for name, split in found.items()}

    def _split(self, name: Any, split: Any) -> PublishedSplit:
        if not isinstance(name, str) or not isinstance(split, PublishedSplit):
            raise self._wrong("splits()", f"{shown(split)} in place of a PublishedSplit", shown_value(name))
        with self._call("splits()", f"{name!r}"):
            rows = [SplitRow(*row) for row in split.rows]
        for row in rows:
            if not (_is_whole(row.repeat) and _is_whole(row.fold) and isinstance(row.sample_id, str)):
                raise self._wrong("splits()", f"the row {shown_value(tuple(row))}", f"{name!r}")
            if not isinstance(row.role, str):
                raise self._wrong("splits()", f"the role {shown_value(row.role)}, which is no text", f"{name!r}")
        if not isinstance(split.leaks, _TEXTS):
            raise self._wrong("splits()", f"leaks={shown_value(split.leaks)}, which is no text", f"{name!r}")
        columns = (*RESERVED_COLUMNS, *self.dataset.columns)
        if split.group is not None and split.group not in columns:
            raise self._wrong("splits()", f"the group {shown_value(split.group)}, which is no column", f"{name!r}")
        return replace(split, rows=[row._replace(repeat=int(row.repeat), fold=int(row.fold)) for row in rows])

    def pixel_key(self, sample: Sample) -> bytes:
        """Return what `Dataset.pixel_key` returns.

        Raises
        ------
        PluginError
            If it is not bytes.
        """
        about = f"the sample {sample.id!r}"
        with self._call("pixel_key()", about):
            key = self.dataset.pixel_key(sample)
        if not isinstance(key, bytes):
            raise self._wrong("pixel_key()", f"{shown(key)} in place of bytes", about)
        return key

    def file_digest(self, path: Path) -> bytes:
        """Return what `Dataset.file_digest` returns; what the system says of a file that cannot be read goes through.

        Raises
        ------
        OSError, ValueError
        PluginError
            If it is not of 16 bytes.
        """
        try:
            with self._call("file_digest()", str(path)):
                digest = self.dataset.file_digest(path)
        except PluginError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise
        if not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES:
            raise self._wrong("file_digest()", f"{shown(digest)} in place of {DIGEST_BYTES} bytes", str(path))
        return digest

    def read(self, sample: Sample) -> Any:
        """Return what `Dataset.read` returns."""
        with self._call("read()", f"the sample {sample.id!r}"):
            return self.dataset.read(sample)


def _wrong_fields(sample: Sample) -> Iterator[str]:
    """Yield what is wrong with the types of a sample's fields."""
    if not isinstance(sample.id, str):
        yield f"the id {shown_value(sample.id)}, which is no text"
    if not isinstance(sample.image, tuple) or not all(isinstance(path, str) for path in sample.image):
        yield f"the image {shown_value(sample.image)}, which is no tuple of paths as texts"
    for name in ("part", "label"):
        if not isinstance(getattr(sample, name), _TEXTS):
            yield f"the {name} {shown_value(getattr(sample, name))}, which is no text"
    if sample.mpp is not None and (isinstance(sample.mpp, bool) or not isinstance(sample.mpp, _NUMBERS)):
        yield f"the mpp {shown_value(sample.mpp)}, which is no number"
    box = sample.box
    if box is not None and not (_is_sequence(box) and len(box) == 4 and all(_is_whole(side) for side in box)):
        yield f"the box {shown_value(box)}, which is not x, y, width, height in whole pixels"
    elif box is not None and (box[2] < 1 or box[3] < 1):
        yield f"the box {shown_value(box)}, which holds no pixel"
    if not isinstance(sample.metadata, Mapping):
        yield f"the metadata {shown_value(sample.metadata)}, which are no mapping"


def _with_plain_box(sample: Sample) -> Sample:
    """Return a sample whose box has Python's integers: those of numpy are not written as JSON."""
    if sample.box is None or all(type(side) is int for side in sample.box):
        return sample
    x, y, width, height = map(int, sample.box)
    return replace(sample, box=(x, y, width, height))


def _is_sequence(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, str | Mapping)


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and abs(int(value)) < 1 << 31
