from __future__ import annotations

import itertools
import os
import pickle
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

import histokit
from histokit.datasets.arrays import Arrays
from histokit.errors import DataError, UsageError
from histokit.plugin.remarks import ImageWarning
from histokit.plugin.testing import check_dataset
from histokit.reading.ingested_files import open_files
from histokit.reading.processes import ReaderProcesses
from histokit.reading.reader import read_sample, rebuild_sample
from tests.datasets.arrays_files import COUNTS, camelyon, medmnist, pixels


def opened(root: Path, **options: str):
    dataset = Arrays.from_options(root, options)
    return dataset, list(dataset.samples())


def roles(dataset: Arrays) -> dict[str, str]:
    return {row.sample_id: row.role for row in dataset.splits()["arrays"].rows}


def same(dataset: Arrays, samples, arrays: np.ndarray) -> bool:
    grey = arrays.ndim == 3 or arrays.shape[-1] == 1
    wanted = np.repeat(arrays.reshape(*arrays.shape[:3], 1), 3, axis=3) if grey else arrays
    return all((dataset.read(sample) == image).all() for sample, image in zip(samples, wanted, strict=True))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_medmnist(tmp_path, save, channels):
    file = medmnist(tmp_path / "pathmnist.npz", *channels, save=save)
    dataset, samples = opened(file)
    arrays = np.load(file)
    assert [sample.id for sample in samples[:2]] == [f"pathmnist.npz/train_images/{i}" for i in (0, 1)]
    for split, start, count in (("train", 0, 30), ("val", 30, 5), ("test", 35, 8)):
        part = samples[start : start + count]
        assert [sample.label for sample in part] == [str(n) for n in arrays[f"{split}_labels"][:, 0]]
        assert {roles(dataset)[sample.id] for sample in part} == {split}
        assert same(dataset, part, arrays[f"{split}_images"])
    # As numbers, not as texts.
    assert list(dataset.classes) == sorted({sample.label for sample in samples}, key=int)
    assert dataset.warnings == []
    check_dataset(Arrays, file)


def test_a_large_compressed_array_is_read_in_any_order(tmp_path):
    noise = np.random.default_rng(0).integers(0, 40, (900, 64, 64, 3), dtype=np.uint8)
    noise[300:500] = 7
    np.savez_compressed(tmp_path / "a.npz", images=noise, labels=np.arange(900) % 2)
    dataset, samples = opened(tmp_path / "a.npz")
    dataset._open.get(dataset.root, "a.npz", dataset._reading).blocks = Forgetful()
    for row in (899, 0, 450, 451, 301, 898, 5):
        assert (dataset.read(samples[row]) == noise[row]).all()


class Forgetful:
    """Keeps no block, so that every image is unpacked anew."""

    def get(self, key, load):
        return load()


def test_a_compressed_array_is_not_unpacked_for_every_image(tmp_path, monkeypatch):
    import histokit.datasets.containers.deflated as module

    np.savez_compressed(tmp_path / "a.npz", images=pixels(900, 64, 64, 3), labels=np.arange(900) % 2)
    dataset, samples = opened(tmp_path / "a.npz")
    read = module.Deflated.read
    asked = []
    monkeypatch.setattr(
        module.Deflated, "read", lambda self, at, length: asked.append(length) or read(self, at, length)
    )
    for sample in [*samples, *samples[:10]]:
        dataset.read(sample)
    assert sum(asked) == 900 * 64 * 64 * 3


def test_patch_camelyon(tmp_path):
    root = camelyon(tmp_path / "pcam")
    dataset, samples = opened(root)
    assert len(samples) == 22
    assert dataset.group == "wsi"
    first = next(sample for sample in samples if sample.id.startswith("camelyonpatch_level_2_split_train_x.h5/x/3"))
    assert (first.label, first.part) == ("1", "x/3")
    assert first.metadata == {
        "coord_x": 103,
        "coord_y": 21,
        "tumor_patch": True,
        "center_tumor_patch": True,
        "wsi": "camelyon16_train_000",
    }
    with h5py.File(root / "camelyonpatch_level_2_split_valid_x.h5") as file:
        part = [sample for sample in samples if "_valid_" in sample.id]
        assert same(dataset, part, file["x"][:])
        assert {roles(dataset)[sample.id] for sample in part} == {"val"}
    assert dataset.splits()["arrays"].leaks is None
    check_dataset(Arrays, root)


def test_a_slide_on_both_sides_is_told(tmp_path):
    root = camelyon(tmp_path / "pcam")
    table = root / "camelyonpatch_level_2_split_test_meta.csv"
    table.write_text(table.read_text().replace("camelyon16_test_000", "camelyon16_train_000"))
    dataset, _ = opened(root)
    assert dataset.splits()["arrays"].leaks == (
        "1 value of wsi is in the test set and outside it, for example camelyon16_train_000"
    )


def test_hdf5_with_other_names_and_what_stands_beside(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["set/patches"] = pixels(6, 8, 8, 3)
        targets = file.create_dataset("set/targets", data=np.array([2, 0, 1, 2, 0, 1]))
        targets.attrs["class_names"] = ["stroma", "tumour", "fat"]
        file["set/patient"] = [b"p1", b"p1", b"p2", b"p2", b"p3", b"p3"]
        file["set/score"] = np.linspace(0, 1, 6)
        file["elsewhere/patient"] = np.arange(6)
    dataset, samples = opened(tmp_path / "a.hdf5", group="patient")
    assert [sample.label for sample in samples] == ["fat", "stroma", "tumour"] * 2
    assert dataset.classes == ("stroma", "tumour", "fat")
    assert samples[2].metadata == {"patient": "p2", "score": 0.4}
    assert samples[2].id == "a.hdf5/set/patches/2"
    check_dataset(Arrays, tmp_path / "a.hdf5", group="patient")
    _, samples = opened(tmp_path / "a.hdf5", images="set/patches", labels="elsewhere/patient", names="a,b,c,d,e,f")
    assert samples[5].label == "f"


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("shards", [None, (4, 8, 8, 3)])
def test_zarr(tmp_path, version, shards):
    if shards and version == 2:
        pytest.skip("only version 3 has shards")
    images = pixels(10, 8, 8, 3)
    images[8:] = 0
    group = zarr.open_group(str(tmp_path / "stack.zarr"), mode="w", zarr_format=version)
    group.create_array("images", data=images, chunks=(2, 8, 8, 3), shards=shards)
    group.create_array("labels", data=np.arange(10) % 2)
    dataset, samples = opened(tmp_path / "stack.zarr")
    assert same(dataset, samples, images)
    # The file in which an image lies is watched, not the folder, which does not change with it.
    assert all((tmp_path / path).is_file() for sample in samples[:8] for path in sample.image)
    assert len({sample.image for sample in samples[:8]}) == (2 if shards else 4)
    empty = 2
    assert dataset.warnings == [
        f"{empty} images of stack.zarr lie in chunks that are not there, which zarr takes for its fill value"
    ]
    check_dataset(Arrays, tmp_path / "stack.zarr")


def test_files_that_are_numbered_are_of_their_part_and_those_of_none_are_told(tmp_path):
    for name in ("train", "train2", "test1", "extra"):
        np.savez(tmp_path / f"{name}.npz", images=pixels(2, 4, 4, 3), labels=np.array([0, 1]))
    dataset, _ = opened(tmp_path)
    parts = {"test1": "test", "train": "train", "train2": "train"}
    assert roles(dataset) == {f"{name}.npz/images/{n}": part for name, part in parts.items() for n in (0, 1)}
    assert dataset.warnings == [
        "2 images are in no part of the split arrays: no name says train, val or test, for example "
        "'extra.npz/images/0', 'extra.npz/images/1'"
    ]


def test_numbers_say_no_part_beside_a_word_that_does(tmp_path):
    parts = {"test2023_train": "train", "val5_test": "test", "trainer1": None, "valve1": None, "train_1": "train"}
    for name in (*parts, "test2train3"):
        np.savez(tmp_path / f"{name}.npz", images=pixels(1, 4, 4, 3), labels=np.array([0]))
    dataset, _ = opened(tmp_path)
    assert roles(dataset) == {f"{name}.npz/images/0": part for name, part in sorted(parts.items()) if part}
    assert "3 images are in no part of the split" in dataset.warnings[-1]


def test_npy_with_labels_in_other_files(tmp_path):
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}.npy", pixels(4, 8, 8))
        np.save(tmp_path / f"{split}_y.npy", np.array([0, 1, 1, 0]))
    (tmp_path / "table.csv").write_text("id,kind,slide\n1,a,007\n2,b,007\n3,b,010\n4,,010\n")
    dataset, samples = opened(tmp_path, labels="{name}_y.npy")
    assert [sample.id for sample in samples] == [f"{s}.npy/{i}" for s in ("test", "train") for i in range(4)]
    assert [sample.label for sample in samples[:4]] == ["0", "1", "1", "0"]
    assert roles(dataset)["train.npy/0"] == "train"
    options = {"labels": "table.csv", "label_column": "kind", "group": "slide"}
    dataset, samples = opened(tmp_path / "train.npy", **options)
    assert [(sample.label, sample.metadata["slide"]) for sample in samples] == [
        *[("a", "007"), ("b", "007"), ("b", "010")],
        (None, "010"),
    ]
    assert dataset.splits() == {}
    assert dataset.columns == {"slide": str}
    assert dataset.warnings[0] == "The column 'id' was left out: the name is taken by a field that every sample has"
    check_dataset(Arrays, tmp_path / "train.npy", **options)
    _, samples = opened(tmp_path / "train.npy", labels=["none"])
    assert {sample.label for sample in samples} == {None}


@pytest.mark.parametrize(
    ("array", "options", "expected"),
    [
        (np.array([[[0, 65535]]], np.uint16), {"bits": "16"}, [[[0] * 3, [65535] * 3]]),
        (np.array([[[1, 4095]]], ">u2"), {"bits": "12"}, [[[1] * 3, [4095] * 3]]),
        (np.array([[[0.0, 0.5, 1.0]]], np.float32), {"values": "0-1"}, [[[0] * 3, [128] * 3, [255] * 3]]),
        (np.array([[[0, 7, 255]]], np.int64), {"values": "0-255"}, [[[0] * 3, [7] * 3, [255] * 3]]),
        (np.array([[[False, True]]]), {"values": "0-1"}, [[[0] * 3, [255] * 3]]),
        (np.arange(6, dtype=np.uint8).reshape(1, 3, 1, 2), {"channels_first": "yes"}, [[[0, 2, 4], [1, 3, 5]]]),
        (np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3), {}, [[[0, 1, 2], [3, 4, 5]]]),
    ],
)
def test_what_numbers_mean(tmp_path, array, options, expected):
    np.savez(tmp_path / "a.npz", images=array, labels=[0])
    dataset, (sample,) = opened(tmp_path / "a.npz", **options)
    found = dataset.read(sample)
    assert found.tolist() == expected
    assert found.dtype == (np.uint16 if "bits" in options else np.uint8)
    assert found.flags.c_contiguous
    assert found.flags.writeable


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((2, 4, 4), np.float32), {}, "type float32, not uint8"),
        (np.zeros((2, 4, 4), np.int64), {}, "type int64, not uint8"),
        (np.zeros((2, 4, 4), np.int16), {"bits": "12"}, "type int16, not uint8"),
        (np.zeros((2, 4, 4), complex), {"values": "0-1"}, "type complex128"),
        (np.zeros((2, 5, 4, 4), np.uint8), {}, r"shape \(2, 5, 4, 4\): Each image has 4 channels"),
        (np.zeros((2, 3, 4, 4), np.uint8), {}, "channels_first=true"),
        (np.zeros((2, 4, 4, 4), np.uint8), {}, "has 4 channels, not 3"),
        (np.zeros((2, 4, 4, 4, 3), np.uint8), {}, "which are no images"),
        (np.zeros((40, 50, 3), np.uint8), {}, "one image with channels"),
        (np.zeros((0, 4, 4, 3), np.uint8), {}, "holds no image"),
        (np.array([[[None]]]), {}, "Python objects|type object"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path, array, options, message):
    np.savez_compressed(tmp_path / "a.npz", images=array, labels=np.zeros(len(array), int))
    with pytest.raises(DataError, match=message) as error:
        opened(tmp_path / "a.npz", **options)
    assert "a.npz" in str(error.value)


def test_numbers_outside_of_what_was_named_put_an_image_aside(tmp_path):
    images = np.zeros((3, 2, 2))
    images[1, 0, 1], images[2, 1, 1] = 1.5, np.nan
    np.savez(tmp_path / "a.npz", images=images, labels=[0, 1, 0])
    dataset, samples = opened(tmp_path / "a.npz", values="0-1")
    assert dataset.read(samples[0]).max() == 0
    for sample, value in ((samples[1], "1.5"), (samples[2], "nan")):
        with pytest.raises(DataError, match=rf"images/{sample.id[-1]}.* holds {value}, which is not in 0 to 1"):
            dataset.read(sample)


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"train_labels": np.zeros((29, 1), int)}, {}, r"'train_labels' .*shape \(29, 1\), but there are 30 images"),
        ({"train_labels": None}, {}, "no labels for train_images.*'train_labels'"),
        ({"train_labels": np.full((30, 1), 0.5)}, {}, "Row 0 .* has the label 0.5"),
        ({"train_labels": np.zeros((30, 14), int)}, {}, "14 numbers for each image.*\n.*label_column=0, up to 13"),
        ({}, {"names": "a,b"}, "Row . .* but there are 2 names: a, b"),
        ({"train_images": None, "val_images": None, "test_images": None}, {}, "has no array of images; .*val_labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, changed, options, message):
    medmnist(tmp_path / "m.npz", 3, **changed)
    with pytest.raises(DataError, match=message) as error:
        opened(tmp_path / "m.npz", **options)
    assert "m.npz" in str(error.value)


def test_one_of_several_labels_is_named(tmp_path):
    file = medmnist(tmp_path / "chestmnist.npz", width=14)
    _, samples = opened(file, label_column="3")
    assert [sample.label for sample in samples[:30]] == [str(n) for n in np.load(file)["train_labels"][:, 3]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "train_imges"}, "no array 'train_imges'.*\nDid you mean 'train_images'"),
        ({"labels": "train_lables"}, "neither an array .* nor a file"),
        ({"labels": "train_labels,val_labels"}, "2 places for 3 arrays"),
        ({"group": "patient"}, "group='patient' names no column"),
        ({"positive": "12"}, "positive='12' is not a label"),
        ({"bits": "12", "values": "0-1"}, "different things"),
    ],
)
def test_options_that_name_what_is_not_there(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        opened(medmnist(tmp_path / "m.npz", 3), **options)


def test_files_that_are_not_whole_or_not_there(tmp_path):
    root = camelyon(tmp_path / "pcam")
    stem = "camelyonpatch_level_2_split_train"
    with pytest.raises(DataError, match=r"no file 'gone.npz' .*\n.*camelyonpatch"):
        opened(root / "gone.npz")
    (root / f"{stem}_y.h5").rename(tmp_path / "y.h5")
    with pytest.raises(DataError, match=rf"{stem}_x.h5' has no labels .*'{stem}_y.h5'.*x \(12, 96, 96, 3\) uint8"):
        opened(root)
    (tmp_path / "y.h5").rename(root / f"{stem}_y.h5")
    (root / f"{stem}_x.h5").rename(tmp_path / "x.h5")
    with pytest.raises(DataError, match=rf"{stem}_y.h5' seems to hold the labels of images that are not beside it"):
        opened(root)
    (root / f"{stem}_x.h5").write_bytes((tmp_path / "x.h5").read_bytes()[:20000])
    with pytest.raises(DataError, match=rf"{stem}_x.h5' cannot be read as a HDF5 file: .*truncated"):
        opened(root)
    file = medmnist(tmp_path / "m.npz")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read as a NumPy archive"):
        opened(file)
    (tmp_path / "x.npy.gz").write_bytes(b"")
    with pytest.raises(DataError, match="none that holds images"):
        opened(tmp_path / "x.npy.gz")


def test_a_table_of_another_length_is_refused(tmp_path):
    root = camelyon(tmp_path / "pcam")
    table = root / "camelyonpatch_level_2_split_test_meta.csv"
    table.write_text(table.read_text() + "6,1,1,True,True,x\n")
    with pytest.raises(DataError, match=r"test_meta.csv' has 7 rows: .* has 6 images: '.*0' to '.*5'"):
        opened(root)


def test_a_member_that_comes_twice_is_refused(tmp_path):
    file = medmnist(tmp_path / "m.npz")
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("val_images.npy", b"")
    with pytest.raises(DataError, match=r"two members 'val_images.npy'"):
        opened(file)


def contents(store: str, root: Path, **options: str) -> dict[str, bytes]:
    kit = histokit.open_store(store)
    histokit.ingest(kit, "arrays", root, name="d", options=options)
    rows = kit.samples("d", ["id", "content"]).to_pylist()
    return {row["id"]: row["content"] for row in rows}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_changed_image_changes_one_content(tmp_path, save):
    first = medmnist(tmp_path / "m.npz", 3, save=save)
    before = contents(str(tmp_path / "s"), first)
    arrays = dict(np.load(first))
    arrays["val_images"][2, 0, 0, 0] ^= 1
    save(first, **arrays)
    after = contents(str(tmp_path / "s"), first)
    assert [name for name in before if before[name] != after[name]] == ["m.npz/val_images/2"]
    # Labels have no part in it.
    arrays["train_labels"][:] = 1
    save(first, **arrays)
    assert contents(str(tmp_path / "s"), first) == after


def test_the_same_images_have_the_same_content_however_they_are_packed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = medmnist(tmp_path / "a" / "m.npz", 3, save=np.savez)
    second = medmnist(tmp_path / "b" / "m.npz", 3, save=np.savez_compressed)
    assert contents(str(tmp_path / "s"), first) == contents(str(tmp_path / "t"), second)


def test_a_damaged_member_is_put_aside(tmp_path):
    file = medmnist(tmp_path / "m.npz", 3, save=np.savez)
    data = bytearray(file.read_bytes())
    data[data.index(np.load(file)["val_images"].tobytes()) + 5] ^= 255
    file.write_bytes(data)
    kit = histokit.open_store(tmp_path / "s")
    record = histokit.ingest(kit, "arrays", file, name="d")
    assert record.problems == sum(COUNTS.values())
    (reason,) = {row["reason"] for row in kit.problems("d").to_pylist()}
    assert "Bad CRC-32" in reason
    assert "val_images" in reason


@pytest.mark.parametrize(("library", "extra"), [("h5py", "hdf5"), ("zarr", "zarr")])
def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch, library, extra):
    monkeypatch.setitem(sys.modules, library, None)
    file = tmp_path / {"h5py": "a.h5", "zarr": "a.zarr/zarr.json"}[library]
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    with pytest.raises(UsageError, match=rf"need the package {library}.\npip install 'histokit\[{extra}\]'"):
        opened(tmp_path)


def test_threads_and_pickles_read_the_same(tmp_path):
    root = camelyon(tmp_path / "pcam")
    dataset, samples = opened(root)
    expected = [dataset.read(sample) for sample in samples]
    copy = pickle.loads(pickle.dumps(dataset))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(copy.read, samples * 4))
    assert all((a == b).all() for a, b in zip(found, expected * 4, strict=True))


def test_reader_processes_read_the_same(tmp_path):
    root = camelyon(tmp_path / "pcam")
    dataset, samples = opened(root)
    kit = histokit.open_store(tmp_path / "s")
    files = open_files(kit, histokit.ingest(kit, "arrays", root, name="d"))
    readers, read = ReaderProcesses(files, 2), []
    try:
        for results in readers.chunks(enumerate(samples)):
            for result in results:
                assert result.reason is None
                assert (result.pixels == dataset.read(samples[result.position])).all()
                read.append(result.position)
    finally:
        readers.close()
    assert sorted(read) == list(range(len(samples)))


def test_a_file_that_was_replaced_is_opened_anew(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4), np.uint8))
    dataset, samples = opened(tmp_path / "a.npy", labels=["none"])
    assert dataset.read(samples[0]).max() == 0
    np.save(tmp_path / "b.npy", np.ones((1, 4, 4), np.uint8))
    (tmp_path / "b.npy").replace(tmp_path / "a.npy")
    assert dataset.read(samples[0]).min() == 1
    with pytest.raises(DataError, match="holds 1 image where '1' is asked for"):
        dataset.read(samples[1])
    (tmp_path / "a.npy").unlink()
    with pytest.raises(DataError, match=r"a.npy cannot be read: No such file"):
        dataset.read(samples[0])


def test_a_file_that_was_only_touched_is_looked_at_once(tmp_path, monkeypatch):
    file = medmnist(tmp_path / "m.npz")
    _, samples = opened(file)
    kit = histokit.open_store(tmp_path / "s")
    files = open_files(kit, histokit.ingest(kit, "arrays", file, name="d"))
    os.utime(file, (1, 1))
    opened_files = []
    real = zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *a, **k: opened_files.append(a) or real(*a, **k))
    assert {files.changed(sample) for sample in samples} == {None}
    # The headers of six arrays, and three of them to their end.
    assert len(opened_files) == 9


def test_rows_of_hdf5_that_were_never_written_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset("x", (6, 8, 8, 3), "uint8", chunks=(2, 8, 8, 3), fillvalue=7)
        images[:3] = 200
    dataset = Arrays(tmp_path / "a.h5", labels=["none"])
    samples = list(dataset.samples())
    assert [int(dataset.read(sample).mean()) for sample in samples[:3]] == [200] * 3
    with pytest.raises(DataError, match="never written from row 4 on"):
        dataset.read(samples[4])


def test_an_array_of_hdf5_whose_source_is_gone_is_refused(tmp_path):
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["d"] = np.full((2, 8, 8, 3), 9, np.uint8)
    layout = h5py.VirtualLayout((2, 8, 8, 3), "uint8")
    layout[:] = h5py.VirtualSource("source.h5", "d", (2, 8, 8, 3))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    dataset = Arrays(tmp_path / "a.h5", labels=["none"])
    assert {int(dataset.read(sample).mean()) for sample in dataset.samples()} == {9}
    (tmp_path / "source.h5").unlink()
    with pytest.raises(DataError, match=r"is made of source\.h5, which is not there"):
        list(Arrays(tmp_path / "a.h5", labels=["none"]).samples())


def test_a_source_of_an_hdf5_array_that_was_replaced_is_found_out(tmp_path):
    def write(name: str, number: int) -> None:
        with h5py.File(tmp_path / name, "w") as file:
            file["d"] = np.full((2, 8, 8, 3), number, np.uint8)

    root = tmp_path / "root"
    root.mkdir()
    write("source.h5", 9)
    layout = h5py.VirtualLayout((2, 8, 8, 3), "uint8")
    # Wherever it lies.
    layout[:] = h5py.VirtualSource("../source.h5", "d", (2, 8, 8, 3))
    with h5py.File(root / "a.h5", "w") as file:
        file.create_virtual_dataset("x", layout)
    kit = histokit.open_store(tmp_path / "s")

    def changed() -> set[str | None]:
        files = open_files(kit, record)
        return {files.changed(sample) for sample in files.dataset.samples()}

    record = histokit.ingest(kit, "arrays", root, name="d", options={"labels": "none"})
    assert changed() == {None}
    write("other.h5", 8)
    (tmp_path / "other.h5").replace(tmp_path / "source.h5")
    assert changed() == {"a.h5 changed since the dataset was ingested: ingest it again"}
    record = histokit.ingest(kit, "arrays", root, name="d", options={"labels": "none"})
    assert changed() == {None}
    files = open_files(kit, record)
    assert {int(files.dataset.read(sample).mean()) for sample in files.dataset.samples()} == {8}


def test_an_array_of_hdf5_in_a_file_of_its_own_is_refused_where_that_is_cut(tmp_path):
    (tmp_path / "raw.bin").write_bytes(bytes(range(2)) * 192)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (2, 8, 8, 3), "uint8", external=[("raw.bin", 0, h5py.h5f.UNLIMITED)])
    assert len(list(Arrays(tmp_path / "a.h5", labels=["none"]).samples())) == 2
    (tmp_path / "raw.bin").write_bytes(bytes(200))
    with pytest.raises(DataError, match=r"lies in raw\.bin, which is not there or ends too early"):
        list(Arrays(tmp_path / "a.h5", labels=["none"]).samples())


def test_labels_of_hdf5_that_were_never_written_are_no_labels(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = pixels(6, 8, 8, 3)
        file.create_dataset("y", (6,), "int64", chunks=(2,))[:2] = [2, 1]
    with pytest.raises(DataError, match="never written from row 2 on"):
        list(Arrays(tmp_path / "a.h5", images=["x"], labels=["y"]).samples())


def test_a_compressed_array_that_is_stored_column_by_column(tmp_path):
    images = pixels(5, 6, 7, 3)
    np.savez_compressed(tmp_path / "a.npz", images=np.asfortranarray(images), labels=np.arange(5))
    dataset, samples = opened(tmp_path / "a.npz")
    assert same(dataset, samples, images)
    np.savez_compressed(tmp_path / "b.npz", images=images, labels=np.arange(5))
    other, others = opened(tmp_path / "b.npz")
    assert [dataset.part_digest(s) for s in samples] == [other.part_digest(s) for s in others]


def test_rows_of_a_table_of_labels_are_those_that_it_numbers(tmp_path):
    np.save(tmp_path / "a.npy", pixels(3, 8, 8))
    for first in (0, 1):
        (tmp_path / "l.csv").write_text(f"index,label\n{first + 2},c\n{first},a\n{first + 1},b\n")
        dataset, samples = opened(tmp_path / "a.npy", labels="l.csv")
        assert [sample.label for sample in samples] == ["a", "b", "c"]
        assert dataset.warnings == [
            "The rows of l.csv were taken in the order of its column 'index', which numbers the images"
        ]
    # Other numbers are a column as any.
    (tmp_path / "l.csv").write_text("index,label\n7,c\n5,a\n6,b\n")
    dataset, samples = opened(tmp_path / "a.npy", labels="l.csv")
    assert [(sample.label, sample.metadata["index"]) for sample in samples] == [("c", 7), ("a", 5), ("b", 6)]
    assert dataset.warnings == []


def test_labels_and_columns_of_zarr_in_chunks_that_are_not_there_are_told(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("images", shape=(4, 8, 8), chunks=(2, 4, 8), dtype="uint8")[:] = pixels(4, 8, 8)
    group.create_array("labels", shape=(4,), chunks=(1,), dtype="int64")[:] = [1, 2, 0, 1]
    group.create_array("slide", shape=(4,), chunks=(2,), dtype="int64")[:] = [1, 1, 2, 2]
    (tmp_path / "a.zarr" / "labels" / "c" / "1").unlink()
    (tmp_path / "a.zarr" / "images" / "c" / "0" / "1" / "0").unlink()
    dataset, samples = opened(tmp_path / "a.zarr", group="slide")
    assert [sample.label for sample in samples] == ["1", "0", "0", "1"]
    where = "not there, which zarr takes for its fill value"
    assert dataset.warnings == [
        f"2 labels 'labels' of a.zarr lie in chunks that are {where}",
        f"2 images of a.zarr lie partly in chunks that are {where}",
    ]


def test_what_hdf5_says_of_numbers_and_is_not_heeded_is_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = pixels(2, 8, 8)
        file["labels"] = [0, 1]
        file["images"].attrs.update({"IMAGE_WHITE_IS_ZERO": 1, "scale_factor": 0.5, "add_offset": 0.0})
    dataset, _ = opened(tmp_path / "a.h5")
    (note,) = dataset.warnings
    assert note.startswith("The array 'images' of a.h5 has scale_factor and IMAGE_WHITE_IS_ZERO, which are not applied")


def test_numbers_above_the_bits_that_were_named_are_not_the_plugins_fault(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.full((1, 8, 8), 4083, np.uint16), labels=[0])
    dataset, samples = opened(tmp_path / "a.npz", bits="10")
    with pytest.raises(DataError, match=r"holds 4083, more than the 10 bits that it was said to have"):
        dataset.read(samples[0])


def test_fractions_that_are_said_to_reach_255_are_remarked(tmp_path):
    np.savez(tmp_path / "a.npz", images=pixels(1, 8, 8) / 255, labels=[0])
    dataset, samples = opened(tmp_path / "a.npz", values="0-255")
    with pytest.warns(ImageWarning, match="no number above .*, where 255 is white: -o values=0-1 where 1 is"):
        dataset.read(samples[0])


def test_arrays_of_hdf5_that_are_made_of_others_that_are(tmp_path):
    def virtual(name: str, source: str, rows: int = 4) -> None:
        layout = h5py.VirtualLayout((4, 8, 8), "uint8")
        layout[:rows] = h5py.VirtualSource(source, "x", (4, 8, 8))[:rows]
        with h5py.File(tmp_path / name, "w") as file:
            file.create_virtual_dataset("x", layout)

    images = pixels(4, 8, 8)
    with h5py.File(tmp_path / "raw.hdf", "w") as file:
        file.create_dataset("x", (4, 8, 8), "uint8", chunks=(2, 8, 8))[:2] = images[:2]
    virtual("middle.hdf", "raw.hdf")
    virtual("a.h5", "middle.hdf", rows=3)
    dataset, samples = opened(tmp_path / "a.h5", labels="none")
    assert same(dataset, samples[:2], images[:2])
    assert dataset.warnings == [
        "64 of 256 numbers of the array /x of a.h5 are in no source: they are read as its fill value",
        "Parts of x in raw.hdf, of which the array /x is made, were never written: they are read as its fill value",
    ]
    assert dataset.files_beside(tmp_path / "a.h5") == [tmp_path / "middle.hdf", tmp_path / "raw.hdf"]
    (tmp_path / "raw.hdf").unlink()
    with pytest.raises(DataError, match=r"is made of raw\.hdf, which is not there"):
        opened(tmp_path / "a.h5", labels="none")


def test_an_array_of_hdf5_in_several_files_is_read_from_any_folder(tmp_path, monkeypatch):
    images, lengths = pixels(3, 8, 8), (0, 64, 192)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        where = [(f"{k}.bin", 2, stop - start) for k, (start, stop) in enumerate(itertools.pairwise(lengths))]
        file.create_dataset("x", images.shape, "uint8", external=where)
    for k, (start, stop) in enumerate(itertools.pairwise(lengths)):
        (tmp_path / f"{k}.bin").write_bytes(b"--" + images.tobytes()[start:stop])
    monkeypatch.chdir("/")
    dataset, samples = opened(tmp_path / "a.h5", labels="none")
    assert same(dataset, samples, images)
    (tmp_path / "1.bin").write_bytes(bytes(129))
    with pytest.raises(DataError, match=r"lies in 1\.bin, which is not there or ends too early"):
        opened(tmp_path / "a.h5", labels="none")


@pytest.mark.parametrize("version", [2, 3])
def test_chunks_of_zarr_that_come_or_change_their_meaning_are_found_out(tmp_path, version):
    root = tmp_path / "root"
    group = zarr.open_group(str(root / "a.zarr"), mode="w", zarr_format=version)
    images = group.create_array("x", shape=(6, 8, 8), chunks=(2, 4, 8), dtype="uint8")
    images[:2], images[2:4, :4] = 7, 7
    kit = histokit.open_store(tmp_path / "s")
    record = histokit.ingest(kit, "arrays", root, name="d", options={"labels": "none"})
    samples = [rebuild_sample(row) for row in kit.samples("d").to_pylist()]

    def changed() -> list[bool]:
        reasons = [read_sample(open_files(kit, record), 0, sample).reason for sample in samples]
        assert all(reason is None or "changed since the dataset was ingested" in reason for reason in reasons)
        return [reason is not None for reason in reasons]

    assert changed() == [False] * 6
    # A writer goes on.
    images[3, 4:] = 9
    assert changed() == [False] * 2 + [True] * 2 + [False] * 2
    record = histokit.ingest(kit, "arrays", root, name="d", options={"labels": "none"})
    samples = [rebuild_sample(row) for row in kit.samples("d").to_pylist()]
    assert changed() == [False] * 6
    told = root / "a.zarr" / "x" / (".zarray" if version == 2 else "zarr.json")
    told.write_text(told.read_text().replace('"fill_value": 0', '"fill_value": 3'))
    assert changed() == [True] * 6


@pytest.mark.parametrize("kind", ["npz", "zarr"])
def test_a_folder_under_two_names_comes_once(tmp_path, kind):
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    arrays = {"images": pixels(4, 8, 8, 3), "labels": np.arange(4) % 2}
    if kind == "npz":
        np.savez(root / "data/a.npz", **arrays)
    else:
        group = zarr.open_group(str(root / "data/a.zarr"), mode="w")
        for name, array in arrays.items():
            group.create_array(name, data=array)
    (root / "again").symlink_to(root / "data")
    (root / "data/up").symlink_to(root)
    if kind == "zarr":
        (root / "link.zarr").symlink_to(root / "data/a.zarr")
    dataset, samples = opened(root)
    assert [sample.id for sample in samples] == [f"data/a.{kind}/images/{row}" for row in range(4)]
    others = {
        "npz": "1 symbolic link leads to a folder that comes under another name, for example 'again'; left out",
        "zarr": "2 symbolic links lead to folders that come under another name, for example 'again', 'link.zarr'; "
        "left out",
    }
    told = ["1 symbolic link leads nowhere or in a circle, for example 'data/up'", others[kind]]
    assert dataset.warnings == told
    # Of a file that is named, what lies beside it is no matter.
    assert opened(root, files=f"data/a.{kind}")[0].warnings == []


def test_digits_that_are_no_numbers_are_none(tmp_path):
    file = medmnist(tmp_path / "a.npz", 3, width=4)
    with pytest.raises(DataError, match="holds 4 numbers for each image"):
        opened(file, label_column="²")
    with pytest.raises(DataError, match="has no channel '²'"):
        opened(file, label_column="1", channels="A:²,B:2")


def test_labels_that_look_like_numbers_and_are_none_are_names(tmp_path):
    np.savez(tmp_path / "a.npz", images=pixels(4, 8, 8, 3), labels=np.array(["--1", "1", "-1", "2²"]))
    _, samples = opened(tmp_path / "a.npz", names="a,b")
    assert [sample.label for sample in samples] == ["--1", "b", None, "2²"]


def test_labels_lie_beside_each_file_of_images(tmp_path):
    kinds = {"one": ["a", "b", "a"], "two": ["c", "c", "b"]}
    for seed, (fold, labels) in enumerate(kinds.items()):
        (tmp_path / fold).mkdir()
        np.save(tmp_path / fold / "images.npy", pixels(3, 8, 8, 3, seed=seed))
        np.save(tmp_path / fold / "types.npy", np.array(labels))
    dataset, samples = opened(tmp_path, labels="types.npy")
    assert [(s.id, s.label) for s in samples] == [
        (f"{fold}/images.npy/{row}", label) for fold, labels in kinds.items() for row, label in enumerate(labels)
    ]
    assert dataset.warnings == []
    # One that is of the first alone has as many rows as the second has images.
    dataset, samples = opened(tmp_path, files="*images.npy", labels="one/types.npy")
    assert [s.label for s in samples] == kinds["one"] * 2
    assert dataset.warnings == [
        "types.npy gives the labels of 2 files of images, row by row: one/images.npy, two/images.npy; where each has "
        "labels of its own, give what these are called beside them: -o labels=NAME.npy"
    ]
    with pytest.raises(UsageError, match=r"(?s)labels=kinds.npy is neither .* or the folder of the images"):
        opened(tmp_path, files="*images.npy", labels="kinds.npy")


def test_options_name_what_files_have(tmp_path):
    arrays = {"images": pixels(2, 4, 4, 3), "labels": np.array([0, 1]), "stage": np.array([1, 2])}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UsageError, match="text='stag' names no column: there are stage") as caught:
        opened(tmp_path, text="stag")
    assert caught.value.next == "Did you mean 'stage'?"
    assert opened(tmp_path, text="stage")[1][0].metadata["stage"] == "1"
    # Labels are text anyhow.
    assert len(opened(tmp_path, text="labels,stage")[1]) == 2
    with pytest.raises(UsageError, match="holds one label for each image, and no column 'grade'"):
        opened(tmp_path, label_column="grade")
    for option, given in (("on", "name"), ("pattern", "{name}.npz")):
        with pytest.raises(UsageError, match=f"option {option}='{given}' says nothing of these files"):
            opened(tmp_path, **{option: given})
    # What a table has beside may be called text as well, also where no sample gets it.
    (tmp_path / "l.csv").write_text("label,id\n0,7\n1,8\n")
    assert len(opened(tmp_path, labels="l.csv", text="id,label")[1]) == 2
