from __future__ import annotations

import json
import os
import pickle
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn_slides import WRITERS, draw, halved, write_aperio, write_pages, write_subifds

import histokit
from histokit.datasets.whole_slides import digests
from histokit.datasets.whole_slides.slides import Slides
from histokit.datasets.whole_slides.tiff_pyramid import TiffPyramid
from histokit.errors import DataError, UsageError
from histokit.plugin.guarded import Guarded
from histokit.plugin.testing import check_dataset

#: A slide of 512 × 384 pixels with one rectangle of tissue, whose edges are those of tiles of 64.
PIXELS = draw(512, 384, (128, 64, 256, 192))

write_scan = {
    name: (lambda folder, pixels=PIXELS, mpp=0.5, name=name, **how: WRITERS[name](folder / name, pixels, mpp, **how))
    for name in WRITERS
}


def read(root: Path, **options: object):
    dataset = Slides.from_options(root, {name: str(value) for name, value in options.items()})
    return list(dataset.samples()), dataset


def cut(box) -> np.ndarray:
    x, y, width, height = box
    return PIXELS[y : y + height, x : x + width]


@pytest.mark.parametrize("kind", WRITERS)
def test_tiles_of_the_slides_own_resolution(tmp_path: Path, kind: str) -> None:
    write_scan[kind](tmp_path)
    samples, dataset = read(tmp_path, size=64, min_tissue=0.95)
    # Columns 2 to 5 and rows 1 to 3 of the grid are tissue wholly.
    assert [s.box for s in samples] == [(x, y, 64, 64) for y in (64, 128, 192) for x in (128, 192, 256, 320)]
    assert samples[0].id == f"{kind}#xywh=128,64,64,64"
    name = kind.split(".")[0]
    # A median rounds the corners of the tissue.
    assert dict(samples[0].metadata) == {"slide": name, "slide_mpp": 0.5, "tissue": 0.9961}
    assert samples[1].metadata["tissue"] == 1
    assert (samples[0].image, samples[0].mpp, dataset.group, dataset.levels) == ((kind,), 0.5, "slide", ("slide",))
    assert dataset.warnings == []
    for sample in samples:
        np.testing.assert_array_equal(dataset.read(sample), cut(sample.box))


def test_a_tile_that_holds_just_as_much_tissue_as_is_asked_for_is_taken(tmp_path: Path) -> None:
    # From the middle of the first column of tiles on, all is tissue.
    write_pages(tmp_path / "half.tif", draw(192, 128, (32, 0, 160, 128)))
    samples, _ = read(tmp_path, size=64, min_tissue=0.5)
    found = [(sample.box[:2], sample.metadata["tissue"]) for sample in samples]
    assert found == [((x, y), 0.5 if x == 0 else 1.0) for y in (0, 64) for x in (0, 64, 128)]


@pytest.mark.parametrize("kind", WRITERS)
def test_tiles_come_from_the_nearest_finer_level(tmp_path: Path, kind: str) -> None:
    write_scan[kind](tmp_path)
    half = halved(PIXELS)
    samples, dataset = read(tmp_path, size=64, mpp=1, min_tissue=0.9)
    assert [s.box for s in samples] == [(128, 128, 128, 128), (256, 128, 128, 128)]
    for sample in samples:
        x, y, width, height = (side // 2 for side in sample.box)
        np.testing.assert_array_equal(dataset.read(sample), half[y : y + height, x : x + width])
    # 0.75 µm per pixel: 96 pixels of the first level become 64, and the second level would be too coarse.
    samples, dataset = read(tmp_path, size=64, mpp=0.75, min_tissue=0.95)
    assert samples[0].box == (192, 96, 96, 96)
    tile = dataset.read(samples[0])
    assert tile.shape == (64, 64, 3)
    assert np.abs(tile[4:60, 4:60].mean(axis=(0, 1)) - cut(samples[0].box).mean(axis=(0, 1))).max() < 1
    assert tile.std() > 3, "detail is not lost by reading a level that is too coarse"


def test_the_grid_in_fractions_of_pixels(tmp_path: Path) -> None:
    write_scan["scan.svs"](tmp_path, mpp=0.499)
    samples, _ = read(tmp_path, size=64, overlap=16, tissue="none")
    # 64 pixels at 0.5 are 64.13 of the slide's; from one tile to the next it is 48.096.
    assert sorted({s.box[0] for s in samples}) == [0, 48, 96, 144, 192, 240, 289, 337, 385, 433]
    assert {s.box[2:] for s in samples} == {(64, 64)}
    assert max(s.box[1] for s in samples) == 289, "tiles lie on the slide wholly"
    assert all("tissue" not in s.metadata for s in samples)


def test_tissue_by_share_and_threshold(tmp_path: Path) -> None:
    # Pale tissue left: (244 - 220) / 244 = 0.10 of saturation; pink right: about 0.4.
    pixels = draw(512, 256, (320, 64, 128, 128))
    pixels[64:192, 64:192] = (244, 220, 235)
    write_pages(tmp_path / "a.tif", pixels)
    pale, pink = {(x, y) for x in (64, 128) for y in (64, 128)}, {(x, y) for x in (320, 384) for y in (64, 128)}

    def found(**options: object) -> set[tuple[int, int]]:
        return {s.box[:2] for s in read(tmp_path, size=64, **options)[0]}

    assert found() == pink, "Otsu's threshold lies between pale and pink"
    assert found(tissue="fixed") == pale | pink
    assert found(tissue="fixed", threshold=0.2) == pink
    assert len(found(tissue="none")) == 32
    shifted = {s.box[:2]: s.metadata["tissue"] for s in read(tmp_path, size=96, min_tissue=0)[0]}
    # Of 96 × 96 pixels: 64 × 32 and 64 × 96, but for what the median takes from corners.
    expected = {(288, 0): 2 / 9, (288, 96): 2 / 3, (384, 0): 2 / 9, (384, 96): 2 / 3}
    assert shifted == pytest.approx(expected, abs=0.01)


def test_pen_and_black_are_no_tissue(tmp_path: Path) -> None:
    pixels = draw(640, 128, (0, 0, 128, 128))
    marks = {128: (60, 150, 70), 256: (40, 60, 190), 384: (230, 30, 30), 512: (30, 10, 20)}
    for x, colour in marks.items():
        pixels[:, x : x + 128] = colour
    write_pages(tmp_path / "a.tif", pixels)
    found = {s.box[0] for s in read(tmp_path, size=128, tissue="fixed")[0]}
    assert found == {0}
    assert {s.box[0] for s in read(tmp_path, size=128, tissue="fixed", pen="true")[0]} == {0, 128, 256, 384}
    assert {s.box[0] for s in read(tmp_path, size=128)[0]} == {0}, "pen does not move Otsu's threshold"


def test_blank_small_and_coarse_slides_are_named(tmp_path: Path) -> None:
    write_scan["scan.svs"](tmp_path)
    noise = np.random.default_rng(0).integers(238, 247, (256, 256, 3)).astype(np.uint8)
    write_pages(tmp_path / "blank.tif", noise)
    write_pages(tmp_path / "small.tif", PIXELS[:60])
    write_pages(tmp_path / "coarse.tif", PIXELS, 2.0)
    samples, dataset = read(tmp_path, size=64)
    assert {s.metadata["slide"] for s in samples} == {"scan"}
    blank, coarse, small = dataset.warnings
    assert blank.startswith("The slide blank.tif gives no tile: no tile is tissue by 50% (at most by 0.")
    assert coarse == (
        "The slide coarse.tif gives no tile: it has 2 µm per pixel, coarser than the 0.5 that were asked for"
    )
    assert small == "The slide small.tif gives no tile: its 512 × 60 pixels are fewer than those of a tile, 64 × 64"
    with pytest.raises(DataError, match=r"(?s)No slide .* gives a tile\..* The slide blank\.tif .*tissue=none"):
        read(tmp_path, size=64, pattern="blank.tif")


UNREADABLE = {
    "stack.ome.tif": (
        np.zeros((2, 3, 64, 64), np.int8),
        {"metadata": {"axes": "TZYX"}, "ome": True},
        "holds pixels with a sign (int8, in planes of T = 2, Z = 3): slides are of 8 bits (uint8)",
    ),
    "planes.ome.tif": (
        np.zeros((4, 64, 64), np.uint8),
        {"metadata": {"axes": "CYX"}, "ome": True},
        "is a stack of planes (C = 4): a slide is one plane of RGB or grey",
    ),
    "deep.tif": (np.zeros((64, 64, 3), np.uint16), {"photometric": "rgb"}, "holds pixels of another kind (uint16)"),
    "few.tif": (
        np.zeros((64, 64), np.uint8),
        {"photometric": "minisblack", "bitspersample": 4, "tile": (64, 64)},
        "holds pixels of 4 bits: slides are of 8 bits",
    ),
    "stain.tif": (
        np.zeros((64, 64, 3), np.uint8),
        {"photometric": "minisblack", "extrasamples": [0, 0], "planarconfig": "contig"},
        "holds 3 channels in each pixel, none of them said to be red",
    ),
    "alpha.tif": (
        np.zeros((64, 64, 2), np.uint8),
        {"photometric": "minisblack", "extrasamples": [2], "planarconfig": "contig"},
        "holds 2 channels in each pixel: a slide is one plane of RGB or grey",
    ),
    "apart.tif": (
        np.zeros((3, 64, 64), np.uint8),
        {"photometric": "rgb", "planarconfig": "separate"},
        "holds 3 channels in planes of their own: a slide is one plane of RGB or grey",
    ),
    "lab.tif": (np.zeros((64, 64, 3), np.uint8), {"photometric": "cielab"}, "holds colours as CIELAB"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_slides_of_other_pixels_are_named(tmp_path: Path, name: str) -> None:
    pixels, how, reason = UNREADABLE[name]
    tifffile.imwrite(tmp_path / name, pixels, **how)
    write_scan["scan.svs"](tmp_path)
    samples, dataset = read(tmp_path, size=64)
    assert {s.image for s in samples} == {("scan.svs",)}
    (warning,) = dataset.warnings
    assert warning.startswith(f"The slide {name} gives no tile: {name} {reason}")


def test_damaged_slides_are_named(tmp_path: Path) -> None:
    write_scan["plain.tif"](tmp_path)
    for suffix in ("svs", "tif"):
        whole = (write_scan["scan.svs"] if suffix == "svs" else write_scan["vips.tif"])(tmp_path)
        (tmp_path / f"cut.{suffix}").write_bytes(whole.read_bytes()[:1000])
        (tmp_path / f"empty.{suffix}").touch()
        (tmp_path / f"text.{suffix}").write_text("no slide")
        whole.unlink()
    samples, dataset = read(tmp_path, size=64)
    assert {s.image for s in samples} == {("plain.tif",)}
    named = [warning.split()[2] for warning in dataset.warnings]
    assert sorted(named) == ["cut.svs", "cut.tif", "empty.svs", "empty.tif", "text.svs", "text.tif"]
    assert any("empty.svs is empty" in warning for warning in dataset.warnings)
    assert not any("\n" in warning for warning in dataset.warnings)


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scan["scan.svs"](tmp_path)
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(UsageError, match=r"(?s)openslide-python.*pip install 'histokit\[slides\]'"):
        read(tmp_path)
    path.unlink()
    write_scan["plain.tif"](tmp_path, compression="deflate")
    assert read(tmp_path, size=64)[0], "TIFF needs no OpenSlide"

    def absent(key: int) -> None:
        raise KeyError(key)

    monkeypatch.setattr(type(tifffile.TIFF.DECOMPRESSORS), "__getitem__", lambda _, key: absent(key))
    with pytest.raises(UsageError, match=r"(?s)plain.tif is compressed by DEFLATE.*'histokit\[codecs\]'"):
        read(tmp_path)


def test_the_thumbnail_comes_from_a_level_that_is_nearly_fine_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = draw(1024, 512, (256, 0, 512, 512))
    write_pages(tmp_path / "a.tif", pixels, 0.25)
    seen = []
    whole = TiffPyramid.region
    monkeypatch.setattr(TiffPyramid, "region", lambda *given: seen.append(given[1]) or whole(*given))
    # 52 pixels at 0.25 want 3.25 for 16 along a tile, and the third level has 4; 48 want 3.
    read(tmp_path, size=52, mpp=0.25)
    assert set(seen) == {2}
    seen.clear()
    read(tmp_path, size=48, mpp=0.25)
    assert set(seen) == {1}


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if not kind.endswith(".dcm")])
def test_a_slide_that_is_cut_short_gives_no_tile(tmp_path: Path, kind: str) -> None:
    path = write_scan[kind](tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    write_pages(tmp_path / "whole.tif", PIXELS)
    samples, dataset = read(tmp_path, size=64, tissue="none")
    assert {s.image for s in samples} == {("whole.tif",)}
    (warning,) = dataset.warnings
    assert warning.startswith(f"The slide {kind} gives no tile: {kind} ")


def test_a_tile_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    for kind in ("scan.svs", "plain.tif"):
        path = write_scan[kind](tmp_path, compression="deflate")
        with tifffile.TiffFile(path) as file:
            # The tile of TIFF at column 3, row 2.
            place = file.pages[0].dataoffsets[2 * 8 + 3]
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(b"\xff" * 40)
    dataset = Slides(tmp_path, size=64, tissue="none")
    samples = {(s.image[0], s.box[:2]): s for s in dataset.samples()}
    for kind in ("scan.svs", "plain.tif"):
        with pytest.raises(DataError, match=kind):
            dataset.read(samples[kind, (192, 128)])
        for box in ((128, 128), (256, 128)):
            np.testing.assert_array_equal(dataset.read(samples[kind, box]), cut((*box, 64, 64)))


def test_a_slide_without_resolution_asks_for_it(tmp_path: Path) -> None:
    for kind in WRITERS:
        write_scan[kind](tmp_path, mpp=None)
    # As programs for photographs write it: 72 dots per inch.
    tifffile.imwrite(tmp_path / "print.tif", PIXELS, resolution=(72, 72), resolutionunit="INCH", photometric="rgb")
    with pytest.raises(DataError, match=r"(?s)6 slides do not say the resolution, for example '.*slide_mpp="):
        read(tmp_path, size=64)
    samples, _ = read(tmp_path, size=64, slide_mpp=0.25, min_tissue=0.95)
    assert {s.box[2:] for s in samples} == {(128, 128)}
    write_scan["scan.svs"](tmp_path)
    samples, _ = read(tmp_path, size=64, slide_mpp=0.25, min_tissue=0.95)
    assert {s.image[0]: s.box[2] for s in samples}["scan.svs"] == 64, "what the slide says goes first"


def test_resolutions_in_other_units(tmp_path: Path) -> None:
    write_subifds(tmp_path / "nm.ome.tif", PIXELS, mpp=None)
    told = '" PhysicalSizeX="500" PhysicalSizeXUnit="nm" PhysicalSizeY="250" PhysicalSizeYUnit="nm"'
    path = tmp_path / "nm.ome.tif"
    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata
    tifffile.tiffcomment(path, text.replace('" SizeX=', f"{told} SizeX=", 1).encode())
    tifffile.imwrite(
        tmp_path / "inch.tif", PIXELS, photometric="rgb", resolution=(50800, 101600), resolutionunit="INCH"
    )
    samples, _ = read(tmp_path, size=64, tissue="none")
    assert {s.image[0]: s.box[2:] for s in samples} == {"nm.ome.tif": (64, 128), "inch.tif": (64, 128)}


def test_ome_says_resolutions_as_xml_may_write_them(tmp_path: Path) -> None:
    # As Python's ElementTree writes µ unless it is told an encoding, and as others quote.
    for name, told in {
        "number": '" PhysicalSizeX="0.5" PhysicalSizeXUnit="&#181;m" PhysicalSizeY="0.25" PhysicalSizeYUnit="&#181;m"',
        "quotes": "\" PhysicalSizeX='0.5' PhysicalSizeXUnit='µm' PhysicalSizeY = '0.25' PhysicalSizeYUnit='µm'",
        "angstrom": '" PhysicalSizeX="5000" PhysicalSizeXUnit="Å" PhysicalSizeY="2500" PhysicalSizeYUnit="Å"',
    }.items():
        path = tmp_path / f"{name}.ome.tif"
        write_subifds(path, PIXELS, mpp=None)
        with tifffile.TiffFile(path) as file:
            text = file.ome_metadata
        tifffile.tiffcomment(path, text.replace('" SizeX=', f"{told} SizeX=", 1).encode())
    samples, _ = read(tmp_path, size=64, tissue="none")
    assert {s.image[0]: s.box[2:] for s in samples} == {
        f"{n}.ome.tif": (64, 128) for n in ("number", "quotes", "angstrom")
    }


def test_labels_patients_and_resolution_from_a_table(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        write_pages(tmp_path / f"{name}.tif", PIXELS, 0.5 if name != "c" else None)
    table = "slide,label,patient,mpp,age\na,tumour,007,,50\nb.tif,normal,008,1.0,\nc,normal,,0.5,61\nz,tumour,9,,\n"
    (tmp_path / "labels.csv").write_text(table)
    samples, dataset = read(tmp_path, size=64, mpp=1, labels="labels.csv", group="patient", min_tissue=0.9)
    assert dataset.columns == {"slide": str, "patient": str, "age": int, "slide_mpp": float, "tissue": float}
    assert dataset.levels == ("slide", "patient")
    first = {s.image[0]: s for s in samples}
    assert {path: (s.label, s.box[2], s.metadata["patient"], s.metadata["age"]) for path, s in first.items()} == {
        "a.tif": ("tumour", 128, "007", 50),
        "b.tif": ("normal", 64, "008", None),
        "c.tif": ("normal", 128, "unknown:c", 61),
        "d.tif": (None, 128, "unknown:d", None),
    }
    told = "\n".join(dataset.warnings)
    for words in (
        "The slide b.tif says 0.5 µm per pixel, and the table 1: the table's is taken",
        "1 slide has no row in the table labels.csv, for example 'd.tif'",
        "1 row of the table of labels has no image, for example slide='z'",
        "no patient",
    ):
        assert words in told
    (tmp_path / "d.tif").write_bytes(b"II*\0 truncated")
    write_pages(tmp_path / "e.tif", PIXELS, 0.5)
    (tmp_path / "labels.csv").write_text(table + "d,tumour,9,,\ne,tumour,9,2,\n")
    _, dataset = read(tmp_path, size=64, mpp=2, labels="labels.csv", group="patient", min_tissue=0.9)
    told = "\n".join(dataset.warnings)
    # A table of other slides is told as that, not as slides without resolution.
    (tmp_path / "others.csv").write_text("slide,label,patient,mpp\nx,tumour,9,1\n")
    with pytest.raises(DataError, match="first row of 1 has slide='x', and the first image slide='a'"):
        read(tmp_path, size=64, labels="others.csv", group="patient")
    # What is there and cannot be read is told as that alone.
    assert "The slide d.tif gives no tile" in told
    assert "1 row of the table of labels has no image, for example slide='z'" in told
    assert "and the table 1: the table's is taken; likewise of 1 more slide, such as e.tif" in told
    (tmp_path / "d.tif").unlink()
    (tmp_path / "e.tif").unlink()
    # The option is the column alone: slides are found by their names, not by fields of the pattern.
    (tmp_path / "labels.csv").write_text(table.replace("slide,", "Slide ID,"))
    with pytest.raises(UsageError, match="has no column 'slide:Slide ID'") as caught:
        read(tmp_path, labels="labels.csv", on="slide:Slide ID")
    assert "Did you mean 'Slide ID'?" in caught.value.next
    assert caught.value.next.endswith("Name the right one with -o on=COLUMN.")
    (tmp_path / "labels.csv").write_text(table.replace("1.0", "-1"))
    with pytest.raises(DataError, match=r"mpp=-1.0 for the slide 'b\.tif'"):
        read(tmp_path, labels="labels.csv")
    with pytest.raises(UsageError, match=r"(?s)group='pateint' names no column.*Did you mean"):
        read(tmp_path, labels="labels.csv", group="pateint")


def test_a_slide_begins_with_its_finest_level(tmp_path: Path) -> None:
    tiled = {"photometric": "rgb", "tile": (64, 64)}
    write_pages(tmp_path / "good.tif", PIXELS)
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as file:
        file.write(PIXELS[::2, ::2], photometric="rgb", metadata=None)
        file.write(PIXELS, **tiled, metadata=None)
        file.write(PIXELS[::2, ::2], **tiled, subfiletype=1, metadata=None)
    with tifffile.TiffWriter(tmp_path / "macro.ome.tif") as file:
        for pixels in (PIXELS[:200, :200], PIXELS):
            file.write(pixels, **tiled, metadata={"axes": "YXS"})
    with tifffile.TiffWriter(tmp_path / "cut.ome.tif") as file:
        for pixels in (PIXELS[:320, :320], PIXELS):
            file.write(pixels, **tiled, metadata={"axes": "YXS"})
    samples, dataset = read(tmp_path, size=64, tissue="none", slide_mpp=0.5)
    assert Counter(sample.image[0] for sample in samples) == {"cut.ome.tif": 25, "good.tif": 48}
    told = "The slide {0} gives no tile: {0} begins with an image of {1} pixels and holds one of 512 × 384: "
    advice = "Save it as a tiled pyramid of 8-bit RGB, for instance with: vips tiffsave IN OUT.tif --tile --pyramid"
    assert dataset.warnings == [
        told.format(name, size) + f"a slide begins with its finest level. {advice}"
        for name, size in (("macro.ome.tif", "200 × 200"), ("thumbnail.tif", "256 × 192"))
    ]


@pytest.mark.parametrize("rows", ["a.tif,007\na,008", "a,007\na.tif,008", "x/a.tif,007\na,008", "a.tif,007\nx/a,008"])
def test_rows_that_contradict_each_other_whatever_they_call_the_slide(tmp_path: Path, rows: str) -> None:
    (tmp_path / "x").mkdir()
    write_pages(tmp_path / "x" / "a.tif", PIXELS, 0.5)
    (tmp_path / "labels.csv").write_text(f"slide,pid\n{rows}\n")
    first, second = (row.split(",")[0] for row in rows.split("\n"))
    message = rf"contradict each other for the slide 'x/a\.tif': those of '({first}|{second})' and '({first}|{second})'"
    with pytest.raises(DataError, match=message):
        read(tmp_path, size=64, labels="labels.csv", label_column="pid")
    (tmp_path / "labels.csv").write_text(f"slide,pid\n{rows.replace('008', '007')}\n")
    samples, dataset = read(tmp_path, size=64, labels="labels.csv", label_column="pid")
    assert {sample.label for sample in samples} == {"007"}
    assert not any("no image" in warning for warning in dataset.warnings)


def test_a_row_of_several_slides_gives_way_to_that_of_one(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_pages(tmp_path / folder / "a.tif", PIXELS, 0.5)
    (tmp_path / "labels.csv").write_text("slide,pid\na,007\nx/a.tif,008\n")
    samples, dataset = read(tmp_path, size=64, labels="labels.csv", label_column="pid")
    assert {(s.image[0], s.label) for s in samples} == {("x/a.tif", "008"), ("y/a.tif", "007")}
    assert dataset.warnings == []
    (tmp_path / "labels.csv").write_text("slide,pid\na,007\n")
    _, dataset = read(tmp_path, size=64, labels="labels.csv", label_column="pid")
    assert dataset.warnings == [
        "1 row stands for several slides in the table labels.csv, such as 'a' for x/a.tif, y/a.tif: "
        "where these are not one slide, name each by its path"
    ]
    (tmp_path / "labels.csv").write_text("slide,pid\na,007\nx/a.tif,008\na.tif,009\n")
    with pytest.raises(DataError, match=r"for the slide 'y/a\.tif': those of 'a\.tif' and 'a'"):
        read(tmp_path, size=64, labels="labels.csv", label_column="pid")


def test_names_and_labels_by_the_pattern(tmp_path: Path) -> None:
    for path in ("x/tumour/s1.svs", "x/normal/s2.svs", "y/normal/s1.svs"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        write_aperio(tmp_path / path, PIXELS)
    samples, dataset = read(tmp_path, size=64, pattern="{patient}/{label}/*.svs", group="patient")
    assert Counter((s.metadata["slide"], s.metadata["patient"], s.label) for s in samples) == {
        ("x/tumour/s1", "x", "tumour"): 12,
        ("x/normal/s2", "x", "normal"): 12,
        ("y/normal/s1", "y", "normal"): 12,
    }
    assert dataset.levels == ("slide", "patient")


def test_slides_of_one_name(tmp_path: Path) -> None:
    write_aperio(tmp_path / "a.svs", PIXELS)
    write_pages(tmp_path / "a.tif", PIXELS)
    write_subifds(tmp_path / "b.ome.tif", PIXELS)
    samples, _ = read(tmp_path, size=64)
    assert {s.metadata["slide"] for s in samples} == {"a.svs", "a.tif", "b"}


@pytest.mark.parametrize(
    ("option", "value"),
    [("mpp", 0), ("size", 0), ("overlap", 224), ("overlap", -1), ("slide_mpp", -0.5), ("threshold", 2)],
)
def test_numbers_that_mean_nothing(tmp_path: Path, option: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"The option {option}={value} means nothing"):
        Slides(tmp_path, **{option: value})


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def drawn(kind: str, label: object, *coordinates: object) -> dict:
    properties = {} if label is None else {"classification": label if isinstance(label, str) else {"name": label[0]}}
    geometry = {"type": kind, "coordinates": list(coordinates)}
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation", **properties}}


def regions_of(root: Path, features: list[dict], name: str = "scan.geojson", **options: object):
    (root / name).write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    samples, dataset = read(root, size=64, tissue="none", regions=".", **options)
    return {s.box[:2]: s.label for s in samples}, dataset


def test_regions_give_tiles_their_labels(tmp_path: Path) -> None:
    write_scan["scan.svs"](tmp_path)
    features = [
        # With a hole, in which lies a smaller region; a region of two parts; one inside the first.
        drawn("Polygon", ["tumour"], box(0, 0, 256, 256), box(64, 64, 192, 128)),
        drawn("Polygon", "necrosis", box(64, 64, 128, 128)),
        drawn("MultiPolygon", ["stroma"], [box(320, 0, 384, 64)], [box(448, 320, 512, 384)]),
        drawn("Polygon", ["vessel"], box(0, 192, 64, 256)),
        drawn("Polygon", None, box(256, 256, 320, 320)),
        drawn("Point", ["tumour"], 1, 2),
        drawn("Polygon", ["nucleus"], box(20, 20, 50, 50)),
    ]
    features[-1]["properties"]["objectType"] = "cell"
    found, dataset = regions_of(tmp_path, features)
    tumour = {(x, y): "tumour" for x in (0, 64, 128, 192) for y in (0, 64, 128, 192)}
    del tumour[128, 64]
    others = {(64, 64): "necrosis", (0, 192): "vessel", (320, 0): "stroma", (448, 320): "stroma"}
    assert found == {**tumour, **others}
    assert dataset.levels == ()
    assert sorted(dataset.warnings) == [
        "Annotations that are cells, detections or tiles were left out: 1, for example 'scan.geojson, 7'",
        "Annotations that are points were left out: 1, for example 'scan.geojson, 6'",
        "Annotations that have no class were left out: 1, for example 'scan.geojson, 5'",
    ]
    kept, _ = regions_of(tmp_path, features, outside="keep")
    assert len(kept) == 48
    assert {place: label for place, label in kept.items() if label} == found


def test_cells_and_cores_are_no_regions_whichever_version_of_qupath_wrote_them(tmp_path: Path) -> None:
    write_scan["scan.svs"](tmp_path)
    told: list[dict] = [{"objectType": kind} for kind in ("cell", "tmaCore")]
    told += [{"object_type": kind} for kind in ("cell", "tma_core")] + [{}]
    objects = [drawn("Polygon", ["nucleus"], box(64 * n + 20, 20, 64 * n + 50, 50)) for n in range(len(told))]
    for each, kind in zip(objects, told, strict=True):
        del each["properties"]["objectType"]
        each["properties"] |= kind
    objects[-1]["id"] = "TMACoreObject"
    region = drawn("Polygon", ["tumour"], box(0, 0, 320, 64))
    del region["properties"]["objectType"]
    region["properties"]["object_type"] = "annotation"
    found, dataset = regions_of(tmp_path, [region, *objects])
    assert found == {(64 * n, 0): "tumour" for n in range(len(told))}
    assert dataset.warnings == [
        "Annotations that are cells, detections or tiles were left out: 5, for example 'scan.geojson, 2'"
    ]


@pytest.mark.parametrize("kind", ["MultiPolygon", "GeometryCollection"])
def test_polygons_of_one_region_may_overlap(tmp_path: Path, kind: str) -> None:
    write_scan["scan.svs"](tmp_path)
    # The hole of the first polygon is half covered by the second.
    polygons = [[box(0, 0, 256, 256), box(64, 64, 192, 128)], [box(128, 0, 320, 192)]]
    feature = drawn("MultiPolygon", ["tumour"], *polygons)
    if kind == "GeometryCollection":
        parts = [{"type": "Polygon", "coordinates": rings} for rings in polygons]
        feature["geometry"] = {"type": kind, "geometries": parts}
    found, _ = regions_of(tmp_path, [feature])
    first = {(x, y) for x in range(0, 256, 64) for y in range(0, 256, 64)} - {(64, 64), (128, 64)}
    assert set(found) == first | {(x, y) for x in (128, 192, 256) for y in (0, 64, 128)}


def test_the_region_of_the_centre_or_of_most(tmp_path: Path) -> None:
    write_scan["scan.svs"](tmp_path)
    # A triangle, of the tile at 0, 0 half but for its corner; a cross that holds the centre of the tile at 128, 0 and
    # a quarter of it; and of the tile at 256, 0 two regions, both less than the outside of it.
    features = [
        drawn("Polygon", ["a"], [[0, 0], [70, 0], [0, 70], [0, 0]]),
        drawn("Polygon", ["a"], box(144, 16, 176, 48)),
        drawn("Polygon", ["a"], box(256, 0, 276, 64)),
        drawn("Polygon", ["b"], box(300, 0, 320, 64)),
        drawn("Polygon", ["b"], box(384, 0, 416, 64)),
        drawn("Polygon", ["a"], box(416, 0, 424, 64)),
        drawn("Polygon", ["b"], box(424, 0, 440, 32)),
    ]
    centre, _ = regions_of(tmp_path, features)
    assert centre == {(0, 0): "a", (128, 0): "a", (384, 0): "a"}
    most, _ = regions_of(tmp_path, features, region_by="most")
    assert most == {(0, 0): "a", (384, 0): "b"}


def test_slides_without_regions_are_named(tmp_path: Path) -> None:
    write_scan["scan.svs"](tmp_path)
    write_scan["vips.tif"](tmp_path)
    write_pages(tmp_path / "bad.tif", PIXELS)
    (tmp_path / "bad.tif.geojson").write_text("{")
    (tmp_path / "labels.csv").write_text("slide,label,patient\nscan,tumour,p1\n")
    features = [drawn("Polygon", ["a"], box(0, 0, 256, 256))]
    found, dataset = regions_of(tmp_path, features, labels="labels.csv", group="patient")
    assert set(found.values()) == {"a"}
    told = "\n".join(dataset.warnings)
    assert "The slide vips.tif gives no tile: there is no file of its regions in" in told
    assert "The slide bad.tif gives no tile: The file of annotations" in told
    assert "The labels of slides in the table are not used" in told
    _, dataset = regions_of(tmp_path, features, outside="keep")
    assert any("no file of regions of the slide vips.tif" in warning for warning in dataset.warnings)
    with pytest.raises(UsageError, match="regions=nowhere names no folder"):
        read(tmp_path, regions="nowhere")
    with pytest.raises(UsageError, match=r"\{label\} in the pattern as well"):
        read(tmp_path, regions=".", pattern="{label}/*")
    with pytest.raises(DataError, match="no tile lies in its 1 region that has a class"):
        regions_of(tmp_path, [drawn("Polygon", ["a"], box(0, 0, 8, 8))])


def test_tiles_are_read_wherever_the_regions_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("slides", "outlines", "elsewhere"):
        (tmp_path / folder).mkdir()
    write_scan["scan.svs"](tmp_path / "slides")
    features = [drawn("Polygon", ["a"], box(0, 0, 512, 384))]
    (tmp_path / "outlines" / "scan.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    monkeypatch.chdir(tmp_path)
    options = {"mpp": "0.5", "size": "64", "regions": "outlines"}
    histokit.ingest(tmp_path / "store", "slides", tmp_path / "slides", name="d", options=options)
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = histokit.extract(tmp_path / "store", "d", "texture", layers=["stain"])
    assert {table["missing"] for table in done.tables} == {0}
    with pytest.raises(UsageError, match="regions=outlines names no folder"):
        histokit.ingest(tmp_path / "store", "slides", tmp_path / "slides", name="d", options=options)


def test_regions_that_may_be_of_either_slide_are_of_none(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_pages(tmp_path / folder / "a.tif", PIXELS)
    write_scan["scan.svs"](tmp_path)
    features = [drawn("Polygon", ["a"], box(0, 0, 256, 256))]
    regions_of(tmp_path, features)
    _, dataset = regions_of(tmp_path, features, "a.geojson")
    assert {s.image[0] for s in dataset.samples()} == {"scan.svs"}
    told = "\n".join(dataset.warnings)
    assert f"x/a.tif gives no tile: a.geojson in {tmp_path} may be of y/a.tif as well" in told
    assert "regions of this one alone are called y/a.tif.geojson" in told
    # Nor of the one that can be opened.
    whole = (tmp_path / "x" / "a.tif").read_bytes()
    (tmp_path / "x" / "a.tif").write_bytes(b"II*\0 truncated")
    samples, _ = read(tmp_path, size=64, tissue="none", regions=".")
    assert {s.image[0] for s in samples} == {"scan.svs"}
    (tmp_path / "x" / "a.tif").write_bytes(whole)
    # With a file of its own, one of them leaves the other file to the other slide.
    regions_of(tmp_path, [drawn("Polygon", ["b"], box(0, 0, 64, 64))], "x/a.geojson")
    samples, _ = read(tmp_path, size=64, tissue="none", regions=".")
    assert {(s.image[0], s.label) for s in samples} == {("scan.svs", "a"), ("x/a.tif", "b"), ("y/a.tif", "a")}


def test_contract(tmp_path: Path) -> None:
    for kind in WRITERS:
        write_scan[kind](tmp_path)
    rows = "".join(f"{kind},{label}\n" for kind, label in zip(WRITERS, "ababa", strict=True))
    (tmp_path / "labels.csv").write_text("slide,label\n" + rows)
    check_dataset(Slides, tmp_path, size=48, mpp=0.6, labels="labels.csv")
    for kind in WRITERS:
        whole = drawn("Polygon", ["a"], box(0, 0, 512, 384))
        (tmp_path / f"{kind}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [whole]}))
    check_dataset(Slides, tmp_path, size=64, regions=".")


def test_more_slides_than_stay_open_read_by_threads(tmp_path: Path) -> None:
    for number in range(10):
        pixels = PIXELS.copy()
        pixels[..., 0] += number
        (write_aperio if number % 2 else write_pages)(tmp_path / f"{number}.{'svs' if number % 2 else 'tif'}", pixels)
    samples, dataset = read(tmp_path, size=64, min_tissue=0.95)
    assert len(samples) == 120
    again = pickle.loads(pickle.dumps(dataset))
    # Slide after slide in turn, so that each is opened again and again while others are read.
    order = [samples[12 * (i % 10) + i // 10] for i in range(120)]
    with ThreadPoolExecutor(8) as pool:
        for opened in (dataset, again):
            for sample, pixels in zip(order, pool.map(opened.read, order), strict=True):
                expected = cut(sample.box).copy()
                expected[..., 0] += int(sample.metadata["slide"])
                np.testing.assert_array_equal(pixels, expected)
    assert len(dataset._opener._open) == 8


def test_jpeg_tiles_with_shared_tables(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    write_subifds(tmp_path / "a.tif", PIXELS, compression="jpeg", compressionargs={"level": 95})
    samples, dataset = read(tmp_path, size=64, min_tissue=0.95)
    for sample in samples:
        assert np.abs(dataset.read(sample).astype(int) - cut(sample.box)).mean() < 4


def test_packages_that_read_a_compression_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imagecodecs")
    write_subifds(tmp_path / "a.tif", PIXELS, compression="zstd")
    assert read(tmp_path, size=64)[0]

    def absent(data: bytes) -> bytes:
        raise ModuleNotFoundError("No module named 'compression'")

    # As before Python 3.14.
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {50000: absent, 34926: absent})
    with pytest.raises(UsageError, match=r"compressed by ZSTD.*needs the package imagecodecs"):
        read(tmp_path, size=64)
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {})
    with pytest.raises(UsageError, match=r"compressed by ZSTD.*needs the package imagecodecs"):
        read(tmp_path, size=64)


def test_a_codec_that_refuses_nothing_in_its_own_way_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    write_subifds(tmp_path / "a.tif", PIXELS, compression="zstd")

    class NoFrameError(Exception):
        """As that of Python 3.14, which is none that others have."""

    def own(data: bytes, **options: object) -> bytes:
        if not data:
            raise NoFrameError
        return imagecodecs.zstd_decode(data, **options)

    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", {50000: own, 34926: own})
    samples, dataset = read(tmp_path, size=64, min_tissue=0.95)
    assert samples
    assert all(np.array_equal(dataset.read(sample), cut(sample.box)) for sample in samples)


def test_grey_inverted_and_absent_tiles(tmp_path: Path) -> None:
    grey = PIXELS[..., 1].copy()
    tifffile.imwrite(tmp_path / "a.tif", grey, tile=(64, 64), photometric="miniswhite")
    samples, dataset = read(tmp_path, size=64, tissue="none", slide_mpp=0.5)
    sample = next(s for s in samples if s.box[:2] == (128, 64))
    np.testing.assert_array_equal(dataset.read(sample), np.repeat(255 - cut(sample.box)[..., 1:2], 3, axis=2))
    with pytest.raises(DataError, match=r"(?s)gives a tile.*a\.tif.*tissue=none"):
        read(tmp_path, size=64, slide_mpp=0.5)


def test_the_digest_of_a_large_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scan["plain.tif"](tmp_path, levels=1)
    whole = digests.slide_digest(path)
    for name, value in {"WHOLE": 1 << 10, "_END": 1 << 10, "_BLOCKS": 4, "_BLOCK": 1 << 10}.items():
        monkeypatch.setattr(digests, name, value)
    first = digests.slide_digest(path)
    assert first != whole
    assert digests.slide_digest(path) == first
    data = bytearray(path.read_bytes())

    def changed(place: int) -> bool:
        other = bytearray(data)
        other[place] ^= 1
        path.write_bytes(other)
        return digests.slide_digest(path) != first

    assert changed(500), "the beginning"
    assert changed(len(data) - 500), "the end"
    assert changed((len(data) - 1024) // 3 + 100), "a block inside"
    assert not changed(len(data) // 2), "between the blocks"
    path.write_bytes(data + b"\0")
    assert digests.slide_digest(path) != first, "the length"


def test_the_digest_of_a_large_slide_knows_the_lengths_of_all_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pages(tmp_path / "packed.tif", PIXELS, levels=1, compression="deflate")
    for name, value in {"WHOLE": 1 << 10, "_END": 64, "_BLOCKS": 2, "_BLOCK": 64}.items():
        monkeypatch.setattr(digests, name, value)
    before = digests.slide_digest(path)
    with tifffile.TiffFile(path, mode="r+b") as file:
        counts = file.pages[0].tags["TileByteCounts"]
        assert 64 < counts.valueoffset < path.stat().st_size - 512, "no block holds them"
        counts.overwrite([counts.value[0] - 1, *counts.value[1:]])
    assert digests.slide_digest(path) != before


def test_files_beside_a_slide_count(tmp_path: Path) -> None:
    slide, folder = tmp_path / "a.mrxs", tmp_path / "a"
    slide.write_bytes(b"x")
    folder.mkdir()
    (folder / "Data0000.dat").write_bytes(b"1")
    before, guarded = digests.slide_digest(slide), Guarded(Slides(tmp_path))
    state = guarded.file_state("a.mrxs")
    assert guarded.file_state("a.mrxs") == state
    (folder / "Data0000.dat").write_bytes(b"2")
    assert digests.slide_digest(slide) != before
    # So that `extract` looks at what is in them.
    assert guarded.file_state("a.mrxs") != state


def test_a_slide_that_only_looks_changed_is_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scan["plain.tif"](tmp_path)
    dataset = Slides(tmp_path)
    first = dataset.file_digest(path)
    monkeypatch.setattr("histokit.datasets.whole_slides.slides.slide_digest", lambda _: b"anew")
    assert dataset.file_digest(path) == first
    os.utime(path, ns=(1, 1))
    assert dataset.file_digest(path) == b"anew"


@pytest.mark.parametrize("held", [False, True])
def test_what_is_transparent_is_white(tmp_path: Path, held: bool) -> None:
    alpha = np.zeros((384, 512, 1), np.uint8)
    alpha[:, :256] = 255
    alpha[:64, :64] = 51
    colours = (PIXELS * (alpha / 255) if held else PIXELS).astype(np.uint8)
    kinds = {"extrasamples": ["assocalpha" if held else "unassalpha"]}
    write_subifds(tmp_path / "a.tif", np.concatenate([colours, alpha], axis=2), levels=1, **kinds)
    write_subifds(tmp_path / "b.tif", PIXELS, levels=1)
    samples, dataset = read(tmp_path, size=64, tissue="none")
    tiles = {sample.id: dataset.read(sample) for sample in samples}
    np.testing.assert_array_equal(tiles["a.tif#xywh=192,128,64,64"], PIXELS[128:192, 192:256])
    assert tiles["a.tif#xywh=256,128,64,64"].min() == 255
    lighter = PIXELS[:64, :64] * 0.2 + 255 * 0.8
    assert np.abs(tiles["a.tif#xywh=0,0,64,64"] - lighter).max() <= 1
    # Tiles of it were read otherwise once, those of others were not.
    keys = {sample.image[0]: dataset.pixel_key(sample) for sample in samples}
    assert keys["a.tif"] != keys["b.tif"] == dataset._pixel_key


def test_slides_that_are_stored_turned_or_of_other_ycbcr_are_told(tmp_path: Path) -> None:
    write_subifds(tmp_path / "a.tif", PIXELS, levels=1, extratags=[(274, 3, 1, 6, True)])
    weights = (2126, 10000, 7152, 10000, 722, 10000)
    how = {"photometric": "ycbcr", "compression": "jpeg", "extratags": [(529, 5, 3, weights, True)]}
    write_subifds(tmp_path / "b.tif", PIXELS, levels=1, **how)
    write_subifds(tmp_path / "c.tif", PIXELS, levels=1)
    samples, dataset = read(tmp_path, size=64, tissue="none")
    assert {sample.image[0] for sample in samples} == {"c.tif"}
    told = " ".join(dataset.warnings)
    assert "a.tif is stored turned (orientation 6)" in told
    assert "b.tif has YCbCr of other weights or limits than those of JPEG" in told


@pytest.mark.real_data
def test_real_slides(real_data: Path) -> None:
    samples, dataset = read(real_data / "data" / "slides")
    (warning,) = dataset.warnings
    assert "4D-series.ome.tiff holds pixels with a sign (int8, in planes of T = 7, Z = 5)" in warning
    assert 35 <= len(samples) <= 50
    assert {s.box[2:] for s in samples} == {(224, 224)}, "0.499 µm per pixel"
    import openslide

    with openslide.OpenSlide(real_data / "data" / "slides" / "CMU-1-Small-Region.svs") as slide:
        for sample in samples[::10]:
            expected = np.asarray(slide.read_region(sample.box[:2], 0, (224, 224)))[..., :3]
            np.testing.assert_array_equal(dataset.read(sample), expected)


def test_from_slides_to_scores(tmp_path: Path) -> None:
    root = tmp_path / "slides"
    root.mkdir()
    rng = np.random.default_rng(0)
    rows = ["slide,label,patient"]
    for number in range(6):
        label = "ab"[number % 2]
        pixels = draw(256, 256, (0, 0, 192, 192), colour=(205, 120, 170) if label == "a" else (150, 100, 190))
        pixels = (pixels.astype(int) + rng.integers(-6, 6, (*pixels.shape[:2], 1))).clip(0, 255).astype(np.uint8)
        (write_aperio if number % 3 else write_subifds)(root / f"s{number}{'.svs' if number % 3 else '.tif'}", pixels)
        rows.append(f"s{number},{label},p{number // 2 * 2 + number % 2}")
    (root / "labels.csv").write_text("\n".join(rows))
    (root / "broken.svs").write_text("no slide")
    store = tmp_path / "store"
    options = {"labels": "labels.csv", "group": "patient", "size": "64", "min_tissue": "0.9"}
    record = histokit.ingest(store, "slides", root, name="wsi", options=options)
    assert (record.count, record.group, record.levels) == (6 * 9, "patient", ("slide", "patient"))
    assert any("broken.svs" in warning for warning in record.warnings)
    done = histokit.extract(store, "wsi", ["texture"], workers=2)
    assert not done.problems
    (run,) = histokit.train(store, "wsi", "texture/stain", "knn", split="cv", grid={"k": [1]})
    (found,) = histokit.evaluate(store, run.id, by=["slide:mean"])
    assert found.metrics["accuracy"] == 1
    assert found.by["slide:mean"]["units"] == 6


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
def test_a_tile_whose_data_are_damaged(tmp_path: Path, compression: str) -> None:
    write_subifds(tmp_path / "a.tif", PIXELS, compression=compression)
    samples, dataset = read(tmp_path, size=64, tissue="none")
    assert dataset.read(samples[0]).shape == (64, 64, 3)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[start + count - 30 : start + count] = bytes(30)
    (tmp_path / "a.tif").write_bytes(content)
    samples, dataset = read(tmp_path, size=64, tissue="none")
    with pytest.raises(DataError, match=r"a\.tif cannot be read: tile 0 of 512 × 384 pixels: .*damaged"):
        dataset.read(samples[0])
    assert dataset.read(samples[1]).shape == (64, 64, 3)


def test_what_options_say_of_a_table_needs_it(tmp_path: Path) -> None:
    write_aperio(tmp_path / "a.svs", PIXELS, 0.5)
    for option in ({"on": "name"}, {"label_column": "grade"}):
        with pytest.raises(UsageError, match="needs a table of labels"):
            read(tmp_path, **option)
    with pytest.raises(UsageError, match="text='age' names no column: there are slide"):
        read(tmp_path, text="age")
    (tmp_path / "l.csv").write_text("slide,label,age\na,x,7\n")
    with pytest.raises(UsageError, match="text='agee' names no column: there are slide, label, age") as caught:
        read(tmp_path, labels="l.csv", text="agee")
    assert caught.value.next == "Did you mean 'age'?"
    assert read(tmp_path, labels="l.csv", text="age")[1].columns["age"] is str
