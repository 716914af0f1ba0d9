from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from histokit.plugin import Dataset, Sample
from histokit.plugin.images import Pixels
from histokit.reading import chunks, reader
from histokit.reading.ingested_files import IngestedFiles


class Counting(Dataset):
    """Counts the images that were read."""

    def __init__(self, root: str | Path = ".") -> None:
        super().__init__(root)
        self.read_so_far = 0
        self.threads: set[str] = set()
        self.lock = threading.Lock()

    def samples(self) -> Iterator[Sample]:
        """Yield forty."""
        return (Sample(str(i), ()) for i in range(40))

    def read(self, sample: Sample) -> Pixels:
        """Return 300 bytes."""
        with self.lock:
            self.read_so_far += 1
            self.threads.add(threading.current_thread().name.partition("_")[0])
        return np.full((10, 10, 3), int(sample.id), dtype=np.uint8)


@pytest.mark.parametrize(("memory", "ahead"), [(1 << 20, 16), (5 * 300, 5), (1, 2)])
def test_no_more_is_read_ahead_than_memory_is_given(monkeypatch: pytest.MonkeyPatch, memory: int, ahead: int) -> None:
    monkeypatch.setattr(reader, "READ_BYTES", memory)
    dataset = Counting()
    samples = list(dataset.samples())
    results = reader.read_samples(IngestedFiles(dataset, None), enumerate(samples), workers=2, ahead=16)
    values = []
    for consumed, result in enumerate(results):
        assert dataset.read_so_far - consumed <= ahead + 1
        assert result.pixels is not None
        values.append(int(result.pixels[0, 0, 0]))
    assert values == list(range(40))


@pytest.mark.parametrize(("workers", "threads"), [(0, {"MainThread"}), (None, {"read"})])
def test_what_is_handed_on_at_once_is_no_more_than_memory_is_given(
    monkeypatch: pytest.MonkeyPatch, workers: int | None, threads: set[str]
) -> None:
    monkeypatch.setattr(chunks, "READ_BYTES", 700)
    dataset = Counting()
    reading = chunks.ChunkReader(IngestedFiles(dataset, None), workers, False, lambda: 40)
    found = [[result.position for result in chunk] for chunk in reading.chunks(enumerate(dataset.samples()))]
    assert found == [[*range(start, min(start + 3, 40))] for start in range(0, 40, 3)]
    assert dataset.threads == threads


class Reusing(Counting):
    """Writes each image into the same array."""

    buffer = np.empty((10, 10, 3), dtype=np.uint8)

    def read(self, sample: Sample) -> Pixels:
        """Return it."""
        self.buffer[...] = super().read(sample)
        return self.buffer


def test_an_array_that_is_written_into_again_holds_no_other_image() -> None:
    dataset = Reusing()
    results = [*reader.read_samples(IngestedFiles(dataset, None), enumerate(dataset.samples()), workers=0, ahead=16)]
    assert [int(result.pixels.max()) for result in results if result.pixels is not None] == list(range(40))


class Given(Dataset):
    """Returns the array that it is given."""

    def __init__(self, pixels: object, bits: int | None = None) -> None:
        super().__init__(".")
        self.pixels, self.bits = pixels, bits

    def read(self, sample: Sample) -> Pixels:
        """Return it, whatever it is."""
        return self.pixels  # type: ignore[return-value]


def read(pixels: object, bits: int | None = None) -> reader.ReadResult:
    return reader.read_sample(IngestedFiles(Given(pixels, bits), None), 0, Sample("a", ()))


@pytest.mark.parametrize(("box", "remarks"), [(None, 1), ((0, 0, 4, 4), 0)])
def test_a_dark_box_of_an_image_is_not_remarked(box: tuple[int, int, int, int] | None, remarks: int) -> None:
    dataset = Given(np.full((4, 4, 3), 100, np.uint16))
    found = reader.read_sample(IngestedFiles(dataset, None), 0, Sample("a", (), box=box))
    assert found.pixels is not None
    assert [each.kind for each in found.remarks] == ["dark"] * remarks
    # Where black and white are asked for, a dark image is meant to be so.
    dataset.scale = "range:0,65535"
    assert reader.read_sample(IngestedFiles(dataset, None), 0, Sample("a", (), box=box)).remarks == ()


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.zeros((4, 4, 3), np.int8), "gave int8 of shape (4, 4, 3), not uint8 or uint16 of (H, W, C)"),
        (np.zeros((4, 4, 3), np.complex64), "gave complex64"),
        (np.zeros((4, 4, 3), np.float32), "gave float32"),
        (np.zeros((4, 4, 3), np.bool_), "gave bool"),
        (np.zeros((4, 4, 3), np.uint32), "gave uint32"),
        (np.zeros((4, 4), np.uint8), "gave uint8 of shape (4, 4)"),
        ([[[1, 2, 3]]], "gave list"),
        (np.zeros((4, 4, 4), np.uint8), "gave pixels of shape (4, 4, 4) for 3 channels"),
        (np.zeros((0, 4, 3), np.uint8), "gave pixels of shape (0, 4, 3)"),
    ],
)
def test_other_arrays_than_promised_are_not_cast(pixels: object, reason: str) -> None:
    result = read(pixels)
    assert result.pixels is None
    assert str(result.reason).startswith(f"The dataset class 'Given' {reason}")


class Own(np.ndarray):
    """An array of a class of a plugin's own, as those of files in memory are."""


def test_arrays_of_other_classes_are_taken_as_arrays() -> None:
    result = read(np.full((4, 4, 3), 7, np.uint8).view(Own))
    assert (type(result.pixels), result.reason) == (np.ndarray, None)
    assert result.pixels is not None
    assert (result.pixels == 7).all()


def test_16_bits_are_scaled_by_the_bits_that_are_declared() -> None:
    values = np.array([[[0, 15, 16], [2048, 4080, 4095]]], dtype=np.uint16)
    # 15 * 65535 / 4095 = 240.06, 16 -> 256.06, 2048 -> 32775.5 (16384 / 4095 of 8192), 4080 -> 65294.95.
    result = read(values, 12)
    assert result.pixels is not None
    assert result.pixels.dtype == np.uint16
    assert result.pixels.tolist() == [[[0, 240, 256], [32776, 65295, 65535]]]
    # Without it, they are 16.
    assert read(values * 16).pixels.tolist() == (values * 16).tolist()
    assert "gave 4095, more than the 11 bits that the dataset declares in read()" in str(read(values, 11).reason)
    assert str(read(values.astype(np.int16), 12).reason).startswith("The dataset class 'Given' gave int16")
    assert read(np.zeros((1, 1, 3), np.uint8), 12).pixels is not None


class Odd(Counting):
    """Gives what a plugin should not, by the id of the sample."""

    def read(self, sample: Sample) -> Pixels:
        """Return it, or raise."""
        if sample.id == "broken":
            raise ValueError("no such thing")
        if sample.id == "huge":
            raise MemoryError("Unable to allocate 9 GiB")
        if sample.id == "lines":
            raise OSError("file read failed: time = Mon Nov 30\n, errno = 5\n")
        return {
            "float": np.zeros((2, 3, 3)),
            "flat": np.zeros((2, 3), np.uint8),
            "four": np.zeros((2, 3, 4), np.uint8),
            "empty": np.zeros((0, 3, 3), np.uint8),
            "list": [[1, 2, 3]],
        }.get(sample.id, np.arange(18, dtype=np.uint8).reshape(2, 3, 3))  # type: ignore[return-value]


def test_too_little_memory_is_no_fault_of_a_plugin() -> None:
    found = reader.read_sample(IngestedFiles(Odd(), None), 0, Sample("huge", ()))
    told = "There was too little memory to read it (MemoryError: Unable to allocate 9 GiB)"
    assert found.reason == f"{told}: --retry, maybe with fewer --workers"


@pytest.mark.parametrize("own", [True, False])
def test_a_reason_of_several_lines_becomes_one(monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    files = IngestedFiles(Odd(), None)
    monkeypatch.setattr(files.guarded, "caller", replace(files.guarded.caller, ours=own))
    reason = str(reader.read_sample(files, 0, Sample("lines", ())).reason)
    assert "OSError: file read failed: time = Mon Nov 30 , errno = 5 (test_reader.py, line" in reason
    assert len(reason.splitlines()) == 1


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_what_cannot_be_read_has_a_reason_and_its_place(workers: int) -> None:
    # In which line it was raised, in whichever process.
    at = f" (test_reader.py, line {Odd.read.__code__.co_firstlineno + 3})"
    reasons = {
        "broken": f"The dataset class 'Odd' failed in read() for the sample 'broken': ValueError: no such thing{at}.",
        "float": "gave float64 of shape (2, 3, 3), not uint8 or uint16 of (H, W, C)",
        "flat": "gave uint8 of shape (2, 3), not uint8 or uint16 of (H, W, C)",
        "four": "gave pixels of shape (2, 3, 4) for 3 channels",
        "empty": "gave pixels of shape (0, 3, 3) for 3 channels",
        "list": "gave list in place of an array of (H, W, C)",
        "good": None,
    }
    samples = [(10 + k, Sample(name, (), mpp=0.5 * k)) for k, name in enumerate(reasons)]
    found = list(reader.read_samples(IngestedFiles(Odd(), None), samples, workers=workers, ahead=4))
    expected = [
        f"The dataset class 'Odd' {text} in read() for the sample '{name}'." if text and "gave" in text else text
        for name, text in reasons.items()
    ]
    # What to do about it stands behind.
    advice = ["Tell its author.", *["Mend it; histokit.plugin.testing checks it."] * 5]
    expected = [f"{text} {then}" for text, then in zip(expected[:6], advice, strict=True)] + [None]
    assert [result.reason for result in found] == expected
    assert [(result.position, result.mpp) for result in found] == [(10 + k, 0.5 * k) for k in range(7)]
    assert [result.nbytes for result in found] == [0] * 6 + [18]
    assert found[-1].pixels is not None
    assert found[-1].pixels.ravel().tolist() == list(range(18))


def test_a_sample_is_rebuilt_from_its_row() -> None:
    row = {"id": "s", "content": b"c", "image": ["r.tif", "g.tif"], "part": "page 2", "box": [1, -2, 30, 40]}
    row |= {"label": "tumour", "mpp": 0.25, "slide": "P1", "age": 7}
    facts = {"part": "page 2", "box": (1, -2, 30, 40), "label": "tumour", "mpp": 0.25}
    expected = Sample("s", ("r.tif", "g.tif"), metadata={"slide": "P1", "age": 7}, **facts)  # type: ignore[arg-type]
    assert reader.rebuild_sample(row) == expected
    assert reader.rebuild_sample({**row, "box": None}).box is None
