"""The images that a run predicted, read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from histokit.errors import some
from histokit.features import FeatureStore
from histokit.features.images import Images, all_images
from histokit.reading.reader import THREADS, ReadResult, read_samples
from histokit.store import RunRecord

#: Images that go through the network together.
_TOGETHER = 8
_AHEAD = 2 * _TOGETHER


class RunImages:
    """Images of the dataset of a run, by the ids of samples.

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord

    Attributes
    ----------
    unreadable : dict
        Id → why it cannot be read, as far as is known.
    """

    def __init__(self, store: FeatureStore, run: RunRecord):
        self._images = cast(Images, all_images(store, run.dataset, allow_missing=True).X)
        self._rows = {sample_id: row for row, sample_id in enumerate(self._images.ids)}
        self._contents = self._images.contents
        self.unreadable: dict[str, str] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels."""
        return self._images.channels

    def content(self, sample_id: str) -> bytes:
        """Return the content digest of a sample."""
        return self._contents[self._rows[sample_id]]

    def batches(self, ids: Iterable[str]) -> Iterator[list[tuple[str, ReadResult]]]:
        """Read samples, and yield a few of one size at a time; those that cannot be read are left out, and named."""
        wanted = []
        for sample_id in ids:
            if sample_id in self._rows:
                wanted.append(sample_id)
            else:
                self.unreadable[sample_id] = "it is not among the images of the dataset"
        asked = ((place, self._images.sample(self._rows[sample_id])) for place, sample_id in enumerate(wanted))
        groups: dict[Any, list[tuple[str, ReadResult]]] = {}
        for result in read_samples(self._images.files, asked, THREADS, _AHEAD):
            sample_id = wanted[result.position]
            if result.pixels is None:
                self._images.files.check_root()
                self.unreadable[sample_id] = str(result.reason)
                continue
            group = groups.setdefault((result.pixels.shape, result.pixels.dtype, result.mpp), [])
            group.append((sample_id, result))
            if len(group) == _TOGETHER:
                yield list(group)
                group.clear()
        yield from (group for group in groups.values() if group)

    def notes(self) -> list[str]:
        """Name what cannot be read."""
        if not self.unreadable:
            return []
        listed = some([f"{name!r} ({reason})" for name, reason in self.unreadable.items()], 3)
        are = "is" if len(self.unreadable) == 1 else "are"
        return [f"{len(self.unreadable)} of the images cannot be read, and {are} left out: {listed}"]


def seen_note(seen: Mapping[str, bool], network: str) -> list[str]:
    """Say how many of the images shown a network was trained on."""
    count = sum(seen.values())
    if not count:
        return []
    return [f"{network} was trained on {count} of the {len(seen)} images shown: it knows them"]
