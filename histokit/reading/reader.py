"""Reading the pixels of samples, ahead of the network, without letting a bad image stop the run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from histokit.cores import cores
from histokit.errors import HistokitError, PluginError, memory_was_short, one_line
from histokit.plugin import Dataset, Sample
from histokit.plugin.calls import TRACEBACK, plain_text, raised_at, shown_error
from histokit.plugin.deep_colours import WHITE, to_16_bits
from histokit.plugin.guarded import Guarded
from histokit.plugin.images import LARGEST_IMAGE, Pixels
from histokit.plugin.remarks import Remark, collected_remarks
from histokit.store.records import SAMPLE_FIELDS

#: Memory for images that were read and wait; whole slides of some thousand pixels would otherwise fill it.
READ_BYTES = 256 << 20

#: A value that no pixel reaches of an image which is almost black.
_QUARTER = (WHITE + 1) // 4

#: Threads that read: they share one interpreter, and more of them read no faster.
THREADS = min(8, cores())

#: Of a sample that ended the processes which read it, behind their number: no other is to read it, this one least.
DEADLY = "processes that read it ended: its file, or what decodes it, is at fault"

_FIXED = frozenset(field.name for field in SAMPLE_FIELDS)


class ReadResult(NamedTuple):
    """The pixels of a sample, or the reason why there are none, and what is to be known of them.

    White is 255 of uint8 and 65535 of uint16.
    """

    position: int
    pixels: Pixels | None
    mpp: float | None
    reason: str | None
    remarks: tuple[Remark, ...] = ()
    #: Whether processes ended that read it: this one would, too.
    deadly: bool = False
    #: Whether there are none because the plugin failed.
    by_plugin: bool = False

    @property
    def nbytes(self) -> int:
        """The memory that the pixels take."""
        return 0 if self.pixels is None else self.pixels.nbytes


class SampleFiles(Protocol):
    """The dataset that reads, and whether a file is still the one that was ingested."""

    dataset: Dataset
    guarded: Guarded
    #: The ids of samples that ended processes which read them, and the reasons why these have no pixels.
    deadly: Mapping[str, str]

    def changed(self, sample: Sample) -> str | None:
        """Return why a sample's pixels may not be those that were ingested, or none where they are."""
        ...


def read_samples(
    files: SampleFiles,
    samples: Iterable[tuple[int, Sample]],
    workers: int,
    ahead: int,
    took: Callable[[float], None] = lambda _: None,
) -> Iterator[ReadResult]:
    """Read samples in order.

    Parameters
    ----------
    files : SampleFiles
        Of the dataset that reads.
    samples : iterable of (position, Sample)
    workers : int
        Threads that decode; decoding releases the interpreter's lock.
    ahead : int
        How many samples are read ahead at most; fewer where they are larger than `READ_BYTES` together.
    took : callable
        Called with the seconds of a processor that each read took.
    """

    def read(position: int, sample: Sample) -> ReadResult:
        before = time.thread_time()
        result = read_sample(files, position, sample)
        took(time.thread_time() - before)
        return result

    if workers < 1:
        yield from (read(position, sample) for position, sample in samples)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
    ended = False
    try:
        pending: deque[Future[ReadResult]] = deque()
        # How large images are is known when the first one was read.
        limit = workers
        for position, sample in samples:
            pending.append(pool.submit(read, position, sample))
            while len(pending) > limit:
                result = pending.popleft().result()
                limit = max(workers, min(ahead, READ_BYTES // max(1, result.nbytes)))
                yield result
        while pending:
            yield pending.popleft().result()
        ended = True
    finally:
        # After an interruption, a read that hangs is not waited for.
        pool.shutdown(wait=ended, cancel_futures=True)


def read_sample(files: SampleFiles, position: int, sample: Sample) -> ReadResult:
    """Read one sample, or find out why that cannot be."""
    if sample.id in files.deadly:
        return ReadResult(position, None, sample.mpp, files.deadly[sample.id], deadly=True)
    try:
        with collected_remarks() as remarks:
            pixels = files.guarded.read(sample)
        changed = files.changed(sample)
    except Exception as error:
        # A plugin's fault on one sample must not lose the others; the reason names it.
        by_plugin = isinstance(error, PluginError) and not memory_was_short(error.__cause__ or error)
        reason = one_line(_of_another_file(files, sample) + _reason(error))
        return ReadResult(position, None, sample.mpp, reason, by_plugin=by_plugin)
    if changed is not None:
        return ReadResult(position, None, sample.mpp, changed)
    bits = files.dataset.bits
    if issubclass(type(pixels), np.ndarray):
        # A class of the plugin's own may answer otherwise than arrays do.
        pixels = np.ndarray.view(pixels, np.ndarray)
    wrong = _wrong_pixels(pixels, len(files.dataset.channels), bits)
    if wrong is not None:
        reason = files.guarded.caller.wrong("read()", wrong, f"the sample {sample.id!r}").line
        return ReadResult(position, None, sample.mpp, reason)
    own = type(files.dataset).read is not Dataset.read
    if own:
        # Pixels wait for a batch: a plugin may write its next image into the same array.
        pixels = pixels.copy()
    if pixels.dtype == np.uint16:
        pixels = to_16_bits(pixels, bits or 16)
        known = files.dataset.scale != "full" or any(each.kind == "dark" for each in remarks)
        # A dark box may be of a bright image.
        if own and sample.box is None and not known and int(pixels.max()) < _QUARTER:
            remarks = [*remarks, Remark("dark", sample.id, f"no value above {pixels.max()} of {WHITE}")]
    shown = [each._replace(path=sample.id) for each in remarks]
    return ReadResult(position, pixels, sample.mpp, None, tuple(shown))


def _of_another_file(files: SampleFiles, sample: Sample) -> str:
    """Return a sentence where the file that could not be read is not the one that was ingested, which may come back."""
    try:
        changed = files.changed(sample)
    except Exception:
        # Of files that are gone, the first error tells.
        return ""
    return f"{changed}. " if changed else ""


def _reason(error: Exception) -> str:
    """Return why a sample could not be read."""
    cause = error.__cause__ or error
    if memory_was_short(cause):
        return f"There was too little memory to read it ({shown_error(cause)}): --retry, maybe with fewer --workers"
    if isinstance(error, HistokitError):
        # The run goes on, so that no traceback is shown.
        return plain_text(error.line.replace(TRACEBACK, ""))
    return f"{shown_error(error)}{raised_at(error)}"


def _wrong_pixels(pixels: Any, channels: int, bits: int | None) -> str | None:
    """Return what was given in place of pixels, or none where they are what they have to be."""
    # An object may lie about its class.
    if type(pixels) is not np.ndarray:
        return f"{type(pixels).__name__} in place of an array of (H, W, C)"
    if pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.uint16):
        return f"{pixels.dtype} of shape {pixels.shape}, not uint8 or uint16 of (H, W, C)"
    if pixels.shape[2] != channels or not pixels.size:
        return f"pixels of shape {pixels.shape} for {channels} channels"
    if pixels.shape[0] * pixels.shape[1] > LARGEST_IMAGE:
        return f"pixels of shape {pixels.shape}: up to {LARGEST_IMAGE:,} are taken at once"
    if bits is not None and pixels.dtype == np.uint16 and pixels.max() >> bits:
        return f"{pixels.max()}, more than the {bits} bits that the dataset declares"
    return None


def rebuild_sample(row: Mapping[str, Any]) -> Sample:
    """Return a sample from its row in the store."""
    box = row["box"]
    return Sample(
        id=row["id"],
        image=tuple(row["image"]),
        part=row["part"],
        box=(box[0], box[1], box[2], box[3]) if box else None,
        label=row["label"],
        mpp=row["mpp"],
        metadata={k: v for k, v in row.items() if k not in _FIXED},
    )
