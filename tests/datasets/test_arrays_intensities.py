"""Bits, scales and channels of images in files that hold many of them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from pyarrow import parquet

import histokit
from histokit.datasets.arrays import Arrays
from histokit.datasets.folder import Folder
from histokit.errors import DataError, UsageError
from histokit.plugin.guarded import Guarded
from histokit.plugin.testing import check_dataset
from histokit.reading.ingested_files import open_files
from histokit.reading.reader import read_sample
from tests.datasets.test_arrays_parquet import encoded

DRAWN = np.random.default_rng(11)
WHITE = 65535


def deep(*shape: int, top: int = 65536) -> np.ndarray:
    return DRAWN.integers(0, top, shape, dtype=np.uint16)


def saved(file: Path, **arrays: np.ndarray) -> Path:
    np.savez(file, **arrays)
    return file


def read(root: Path, plugin: type = Arrays, **options: str) -> list[np.ndarray]:
    dataset = plugin.from_options(root, {"labels": "none", **options} if plugin is Arrays else options)
    Guarded(dataset).fit()
    found = [dataset.read(sample) for sample in dataset.samples()]
    assert all(image.flags.c_contiguous and image.flags.writeable for image in found)
    return found


def between(images: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.interp(images.astype(np.float64), [low, high], [0, WHITE])


def close(found: list[np.ndarray], wanted: np.ndarray) -> bool:
    return all(image.dtype == np.uint16 for image in found) and abs(np.stack(found) - wanted).max() <= 0.5 + 1e-2


def test_16_bits_need_no_option(tmp_path):
    images = deep(4, 5, 7, 3)
    for number, stored in enumerate((images, images.astype(">u2"))):
        file = saved(tmp_path / f"{number}.npz", images=stored)
        found = read(file)
        assert {image.dtype for image in found} == {np.dtype("=u2")}
        assert np.array_equal(np.stack(found), images)
        check_dataset(Arrays, file, labels="none")


def told(root: Path, store: Path, **options: str) -> list[str]:
    kit = histokit.open_store(store)
    record = histokit.ingest(kit, "arrays", root, name="d", options={"labels": "none", **options})
    files = open_files(kit, record)
    dataset = Arrays.from_options(root, {"labels": "none", **options})
    results = [read_sample(files, place, sample) for place, sample in enumerate(dataset.samples())]
    assert [result.reason for result in results] == [None] * len(results)
    return [str(each) for result in results for each in result.remarks]


@pytest.mark.parametrize("packed", [False, True])
def test_dark_images_are_told_of_once_and_not_where_they_are_scaled(tmp_path, packed):
    images = deep(1, 5, 7, top=4096)
    file = saved(tmp_path / "a.npz", images=images)
    if packed:
        file = tmp_path / "a.zip"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.png", encoded(images[0]))
    (remark,) = told(file, tmp_path / "first")
    assert "uses less than a quarter of its range" in remark
    assert "such as -o bits=12, or with -o scale=minmax" in remark
    assert told(file, tmp_path / "second", bits="12") == []
    assert told(file, tmp_path / "third", scale="range:0,65535") == []


@pytest.mark.parametrize(
    ("stored", "scale", "low", "high"),
    [
        (DRAWN.normal(0, 1, (3, 5, 7)).astype(np.float32), "range:-1,0.5", -1, 0.5),
        (DRAWN.normal(0, 1, (3, 5, 7)).astype(">f8"), "range:-1,2", -1, 2),
        (DRAWN.normal(0, 1, (3, 5, 7)).astype(np.float16), "range:-1,2", -1, 2),
        (DRAWN.integers(-1000, 3000, (3, 5, 7)).astype(np.int16), "range:-1000,400", -1000, 400),
        (DRAWN.integers(0, 1 << 31, (3, 5, 7)).astype(">u4"), "range:0,2147483648", 0, 1 << 31),
        (DRAWN.integers(0, 2, (3, 5, 7)).astype(bool), "range:0,1", 0, 1),
        (DRAWN.integers(0, 200, (3, 5, 7)).astype(np.uint8), "range:20,100", 20, 100),
        (deep(3, 5, 7, top=4096), "bits:12", 0, 4095),
    ],
    ids=lambda value: str(getattr(value, "dtype", value)),
)
def test_what_is_black_and_white_can_be_said_of_any_numbers(tmp_path, stored, scale, low, high):
    file = saved(tmp_path / "a.npz", images=stored)
    wanted = np.repeat(between(stored, low, high)[..., None], 3, axis=-1)
    assert close(read(file, scale=scale), wanted)
    check_dataset(Arrays, file, labels="none", scale=scale)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int16, np.uint16])
@pytest.mark.parametrize("scale", ["minmax", "percentile:5,80"])
def test_limits_of_each_image(tmp_path, kind, scale):
    # Red, green and blue share their limits, and so do not come out alike.
    images = (DRAWN.random((3, 6, 8, 3)) * [20, 60, 120] + np.arange(3)[:, None, None, None] * 40).astype(kind)
    file = saved(tmp_path / "a.npz", images=images)
    shares = (0, 100) if scale == "minmax" else (5, 80)
    limits = [np.percentile(image.astype(np.float64), shares) for image in images]
    wanted = np.stack([between(image, *pair) for image, pair in zip(images, limits, strict=True)])
    for over in ("image", "crop"):
        assert abs(np.stack(read(file, scale=scale, scale_over=over)) - wanted).max() <= 1
    # Channels of other names have limits of their own.
    limits = np.percentile(images[1].astype(np.float64), shares, axis=(0, 1))
    wanted = np.dstack([between(images[1, ..., c], *limits[:, c]) for c in (2, 0)])
    assert abs(read(file, scale=scale, channels="A:3,B:1")[1] - wanted).max() <= 1
    if kind is np.float32:
        check_dataset(Arrays, file, labels="none", scale=scale)


def test_percentiles_of_narrow_numbers_are_those_of_wide_ones(tmp_path):
    # More pixels than float16 can count.
    images = DRAWN.normal(0, 1, (1, 300, 300)).astype(np.float16)
    file = saved(tmp_path / "a.npz", images=images)
    limits = np.percentile(images.astype(np.float64), [0.1, 99.9])
    assert abs(read(file, scale="percentile:0.1,99.9")[0][..., 0] - between(images[0], *limits)).max() <= 20
    flags = DRAWN.random((1, 9, 9)) < 0.5
    file = saved(tmp_path / "b.npz", images=flags)
    assert np.array_equal(read(file, scale="percentile:1,99")[0][..., 0] == WHITE, flags[0])


@pytest.mark.parametrize("first", [False, True])
def test_limits_over_all_files_of_a_dataset(tmp_path, first):
    stacks = {"train": deep(3, 5, 7, 2, top=900), "test": deep(2, 5, 7, 2, top=300) + 40_000}
    for name, stack in stacks.items():
        np.save(tmp_path / f"{name}.npy", np.moveaxis(stack, -1, 1) if first else stack)
    images = np.concatenate([stacks["test"], stacks["train"]])
    options = {"channels": "DAPI:2,GFP:1", "channels_first": "yes" if first else "no", "scale_over": "dataset"}
    for scale, shares in (("minmax", (0, 100)), ("percentile:10,70", (10, 70)), ("percentile:0,100", (0, 100))):
        limits = np.percentile(images, shares, axis=(0, 1, 2), method="inverted_cdf")
        wanted = np.stack([between(images[..., c], *limits[:, c]) for c in (1, 0)], axis=-1)
        assert close(read(tmp_path, scale=scale, **options), wanted)
        check_dataset(Arrays, tmp_path, labels="none", scale=scale, **options)
    joint = np.concatenate([images, images[..., :1]], axis=-1)
    file = saved(tmp_path / "rgb.npz", images=joint.astype(np.float64) - 500)
    assert close(read(file, scale="minmax", scale_over="dataset"), between(joint, joint.min(), joint.max()))


def test_an_image_of_no_numbers_has_no_part_in_limits(tmp_path):
    images = DRAWN.normal(0, 1, (3, 5, 7))
    images[1, 2, 3] = np.nan
    file = saved(tmp_path / "a.npz", images=images)
    for over in ("image", "dataset"):
        dataset = Arrays.from_options(file, {"labels": "none", "scale": "minmax", "scale_over": over})
        Guarded(dataset).fit()
        samples = list(dataset.samples())
        for row in (0, 2):
            among = images[row] if over == "image" else images[[0, 2]]
            wanted = between(images[row], among.min(), among.max())
            assert abs(dataset.read(samples[row])[..., 1] - wanted).max() <= 0.5 + 1e-6
        with pytest.raises(DataError, match=r"images/1' of .* has pixels that are no numbers"):
            dataset.read(samples[1])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_channels_of_stacks_by_number(tmp_path, first, kind):
    images = DRAWN.integers(0, 256, (3, 6, 7, 5)).astype(kind)
    file = saved(tmp_path / "a.npz", images=np.moveaxis(images, -1, 1) if first else images)
    options = {"channels_first": "yes" if first else "no"}
    for given, places in (
        ("DAPI:5,GFP:1", [4, 0]),
        ("Mito:3", [2]),
        ("A,B,C,D,E", range(5)),
        ("R:4,G:2,B:5", [3, 1, 4]),
    ):
        found = np.stack(read(file, channels=given, **options))
        assert found.dtype == kind
        assert np.array_equal(found, images[..., list(places)])
    dataset = Arrays.from_options(file, {"labels": "none", "channels": "DAPI:5,GFP:1", **options})
    assert dataset.channels == ("DAPI", "GFP")
    check_dataset(Arrays, file, labels="none", channels="DAPI:5,GFP:1", **options)


def test_grey_can_be_a_channel_and_values_go_with_channels(tmp_path):
    file = saved(tmp_path / "a.npz", images=deep(2, 5, 7))
    assert [image.shape for image in read(file, channels="DAPI")] == [(5, 7, 1)] * 2
    file = saved(tmp_path / "b.npz", images=np.array([[[[0.0, 1.0, 0.5, 0.25]]]]))
    assert read(file, channels="A:2,B:4", values="0-1")[0].tolist() == [[[255, 64]]]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 6, 7, 5), {}, r"has 5 channels, not 3: R, G, B.\n.*-o channels=NAME:NUMBER,… counting from 1"),
        ((2, 6, 7, 4), {}, r"has 4 channels, not 3"),
        (
            (2, 8, 8, 8),
            {},
            r"has 8 channels, not 3: .*\nWhere these are volumes, save slices .*: array\[:, 4\]\. Where not: Name",
        ),
        ((2, 6, 7, 2), {}, r"has 2 channels, not 3"),
        ((2, 5, 6, 7), {"channels_first": "yes"}, r"has 5 channels, not 3"),
        ((2, 6, 7, 5), {"channels": "DAPI:6"}, r"has no channel '6': it has 5, without names.*\n.*number from 1"),
        ((2, 6, 7, 5), {"channels": "DAPI,GFP"}, r"has no channel 'DAPI': it has 5"),
        ((2, 6, 7), {"channels": "DAPI:2"}, r"has no channel '2': it has 1"),
        ((2, 5, 60, 70), {"channels": "A:1,B:2"}, r"images of 70 channels.\n.*add -o channels_first=true"),
        ((2, 5, 60, 70), {}, r"images of 70 channels.\n.*add -o channels_first=true"),
        ((2, 60, 70, 5), {"channels": "A:1", "channels_first": "yes"}, r"of 60 channels.\n.*leave out channels_first"),
    ],
)
def test_channels_that_are_not_there_or_not_named(tmp_path, shape, options, message):
    file = saved(tmp_path / "a.npz", images=np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=message) as error:
        read(file, **options)
    assert f"'images' of {str(file)!r} is of shape {shape}" in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "minmx"}, "scale='minmx' is none of full"),
        ({"scale": "minmax", "values": "0-1"}, "scale=minmax and values=0-1 say different things"),
        ({"scale": "bits:12", "bits": "12"}, "both say how many bits"),
        ({"scale_over": "dataset"}, "needs a scale that is sought in the data"),
        ({"channels": "A:1,B:1"}, "gives a channel of the files twice"),
    ],
)
def test_options_that_mean_nothing(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        read(saved(tmp_path / "a.npz", images=np.zeros((2, 5, 7), np.uint8)), **options)


def test_what_numbers_mean_has_to_be_said_where_they_do_not(tmp_path):
    file = saved(tmp_path / "a.npz", images=np.zeros((2, 5, 7), np.float32))
    with pytest.raises(DataError, match=r"type float32, not uint8.\n.*values=0-1 .*scale=minmax or range:BLACK,WHITE"):
        read(file)
    file = saved(tmp_path / "b.npz", images=np.zeros((2, 5, 7), complex))
    with pytest.raises(DataError, match="type complex128"):
        read(file, scale="minmax")
    file = saved(tmp_path / "c.npz", images=np.full((1, 5, 7), 5000, np.uint16))
    with pytest.raises(DataError, match="holds 5000, more than the 4095 of scale=bits"):
        read(file, scale="bits:12")
    file = saved(tmp_path / "d.npz", images=np.zeros((1, 5, 7), np.float32))
    with pytest.raises(UsageError, match="whole numbers of 8 or 16 bits"):
        read(file, scale="percentile:1,99", scale_over="dataset")


def contents(root: Path, store: Path, **options: str) -> dict[str, bytes]:
    kit = histokit.open_store(store)
    histokit.ingest(kit, "arrays", root, name="d", options={"labels": "none", **options})
    return {row["id"]: row["content"] for row in kit.samples("d", ["id", "content"]).to_pylist()}


def test_other_pixels_have_other_contents(tmp_path):
    images = deep(2, 6, 7, 3, top=4000)
    file = saved(tmp_path / "a.npz", images=images)
    usual = contents(file, tmp_path / "0")
    assert contents(file, tmp_path / "1", scale="full", scale_over="image") == usual
    over_all = {"scale": "minmax", "scale_over": "dataset"}
    ways = [
        {"bits": "12"},
        {"scale": "bits:12"},
        {"scale": "minmax"},
        over_all,
        {"channels": "A:1"},
        {"channels": "A:2"},
    ]
    ways.append({"channels": "R:2,G:1,B:3"})
    found = [usual, *(contents(file, tmp_path / f"{2 + k}", **way) for k, way in enumerate(ways))]
    assert len({each["a.npz/images/0"] for each in found}) == len(found)
    # Limits over all images belong to the pixels of each.
    images[1, 0, 0, 0] = 9000
    saved(file, images=images)
    assert contents(file, tmp_path / "0")["a.npz/images/0"] == usual["a.npz/images/0"]
    assert contents(file, tmp_path / "5", **over_all)["a.npz/images/0"] != found[4]["a.npz/images/0"]


def tiff(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


FILES = {
    "colours": {f"{k}.png": encoded(DRAWN.integers(0, 150 + k, (6, 7, 3), dtype=np.uint8)) for k in range(2)},
    "deep": {f"{k}.png": encoded(deep(6, 7, top=4096 - k)) for k in range(2)},
    "floats": {f"{k}.tif": tiff(DRAWN.normal(0, 1, (6, 7)).astype(np.float32)) for k in range(2)},
    "white": {f"{k}.tif": tiff(deep(6, 7, top=4096), photometric="miniswhite") for k in range(2)},
    "channels": {
        f"{k}.ome.tif": tiff(
            deep(4, 6, 7, top=4096),
            ome=True,
            metadata={"axes": "CYX", "SignificantBits": 12, "Channel": {"Name": [*"WXYZ"]}},
        )
        for k in range(2)
    },
}
OME = {"channels": "Dye:Z,Other:2"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("colours", {"scale": "percentile:5,90"}),
        ("colours", {"channels": "A:2,B:R"}),
        ("colours", {"scale": "range:20,100"}),
        ("deep", {"bits": "12"}),
        ("deep", {"scale": "bits:12"}),
        ("deep", {"bits": "12", "channels": "A:1"}),
        ("deep", {"scale": "minmax", "scale_over": "dataset"}),
        ("deep", {"scale": "minmax", "bits": "12"}),
        ("floats", {"scale": "range:-1,1.5"}),
        ("floats", {"scale": "minmax", "scale_over": "dataset"}),
        ("white", {"scale": "minmax"}),
        ("channels", OME),
        ("channels", {**OME, "scale": "percentile:5,90"}),
        ("channels", {**OME, "scale": "percentile:5,90", "scale_over": "dataset"}),
    ],
)
def test_encoded_images_are_read_as_those_in_folders(tmp_path, kind, options):
    folder = tmp_path / "files"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in FILES[kind].items():
            archive.writestr(name, data)
            (folder / name).write_bytes(data)
    parquet.write_table(pa.table({"image": list(FILES[kind].values())}), tmp_path / "a.parquet")
    wanted = read(folder, Folder, pattern="*", **options)
    assert wanted[0].tolist() != wanted[1].tolist()
    for file in (tmp_path / "a.zip", tmp_path / "a.parquet"):
        found = read(file, **options)
        assert [(image.dtype, image.tolist()) for image in found] == [(each.dtype, each.tolist()) for each in wanted]
    check_dataset(Arrays, tmp_path / "a.zip", labels="none", **options)


def test_encoded_images_that_cannot_be_scaled_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/b.tif", FILES["channels"]["0.ome.tif"])
        archive.writestr("a/c.tif", FILES["floats"]["0.tif"][:-60])
    for options, message in (
        ({"scale": "minmax"}, r"a.zip/a/b.tif has 4 channels \(W, X, Y, Z\), not 3"),
        ({"channels": "A:V"}, r"a.zip/a/b.tif has no channel 'V': it has 4"),
    ):
        dataset = Arrays.from_options(tmp_path / "a.zip", options)
        whole, part = dataset.samples()
        with pytest.raises(DataError, match=message):
            dataset.read(whole)
        with pytest.raises(DataError, match=r"a.zip/a/c.tif cannot be read"):
            dataset.read(part)
