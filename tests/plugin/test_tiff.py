from __future__ import annotations

import json
import warnings
import zlib
from functools import partial
from unittest import mock

import numpy as np
import pytest
import tifffile
from PIL import Image
from raw_images import (
    BITS,
    COLOUR_MAP,
    COMPRESSION,
    DESCRIPTION,
    EXTRA_SAMPLES,
    FILL_ORDER,
    HEIGHT,
    ORIENTATION,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    SAMPLE_FORMAT,
    SUBFILE_TYPE,
    WIDTH,
    page,
    png,
    tiff,
)
from simplejpeg import encode_jpeg

from histokit import plugin
from histokit.errors import DataError
from histokit.plugin.intensities import parse_scale
from histokit.plugin.raw_images import read_raw
from histokit.plugin.reader_marks import reader_mark
from histokit.plugin.remarks import ImageWarning
from histokit.plugin.sample_pixels import ChannelSource

read_image = partial(plugin.read_image, deep=True)

DRAWN = np.random.default_rng(0)
GREY = DRAWN.integers(0, 256, (12, 10), dtype=np.uint8)
DEEP = DRAWN.integers(0, 65536, (12, 10), dtype=np.uint16)
DEEP[0, :2] = 0, 65535
COLOUR = DRAWN.integers(0, 256, (12, 10, 3), dtype=np.uint8)
COLOURS_OF_16 = DRAWN.integers(0, 65536, (12, 10, 3), dtype=np.uint16)
FOUR = DRAWN.integers(0, 256, (12, 10, 4), dtype=np.uint8)

INSET, DEPTH, STACK, SUBSAMPLING = 332, 32997, 33629, 530
DEFLATE = {COMPRESSION: 8}

#: How stored pixels are to be shown, as TIFF 6.0 says it.
TURNED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p.swapaxes(0, 1)[::-1, ::-1],
    8: lambda p: p.swapaxes(0, 1)[::-1],
}


def grey(values) -> np.ndarray:
    return np.repeat(np.asarray(values)[..., None], 3, axis=2)


def equal(read: np.ndarray, wanted: np.ndarray, within: int = 0) -> None:
    assert read.shape == wanted.shape
    assert read.dtype == (np.uint16 if np.asarray(wanted).dtype == np.uint16 else np.uint8)
    assert int(abs(read.astype(int) - np.asarray(wanted).astype(int)).max()) <= within


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("compression", [1, 8, 32773])
def test_every_orientation_of_every_kind(tmp_path, orientation, compression):
    tags = {ORIENTATION: orientation, COMPRESSION: compression}
    palette = DRAWN.integers(0, 65536, 768)
    for pixels, more, wanted in (
        (GREY, {}, grey(GREY)),
        (GREY, {PHOTOMETRIC: 3, COLOUR_MAP: palette.tolist()}, (palette.reshape(3, 256).T >> 8)[GREY]),
        (DEEP, {}, grey(DEEP)),
        (COLOUR, {}, COLOUR),
        (COLOURS_OF_16, {}, COLOURS_OF_16),
        (COLOURS_OF_16, {PLANAR: 2}, COLOURS_OF_16),
        (FOUR, {PHOTOMETRIC: 5}, (255 - FOUR[..., :3].astype(int)) * (255 - FOUR[..., 3:].astype(int)) / 255),
    ):
        for order in "<>":
            for how in ({}, {"tile": 16}, {"rows": 5}):
                path = tiff(tmp_path / "a.tif", page(pixels, tags | more, **how), order=order)
                equal(read_image(path), TURNED[orientation](wanted), 1 if PHOTOMETRIC in more else 0)


def test_a_turned_big_tiff(tmp_path):
    path = tiff(tmp_path / "a.tif", page(DEEP, {ORIENTATION: 8}), big=True)
    equal(read_image(path), TURNED[8](grey(DEEP)))


def test_turned_files_of_other_programs(tmp_path):
    image = Image.fromarray(GREY)
    image.save(tmp_path / "a.tif", tiffinfo={ORIENTATION: 6})
    equal(read_image(tmp_path / "a.tif"), TURNED[6](grey(GREY)))


@pytest.mark.parametrize("compression", [1, 8])
def test_kinds_of_pixels(tmp_path, compression):
    tags = {COMPRESSION: compression}
    for pixels, more, wanted in (
        (GREY, {PHOTOMETRIC: 0}, grey(255 - GREY)),
        (COLOUR, {PLANAR: 2}, COLOUR),
        (COLOUR, {PLANAR: 2, ORIENTATION: 6}, TURNED[6](COLOUR)),
        (FOUR, {PHOTOMETRIC: 5, PLANAR: 2}, (255 - FOUR[..., :3].astype(int)) * (255.0 - FOUR[..., 3:]) / 255),
    ):
        for order in "<>":
            for how in ({}, {"tile": 16}, {"rows": 5}):
                path = tiff(tmp_path / "a.tif", page(pixels, tags | more, **how), order=order)
                equal(read_image(path), wanted, 1 if PHOTOMETRIC in more else 0)


def test_white_is_zero_of_16_bits(tmp_path):
    path = tiff(tmp_path / "a.tif", page(DEEP, {PHOTOMETRIC: 0}))
    equal(read_image(path), grey(65535 - DEEP))
    assert read_image(path)[0, :2, 0].tolist() == [65535, 0]


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1])
def test_few_bits(tmp_path, bits, photometric):
    values = DRAWN.integers(0, 1 << bits, (12, 16))
    rows = np.zeros((12, 16 * bits // 8), np.uint8)
    for k in range(8 // bits):
        rows |= (values[:, k :: 8 // bits] << (8 - bits * (k + 1))).astype(np.uint8)
    tags = {WIDTH: 16, BITS: bits, PHOTOMETRIC: photometric}
    wanted = values * (255 // ((1 << bits) - 1))
    wanted = grey(wanted if photometric else 255 - wanted)
    equal(read_image(tiff(tmp_path / "a.tif", page(rows, tags))), wanted)
    turned = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], np.uint8)[rows]
    equal(read_image(tiff(tmp_path / "b.tif", page(turned, tags | {FILL_ORDER: 2}))), wanted)


@pytest.mark.parametrize("compression", [1, 8])
def test_packed_12_bits_are_scaled_by_what_they_are_declared_to_be(tmp_path, compression):
    values = DRAWN.integers(0, 4096, (12, 10))
    bits = "".join(f"{value:012b}" for value in values.ravel())
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    data = zlib.compress(data) if compression == 8 else data
    path = tiff(tmp_path / "a.tif", page(GREY, {BITS: 12, COMPRESSION: compression}, data=[data]))
    equal(read_image(path), grey(of_12_bits(values)))


def of_12_bits(values) -> np.ndarray:
    # 4095 is white.
    return np.array([round(int(value) * 65535 / 4095) for value in values.ravel()], np.uint16).reshape(values.shape)


def ome(channels=1, z=1, t=1, more="") -> str:
    sizes = f'SizeX="10" SizeY="12" SizeC="{channels}" SizeZ="{z}" SizeT="{t}" DimensionOrder="XYCZT"'
    return f'<?xml version="1.0"?><OME><Image><Pixels ID="Pixels:0" Type="uint16" {sizes} {more}/></Image></OME>'


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["white is zero", "black is zero", "colours"])
def test_packed_12_bits_of_every_kind(tmp_path, order, kind):
    shape = (12, 10, 3) if kind == "colours" else (12, 10)
    values = DRAWN.integers(0, 4096, shape)
    bits = "".join(f"{value:012b}" for value in values.ravel())
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    tags = {BITS: [12] * (values.size // 120), PHOTOMETRIC: {"white is zero": 0, "colours": 2}.get(kind, 1)}
    path = tiff(tmp_path / "a.tif", page(values.astype(np.uint16), tags, data=[data]), order=order)
    shown = of_12_bits(4095 - values if kind == "white is zero" else values)
    shown = shown if kind == "colours" else grey(shown)
    equal(read_image(path), shown)
    scaled = ChannelSource(scale=parse_scale("range:0,4095")).pixels([path], None)
    equal(scaled, shown[..., : scaled.shape[2]], 1)


@pytest.mark.parametrize("pixels", [GREY, COLOUR, DEEP, COLOURS_OF_16])
def test_numbers_of_which_a_file_does_not_say_what_they_are(tmp_path, pixels):
    path = tiff(tmp_path / "a.tif", page(pixels, {SAMPLE_FORMAT: [4] * (pixels.size // 120)}))
    equal(read_image(path), pixels if pixels.ndim == 3 else grey(pixels))
    assert read_raw(path).pixels.reshape(pixels.shape).tolist() == pixels.tolist()


def test_a_palette_of_65536_colours(tmp_path):
    colours = DRAWN.integers(0, 65536, (3, 65536), dtype=np.uint16)
    path = tiff(tmp_path / "a.tif", page(DEEP, {PHOTOMETRIC: 3, COLOUR_MAP: colours.ravel().tolist()}))
    equal(read_image(path), np.moveaxis(colours[:, DEEP], 0, -1))


def test_significant_bits_of_ome(tmp_path):
    values = DEEP >> 4
    path = tiff(tmp_path / "a.tif", page(values, {DESCRIPTION: ome(more='SignificantBits="12"')}))
    equal(read_image(path), grey(of_12_bits(values)))
    path = tiff(tmp_path / "b.tif", page(DEEP, {DESCRIPTION: ome(more='SignificantBits="12"')}))
    with pytest.raises(DataError, match="holds 65535, more than the 12 bits that it was said"):
        read_image(path)
    colours = COLOURS_OF_16 >> 4
    path = tiff(tmp_path / "c.tif", page(colours, {DESCRIPTION: ome(channels=3, more='SignificantBits="12"')}))
    equal(read_image(path), of_12_bits(colours))
    assert reader_mark(path) != reader_mark(tiff(tmp_path / "d.tif", page(colours)))


@pytest.mark.parametrize(("largest", "dark"), [(0, True), (4095, True), (16383, True), (16384, False)])
@pytest.mark.parametrize("order", "<>")
def test_16_bits_of_which_few_are_used(tmp_path, largest, dark, order):
    values = np.full((12, 10), largest // 2, np.uint16)
    values[3] = largest
    for number, pixels in enumerate((values, grey(values))):
        path = tiff(tmp_path / f"{number}.tif", page(pixels), order=order)
        if dark:
            with pytest.warns(ImageWarning, match=rf"{number}\.tif uses less than a quarter.*above {largest} of 65535"):
                read = read_image(path)
        else:
            read = read_image(path)
        equal(read, grey(values))


@pytest.mark.parametrize(("side", "hot", "dark"), [(10, 2, True), (10, 3, False), (100, 10, True), (100, 11, False)])
def test_a_few_hot_pixels_hide_nothing(tmp_path, side, hot, dark):
    # Of a camera of 12 bits, whose defect pixels are at the top of all 16.
    values = np.random.default_rng(0).integers(0, 4095, (side, side), dtype=np.uint16)
    values[0, 0] = 4095
    values.reshape(-1)[1 : 1 + hot] = 65535
    for pixels in (values, grey(values)):
        path = tiff(tmp_path / "a.tif", page(pixels))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            equal(read_image(path), grey(values))
        assert bool(told) == dark
        if dark:
            assert f"(no value above 4095 of 65535, but for {hot} hot pixels)" in str(told[0].message)


def test_the_largest_value_of_one_image_is_no_declaration(tmp_path):
    # By TIFF 6.0, MaxSampleValue is not to be used to affect how an image looks.
    path = tiff(tmp_path / "a.tif", page(DEEP, {281: 4095}))
    equal(read_image(path), grey(DEEP))


def coloured(*colours: int) -> str:
    channels = "".join(f'<Channel ID="Channel:0:{n}" Color="{colour}"/>' for n, colour in enumerate(colours))
    return ome(channels=3).replace("/></Image>", f">{channels}</Pixels></Image>")


#: As OME writes colours: red, green, blue and opacity in a number of 32 bits with a sign.
RED, GREEN, BLUE, WHITE = -16776961, 16711935, 65535, -1
CHANNELS = {
    "imagej": "ImageJ=1.53t\nimages=3\nchannels=3\nhyperstack=true\nmode=composite\n",
    "ome": ome(channels=3),
    "tifffile": json.dumps({"shape": [3, 12, 10], "axes": "CYX"}),
    "ome with colours": coloured(RED, GREEN, BLUE),
    "ome with one colour": coloured(WHITE, WHITE, WHITE),
}


@pytest.mark.parametrize("program", CHANNELS)
def test_three_pages_that_are_said_to_be_channels(tmp_path, program):
    planes = [page(COLOUR[..., k], {ORIENTATION: 6}) for k in range(3)]
    planes[0]["tags"][DESCRIPTION] = CHANNELS[program]
    path = tiff(tmp_path / "a.tif", *planes)
    with pytest.warns(ImageWarning, match=r"a\.tif has three pages that it calls channels.*red, green and blue"):
        equal(read_image(path), TURNED[6](COLOUR))
    deep = [page(COLOURS_OF_16[..., k], DEFLATE) for k in range(3)]
    deep[0]["tags"][DESCRIPTION] = CHANNELS[program]
    with pytest.warns(ImageWarning, match="calls channels"):
        equal(read_image(tiff(tmp_path / "b.tif", *deep)), COLOURS_OF_16)


@pytest.mark.parametrize(
    ("description", "pages", "reason"),
    [
        ("", 2, "has 2 planes or pages, 10 × 12 pixels each"),
        (json.dumps({"shape": [3, 12, 10]}), 3, "has 3 planes or pages"),
        (json.dumps({"shape": [3, 12, 10], "axes": "ZYX"}), 3, "has 3 planes or pages"),
        (json.dumps({"shape": [3, 12, 10], "axes": "CYX", "truncated": True}), 1, "has 3 channels by its own descr"),
        ("ImageJ=1.53t\nimages=3\nslices=3\n", 3, "has 3 planes or pages"),
        ("ImageJ=1.53t\nimages=3\nframes=3\n", 3, "has 3 planes or pages"),
        ("ImageJ=1.53t\nimages=6\nchannels=3\nslices=2\n", 6, "has 6 planes or pages"),
        ("ImageJ=1.53t\nimages=3\nchannels=3\nframes=2\n", 3, "has 3 planes or pages"),
        (ome(channels=3, z=1, t=2), 3, "has 6 planes or pages by its own description"),
        ("ImageJ=1.53t\nimages=4\nchannels=4\n", 4, "has 4 channels, 10 × 12 pixels each"),
        ("ImageJ=1.53t\nimages=3\nchannels=3\n", 1, "has 3 channels by its own description"),
        ("ImageJ=1.53t\nimages=300\nslices=300\n", 1, "has 300 planes or pages by its own description"),
        (ome(channels=3), 1, "has 3 channels by its own description"),
        (ome(z=3), 3, "has 3 planes or pages"),
        (ome(t=3), 3, "has 3 planes or pages"),
        (ome(channels=2), 2, "has 2 channels"),
        (coloured(BLUE, GREEN, RED), 3, "has 3 channels, 10 × 12 pixels each"),
    ],
)
def test_planes_that_are_not_one_rgb_image(tmp_path, description, pages, reason):
    first = page(GREY, {DESCRIPTION: description} if description else {})
    path = tiff(tmp_path / "a.tif", first, *[page(GREY)] * (pages - 1))
    with pytest.raises(DataError, match=reason):
        read_image(path)


def test_a_file_of_several_that_hold_one_image_is_read_for_its_own_plane(tmp_path):
    names = "".join(
        f'<TiffData IFD="0" FirstZ="{z}"><UUID FileName="{z}.ome.tif">u{z}</UUID></TiffData>' for z in (0, 1)
    )
    told = ome(z=2).replace("uint16", "uint8").replace("/></Image>", f">{names}</Pixels></Image>")
    for z in (0, 1):
        path = tiff(tmp_path / f"{z}.ome.tif", page(GREY + z, {DESCRIPTION: told}))
    with pytest.warns(ImageWarning, match=r"is one of several files .*\(1 more file of the same image\)"):
        equal(read_image(path), grey(GREY + 1))
    with pytest.warns(ImageWarning, match=r"is one of several files .*\(1 more file of the same image\)"):
        assert read_raw(path).pixels[..., 0].tolist() == (GREY + 1).tolist()


def test_three_channels_of_other_kinds_are_refused(tmp_path):
    first = page(GREY, {DESCRIPTION: CHANNELS["imagej"]})
    path = tiff(tmp_path / "a.tif", first, page(GREY), page(DEEP))
    with pytest.raises(DataError, match="has 3 channels, 10 × 12 pixels each, which are not one RGB"):
        read_image(path)
    path = tiff(tmp_path / "b.tif", first, page(GREY), page(GREY, {SAMPLE_FORMAT: 2}))
    with pytest.raises(DataError, match="with a sign"):
        read_image(path)


def test_rgb_images_that_describe_themselves(tmp_path):
    for description in (ome(channels=3), json.dumps({"shape": [12, 10, 3]}), "ImageJ=1.53t\n", "{", "[]"):
        path = tiff(tmp_path / "a.tif", page(COLOUR, {DESCRIPTION: description}))
        equal(read_image(path), COLOUR)


def test_pyramids_and_other_pictures_of_a_slide(tmp_path):
    half, label = page(COLOUR[::2, ::2], {SUBFILE_TYPE: 1}), page(COLOUR[:5, :4])
    mask = page(GREY, {SUBFILE_TYPE: 4})
    equal(read_image(tiff(tmp_path / "a.tif", page(COLOUR), half, mask)), COLOUR)
    slide = page(COLOUR, {DESCRIPTION: "Aperio Image Library v11.2.1\n10x12"})
    equal(read_image(tiff(tmp_path / "b.svs", slide, page(COLOUR[::2, ::2]), label)), COLOUR)
    with pytest.warns(ImageWarning, match=r"holds more than what was read, its first picture \(1 more page\)"):
        equal(read_image(tiff(tmp_path / "c.tif", page(COLOUR), half, label)), COLOUR)


def test_a_first_page_that_is_not_the_image(tmp_path):
    small = COLOUR[::2, ::2]
    with pytest.raises(DataError, match="has only a reduced image on its first page"):
        read_image(tiff(tmp_path / "a.tif", page(small, {SUBFILE_TYPE: 1}), page(COLOUR)))
    with pytest.raises(DataError, match=r"has a first page smaller than another \(10 × 12 pixels\)"):
        read_image(tiff(tmp_path / "b.tif", page(small), page(COLOUR)))


REFUSED = [
    (GREY.view(np.int8), {SAMPLE_FORMAT: 2}, "pixels of 32 bits or with a sign"),
    (DEEP.view(np.int16), {SAMPLE_FORMAT: 2}, "pixels of 32 bits or with a sign"),
    (COLOUR.view(np.int8), {SAMPLE_FORMAT: [2, 2, 2]}, "pixels of 32 bits or with a sign"),
    (DEEP.astype(np.uint32), {}, "pixels of 32 bits or with a sign"),
    ((DEEP >> 6).astype(np.float16), {SAMPLE_FORMAT: 3}, "floating-point pixels"),
    (DEEP.astype(np.float32), {SAMPLE_FORMAT: 3}, "floating-point pixels"),
    (DEEP / 65535, {SAMPLE_FORMAT: 3}, "floating-point pixels"),
    (DEEP.astype(np.complex64), {SAMPLE_FORMAT: 6}, "pixels of complex numbers"),
    (COLOUR, {PHOTOMETRIC: 8}, "CIE Lab pixels"),
    (COLOUR, {PHOTOMETRIC: 9}, "CIE Lab pixels"),
    (GREY, {PHOTOMETRIC: 4}, "pixels of a mask"),
    (GREY, {PHOTOMETRIC: 32803}, "raw pixels of a camera"),
    (FOUR, {PHOTOMETRIC: 5, INSET: 2}, "inks other than cyan"),
    (COLOUR[..., :2], {}, "2 channels in each pixel, none of them said to be red"),
    (COLOUR[..., :2], {EXTRA_SAMPLES: 0}, "2 channels in each pixel"),
    (COLOUR, {PHOTOMETRIC: 1, EXTRA_SAMPLES: [0, 0]}, "3 channels in each pixel"),
    (COLOUR, {PHOTOMETRIC: 1, PLANAR: 2, EXTRA_SAMPLES: [0, 0]}, "3 channels in each pixel"),
    (GREY, {COMPRESSION: 33003}, "is compressed by JPEG 2000"),
    (GREY, {COMPRESSION: 50002}, r"cannot be read \(not a JPEG XL codestream"),
    (GREY, {COMPRESSION: 65000}, r"is compressed by a method \(TIFF compression 65000\)"),
    (GREY, {DEPTH: 3}, "more than one plane in depth"),
    (GREY, {32998: 3}, "more than one plane in depth"),
    (GREY, {STACK: [(1, 1)] * 12}, "MetaMorph stack"),
    (GREY, {STACK + 1: [(1, 1)] * 12}, "MetaMorph stack"),
    (GREY, {PHOTOMETRIC: None}, "does not say whether 0 is black or white"),
    (GREY, {PREDICTOR: 2}, "names a predictor, but no compression"),
    (FOUR.astype(np.uint16) * 257, {PHOTOMETRIC: 5, PLANAR: 2}, "inks of 16 bits in planes of their own"),
    (FOUR, {PHOTOMETRIC: 5, 336: [255, 0]}, "another number than 0 is no ink"),
    (FOUR.astype(np.uint16) * 257, {PLANAR: 2, EXTRA_SAMPLES: 0}, "stores its pixels in a way that is not read"),
    (FOUR, {PLANAR: 2, EXTRA_SAMPLES: 1}, "associated transparency in a separate plane"),
    (GREY, {PHOTOMETRIC: 3, COLOUR_MAP: list(range(256)) * 3}, "colour map of 8 bits"),
    (COLOUR, {PHOTOMETRIC: 6}, "subsampled YCbCr pixels without compression"),
    (GREY, {BITS: 7}, "TIFF file of a kind that is not read"),
]


@pytest.mark.parametrize(("pixels", "tags", "reason"), REFUSED)
def test_what_has_no_one_meaning_or_is_not_read(tmp_path, pixels, tags, reason):
    path = tiff(tmp_path / "a.tif", page(pixels, tags))
    with pytest.raises(DataError, match=reason):
        read_image(path)


def test_big_endian_big_tiff(tmp_path):
    for pixels, wanted in ((GREY, grey(GREY)), (DEEP, grey(DEEP)), (COLOUR, COLOUR), (COLOURS_OF_16, COLOURS_OF_16)):
        for tags in ({}, {COMPRESSION: 8}, {ORIENTATION: 6}):
            path = tiff(tmp_path / "a.tif", page(pixels, tags), big=True, order=">")
            equal(read_image(path), TURNED[tags.get(ORIENTATION, 1)](wanted))
    for pixels in (GREY, DEEP):
        path = tiff(tmp_path / "a.tif", page(pixels, {PHOTOMETRIC: 0}), big=True, order=">")
        equal(read_image(path), grey(np.iinfo(pixels.dtype).max - pixels))
    told = {DESCRIPTION: "ImageJ=1.53\nimages=3\nchannels=3\n"}
    path = tiff(tmp_path / "a.tif", *(page(DEEP + k, {} if k else told) for k in range(3)), big=True, order=">")
    with pytest.warns(ImageWarning, match="three pages that it calls channels"):
        read = read_image(path)
    equal(read, np.stack([DEEP, DEEP + 1, DEEP + 2], axis=2))
    path = tiff(tmp_path / "a.tif", page(GREY, {PHOTOMETRIC: 3, COLOUR_MAP: [0] * 768}), big=True, order=">")
    with pytest.raises(DataError, match=r"kind that is not read"):
        read_image(path)


@pytest.mark.parametrize("bits", [10, 14])
def test_packed_bits_that_pillow_does_not_read(tmp_path, bits):
    imagecodecs = pytest.importorskip("imagecodecs")
    assert imagecodecs.PACKINTS.available
    values = DRAWN.integers(0, 1 << bits, (12, 8))
    text = "".join(f"{value:0{bits}b}" for value in values.ravel())
    data = int(text, 2).to_bytes(len(text) // 8, "big")
    path = tiff(tmp_path / "a.tif", page(GREY[:, :8], {BITS: bits}, data=[data]))
    wanted = np.array([round(int(value) * 65535 / ((1 << bits) - 1)) for value in values.ravel()], np.uint16)
    equal(read_image(path), grey(wanted.reshape(values.shape)))
    assert read_raw(path).pixels[..., 0].tolist() == values.tolist()


@pytest.mark.parametrize("compression", ["lerc", "jpegxl", "jpeg2000", "webp", "png"])
def test_compressions_that_imagecodecs_reads(tmp_path, compression, monkeypatch):
    pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COLOUR, compression=compression, photometric="rgb")
    equal(read_image(path), COLOUR)
    if compression != "webp":
        tifffile.imwrite(path, DEEP, compression=compression)
        equal(read_image(path), grey(DEEP))
        assert read_image(path, bits=None).dtype == np.uint16

    errors = ValueError(f"<COMPRESSION.{compression}> requires the 'imagecodecs' package"), ImportError("no 'zstd'")
    for error in errors:
        monkeypatch.setattr(tifffile.TiffPage, "asarray", mock.Mock(side_effect=error))
        with pytest.raises(DataError, match=r"(?s)is compressed by .* with imagecodecs.*Install it with pip install"):
            read_image(path)


def over_white(colours, alpha, top, associated) -> np.ndarray:
    share = alpha[..., None] / top
    return np.rint((colours if associated else colours * share) + top * (1 - share)).clip(0, top)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_transparency_over_white_with_a_scale_and_without(tmp_path, kind, deep, count):
    top = 65535 if deep else 255
    alpha = DRAWN.integers(0, top + 1, (12, 10))
    alpha[0] = top
    colours = DRAWN.integers(0, top + 1, (12, 10, count))
    colours = colours * alpha[..., None] // top if kind == 1 else colours
    values = np.dstack([colours, alpha]).astype(np.uint16 if deep else np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        values,
        photometric="rgb" if count == 3 else "minisblack",
        planarconfig="contig",
        extrasamples=["assocalpha" if kind == 1 else "unassalpha"],
        metadata=None,
    )
    wanted = np.repeat(over_white(colours, alpha, top, kind == 1), 3 // count, axis=2)
    with pytest.warns(ImageWarning, match="transparent in places"):
        read = read_image(path)
    assert abs(read.astype(int) - wanted).max() <= (2 if kind == 1 and not deep else 1)
    source = ChannelSource(scale=parse_scale(f"range:0,{top}"))
    with pytest.warns(ImageWarning, match="transparent in places"):
        scaled = source.pixels([path], None)
    assert abs(scaled.astype(int) - wanted * (65535 / top)).max() <= 65535 / top
    # Who names it gets it.
    named = ChannelSource(("A",), (str(count + 1),), scale=parse_scale(f"range:0,{top}")).pixels([path], None)
    assert abs(named[..., 0] - alpha * (65535 / top)).max() <= 1


def test_grey_with_transparency_of_16_bits_in_png(tmp_path):
    values, alpha = DEEP, DRAWN.integers(0, 65536, (12, 10))
    rows = np.dstack([values, alpha]).astype(">u2")
    path = png(tmp_path / "a.png", (10, 12, 16, 4), b"".join(b"\0" + row.tobytes() for row in rows))
    with pytest.warns(ImageWarning, match="transparent in places"):
        equal(
            read_image(path), np.repeat(over_white(values[..., None], alpha, 65535, False), 3, axis=2).astype(np.uint16)
        )


@pytest.mark.parametrize("compression", [1, 8])
def test_a_last_strip_that_is_padded(tmp_path, compression):
    padded = np.concatenate([DEEP, np.zeros((3, 10), np.uint16)])
    data = [padded[top : top + 5].tobytes() for top in (0, 5, 10)]
    data = [zlib.compress(each) if compression == 8 else each for each in data]
    path = tiff(tmp_path / "a.tif", page(DEEP, {COMPRESSION: compression}, rows=5, data=data))
    equal(read_image(path), grey(DEEP))
    assert read_raw(path).pixels[..., 0].tolist() == DEEP.tolist()


def test_ycbcr(tmp_path):
    y, cb, cr = (COLOUR[..., k].astype(float) for k in range(3))
    b, r = cb - 128, cr - 128
    wanted = np.stack([y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b], axis=2).clip(0, 255)
    for compression in (1, 8):
        tags = {PHOTOMETRIC: 6, SUBSAMPLING: [1, 1], COMPRESSION: compression}
        equal(read_image(tiff(tmp_path / "a.tif", page(COLOUR, tags))), wanted, 1)
    # Four values of Y, then Cb and Cr, for each two by two pixels: Y = 100, Cb = 128, Cr = 228 is (240, 29, 100).
    data = zlib.compress(bytes([100, 100, 100, 100, 128, 228] * 30))
    path = tiff(tmp_path / "b.tif", page(COLOUR, {PHOTOMETRIC: 6, COMPRESSION: 8}, data=[data]))
    equal(read_image(path), np.broadcast_to([240, 29, 100], (12, 10, 3)), 1)


@pytest.mark.parametrize("compression", [1, 7])
@pytest.mark.parametrize(
    ("tag", "values", "refused"),
    [
        (529, [(2126, 10000), (7152, 10000), (722, 10000)], True),
        (529, [(299, 1000), (587, 1000), (114, 1000)], False),
        (532, [(15, 1), (235, 1), (128, 1), (240, 1), (128, 1), (240, 1)], True),
        (532, [(0, 1), (255, 1), (128, 1), (255, 1), (128, 1), (255, 1)], False),
        (532, [(0, 0)] * 6, True),
    ],
)
def test_ycbcr_of_other_weights_or_limits_is_refused(tmp_path, compression, tag, values, refused):
    data = [encode_jpeg(COLOUR, colorsubsampling="444")] if compression == 7 else None
    how = {"data": data} if data else {}
    tags = {PHOTOMETRIC: 6, SUBSAMPLING: [1, 1], COMPRESSION: compression, tag: values}
    path = tiff(tmp_path / "a.tif", page(COLOUR, tags, **how))
    for read in (read_image, read_raw):
        if refused:
            with pytest.raises(DataError, match="has YCbCr of other weights or limits than those of JPEG"):
                read(path)
        else:
            read(path)


def test_transparency(tmp_path):
    alpha = FOUR[..., 3:] / 255
    over = FOUR[..., :3] * alpha + 255 * (1 - alpha)
    lessened = FOUR.copy()
    lessened[..., :3] = np.rint(FOUR[..., :3] * alpha)
    for tags in ({}, DEFLATE):
        with pytest.warns(ImageWarning, match="transparent in places"):
            equal(read_image(tiff(tmp_path / "a.tif", page(FOUR, {EXTRA_SAMPLES: 2, **tags}))), over, 1)
        with pytest.warns(ImageWarning, match="transparent in places"):
            equal(read_image(tiff(tmp_path / "b.tif", page(lessened, {EXTRA_SAMPLES: 1, **tags}))), over, 2)
        with pytest.warns(ImageWarning, match="1 more channel in each pixel"):
            equal(read_image(tiff(tmp_path / "c.tif", page(FOUR, {EXTRA_SAMPLES: 0, **tags}))), FOUR[..., :3])
        opaque = FOUR.copy()
        opaque[..., 3] = 255
        equal(read_image(tiff(tmp_path / "d.tif", page(opaque, {EXTRA_SAMPLES: 2, **tags}))), FOUR[..., :3])


@pytest.mark.parametrize(
    ("tags", "how", "reason"),
    [
        ({}, {"data": [GREY[:6].tobytes()]}, "truncated"),
        ({}, {"rows": 6, "data": [GREY[:6].tobytes()]}, "it has 1 of 2 pieces"),
        (DEFLATE, {"rows": 6, "data": [zlib.compress(GREY[:6].tobytes())]}, "it has 1 of 2 pieces"),
        (DEFLATE, {"data": [zlib.compress(GREY[:6].tobytes())]}, "cannot be read"),
        ({279: [0]}, {}, "some of its pixels were never written"),
        ({279: [0], **DEFLATE}, {}, "some of its pixels were never written"),
        ({273: [0]}, {}, "some of its pixels were never written"),
        ({273: [100_000]}, {}, "truncated"),
        ({HEIGHT: 0}, {"rows": 12}, "has no pixels"),
    ],
)
def test_pixels_that_are_not_there(tmp_path, tags, how, reason):
    path = tiff(tmp_path / "a.tif", page(GREY, tags, **how))
    with pytest.raises(DataError, match=reason):
        read_image(path)


def test_the_last_strip_and_the_last_tile_may_be_shorter(tmp_path):
    for how in ({"rows": 5}, {"rows": 7}, {"tile": 16}):
        equal(read_image(tiff(tmp_path / "a.tif", page(GREY, **how))), grey(GREY))
    path = tiff(tmp_path / "b.tif", page(GREY, {278: 2**32 - 1}))
    equal(read_image(path), grey(GREY))


def test_a_damaged_directory_is_an_error(tmp_path):
    path = tiff(tmp_path / "a.tif", page(GREY))
    for length in (4, 8, 20):
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(DataError, match="cannot be read"):
            read_image(path)
    path.write_bytes(b"II*\0" + bytes(4))
    with pytest.raises(DataError, match="has no page"):
        read_image(path)


def test_directories_in_a_circle_end(tmp_path):
    path = tiff(tmp_path / "a.tif", page(GREY), page(GREY[:3]))
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    second = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
    start = int.from_bytes(content[second : second + 4], "little")
    last = start + 2 + 12 * int.from_bytes(content[start : start + 2], "little")
    content[last : last + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.warns(ImageWarning, match="1 more page"):
        equal(read_image(path), grey(GREY))


@pytest.mark.parametrize(
    ("pixels", "tags", "how"),
    [
        (GREY, {}, {}),
        (COLOUR, {}, {"rows": 3}),
        (COLOUR, DEFLATE, {}),
        (COLOUR, {ORIENTATION: 6}, {}),
        (GREY, {ORIENTATION: 3}, {}),
        (GREY, {ORIENTATION: 6, **DEFLATE}, {}),
        (GREY, {ORIENTATION: 6}, {"rows": 5}),
        (GREY[:10], {ORIENTATION: 6}, {}),
        (GREY, {PHOTOMETRIC: 0}, {}),
        (GREY, {PHOTOMETRIC: 0, ORIENTATION: 6}, {}),
    ],
)
def test_what_is_read_as_ever_keeps_its_identity(tmp_path, pixels, tags, how):
    assert reader_mark(tiff(tmp_path / "a.tif", page(pixels, tags, **how))) == b""


@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        (GREY, {ORIENTATION: 6}),
        (DEEP, {}),
        (COLOURS_OF_16, {}),
        (DEEP, {ORIENTATION: 5}),
        (FOUR, {ORIENTATION: 7, PHOTOMETRIC: 5}),
        (GREY, {ORIENTATION: 8, PHOTOMETRIC: 3, COLOUR_MAP: list(range(768))}),
        (DEEP, {PHOTOMETRIC: 0}),
        (DEEP >> 4, {DESCRIPTION: ome(more='SignificantBits="12"')}),
        (GREY.view(np.int8), {SAMPLE_FORMAT: 2}),
    ],
)
def test_what_is_read_otherwise_than_before_has_another_identity(tmp_path, pixels, tags):
    assert reader_mark(tiff(tmp_path / "a.tif", page(pixels, tags))) != b""


def test_channels_and_pages_have_another_identity_too(tmp_path):
    first = page(GREY, {DESCRIPTION: CHANNELS["imagej"]})
    channels = reader_mark(tiff(tmp_path / "a.tif", first, page(GREY), page(GREY)))
    pages = reader_mark(tiff(tmp_path / "b.tif", page(GREY), page(GREY)))
    assert channels
    assert pages
    assert channels != pages
    assert reader_mark(tmp_path / "absent.tif") == b""


def test_bits_that_are_told_from_outside(tmp_path):
    values = DEEP >> 4
    path = tiff(tmp_path / "a.tif", page(values))
    equal(read_image(path, 12), grey(of_12_bits(values)))
    for largest in (4096, 65535):
        with pytest.raises(DataError, match=f"holds {largest}, more than the 12 bits"):
            read_image(tiff(tmp_path / "b.tif", page(DEEP.clip(0, largest))), 12)
    equal(read_image(tiff(tmp_path / "c.tif", page(GREY)), 12), grey(GREY))
    path = tiff(tmp_path / "d.tif", page(COLOURS_OF_16 >> 4))
    equal(read_image(path, 12), of_12_bits(COLOURS_OF_16 >> 4))
    with pytest.raises(DataError, match="more than the 11 bits"):
        read_image(path, 11)
    # What the file says of itself counts.
    path = tiff(tmp_path / "e.tif", page(DEEP >> 6, {DESCRIPTION: ome(more='SignificantBits="10"')}))
    equal(read_image(path, 12), grey(np.rint((DEEP >> 6) * (65535 / 1023)).astype(np.uint16)))


def test_unsigned_32_bits_are_refused_by_name_in_either_order(tmp_path):
    with pytest.raises(DataError, match="pixels of 32 bits"):
        read_image(tiff(tmp_path / "a.tif", page(DEEP.astype(np.uint32)), order=">"))


def test_grey_with_transparency(tmp_path):
    pixels = np.dstack([GREY, np.where(np.arange(10) < 5, 255, 0)[None].repeat(12, 0).astype(np.uint8)])
    wanted = np.where(np.arange(10) < 5, GREY, 255)
    with pytest.warns(ImageWarning, match=r"transparent in places, which became white \(50 % of its pixels\)"):
        equal(read_image(tiff(tmp_path / "a.tif", page(pixels, {EXTRA_SAMPLES: 2}))), grey(wanted))
    for more in ({}, DEFLATE):
        apart = tiff(tmp_path / "b.tif", page(pixels, {EXTRA_SAMPLES: 2, PLANAR: 2, **more}))
        with pytest.warns(ImageWarning, match=r"transparent in places, which became white \(50 % of its pixels\)"):
            equal(read_image(apart), grey(wanted))
        assert reader_mark(apart)


def test_a_dim_colour_map_and_one_of_8_bits(tmp_path):
    path = tiff(tmp_path / "a.tif", page(GREY, {PHOTOMETRIC: 3, COLOUR_MAP: [256] * 768}))
    equal(read_image(path), np.ones((12, 10, 3)))
    path = tiff(tmp_path / "b.tif", page(GREY, {PHOTOMETRIC: 3, COLOUR_MAP: [255] * 768}))
    with pytest.raises(DataError, match="colour map of 8 bits"):
        read_image(path)


def test_rows_fill_whole_bytes(tmp_path):
    # Ten pixels of one bit take two bytes.
    tags = {WIDTH: 10, HEIGHT: 12, BITS: 1}
    equal(read_image(tiff(tmp_path / "a.tif", page(GREY, tags, data=[bytes(24)]))), np.zeros((12, 10, 3)))
    with pytest.raises(DataError, match="truncated"):
        read_image(tiff(tmp_path / "b.tif", page(GREY, tags, data=[bytes(15)])))


def test_lengths_of_strips_may_be_left_out(tmp_path):
    equal(read_image(tiff(tmp_path / "a.tif", page(GREY, {279: None}, rows=5))), grey(GREY))


def test_channels_that_are_not_the_first_three_pages_or_not_grey_are_refused(tmp_path):
    first = page(GREY, {DESCRIPTION: CHANNELS["imagej"]})
    path = tiff(tmp_path / "a.tif", first, page(GREY[::2], {SUBFILE_TYPE: 1}), page(GREY), page(GREY))
    with pytest.raises(DataError, match="has 3 channels"):
        read_image(path)
    bits = [page(GREY[:, :2], {WIDTH: 10, BITS: 1, DESCRIPTION: CHANNELS["imagej"]}) for _ in range(3)]
    with pytest.raises(DataError, match="has 3 channels"):
        read_image(tiff(tmp_path / "b.tif", *bits))


def strips(path) -> list[tuple[int, int]]:
    with tifffile.TiffFile(path) as tiff:
        return [(tiff.pages[k].dataoffsets[1], tiff.pages[k].databytecounts[1]) for k in range(len(tiff.pages))]


@pytest.mark.parametrize("compression", ["jpeg", "deflate"])
@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("how", [{"tile": (64, 64)}, {"rowsperstrip": 64}], ids=["tiles", "strips"])
def test_a_strip_or_tile_whose_data_are_damaged(tmp_path, compression, photometric, how):
    # A soft picture, of which decoders take zeros for data that go on.
    y, x = np.mgrid[:256, :256]
    large = np.stack([(x + y) // 2, x, 255 - y], axis=2).astype(np.uint8) ^ np.random.default_rng(0).integers(
        0, 8, (256, 256, 3), dtype=np.uint8
    )
    large, path = large if photometric == "rgb" else large[..., 0], tmp_path / "a.tif"
    tifffile.imwrite(path, large, compression=compression, photometric=photometric, **how)
    whole, ((start, count),) = path.read_bytes(), strips(path)
    for read in (plugin.read_image, read_raw):
        path.write_bytes(whole)
        read(path)
        path.write_bytes(whole[: start + count // 2] + bytes(count - count // 2) + whole[start + count :])
        with pytest.raises(DataError, match=r"a\.tif cannot be read \("):
            print(read(path))


def test_damage_of_one_plane_and_of_tables_that_tiles_share(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.kron(COLOUR, np.ones((8, 8, 1), np.uint8))).save(path, compression="jpeg", strip_size=80 * 48)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].jpegtables is not None
        assert len(tiff.pages[0].dataoffsets) > 2
    plugin.read_image(path)
    whole, ((start, count),) = path.read_bytes(), strips(path)
    path.write_bytes(whole[: start + count // 2] + bytes(count - count // 2) + whole[start + count :])
    for read in (plugin.read_image, read_raw):
        with pytest.raises(DataError, match=r"strip or tile 2 of \d+: its JPEG data are damaged"):
            read(path)
    stack = np.kron(np.stack([GREY, GREY[::-1]]), np.ones((1, 8, 8), np.uint8))
    tifffile.imwrite(
        path, stack, compression="jpeg", rowsperstrip=16, metadata={"axes": "ZYX"}, photometric="minisblack"
    )
    whole, (_, (start, count)) = path.read_bytes(), strips(path)
    path.write_bytes(whole[: start + count - 30] + bytes(30) + whole[start + count :])
    assert read_raw(path, "z=0").pixels.shape == (96, 80, 1)
    with pytest.raises(DataError, match=r"strip or tile 2 of 6: its JPEG data are damaged"):
        read_raw(path, "z=1")


def test_a_page_below_the_first_one_that_is_larger(tmp_path):
    path = tmp_path / "a.tif"
    for sizes, whole in (((12, 6), True), ((6, 12), False)):
        with tifffile.TiffWriter(path) as writer:
            writer.write(COLOUR[: sizes[0]], photometric="rgb", subifds=1, metadata=None)
            writer.write(COLOUR[: sizes[1]], photometric="rgb", metadata=None)
        if whole:
            equal(read_image(path), COLOUR)
            continue
        with pytest.raises(DataError, match=r"a first page smaller than another \(10 × 12 pixels\)"):
            read_image(path)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[330].valueoffset
    # Where it is damaged, the first one is still there.
    content[place : place + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    equal(read_image(path), COLOUR[:6])


def test_bits_that_are_turned_round_are_not_taken_for_damage(tmp_path):
    data = zlib.compress(DEEP.tobytes())
    turned = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)
    path = tiff(tmp_path / "a.tif", page(DEEP, {COMPRESSION: 8, FILL_ORDER: 2}, data=[turned]))
    equal(read_image(path), grey(DEEP))
    assert read_raw(path).pixels[..., 0].tolist() == DEEP.tolist()


@pytest.mark.parametrize("how", [{"rows": 8}, {"tile": 16}])
def test_a_piece_that_is_a_smaller_picture_than_its_place(tmp_path, how):
    pixels = np.kron(COLOUR[:2, :2], np.ones((8, 8, 1), np.uint8))
    sizes = {"rows": [(8, 8), (8, 4)], "tile": [(16,), (8,)]}[next(iter(how))]
    for rows, whole in zip(sizes, (True, False), strict=True):
        data, top = [], 0
        for count in rows:
            data.append(encode_jpeg(np.ascontiguousarray(pixels[top : top + count]), colorsubsampling="444"))
            top += 8
        path = tiff(
            tmp_path / "a.tif", page(pixels, {COMPRESSION: 7, PHOTOMETRIC: 6, SUBSAMPLING: [1, 1]}, data=data, **how)
        )
        if whole:
            equal(read_image(path), pixels, 12)
            continue
        with pytest.raises(DataError, match=r"strip or tile \d of \d: it has 16 × \d pixels in place of 16 × \d+"):
            read_image(path)
