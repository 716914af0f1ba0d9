"""The pixels of a dataset's samples as something to train on: what the address ``images`` stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import DataError, StoreError, UsageError, some
from histokit.features.addresses import IMAGES
from histokit.features.feature_set import FeatureSet, Part
from histokit.features.feature_store import StoreLike, open_store
from histokit.plugin import Sample
from histokit.plugin.deep_colours import to_8_bits
from histokit.plugin.remarks import RemarkTally
from histokit.reading.chunks import lasting_results
from histokit.reading.ingested_files import IngestedFiles, open_files
from histokit.reading.reader import ReadResult, rebuild_sample
from histokit.store import DatasetRecord, Store
from histokit.store.records import IMPORT_PLUGIN, PROBLEM_SCHEMA

#: Memory for images that are kept once they were read; those beyond it are read again each time.
HELD_BYTES = 1 << 30

_AHEAD = 64
_STAGE = "images"


class Images:
    """The pixels of n samples, read when they are asked for.

    Rows are taken as from an array: ``images[[0, 2]]`` and ``images[mask]`` are images too, and share what was read.

    Parameters
    ----------
    files : IngestedFiles
        Of the dataset.
    samples : pyarrow.Table
        The samples as they are stored.
    rows : array of int, optional
        Positions in the table; all where not given.
    held : dict, optional
        Position → what was read before.
    workers : int, optional
        Processes that read; 0 reads without threads. Threads of this process read where not given.

    Attributes
    ----------
    notes : list of str
        What is to be known of how they were read.
    """

    def __init__(
        self,
        files: IngestedFiles,
        samples: pa.Table,
        rows: npt.NDArray[np.intp] | None = None,
        held: dict[int, ReadResult] | None = None,
        workers: int | None = None,
    ):
        self.files, self.samples = files, samples
        self._rows = np.arange(len(samples)) if rows is None else rows
        self._held = {} if held is None else held
        self._workers = workers
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, int]:
        """As of a matrix of n rows with one image each."""
        return len(self), 1

    @property
    def size(self) -> int:
        """How many numbers it holds for sending to other processes: none."""
        return 0

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels, the same for all images."""
        return tuple(self.files.dataset.channels)

    @property
    def contents(self) -> list[bytes]:
        """The content digests of the samples."""
        return list(self.samples.column("content").take(pa.array(self._rows)).to_pylist())

    @property
    def ids(self) -> list[str]:
        """The ids of the samples."""
        return list(self.samples.column("id").take(pa.array(self._rows)).to_pylist())

    def __getitem__(self, index: Any) -> Images:
        taken = Images(self.files, self.samples, self._rows[index], self._held, self._workers)
        taken.notes = self.notes
        return taken

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield the pixels of each sample in order, of 8 bits.

        Raises
        ------
        DataError
            If an image cannot be read.
        """
        for result in self._read():
            if result.pixels is None:
                raise _unreadable([self.samples.column("id")[result.position].as_py()], [str(result.reason)])
            yield to_8_bits(result.pixels)

    def unreadable(self, tally: RemarkTally, known: Mapping[int, str] | None = None) -> dict[int, str]:
        """Read all images, count what is to be known of them, and return row → reason of those that cannot be read.

        Those of which that is known are not read again, for some would end this process.
        """
        bad = dict(known or {})
        rows = np.setdiff1d(np.arange(len(self)), list(bad)).astype(np.intp)
        for row, result in zip(rows.tolist(), self[rows]._read(), strict=True):
            tally.add(result.remarks)
            if result.reason is not None:
                bad[row] = result.reason
        return dict(sorted(bad.items()))

    def _read(self) -> Iterator[ReadResult]:
        absent = [int(place) for place in self._rows if int(place) not in self._held]
        lacking = set(absent)
        asked = ((place, self._sample(place)) for place in absent)
        fresh = lasting_results(self.files, asked, self._workers, _AHEAD, self.notes)
        size = sum(result.nbytes for result in self._held.values())
        for place in map(int, self._rows):
            if place not in lacking:
                yield self._held[place]
                continue
            result = next(fresh)
            if result.pixels is not None and size + result.nbytes <= HELD_BYTES:
                self._held[place] = result
                size += result.nbytes
            yield result

    def sample(self, row: int) -> Sample:
        """Return the sample of a row."""
        return self._sample(int(self._rows[row]))

    def _sample(self, place: int) -> Sample:
        return rebuild_sample(self.samples.slice(place, 1).to_pylist()[0])


class ImageSamples(Sequence[Sample]):
    """The n samples of images, each made when it is asked for.

    Parameters
    ----------
    images : Images
    """

    def __init__(self, images: Images):
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self._images.sample(each) for each in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return self._images.sample(row)


def open_images(
    store: StoreLike,
    dataset: str,
    *,
    where: str | None = None,
    allow_missing: bool = False,
    outline: bool = False,
    workers: int | None = None,
) -> FeatureSet:
    """Open the images of a dataset in the place of features.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    where : str, optional
        SQL over the columns of the samples.
    allow_missing : bool
        Read all images now, and leave out those that cannot be read.
    outline : bool
        Read no image: leave out those that could not be read before.
    workers : int, optional
        Processes that read, see `Images`.

    Returns
    -------
    FeatureSet
        Whose `X` is `Images`.

    Raises
    ------
    UsageError
        If the dataset was made from vectors.
    StoreError
        If files could not be read when the dataset was ingested.
    """
    store = open_store(store)
    features = all_images(store, dataset, where=where, allow_missing=allow_missing, workers=workers)
    bad = list(_set_aside(store, features, outline)) if allow_missing else []
    return features.take(np.setdiff1d(np.arange(len(features)), bad)) if bad else features


def all_images(
    store: Store, dataset: str, *, where: str | None = None, allow_missing: bool = False, workers: int | None = None
) -> FeatureSet:
    """Open the images of a dataset, and read none; those without files when it was ingested are no part of it.

    Raises
    ------
    UsageError, StoreError
        As of `open_images`.
    """
    record = store.dataset(dataset)
    if record.plugin == IMPORT_PLUGIN:
        raise UsageError(
            f"The dataset {dataset!r} has no images: it was made from vectors.",
            next="Train on them: see histokit list features.",
        )
    samples = store.samples(dataset, where=where)
    known = samples.filter(pc.is_valid(samples.column("content")))
    if len(known) < len(samples) and not allow_missing:
        missing = len(samples) - len(known)
        raise StoreError(
            f"{missing} of {len(samples)} samples of {dataset!r} could not be read when it was ingested.",
            next=f"See: histokit list problems {dataset}; or go on without them with --allow-missing.",
        )
    return _as_features(Images(open_files(store, record), known, workers=workers), record)


def _as_features(images: Images, record: DatasetRecord) -> FeatureSet:
    listed = ",".join(images.channels)
    part = Part(IMAGES, "", f"{IMAGES}:{listed}", IMAGES, "pixels", np.zeros(0, np.intp), ())
    return FeatureSet(cast(Any, images), images.samples, record, (part,))


def check_readable(store: Store, features: FeatureSet) -> list[str]:
    """Read all images once, so that one that cannot be read is told before any work is done.

    Returns
    -------
    list of str
        What is to be known of the images, a line for each kind.

    Raises
    ------
    DataError
        Naming them; they are listed among the problems of the dataset too.
    """
    tally = RemarkTally()
    bad = _set_aside(store, features, tally=tally)
    if bad:
        raise unreadable_error(features, bad)
    return [*cast(Images, features.X).notes, *(line for _, _, line in tally.lines())]


def _set_aside(
    store: Store, features: FeatureSet, known: bool = False, tally: RemarkTally | None = None
) -> dict[int, str]:
    """Write which images cannot be read, and why, among the problems, or look there; return row → reason."""
    ids, contents, name = features.sample_ids, features.content, features.record.name
    if known:
        listed = store.problems(name).filter(pc.field("stage") == _STAGE).to_pylist()
        reasons = {(row["id"], row["content"]): row["reason"] for row in listed}
        pairs = enumerate(zip(ids, contents, strict=True))
        return {row: reasons[pair] for row, pair in pairs if pair in reasons}
    return note_unreadable(store, features, cast(Images, features.X).unreadable(tally or RemarkTally()))


def note_unreadable(store: Store, features: FeatureSet, bad: dict[int, str]) -> dict[int, str]:
    """Write which images cannot be read, row → why, in the place of what was known of these images; return them.

    Raises
    ------
    DataError
        If not some images but the whole root cannot be read, which makes no image bad.
    """
    ids, contents, name = features.sample_ids, features.content, features.record.name
    rows = [
        {"dataset": name, "id": ids[row], "content": contents[row], "stage": _STAGE, "reason": reason}
        for row, reason in bad.items()
    ]
    if bad:
        cast(Images, features.X).files.check_root()
    # What is known of images that were not looked at stays.
    before = store.problems(name).filter(pc.field("stage") == _STAGE).column("id").to_pylist()
    seen = {ids[row] for row in bad} | set(ids).intersection(before)
    store.replace_problems(name, _STAGE, pa.Table.from_pylist(rows, schema=PROBLEM_SCHEMA), sorted(seen))
    return bad


def unreadable_error(features: FeatureSet, bad: Mapping[int, str]) -> DataError:
    """Return the error that names the images of rows that cannot be read, row → why."""
    ids = features.sample_ids
    return _unreadable([ids[row] for row in bad], list(bad.values()), len(features))


def _unreadable(ids: Sequence[str], reasons: Sequence[str], total: int | None = None) -> DataError:
    count = f"{len(ids)} of {total} images" if total else "An image"
    return DataError(
        f"{count} cannot be read: {some(list(ids))} ({reasons[0]})",
        next="Mend the files and ingest the dataset again, or go on without them with --allow-missing.",
        details={"samples": list(ids)[:100]},
    )
