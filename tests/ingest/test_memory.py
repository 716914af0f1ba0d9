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
from histokit.ingest.sample_ids import SampleIds
from histokit.plugin import Dataset, PublishedSplit, Sample
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
    rows = histokit.open_store(tmp_path / str(MANY)).samples("d")
    assert rows.column("row").to_pylist() == list(range(MANY))
    assert rows.column("id").to_pylist() == [sample.id for sample in Tiles(root, MANY).samples()]
    assert {path.name for path in tmp_path.iterdir()} == {"slides", "first", str(FEW), str(MANY)}


@pytest.mark.usefixtures("small_pieces")
def test_memory_of_published_splits(root: Path, tmp_path: Path) -> None:
    # The plugin's own rows and ids, of 180 bytes, and a few of ours.
    assert growth(tmp_path, root, published=True) < 390


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


def test_an_id_that_came_twice_is_told_before_a_later_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Tiles):
        def samples(self) -> Iterator[Sample]:
            yield from super().samples()
            yield Sample("last", ("slide0.svs",), mpp=-1, metadata={"slide": "a", "row": 0})

    monkeypatch.setattr("histokit.ingest.sample_ids._WINDOW", 64)
    for twice, message in ((99, "comes twice"), (None, "micrometres per pixel")):
        with pytest.raises(DataError, match=message):
            histokit.ingest(tmp_path / "store", Wrong(tmp_path, 100, twice), name="d")


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
