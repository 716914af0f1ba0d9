"""Memory of an ingestion hardly grows with the number of samples."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pytest

import histokit
from histokit.errors import DataError, StoreError
from histokit.features import FeatureStore
from histokit.ingest.digest_process import FilesFound, State
from histokit.ingest.file_digests import FileDigests
from histokit.ingest.file_states import FileStates
from histokit.ingest.sample_ids import SampleIds
from histokit.plugin import Dataset, PublishedSplit, Sample
from histokit.store.records import FILE_SCHEMA
from histokit.store.spilled_rows import SpilledRows

FEW, MANY = 1_000, 7_000
IDS = pa.schema([("id", pa.string()), ("number", pa.int64())])


class Tiles(Dataset):
    """Tiles of ten slides."""

    columns: Mapping[str, type] = {"slide": str, "row": int}
    group = "slide"

    def __init__(self, root: Path, count: int, twice: int | None = None, published: bool = False):
        super().__init__(root)
        self.count, self.twice, self.published = count, twice, published

    def samples(self) -> Iterator[Sample]:
        for i in range(self.count):
            slide = f"slide{10 * i // self.count}"
            number = 7 if i == self.twice else i
            yield Sample(
                f"{slide if i != self.twice else 'slide0'}/{number:08d}",
                (f"{slide}.svs",),
                box=(0, i, 8, 8),
                label="ab"[i % 2],
                mpp=0.5,
                metadata={"slide": slide, "row": i},
            )

    def splits(self) -> Mapping[str, PublishedSplit]:
        if not self.published:
            return {}
        ids = [sample.id for sample in self.samples()]
        half = self.count // 2
        return {"halves": PublishedSplit.holdout(ids[:half], ids[half:])}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    folder.mkdir()
    for number in range(10):
        (folder / f"slide{number}.svs").write_bytes(bytes([number]))
    return folder


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the size that fits the numbers of samples here."""
    monkeypatch.setattr("histokit.store.spilled_rows._IN_MEMORY", 1 << 14)
    monkeypatch.setattr("histokit.ingest.sample_ids._WINDOW", 256)
    monkeypatch.setattr("histokit.ingest.samples._ROWS_PER_BATCH", 256)
    monkeypatch.setattr("histokit.ingest.file_digests._GROUP", 16)
    monkeypatch.setattr("histokit.ingest.digest_processes._TASKS", 6)
    monkeypatch.setattr("histokit.ingest.file_states._WINDOW", 256)
    monkeypatch.setattr("histokit.store.split_records._AT_ONCE", 256)


def peak(store: FeatureStore, dataset: Dataset) -> int:
    """The most bytes that Python, numpy and Arrow held during an ingestion."""
    gc.collect()
    usual, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        histokit.ingest(store, dataset, name="d")
        return tracemalloc.get_traced_memory()[1] + int(pool.max_memory())
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)


def growth(folder: Path, root: Path, **how: Any) -> float:
    """The bytes that another sample takes."""
    histokit.ingest(histokit.open_store(folder / "first"), Tiles(root, 10), name="d")
    few, many = (peak(histokit.open_store(folder / str(count)), Tiles(root, count, **how)) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


@pytest.mark.usefixtures("small_pieces")
def test_memory_hardly_grows_with_the_number_of_samples(root: Path, tmp_path: Path) -> None:
    # An id in a set takes 120 bytes, a row of the table as much. What is left are hashes, and a column at a time.
    assert growth(tmp_path, root) < 60


@pytest.mark.usefixtures("small_pieces")
def test_samples_of_files_that_are_known_do_not_wait_for_processes_that_have_nothing_to_do(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.ingest.digest_processes._WORTH", 0.0)
    monkeypatch.setattr("histokit.ingest.digest_processes._SHARE", 0.0)
    monkeypatch.setattr("histokit.ingest.digest_processes.cores", lambda: 2)
    assert growth(tmp_path, root) < 60
    rows = histokit.open_store(tmp_path / str(MANY)).samples("d")
    assert rows.column("row").to_pylist() == list(range(MANY))
    assert rows.column("id").to_pylist() == [sample.id for sample in Tiles(root, MANY).samples()]
    assert {path.name for path in tmp_path.iterdir()} == {"slides", "first", str(FEW), str(MANY)}


@pytest.mark.usefixtures("small_pieces")
def test_memory_of_published_splits(root: Path, tmp_path: Path) -> None:
    # The plugin's own rows and ids, of 180 bytes, and a few of ours: 120 while ids are numbered for the digest.
    assert growth(tmp_path, root, published=True) < 440


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("twice", [8, 255, 256, 300, 1_999])
def test_an_id_that_comes_twice(root: Path, store: FeatureStore, twice: int) -> None:
    with pytest.raises(DataError, match="The sample id 'slide0/00000007' comes twice"):
        histokit.ingest(store, Tiles(root, 2_000, twice), name="d")
    assert not store.uri.exists()


@pytest.mark.usefixtures("small_pieces")
def test_ids_of_one_hash_are_told_apart(root: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histokit.ingest.sample_ids.hash", lambda text: int(text[-1]), raising=False)
    assert histokit.ingest(store, Tiles(root, 2_000), name="d").count == 2_000
    with pytest.raises(DataError, match="'slide0/00000007' comes twice"):
        histokit.ingest(store, Tiles(root, 2_000, 1_500), name="d")


@pytest.mark.usefixtures("small_pieces")
def test_an_id_that_came_twice_is_told_before_a_later_mistake(root: Path, store: FeatureStore) -> None:
    class Wrong(Tiles):
        def samples(self) -> Iterator[Sample]:
            yield from super().samples()
            yield Sample("last", ("slide0.svs",), mpp=-1, metadata={"slide": "a", "row": 0})

    for twice, message in ((1_999, "comes twice"), (None, "micrometres per pixel")):
        with pytest.raises(DataError, match=message):
            histokit.ingest(store, Wrong(root, 2_000, twice), name="d")


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
def test_no_room_for_samples(root: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(dir: Path) -> IO[bytes]:
        return Path("/dev/full").open("r+b")

    monkeypatch.setattr("histokit.store.spilled_rows.TemporaryFile", full)
    with pytest.raises(StoreError, match=f"The store {store.uri} cannot be written: No space left on device") as caught:
        histokit.ingest(store, Tiles(root, 2_000), name="d")
    assert "Free some space" in caught.value.next
    assert not store.uri.exists()


def test_spilled_rows_are_read_while_more_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histokit.store.spilled_rows._IN_MEMORY", 100)
    with SpilledRows(IDS, tmp_path / "store") as rows:
        for number in range(50):
            rows.add(pa.record_batch([[str(number), None], [number, -number]], schema=IDS))
            assert len(rows) == 2 * number + 2
            assert rows.column("number").to_pylist() == [n for i in range(number + 1) for n in (i, -i)]
            assert list(SampleIds(rows))[-2:] == [str(number), None]
        assert rows.to_table().num_rows == len(list(rows.to_reader().read_all().column("id"))) == 100
        assert not list(tmp_path.iterdir())


class Photographs(Tiles):
    """Samples of a file each, of some two, or of one that is not there; nothing is read."""

    def samples(self) -> Iterator[Sample]:
        for i in range(self.count):
            metadata = {"slide": str(i % 10), "row": i}
            yield Sample(f"sample/{i:08d}", (f"a rather long name of a folder/{_file(i):08d}.jpg",), metadata=metadata)


def _file(number: int) -> int:
    return 3 * (number // 6) if number % 5 == 0 else number


def _looked(self: FileDigests, path: str) -> State:
    number = int(path[-12:-4])
    looked.append(number)
    return (
        (0, 0, 0, None, "it is lost") if number % 100 == 99 else (number, -number, 7, number.to_bytes(16, "big"), None)
    )


#: Of the files, in the order in which they were looked at.
looked: list[int] = []


@pytest.fixture
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histokit.ingest.file_digests.FileDigests._look", _looked)
    monkeypatch.setattr(
        "histokit.ingest.digest_processes.read_files", lambda task: FilesFound([None] * len(task.paths), {})
    )
    monkeypatch.setattr("histokit.plugin.image_files.ImageFiles.mark", lambda *_: b"")


@pytest.mark.usefixtures("small_pieces", "no_disk")
def test_memory_hardly_grows_with_the_number_of_files(root: Path, tmp_path: Path) -> None:
    histokit.ingest(histokit.open_store(tmp_path / "first"), Photographs(root, 10), name="d")
    few, many = (peak(histokit.open_store(tmp_path / str(n)), Photographs(root, n)) for n in (FEW, MANY))
    # A path alone takes 90 bytes, its state 210, its place among others 100; a packed one 60.
    assert (many - few) / (MANY - FEW) < 220


@pytest.mark.usefixtures("small_pieces", "no_disk")
@pytest.mark.parametrize("large", [0, 1 << 40])
def test_each_of_many_files_is_looked_at_once(
    root: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    monkeypatch.setattr("histokit.ingest.file_digests._LARGE", large)
    looked.clear()
    record = histokit.ingest(store, Photographs(root, 3_000), name="d")
    expected = list(dict.fromkeys(map(_file, range(3_000))))
    assert sorted(looked) == sorted(expected)
    files = store.files("d")
    assert files is not None
    assert [int(path[-12:-4]) for path in files.column("path").to_pylist()] == expected
    assert files.column("mtime_ns").to_pylist() == [0 if number % 100 == 99 else -number for number in expected]
    assert record.problems == sum(_file(number) % 100 == 99 for number in range(3_000))
    contents = store.samples("d", ["content"]).column("content").to_pylist()
    assert [content is None for content in contents] == [_file(number) % 100 == 99 for number in range(3_000)]
    assert [contents[number] == contents[0] for number in (5, 3, 6)] == [True, False, False]


def test_states_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histokit.ingest.file_states._WINDOW", 10)
    states: dict[str, State] = {
        str(i): (i, 1 << 60 | i, 9, bytes([i]) * 16 if i % 7 else None, None) for i in range(200)
    }
    found = FileStates(SpilledRows(FILE_SCHEMA, Path()))
    assert not found
    assert found.get("0") is None
    for path, state in states.items():
        found.add(path, state)
        assert found.get(path) == state
    for _ in range(2):
        assert found.find([*states, "other"]) == [*states.values(), None]
        assert [found.get(path) for path in [*states, "other"]] == [*states.values(), None]
        rows = found.to_rows().to_table()
    assert rows.to_pylist() == [
        dict(zip(FILE_SCHEMA.names, [path, *state], strict=True)) for path, state in states.items()
    ]
    known = FileStates.of(rows)
    assert known.find([*states]) == [state if state[3] else None for state in states.values()]


def test_garbage_is_seldom_looked_for_and_as_often_as_before_afterwards(tmp_path, root):
    looks: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            looks.append(info["generation"])

    class Noted(Tiles):
        def samples(self) -> Iterator[Sample]:
            gc.callbacks.append(note)
            try:
                yield from super().samples()
            finally:
                gc.callbacks.remove(note)

    before = gc.get_threshold()
    gc.set_threshold(500, 11, 12)
    try:
        assert histokit.ingest(tmp_path / "s", Noted(root, MANY), name="d").count == MANY
        # Of 500 objects each: 32 times.
        assert len(looks) < 8
        assert gc.get_threshold() == (500, 11, 12)
        with pytest.raises(DataError, match="twice"):
            histokit.ingest(tmp_path / "s", Noted(root, FEW, twice=FEW - 1), name="e")
        assert gc.get_threshold() == (500, 11, 12)
        gc.disable()
        gc.set_threshold(0, 11, 12)
        histokit.ingest(tmp_path / "s", Noted(root, FEW), name="f")
        assert gc.get_threshold() == (0, 11, 12)
    finally:
        gc.set_threshold(*before)
        gc.enable()
