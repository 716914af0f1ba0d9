"""Readers of image files by suffix, as plugins register them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import histokit
from histokit.datasets.folder import Folder
from histokit.errors import DataError, PluginError, UsageError
from histokit.plugin import ImageReader, RawImage, hookimpl, read_image
from histokit.plugin.manager import registry
from histokit.plugin.raw_images import read_raw
from histokit.plugin.remarks import ImageWarning
from histokit.plugin.testing import added_plugin, iter_named_checks, run_checks

OPTIONS = {"pattern": "{label}/*"}


def read_lab(path):
    return np.load(path, allow_pickle=False)


class Plugin:
    """Registers what reads ``.lab`` files, which are NumPy's by another name."""

    def __init__(self, reader: Any = read_lab, suffix: str = ".lab"):
        self.reader, self.suffix = reader, suffix

    @hookimpl
    def register_readers(self, register):
        """Announce it."""
        register(self.suffix, lambda: self.reader)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, values)


@pytest.fixture
def labs(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (3, 8, 9), dtype=np.uint16)
    for number, label in enumerate("aba"):
        save(tmp_path / "data" / label / f"{number}.LAB", values[number])
    return tmp_path / "data", values


def test_files_of_a_new_suffix_are_images_of_a_folder(labs, store, tiny):
    root, values = labs
    with added_plugin(Plugin(), "labreader"):
        histokit.ingest(store, "folder", root, name="d", options={**OPTIONS, "bits": "12"})
        histokit.extract(store, "d", "tiny", layers=["1"])
        features = store.features("d", "tiny/1")
        assert list(features.sample_ids) == ["a/0.LAB", "a/2.LAB", "b/1.LAB"]
    # The same numbers in files that everybody reads.
    for number, label in enumerate("aba"):
        folder = root.parent / "tiffs" / label
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"{number}.tif", values[number])
    histokit.ingest(store, "folder", root.parent / "tiffs", name="t", options={**OPTIONS, "bits": "12"})
    histokit.extract(store, "t", "tiny", layers=["1"])
    np.testing.assert_array_equal(features.X, store.features("t", "tiny/1").X)


def test_another_version_of_a_reader_reads_anew(labs):
    root, _ = labs

    class Reader(ImageReader):
        version = "1"

        def read(self, path, part):
            return read_lab(path)

    class Newer(Reader):
        version = "2"

    keys = []
    for reader in (Reader, Reader(), Newer):
        with added_plugin(Plugin(reader), "labreader"):
            dataset = Folder(root, **OPTIONS)
            keys.append(dataset.pixel_key(next(iter(dataset.samples()))))
    assert keys[0] == keys[1] != keys[2]
    assert keys[0]


def test_channels_parts_and_micrometres_of_a_reader(labs):
    root, values = labs

    class Reader(ImageReader):
        def read(self, path, part):
            plane = read_lab(path)
            return RawImage(np.dstack([plane, plane + int(part or 0)]), bits=16, channels=("DAPI", "GFP"))

        def parts(self, path):
            return ["0", "7"]

        def mpp(self, path):
            return 0.325

    with added_plugin(Plugin(Reader), "labreader"):
        dataset = Folder.from_options(root, OPTIONS | {"channels": "GFP,DAPI", "planes": "each", "mpp": "metadata"})
        samples = list(dataset.samples())
        assert [sample.id for sample in samples[:2]] == ["a/0.LAB#0", "a/0.LAB#7"]
        assert {sample.mpp for sample in samples} == {0.325}
        assert dataset.read(samples[1]).tolist() == np.dstack([values[0] + 7, values[0]]).tolist()


@pytest.mark.parametrize(
    ("reader", "told"),
    [
        (
            lambda path: 1 / 0,
            r"The reader of \.lab files of labreader 0 \(labreader\) failed in read\(\).*ZeroDivision",
        ),
        (lambda path: "pixels", r"gave <U6 of shape \(\) in place of numbers of \(H, W, C\)"),
        (lambda path: np.zeros((2, 2, 2, 2)), r"gave float64 of shape \(2, 2, 2, 2\)"),
        (lambda path: RawImage(np.zeros((4, 4, 2), np.uint8), channels=("A",)), "with the channels A in place"),
        (7, "in place of a function or an ImageReader"),
        (dict, "in place of a function or an ImageReader"),
    ],
)
def test_a_reader_that_fails_is_named(labs, reader, told):
    root, _ = labs
    with added_plugin(Plugin(reader), "labreader"), pytest.raises(PluginError, match=told):
        read_raw(root / "a" / "0.LAB")


def test_what_a_reader_says_of_a_file_is_told_as_it_is(labs, store, tiny):
    root, _ = labs

    def reader(path):
        if path.name == "1.LAB":
            raise DataError(f"{path.name} is of another camera.", next="Leave it out.")
        return read_lab(path)

    with added_plugin(Plugin(reader), "labreader"):
        histokit.ingest(store, "folder", root, name="d", options={**OPTIONS, "scale": "minmax"})
        extraction = histokit.extract(store, "d", "tiny", layers=["1"])
    assert [(p["id"], p["reason"]) for p in extraction.problems] == [
        ("b/1.LAB", "1.LAB is of another camera. Leave it out.")
    ]


@pytest.mark.parametrize("suffix", ["lab", "", ".LAB", ".l b", 7])
def test_what_is_no_suffix_breaks_a_plugin(suffix):
    with added_plugin(Plugin(suffix=suffix), "labreader"):
        assert [broken.module for broken in registry().broken] == ["labreader"]


def test_two_readers_of_one_suffix_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8))
    with added_plugin(Plugin(suffix=".tif"), "labreader"):
        with pytest.raises(PluginError, match=r"The reader of files '\.tif' is registered twice.*labreader"):
            read_raw(tmp_path / "a.tif")
        # What needs no reader goes on.
        assert read_image(tmp_path / "a.tif").max() == 0


def test_numbers_of_usual_files_and_their_names(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5, 3), 7, np.uint8), photometric="rgb")
    raw = read_raw(tmp_path / "a.tif")
    assert (raw.pixels.shape, raw.channels, raw.bits) == ((4, 5, 3), ("R", "G", "B"), None)
    with pytest.raises(DataError, match="does not exist"):
        read_raw(tmp_path / "b.tif")
    (tmp_path / "c.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(DataError, match=r"c\.tif (cannot be read|has no page)"):
        read_raw(tmp_path / "c.tif")


NUMBERS = np.array([[0, 1000, 2000], [3000, 4000, 4095]], np.uint16)


@pytest.mark.parametrize("suffix", [".tif", ".lsm", ".stk", ".btf", ".svs", ".flex", ".png", ".jpg"])
@pytest.mark.parametrize("bits", [None, 12])
def test_a_tiff_file_is_one_whatever_it_is_called(tmp_path, suffix, bits):
    tags = [] if bits is None else [(281, 3, 1, 4095, True)]
    with (tmp_path / f"a{suffix}").open("wb") as file:
        tifffile.imwrite(file, NUMBERS, extratags=tags)
    (sample,) = (data := Folder(tmp_path, pattern=f"*{suffix}", scale="range:0,4095")).samples()
    expected = np.round(NUMBERS / 4095 * 65535)
    np.testing.assert_allclose(data.read(sample)[..., 0], expected, atol=8)


@pytest.mark.parametrize("suffix", [".lsm", ".png"])
def test_planes_and_channels_of_a_tiff_file_of_another_name(tmp_path, suffix):
    planes = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    with (tmp_path / f"a{suffix}").open("wb") as file:
        tifffile.imwrite(file, planes, metadata={"axes": "ZCYX"}, ome=True)
    options = {"pattern": f"*{suffix}", "channels": ["A:3", "B:1"]}
    data = Folder(tmp_path, planes="each", **options)
    samples = list(data.samples())
    assert [sample.part for sample in samples] == ["z=0", "z=1"]
    assert np.array_equal(data.read(samples[1]), planes[1, [2, 0]].transpose(1, 2, 0))


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".lsm"])
def test_another_image_that_is_called_tiff_is_scaled_as_what_it_is(tmp_path, suffix):
    Image.fromarray(np.full((4, 5), 51, np.uint8)).save(tmp_path / f"a{suffix}", format="PNG")
    (sample,) = (data := Folder(tmp_path, pattern=f"*{suffix}", scale="range:0,102")).samples()
    assert np.unique(data.read(sample)).tolist() in ([127], [128], [32767], [32768])


@pytest.mark.parametrize("scale", ["bits:12", "range:0,4095"])
def test_numbers_of_8_bits_that_are_scaled_as_of_12_are_told(tmp_path, scale):
    Image.fromarray(np.full((4, 5), 200, np.uint8)).save(tmp_path / "a.png")
    (sample,) = (data := Folder(tmp_path, pattern="*.png", scale=scale)).samples()
    with pytest.warns(ImageWarning, match="almost black.*8 bits, of which 4095 is white"):
        data.read(sample)


def test_numbers_of_different_bits_have_no_range_in_common(tmp_path, store):
    for number, values in enumerate((np.full((4, 5), 200, np.uint8), np.full((4, 5), 4000, np.uint16))):
        tifffile.imwrite(tmp_path / f"{number}.tif", values)
    options = {"pattern": "*.tif", "scale": "minmax", "scale_over": "dataset"}
    with pytest.raises(UsageError, match="16 bits and 8 bits"):
        histokit.ingest(store, "folder", tmp_path, name="d", options=options)


class OneBuffer:
    """Reads every image into the same array."""

    def __init__(self):
        self.array = np.zeros((8, 9, 3), np.uint8)

    def __call__(self, path):
        self.array[:] = np.load(path, allow_pickle=False)
        return self.array


def test_a_reader_that_writes_into_one_array_spoils_no_image_that_waits(tmp_path, store, tiny):
    values = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    for number in range(4):
        save(tmp_path / "data" / "ab"[number % 2] / f"{number}.lab", values[number])
        Image.fromarray(values[number]).save(tmp_path / "data" / "ab"[number % 2] / f"{number}.png")
    histokit.ingest(store, "folder", tmp_path / "data", name="p", options={"pattern": "{label}/*.png"})
    histokit.extract(store, "p", "tiny", layers=["1"])
    with added_plugin(Plugin(OneBuffer()), "labreader"):
        histokit.ingest(store, "folder", tmp_path / "data", name="d", options={"pattern": "{label}/*.lab"})
        histokit.extract(store, "d", "tiny", layers=["1"], workers=0)
        np.testing.assert_array_equal(store.features("d", "tiny/1").X, store.features("p", "tiny/1").X)


def checked(reader, *arguments):
    with added_plugin(Plugin(reader), "labreader"):
        results = run_checks(iter_named_checks(".lab", *arguments))
    return {result.name: result.reason for result in results if not result.passed}


def test_a_reader_is_checked_on_its_files(labs):
    root, _ = labs
    assert checked(read_lab, root) == checked(read_lab, root / "a" / "0.LAB") == {}
    found = checked(lambda path: RawImage(read_lab(path), bits=8), root)
    assert found.keys() == {"numbers of images"}
    assert "more than the 8 bits that it says" in found["numbers of images"]
    held = np.zeros((8, 9), np.uint16)

    def into_one(path):
        held[:] = 0
        held[:] = read_lab(path)
        return held

    found = checked(into_one, root)
    assert found.keys() == {"threads read the same"}
    assert "each call has to return an array of its own" in found["threads read the same"]
    calls = []

    def counting(path):
        calls.append(path)
        return read_lab(path) + len(calls)

    assert "pixels repeat" in checked(counting, root)
    assert "in place of numbers of (H, W, C)" in checked(lambda path: "pixels", root)["numbers of images"]


def test_a_reader_is_checked_on_nothing_but_files_of_its_suffix(labs, tmp_path):
    with pytest.raises(UsageError, match="is checked on files, and none are given"):
        checked(read_lab)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match=r"no .lab file in"):
        checked(read_lab, tmp_path / "none")
