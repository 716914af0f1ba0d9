from __future__ import annotations

import os
import shutil
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from histokit_crchistophenotypes.centres import to_pixels
from histokit_crchistophenotypes.dataset import CRCHistoPhenotypes
from histokit_crchistophenotypes.splits import choose_images
from PIL import Image
from scipy.io import loadmat, savemat

from histokit.plugin import DataError, UsageError
from histokit.plugin.manager import registry
from histokit.plugin.testing import check_dataset

SIDE = 40


def write_image(base: Path, number: int, **centres: list) -> Path:
    """Write a drawn image, whose red channel is the column and whose green channel is the row, and its centres."""
    folder = base / f"img{number}"
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels = np.stack([columns, rows, np.full_like(rows, number)], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(folder / f"img{number}.bmp")
    for label in ("epithelial", "fibroblast", "inflammatory", "others"):
        values = centres.get(label, [])
        array = np.array(values, dtype=float) if values else np.zeros((0, 0), dtype=np.uint8)
        savemat(folder / f"img{number}_{label}.mat", {"detection": array})
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "Classification"
    write_image(base, 1, epithelial=[[20.0, 11.0], [10.4, 30.6]], others=[[20.2, 10.9]])
    write_image(base, 2, fibroblast=[[2.0, 20.0], [np.nan, 3.0], [21.0, 21.0]], inflammatory=[[40.0, 40.0]])
    write_image(base, 10, epithelial=[[15.0, 15.0]], inflammatory=[[20.0, 20.0], [25.0, 25.0]])
    return tmp_path


@pytest.mark.parametrize("border", ["reflect", "shift", "drop"])
def test_contract(root, border):
    check_dataset(CRCHistoPhenotypes, root, size="8", border=border, others="true")


def test_found_through_the_entry_point():
    assert [e.value for e in entry_points(group="histokit", name="crchistophenotypes")] == [
        "histokit_crchistophenotypes"
    ]
    assert registry().dataset("crchistophenotypes") is CRCHistoPhenotypes


def test_ids_labels_and_order(root):
    samples = list(CRCHistoPhenotypes(root, size=8).samples())
    assert [sample.id for sample in samples] == [
        "img1/epithelial/1",
        "img1/epithelial/2",
        "img2/fibroblast/1",
        "img2/fibroblast/3",
        "img2/inflammatory/1",
        "img10/epithelial/1",
        "img10/inflammatory/1",
        "img10/inflammatory/2",
    ]
    assert all(sample.id.split("/")[1] == sample.label for sample in samples)
    assert samples[0].image == ("Classification/img1/img1.bmp",)
    assert dict(samples[0].metadata) == {"image_id": "img1", "x": 19.0, "y": 10.0}


def test_the_classification_folder_will_do_as_root(root):
    inside = list(CRCHistoPhenotypes(root / "Classification", size=8).samples())
    assert [s.id for s in inside] == [s.id for s in CRCHistoPhenotypes(root, size=8).samples()]
    assert inside[0].image == ("img1/img1.bmp",)


def test_others_are_a_fourth_class(root):
    assert Counter(s.label for s in CRCHistoPhenotypes(root).samples()) == {
        "epithelial": 3,
        "fibroblast": 2,
        "inflammatory": 3,
    }
    dataset = CRCHistoPhenotypes(root, others=True)
    assert Counter(s.label for s in dataset.samples())["others"] == 1
    assert dataset.classes == ("epithelial", "fibroblast", "inflammatory", "others")


def test_centres_count_from_one_and_are_rounded():
    # MATLAB's pixel 1 reaches from 0.5 to 1.5 and is our pixel 0.
    centres = np.array([[1.0, 1.49], [0.5, 1.5], [500.0, 147.78]])
    assert to_pixels(centres).tolist() == [[0, 0], [0, 1], [499, 147]]


def test_the_patch_lies_around_the_centre(root):
    dataset = CRCHistoPhenotypes(root, size=8)
    first, second = list(dataset.samples())[:2]
    # (20, 11) in MATLAB is column 19 and row 10; 4 pixels before it, 3 after.
    assert first.box == (15, 6, 8, 8)
    pixels = dataset.read(first)
    assert pixels.shape == (8, 8, 3)
    assert pixels[0, 0].tolist() == [15, 6, 1]
    assert pixels[4, 4].tolist() == [19, 10, 1]
    assert pixels[7, 7].tolist() == [22, 13, 1]
    # (10.4, 30.6) is column 9 and row 30.
    assert dataset.read(second)[4, 4].tolist() == [9, 30, 1]


def test_border_reflect(root):
    dataset = CRCHistoPhenotypes(root, size=8)
    sample = next(s for s in dataset.samples() if s.id == "img2/fibroblast/1")
    assert sample.box == (-3, 15, 8, 8)
    assert dataset.read(sample)[0, :, 0].tolist() == [3, 2, 1, 0, 1, 2, 3, 4]


def test_border_shift(root):
    dataset = CRCHistoPhenotypes(root, size=8, border="shift")
    boxes = {sample.id: sample.box for sample in dataset.samples()}
    assert boxes["img2/fibroblast/1"] == (0, 15, 8, 8)
    assert boxes["img2/inflammatory/1"] == (32, 32, 8, 8)
    assert boxes["img1/epithelial/1"] == (15, 6, 8, 8)


def test_border_drop(root):
    dataset = CRCHistoPhenotypes(root, size=8, border="drop")
    ids = {sample.id for sample in dataset.samples()}
    assert {"img2/fibroblast/1", "img2/inflammatory/1"}.isdisjoint(ids)
    assert "img2/fibroblast/3" in ids
    assert "2 nuclei were left out because their patch leaves the image" in dataset.warnings


def test_inner_nuclei_have_the_same_content_under_every_border(root):
    keys = set()
    for border in ("reflect", "shift", "drop"):
        dataset = CRCHistoPhenotypes(root, size=8, border=border)
        sample = next(iter(dataset.samples()))
        keys.add((sample.box, dataset.pixel_key(sample)))
    assert len(keys) == 1


@pytest.mark.parametrize("border", ["reflect", "shift", "drop"])
def test_centres_that_are_not_in_the_image_are_named_not_kept(root, border):
    """Of 40 × 40 pixels; (0.2, 40.9) is half a pixel outside, as a published one is."""
    far = [[1000.0, 9.0], [20.0, 20.0], [-300.0, 20.0], [1e300, 5.0], [np.inf, 3.0], [3.0, 41.0], [np.nan, np.nan]]
    savemat(root / "Classification/img1/img1_epithelial.mat", {"detection": np.array([*far, [0.2, 40.9]])})
    dataset = CRCHistoPhenotypes(root, size=8, border=border)
    rows = {sample.id: sample.box for sample in dataset.samples() if sample.id.startswith("img1/epithelial")}
    assert rows["img1/epithelial/2"] == (15, 15, 8, 8)
    assert rows.get("img1/epithelial/8") == {"reflect": (-5, 36, 8, 8), "shift": (0, 32, 8, 8), "drop": None}[border]
    assert len(rows) == (1 if border == "drop" else 2)
    where = "of 40 × 40 pixels, where x is from 0 to below 41 and y from 0 to below 41"
    assert dataset.warnings[:2] == [
        "Classification/img1/img1_epithelial.mat: 6 centres were left out because they are not in the image "
        f"{where}: row 1 (1000, 9), row 3 (-300, 20), row 4 (1e+300, 5), row 5 (inf, 3), row 6 (3, 41), and 1 more",
        "Classification/img2/img2_fibroblast.mat: 1 centre was left out because it is not in the image "
        f"{where}: row 2 (nan, 3)",
    ]


def test_an_image_that_does_not_say_its_size_has_the_published_one(root):
    (root / "Classification/img1/img1.bmp").write_bytes(b"BM")
    savemat(root / "Classification/img1/img1_epithelial.mat", {"detection": np.array([[500.0, 500.0], [501.0, 9.0]])})
    dataset = CRCHistoPhenotypes(root)
    assert [sample.id for sample in dataset.samples()][:2] == ["img1/epithelial/1", "img2/fibroblast/1"]
    assert "image of 500 × 500 pixels, where x is from 0 to below 501 and" in dataset.warnings[0]


def test_names_in_capitals(root):
    wanted = [(sample.id, sample.box) for sample in CRCHistoPhenotypes(root).samples()]
    folder = (root / "Classification/img1").rename(root / "Classification/IMG1")
    (folder / "img1.bmp").rename(folder / "img1.BMP")
    (folder / "img1_epithelial.mat").rename(folder / "IMG1_Epithelial.MAT")
    dataset = CRCHistoPhenotypes(root)
    samples = sorted(dataset.samples(), key=lambda sample: int(sample.metadata["image_id"][3:]))
    assert [(sample.id, sample.box) for sample in samples] == wanted
    assert samples[0].image == ("Classification/IMG1/img1.BMP",)
    assert dataset.read(samples[0])[16, 16].tolist() == [19, 10, 1]
    (folder / "img1.bmp").touch()
    with pytest.raises(DataError, match=r"IMG1/img1\.BMP and .*IMG1/img1\.bmp in .* are one file"):
        list(dataset.samples())


def test_two_labels_at_one_pixel_are_kept_and_reported(root):
    dataset = CRCHistoPhenotypes(root, others=True)
    ids = {sample.id for sample in dataset.samples()}
    assert {"img1/epithelial/1", "img1/others/1"} <= ids
    assert "img1/epithelial/1 and img1/others/1 are at the same pixel (19, 10); all were kept" in dataset.warnings


def test_a_missing_mat_file_is_reported(root):
    (root / "Classification/img1/img1_fibroblast.mat").unlink()
    dataset = CRCHistoPhenotypes(root)
    list(dataset.samples())
    assert "Classification/img1/img1_fibroblast.mat does not exist; its nuclei are missing" in dataset.warnings


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0)])
def test_empty_classes_of_any_shape(root, shape):
    savemat(root / "Classification/img1/img1_epithelial.mat", {"detection": np.zeros(shape)})
    assert Counter(s.label for s in CRCHistoPhenotypes(root).samples())["epithelial"] == 1


def test_whole_numbers_of_a_small_type(root):
    savemat(root / "Classification/img10/img10_fibroblast.mat", {"detection": np.array([[3, 1]], dtype=np.uint8)})
    boxes = {sample.id: sample.box for sample in CRCHistoPhenotypes(root, size=8).samples()}
    assert boxes["img10/fibroblast/1"] == (-2, -4, 8, 8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"centres": np.zeros((1, 2))}, "no variable 'detection'"),
        ({"detection": np.zeros((2, 3))}, r"\(2, 3\)"),
        ({"detection": "text"}, "instead of n × 2 numbers"),
    ],
)
def test_an_unfit_mat_file(root, content, reason):
    path = root / "Classification/img1/img1_epithelial.mat"
    savemat(path, content)
    with pytest.raises(DataError, match=reason) as caught:
        list(CRCHistoPhenotypes(root).samples())
    assert str(path) in caught.value.message


@pytest.mark.parametrize("content", [b"", b"not a mat file at all"])
def test_a_damaged_mat_file(root, content):
    (root / "Classification/img1/img1_epithelial.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"img1_epithelial\.mat cannot be read"):
        list(CRCHistoPhenotypes(root).samples())


def test_a_wrong_or_missing_root(root, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        list(CRCHistoPhenotypes(tmp_path / "nowhere").samples())
    for wrong in (tmp_path / "empty", root / "Classification/img1"):
        wrong.mkdir(exist_ok=True)
        with pytest.raises(DataError, match="does not hold the labelled nuclei") as caught:
            list(CRCHistoPhenotypes(wrong).samples())
        assert "Classification" in caught.value.next


def test_the_folder_above_names_the_one_that_holds_the_data(root, tmp_path):
    above = tmp_path / "above"
    (above / "slides").mkdir(parents=True)
    shutil.copytree(root / "Classification", above / "CRCHistoPhenotypes_2016_04_28/Classification")
    with pytest.raises(DataError, match="a folder in it does") as caught:
        list(CRCHistoPhenotypes(above).samples())
    assert caught.value.next == f"Give that: {str(above / 'CRCHistoPhenotypes_2016_04_28')!r}."


def test_wrong_options(root):
    with pytest.raises(UsageError, match="size=0"):
        CRCHistoPhenotypes(root, size=0)
    with pytest.raises(UsageError, match="border='mirror'"):
        CRCHistoPhenotypes.from_options(root, {"border": "mirror"})
    with pytest.raises(UsageError, match=r"do not fit into img1\.bmp of 40 × 40"):
        list(CRCHistoPhenotypes(root, size=41, border="shift").samples())
    large = CRCHistoPhenotypes(root, size=41)
    assert {large.read(sample).shape for sample in large.samples()} == {(41, 41, 3)}, "what is reflected fits"


def test_a_replaced_image_is_read_anew(root):
    dataset = CRCHistoPhenotypes(root, size=8)
    sample = next(iter(dataset.samples()))
    assert dataset.read(sample)[0, 0, 2] == 1
    path = root / "Classification/img1/img1.bmp"
    Image.new("RGB", (SIDE, SIDE), (0, 0, 99)).save(path)
    os.utime(path, ns=(1, 1))
    assert dataset.read(sample)[0, 0, 2] == 99


def test_an_unreadable_image_is_an_error_of_its_samples_only(root):
    (root / "Classification/img1/img1.bmp").write_bytes(b"BM")
    for border in ("reflect", "shift"):
        dataset = CRCHistoPhenotypes(root, size=8, border=border)
        samples = list(dataset.samples())
        assert len(samples) == 8
        with pytest.raises(DataError, match=r"img1\.bmp"):
            dataset.read(samples[0])
        dataset.read(samples[-1])


def test_splits(tmp_path):
    generator = np.random.default_rng(0)
    for number in range(1, 13):
        write_image(tmp_path, number, epithelial=(1 + 38 * generator.random((5, 2))).tolist())
    splits = CRCHistoPhenotypes(tmp_path, size=8).splits()
    assert list(splits) == ["grouped", "paper"]
    roles = {name: {row.sample_id: row.role for row in split.rows} for name, split in splits.items()}
    # 60 nuclei, 5 : 1.
    assert Counter(roles["paper"].values()) == {"train": 50, "test": 10}
    assert Counter(roles["grouped"].values()) == {"train": 50, "test": 10}
    images = {
        name: {i.split("/")[0] for i, role in roles["grouped"].items() if role == name} for name in ("train", "test")
    }
    assert images["train"].isdisjoint(images["test"])
    assert splits["grouped"].leaks is None
    assert splits["grouped"].group == "image_id"
    assert "image" in (splits["paper"].leaks or "")
    assert CRCHistoPhenotypes(tmp_path, size=8).splits() == splits


def test_splits_of_a_single_image(tmp_path):
    write_image(tmp_path, 1, epithelial=[[9.0, 9.0], [19.0, 9.0], [29.0, 9.0]])
    assert list(CRCHistoPhenotypes(tmp_path).splits()) == ["paper"]


def test_choose_images_meets_a_sixth_of_each_class():
    # Two images hold exactly a sixth of both classes; no single image does.
    counts = np.array([[30, 0], [0, 60], [10, 0], [0, 20], [20, 40]])
    assert np.flatnonzero(choose_images(counts)).tolist() == [2, 3]


@pytest.mark.real_data
def test_real_counts_equal_the_mat_files():
    folder = os.environ.get("HISTOKIT_REAL_DATA")
    if not folder:
        pytest.skip("HISTOKIT_REAL_DATA is not set")
    root = Path(folder) / "data/CRCHistoPhenotypes_2016_04_28"
    dataset = CRCHistoPhenotypes(root, others=True)
    samples = list(dataset.samples())
    for label in ("epithelial", "fibroblast", "inflammatory", "others"):
        expected = sum(len(loadmat(path)["detection"]) for path in root.glob(f"Classification/*/*_{label}.mat"))
        assert sum(sample.label == label for sample in samples) == expected
    assert Counter(s.label for s in samples) == {
        "inflammatory": 1018,
        "epithelial": 981,
        "fibroblast": 696,
        "others": 223,
    }
    assert dataset.warnings == ["img8/epithelial/250 and img8/others/9 are at the same pixel (42, 329); all were kept"]
    check_dataset(dataset)


@pytest.mark.parametrize(("others", "samples", "images"), [(False, 20_405, 98), (True, 22_444, 100)])
def test_published_numbers(root, others, samples, images):
    expected = CRCHistoPhenotypes(root, others=others).expected
    assert (expected["samples"], expected["image_id"]) == (samples, images)
    assert sum(expected["labels"].values()) == samples
    assert not CRCHistoPhenotypes(root, border="drop").expected
