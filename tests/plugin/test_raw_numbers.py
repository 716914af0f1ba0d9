"""A scale sees the numbers that files hold, and not those that Pillow makes of them."""

from __future__ import annotations

import warnings
import zipfile

import numpy as np
import pytest
import tifffile
from PIL import Image
from raw_images import png

import histokit
from histokit.datasets.arrays import Arrays
from histokit.datasets.folder import Folder
from histokit.errors import DataError
from histokit.plugin.images import read_image
from histokit.plugin.reader_marks import DEEP_NETPBM
from histokit.plugin.remarks import ImageWarning, collected_remarks

#: Of every kind: dark, light, and some between.
GREY = np.arange(20).reshape(4, 5) * 5
COLOURS = np.stack([GREY, GREY[::-1], GREY.T.reshape(4, 5)], axis=2)


def netpbm(path, pixels, white, text=False):
    kind = {2: 5, 3: 6}[pixels.ndim] - 3 * text
    head = f"P{kind}\n# by a camera\n{pixels.shape[1]} {pixels.shape[0]}\n{white}\n".encode()
    data = (
        " ".join(map(str, pixels.ravel())).encode() if text else pixels.astype(">u2" if white > 255 else "u1").tobytes()
    )
    path.write_bytes(head + data)


def read(path, **options) -> np.ndarray:
    dataset = Folder.from_options(path.parent, {"pattern": path.name, **options})
    (sample,) = dataset.samples()
    with collected_remarks():
        return dataset.read(sample)


def of_white(values, white) -> np.ndarray:
    found = np.array([round(65535 * int(value) / white) for value in values.ravel()]).reshape(values.shape)
    return found if values.ndim == 3 else np.repeat(found[..., None], 3, axis=2)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("white", [100, 127, 255, 1000, 1023, 4095, 65535])
def test_netpbm_of_any_white(tmp_path, white, text):
    for name, values in (("a.pgm", GREY), ("a.ppm", COLOURS)):
        path = tmp_path / name
        netpbm(path, values, white, text)
        for scale, top in (("range:0,95", 95), ("minmax", 95), ("bits:7", 127)):
            assert read(path, scale=scale).tolist() == of_white(values, top).tolist()
        if name == "a.ppm" and white > 255:
            assert abs(read(path).astype(int) - of_white(values, white)).max() <= 1
        if name == "a.pgm":
            # Without a scale, what the file calls white is white.
            whole = read(path).astype(int) * (257 if white < 256 else 1)
            assert abs(whole - of_white(values, white)).max() <= (129 if white < 256 else 1)
            named = read(path, channels="G:1").astype(int) * (257 if white < 256 else 1)
            assert named[..., 0].tolist() == whole[..., 0].tolist()


def test_bits_of_a_file_that_says_what_is_white(tmp_path):
    netpbm(tmp_path / "a.pgm", GREY * 43, 4095)
    for options in ({}, {"bits": "12"}):
        found = read(tmp_path / "a.pgm", **options)
        assert (found if not options else found * (65535 / 4095)).round().astype(int).tolist() == of_white(
            GREY * 43, 4095
        ).tolist()
    netpbm(tmp_path / "b.pgm", GREY * 43, 65535)
    assert read(tmp_path / "b.pgm", bits="12").max() == 95 * 43
    with pytest.raises(DataError, match=r"(?s)holds 4085, more than the 11 bits.*-o bits=N"):
        read(tmp_path / "b.pgm", bits="11")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits(tmp_path, bits):
    values = np.random.default_rng(0).integers(0, 1 << bits, (4, 8))
    rows = b"".join(
        b"\0" + int("".join(f"{value:0{bits}b}" for value in row), 2).to_bytes(bits, "big") for row in values
    )
    png(tmp_path / "a.png", (8, 4, bits, 0), rows)
    top = (1 << bits) - 1
    assert read(tmp_path / "a.png", scale=f"range:0,{top}").tolist() == of_white(values, top).tolist()
    assert read(tmp_path / "a.png").tolist() == (of_white(values, top) // 257).tolist()
    assert read(tmp_path / "a.png", channels="G:1").tolist() == (of_white(values, top)[..., :1] // 257).tolist()


def test_jpeg_2000_of_12_bits(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (40, 40), dtype=np.uint16)
    imagecodecs = pytest.importorskip("imagecodecs")
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(values, reversible=True, level=0, bitspersample=12))
    assert read(tmp_path / "a.jp2", scale="range:0,4095").tolist() == of_white(values, 4095).tolist()


def test_files_in_an_archive(tmp_path):
    netpbm(tmp_path / "a.pgm", GREY, 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.pgm", "x/a.png")
    dataset = Arrays.from_options(tmp_path / "a.zip", {"scale": "range:0,95"})
    (sample,) = dataset.samples()
    assert dataset.read(sample).tolist() == of_white(GREY, 95).tolist()


def test_features_of_numbers_that_once_were_others_are_not_taken(tmp_path, store, tiny, monkeypatch):
    root = tmp_path / "images"
    root.mkdir()
    netpbm(root / "a.png", GREY, 4095)
    tifffile.imwrite(root / "misnamed.jpg", (GREY * 100).astype(np.uint16))
    Image.fromarray(GREY.astype(np.uint8)).save(root / "c.png")
    keys = {}
    for name, options in (("scaled", {"scale": "range:0,95"}), ("full", {})):
        dataset = Folder.from_options(root, {"pattern": "*", **options})
        keys[name] = {sample.id: dataset.pixel_key(sample) for sample in dataset.samples()}
    assert len(set(keys["scaled"].values())) == 2
    assert keys["full"]["a.png"] == keys["full"]["c.png"] == b""
    # A dataset that an earlier version ingested has to be ingested again, for these files alone.
    for revision, altered in ((2, ["a.png", "misnamed.jpg"]), (3, [])):
        with monkeypatch.context() as before:
            before.setattr("histokit.ingest.ingest.READER_REVISION", revision)
            histokit.ingest(store, "folder", root, name="d", options={"pattern": "*", "scale": "range:0,95"})
        extraction = histokit.extract(store, "d", "tiny", layers="last", retry=True)
        assert sorted(problem["id"] for problem in extraction.problems) == altered


def test_colours_of_netpbm_that_had_8_bits_once_are_computed_anew(tmp_path, store, tiny, monkeypatch):
    root = tmp_path / "images"
    root.mkdir()
    netpbm(root / "deep.PPM", COLOURS * 600, 65535)
    netpbm(root / "flat.PPM", COLOURS, 255)
    keys = []
    for options in ({}, {"scale": "range:0,65535"}):
        dataset = Folder.from_options(root, {"pattern": "*.PPM", **options})
        keys.append({sample.id: dataset.pixel_key(sample) for sample in dataset.samples()})
    assert keys[0] == {"deep.PPM": DEEP_NETPBM, "flat.PPM": b""}
    # A scale was given these numbers before.
    assert DEEP_NETPBM not in keys[1]["deep.PPM"]
    for revision, altered in ((3, ["deep.PPM"]), (4, [])):
        with monkeypatch.context() as before:
            before.setattr("histokit.ingest.ingest.READER_REVISION", revision)
            histokit.ingest(store, "folder", root, name="d", options={"pattern": "*.PPM"})
        extraction = histokit.extract(store, "d", "tiny", layers="last", retry=True)
        assert sorted(problem["id"] for problem in extraction.problems) == altered


def test_bits_of_which_the_upper_eight_are_read_are_remarked(tmp_path):
    Image.fromarray(COLOURS.astype(np.uint8)).save(tmp_path / "a.sgi", bpc=2)
    inks = np.dstack([COLOURS, COLOURS[..., :1]]).astype(np.uint16) * 600
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    for name, detail in (("a.sgi", r"\(16 bits\)"), ("a.tif", r"\(16 bits for each ink\)")):
        with pytest.warns(ImageWarning, match=f"has colours of more than 8 bits, of which the upper eight .*{detail}"):
            assert read_image(tmp_path / name, deep=True).dtype == np.uint8


def test_a_file_of_netpbm_with_several_images_is_remarked(tmp_path):
    for name, values, white in (("a.pgm", GREY, 255), ("b.ppm", COLOURS, 255), ("c.pgm", GREY * 40, 4095)):
        netpbm(tmp_path / name, values, white)
        alone = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(alone + b"\n")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ImageWarning)
            first = read_image(tmp_path / name, deep=True)
        (tmp_path / name).write_bytes(alone + alone)
        with pytest.warns(ImageWarning, match=r"holds more than what was read, its first picture \(further images\)"):
            assert (read_image(tmp_path / name, deep=True) == first).all()
