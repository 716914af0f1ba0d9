from __future__ import annotations

import os
import pickle
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from histokit_kimiapath24 import dataset as module
from histokit_kimiapath24.dataset import KimiaPath24
from histokit_kimiapath24.scans import ScanFile
from histokit_kimiapath24.tiles import homogeneity, white_corner
from PIL import Image

import histokit
from histokit import cli
from histokit.plugin import DataError, UsageError
from histokit.plugin.manager import registry
from histokit.plugin.testing import check_dataset

SIDE = 1_000
#: Rows and columns of tiles of each scan; nothing is left over of scan 7, of others less than a tile.
GRIDS = {0: (2, 3), 7: (3, 2), 23: (2, 2)}


def tissue(rows: int, columns: int, seed: int) -> np.ndarray:
    """Return texture of dark and less dark pixels, no two tiles of which are the same."""
    block = np.random.default_rng(seed).integers(40, 200, (50, 50), dtype=np.uint8)
    texture = np.tile(block, (rows // 50 + 1, columns // 50 + 1))[:rows, :columns]
    texture[:, ::SIDE] = np.arange(rows)[:, None] % 199
    texture[::SIDE] = np.arange(columns) % 197
    return texture


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A file of the published names, shapes but in number and types, with three scans and two test patches of each."""
    path = tmp_path_factory.mktemp("kimia") / "Kimia_Path24.h5"
    with h5py.File(path, "w") as file:
        for scan, (rows, columns) in GRIDS.items():
            data = tissue(rows * SIDE + 30 * (scan != 7), columns * SIDE + 70 * (scan != 7), scan)
            if scan == 0:
                data[:SIDE, SIDE : 2 * SIDE] = 245
                # Where a test patch was, which was not on the grid.
                data[SIDE + 500 : SIDE + 1_500, :500] = 255
            file.create_dataset(f"scan{scan}/data", data=data, chunks=(700, 900), compression="lzf")
            file.create_dataset(f"scan{scan}/thumbnail", data=data[::100, ::100])
        patches = np.stack([tissue(SIDE, SIDE, 100 + i) for i in range(6)])
        file.create_dataset("test_data/patches", data=patches, chunks=(4, 300, 300), compression="lzf")
        file.create_dataset("test_data/targets", data=np.array([0, 0, 7, 7, 23, 23]))
    return path


@pytest.fixture
def file(written, tmp_path) -> Path:
    path = tmp_path / written.name
    path.write_bytes(written.read_bytes())
    return path


def changed(path: Path, name: str, value) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize("options", [{}, {"per_scan": 2, "seed": 5}, {"per_scan": 0, "holes": 1, "mpp": "none"}])
def test_contract(written, options):
    check_dataset(KimiaPath24, written, **options)
    check_dataset(KimiaPath24, written.parent, **options)


def test_found_through_the_entry_point():
    assert registry().dataset("kimiapath24") is KimiaPath24


def test_the_tiles_of_a_scan_reach_to_its_last_row_and_column(written):
    samples = list(KimiaPath24(written, per_scan=0).samples())
    boxes = {s.id: s.box for s in samples if s.metadata["split"] == "train"}
    assert [i for i in boxes if i.startswith("scan7/")] == [
        f"scan7/{x}_{y}" for y in (0, 1_000, 2_000) for x in (0, 1_000)
    ]
    # One of scan 0 is homogeneous, and one lies over a quarter of what was cut out.
    assert [i for i in boxes if i.startswith("scan0/")] == [
        "scan0/0_0",
        "scan0/2000_0",
        "scan0/1000_1000",
        "scan0/2000_1000",
    ]
    assert boxes["scan0/2000_1000"] == (2_000, 1_000, SIDE, SIDE)
    assert {s.part for s in samples if s.id in boxes} == {f"scan{scan}/data" for scan in GRIDS}


def test_what_is_read_are_the_pixels_of_the_file(written):
    dataset = KimiaPath24(written, per_scan=0)
    samples = {s.id: s for s in dataset.samples()}
    with h5py.File(written) as file:
        pixels = dataset.read(samples["scan0/2000_1000"])
        assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE, 3), np.uint8)
        for channel in range(3):
            assert np.array_equal(pixels[:, :, channel], file["scan0/data"][1_000:2_000, 2_000:3_000])
        assert np.array_equal(dataset.read(samples["test/3"])[:, :, 0], file["test_data/patches"][3])
    assert (samples["test/3"].label, samples["test/3"].part) == ("7", "test_data/patches/3")
    assert dict(samples["test/3"].metadata) == {"split": "test", "x": None, "y": None}
    assert dict(samples["scan0/2000_1000"].metadata) == {"split": "train", "x": 2_000, "y": 1_000}


def test_the_test_set_is_fixed_and_the_run_says_what_it_means(written):
    for seed in (0, 1):
        dataset = KimiaPath24(written, per_scan=2, seed=seed)
        split = dataset.splits()["published"]
        assert Counter(row.role for row in split.rows) == {"train": 6, "test": 6}
        assert [row.sample_id for row in split.rows if row.role == "test"] == [f"test/{i}" for i in range(6)]
        assert split.leaks is None
        assert "come from one scan" in split.notes[0]


def ids(path: Path, **options) -> list[str]:
    return [s.id for s in KimiaPath24(path, **options).samples() if s.metadata["split"] == "train"]


def test_patches_are_drawn_by_a_seed(written):
    every, drawn = ids(written, per_scan=0), ids(written, per_scan=3)
    assert drawn == [i for i in every if i in set(drawn)]
    assert Counter(i.split("/")[0] for i in drawn) == {"scan0": 3, "scan7": 3, "scan23": 3}
    assert ids(written, per_scan=3, seed=1) != drawn
    assert ids(written, per_scan=3, seed=0) == drawn
    # More of them hold the fewer ones.
    assert set(ids(written, per_scan=2)) < set(drawn)
    assert KimiaPath24(written, per_scan=3, seed=4).options["seed"] == 4


def test_what_is_left_out_is_told(written):
    dataset = KimiaPath24(written, per_scan=5)
    list(dataset.samples())
    told = "\n".join(dataset.warnings)
    assert (
        "14 tiles are training patches, of which 13 were taken, up to 5 of each scan: 2 scans have fewer, such as "
        "scan 0 with 4; 1 is homogeneous by more than 0.99, 1 lies over"
    ) in told
    assert len(dataset.warnings) == 2
    list(dataset.samples())
    assert "\n".join(dataset.warnings) == told
    assert "has no scan 1, 2, 3" in told
    assert dataset.expected == {"split": {"train": 120, "test": 1_325}}
    assert len(ids(written, per_scan=0, homogeneity=1, holes=1)) == 16


def test_scans_are_looked_at_once(file, monkeypatch):
    first = KimiaPath24(file, per_scan=2)
    state, samples = first.fit(), list(first.samples())
    looked, tiles = [], ScanFile.tiles
    monkeypatch.setattr(ScanFile, "tiles", lambda self, scan: looked.append(scan) or tiles(self, scan))
    second = KimiaPath24(file, per_scan=2)
    second.state = state
    assert list(second.samples()) == samples
    assert second.splits() == first.splits()
    assert second.warnings == first.warnings
    assert looked == []
    # Other thresholds, or another file, and what is known says nothing.
    other = KimiaPath24(file, per_scan=0, holes=1)
    other.state = state
    assert len(other.splits()["published"].rows) == 15 + 6
    assert sorted(looked) == sorted(GRIDS)
    del first, second, other
    changed(file, "scan23/data", np.full((2_000, 2_000), 9, np.uint8))
    again = KimiaPath24(file, per_scan=2)
    again.state = state
    assert {s.id.split("/")[0] for s in again.samples() if s.metadata["split"] == "train"} == {"scan0", "scan7"}


def test_homogeneity():
    tile = tissue(SIDE, SIDE, 1)
    assert homogeneity(tile, 230) < 0.2
    tile[:990] = 240
    assert homogeneity(tile, 230) == pytest.approx(0.99)
    assert homogeneity(tile, 250) == pytest.approx(0.99)
    # Bright pixels of several levels, more than half of them; and a flat grey that is not bright.
    tile[:500], tile[500:] = 231, 250
    assert homogeneity(tile, 230) == 1
    assert homogeneity(tile, 251) == 0.5
    assert homogeneity(np.full((SIDE, SIDE), 120, np.uint8), 230) == 1


@pytest.mark.parametrize(
    ("rows", "columns"),
    [((0, 300), (0, 200)), ((700, 1000), (0, 200)), ((0, 300), (800, 1000)), ((700, 1000), (800, 1000))],
)
def test_white_in_a_corner(rows, columns):
    tile = tissue(SIDE, SIDE, 1)
    tile[slice(*rows), slice(*columns)] = 255
    assert white_corner(tile) == pytest.approx(0.06)
    # White that does not reach into a corner is the slide's.
    inside = tissue(SIDE, SIDE, 1)
    inside[100:900, 100:900] = 255
    assert white_corner(inside) == 0
    assert white_corner(np.full((SIDE, SIDE), 255, np.uint8)) == 1


def sparse(path: Path, shape: tuple[int, int]) -> None:
    """Write a file whose scan takes no room on disk."""
    with h5py.File(path, "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        group = file.create_group("scan0")
        h5py.h5d.create(group.id, b"data", h5py.h5t.STD_U8LE, h5py.h5s.create_simple(shape), plan)
        file["test_data/patches"] = np.stack([tissue(SIDE, SIDE, 1)])
        file["test_data/targets"] = [0]


def test_a_scan_is_never_in_memory(tmp_path):
    path = tmp_path / "Kimia_Path24.h5"
    sparse(path, (4_500, 130_000))
    with h5py.File(path, "r+") as file:
        file["scan0/data"][2_000:3_000, 129_000:] = tissue(SIDE, SIDE, 2)
    tracemalloc.start()
    try:
        assert ids(path) == ["scan0/129000_2000"]
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_the_digest_of_a_large_file_reads_little_of_it(tmp_path):
    path = tmp_path / "Kimia_Path24.h5"
    sparse(path, (100_000, 290_000))
    assert path.stat().st_size > 29e9
    before = KimiaPath24(path).file_digest(path)
    assert len(before) == 16
    assert KimiaPath24(tmp_path).file_digest(path) == before
    with h5py.File(path, "r+") as file:
        file["scan0/data"][5_000:5_100] = 9
    assert (scan := KimiaPath24(path).file_digest(path)) != before
    with h5py.File(path, "r+") as file:
        file["test_data/targets"][0] = 3
    assert KimiaPath24(path).file_digest(path) not in (before, scan)


def test_small_files_are_digested_as_a_whole(file, monkeypatch):
    dataset = KimiaPath24(file)
    before, sampled = dataset.file_digest(file), ScanFile(file).digest()
    with h5py.File(file, "r+") as opened:
        opened["scan23/thumbnail"][0, 0] ^= 1
    assert dataset.file_digest(file) != before
    monkeypatch.setattr(module, "_WHOLE", 0)
    assert dataset.file_digest(file) == ScanFile(file).digest()
    assert len(sampled) == 16


def test_threads_and_pickles_share_the_file(written):
    dataset = KimiaPath24(written, per_scan=0)
    samples = list(dataset.samples())
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(dataset.read, samples))
    alone = pickle.loads(pickle.dumps(dataset))
    assert all(np.array_equal(alone.read(sample), pixels) for sample, pixels in zip(samples, together, strict=True))


def test_a_file_that_takes_the_place_of_another_is_read_anew(file):
    dataset = KimiaPath24(file, per_scan=0)
    sample = next(dataset.samples())
    before = dataset.read(sample)
    with h5py.File(other := file.with_name("other"), "w") as opened:
        opened["scan0/data"] = np.full((2_000, 2_000), 7, np.uint8)
    other.replace(file)
    assert (dataset.read(sample) == 7).all()
    assert before.mean() > 8


@pytest.mark.parametrize("other", [np.full((2_000, 2_000), 7.0, np.float32), np.full((1_500, 1_500), 7, np.uint8)])
def test_a_file_that_takes_the_place_of_another_and_is_unfit(file, other):
    dataset = KimiaPath24(file, per_scan=0)
    sample = next(s for s in dataset.samples() if s.box[:2] == (1_000, 1_000))
    with h5py.File(path := file.with_name("other"), "w") as opened:
        opened["scan0/data"] = other
    path.replace(file)
    with pytest.raises(DataError, match=rf"scan0/data holds {other.dtype} .* there, not uint8 \(1000, 1000\)"):
        dataset.read(sample)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scan7/data", np.zeros((2, 2, 3), np.uint8), r"scan7/data holds uint8 \(2, 2, 3\), not uint8 in 2 dimensions"),
        ("scan7/data", np.zeros((2_000, 2_000), np.uint16), "scan7/data holds uint16"),
        ("scan7/data", None, "it has no array scan7/data"),
        ("test_data/patches", np.zeros((6, 500, 500), np.uint8), r"patches has the shape \(6, 500, 500\)"),
        ("test_data/patches", None, "it has no array test_data/patches"),
        ("test_data/targets", np.arange(5), "targets holds 5 labels for 6 patches"),
        ("test_data/targets", np.array([0, 0, 24, 0, 0, 0]), "targets holds 24 at 2, which is no scan of 0 to 23"),
        ("test_data/targets", np.array([0, 0, np.nan, 0, 0, 0]), "targets holds nan at 2"),
    ],
)
def test_a_file_that_holds_something_else(file, name, value, message):
    changed(file, name, value)
    with pytest.raises(DataError, match=message) as caught:
        list(KimiaPath24(file).samples())
    assert str(file) in caught.value.message
    assert "scan0/data to scan23/data" in caught.value.next


def test_labels_as_matlab_writes_them(file):
    changed(file, "test_data/targets", np.array([[0.0, 0, 7, 7, 23, 23]]).T)
    labels = [s.label for s in KimiaPath24(file).samples() if s.metadata["split"] == "test"]
    assert labels == ["0", "0", "7", "7", "23", "23"]


def test_bad_input(tmp_path, file):
    (tmp_path / "no.h5").write_bytes(b"no such file" * 100)
    with pytest.raises(DataError, match=r"no\.h5' is not the HDF5 file of Kimia Path24"):
        list(KimiaPath24(tmp_path / "no.h5").samples())
    with pytest.raises(DataError, match=r"holds Kimia_Path24\.h5, no\.h5"):
        list(KimiaPath24(tmp_path).samples())
    file.write_bytes(file.read_bytes()[:-50_000])
    with pytest.raises(DataError, match=r"Kimia_Path24\.h5' is not the HDF5 file"):
        list(KimiaPath24(file).samples())
    (tmp_path / "empty").mkdir()
    for root, message in (
        (tmp_path / "absent.h5", "does not exist"),
        (tmp_path / "absent", "does not exist"),
        (tmp_path / "empty", "does not hold Kimia_Path24.h5, or the folders"),
    ):
        with pytest.raises(DataError, match=message):
            list(KimiaPath24(root).samples())
    for name, value in (("per_scan", -1), ("homogeneity", 1.5), ("background", 256), ("holes", -0.1)):
        with pytest.raises(UsageError, match=f"{name}={value} is out of its range"):
            KimiaPath24(tmp_path, **{name: value})


def test_without_a_test_set_there_is_no_split(file):
    with h5py.File(file, "r+") as opened:
        del opened["test_data"]
    dataset = KimiaPath24(file)
    assert {s.metadata["split"] for s in dataset.samples()} == {"train"}
    assert dataset.splits() == {}


def write_jpeg(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


COLOUR = {
    "parts": ("Training patches--1/s{scan}/{n}.jpg", "Test-patches/s{scan}/{n}.jpg"),
    "mirror": ("training/s{scan}/{n}.jpg", "RGBPatches-test/s{scan}/{n}.jpg"),
    "flat": ("Training/s{scan}_{n}.jpg", "Test/s{scan}_{n}.jpg"),
    "deep": ("Kimia24C/Training-part2/training/s{scan}/{n}.JPG", "Kimia24C/Test patches/test/s{scan}/{n}.JPG"),
}


def write_colour(root: Path, layout: str, scans=(0, 5, 23)) -> Path:
    train, test = COLOUR[layout]
    for scan in scans:
        for n in range(4):
            write_jpeg(root / train.format(scan=scan, n=n), 10 * scan + n)
        write_jpeg(root / test.format(scan=scan, n=1), 900 + scan)
    return root


@pytest.mark.parametrize("layout", COLOUR)
def test_folders_of_the_colour_version(tmp_path, layout):
    dataset = KimiaPath24(write_colour(tmp_path, layout), per_scan=0)
    samples = list(dataset.samples())
    assert Counter((s.metadata["split"], s.label) for s in samples) == {
        **{("train", scan): 4 for scan in ("0", "5", "23")},
        **{("test", scan): 1 for scan in ("0", "5", "23")},
    }
    assert samples[0].id == COLOUR[layout][0].format(scan=0, n=0) == samples[0].image[0]
    assert dataset.expected == {"split": {"train": 22_591, "test": 1_325}}
    assert len(dataset.splits()["published"].rows) == 15
    check_dataset(dataset)
    check_dataset(KimiaPath24, tmp_path, per_scan=2)


def test_colour_patches_are_drawn_and_what_is_unclear_is_told(tmp_path):
    write_colour(tmp_path, "mirror")
    write_jpeg(tmp_path / "training/readme.jpg", 1)
    write_jpeg(tmp_path / "s3/1.jpg", 2)
    dataset = KimiaPath24(tmp_path, per_scan=2)
    assert Counter(s.label for s in dataset.samples() if s.metadata["split"] == "train") == {"0": 2, "5": 2, "23": 2}
    told = "\n".join(dataset.warnings)
    assert "2 images were passed over, such as s3/1.jpg" in told
    assert "Of 12 training patches (22,591 are published) 6 were taken, 2 of each scan" in told
    write_jpeg(tmp_path / "training/s24/1.jpg", 3)
    with pytest.raises(DataError, match=r"training/s24/1\.jpg' is of the scan 24"):
        list(KimiaPath24(tmp_path).samples())


def test_a_name_that_is_not_valid_utf_8_is_put_aside(tmp_path):
    root = write_colour(tmp_path / "data", "mirror", scans=(0, 1))
    os.rename(root / "training/s0/0.jpg", os.fsencode(root / "training/s0") + b"/\xff.jpg")
    record = histokit.ingest(tmp_path / "store", "kimiapath24", root, name="k24")
    assert (record.count, record.problems) == (10, 1)
    (problem,) = histokit.open_store(tmp_path / "store").problems("k24").to_pylist()
    assert (problem["id"], problem["reason"]) == (
        "training/s0/\\xff.jpg",
        "training/s0/\\xff.jpg cannot be read: its name is not valid UTF-8: rename it",
    )


def test_by_the_command_line(written, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))

    def run(*words: object) -> str:
        assert cli.run([str(word) for word in words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out.strip()

    run("ingest", "kimiapath24", written, "--name", "k24", "-o", "per_scan=3")
    run("extract", "k24", "--backbone", "texture", "--preprocess", "resize=squash", "--preprocess", "size=64")
    found = run("train", "k24", "--features", "texture/joined", "--classifier", "knn", "--grid", "k=1", "--json")
    assert '"eta_total"' in found
    record = histokit.open_store(tmp_path / "store").runs()[0]
    assert (record.split, record.metric, record.folds[0]["test"]) == ("published", "eta_total", 6)
    assert any("come from one scan" in note for note in record.notes)
    assert any("names no group" in note for note in record.notes)
