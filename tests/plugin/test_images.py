from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_images import png

from histokit import plugin
from histokit.errors import DataError
from histokit.plugin import crop, decode_image, images, recent_images
from histokit.plugin.recent_images import Opened, RecentImages
from histokit.plugin.remarks import ImageWarning

GREY = np.array([[0, 100, 255]], dtype=np.uint8)

read_image = partial(plugin.read_image, deep=True)


def saved(path: Path, image: Image.Image, **options) -> np.ndarray:
    image.save(path, **options)
    return read_image(path)


WHITENED = pytest.mark.filterwarnings("ignore:.* is transparent in places")
FIRST = pytest.mark.filterwarnings("ignore:.* holds more than what was read")


def grey_as_rgb(*values: int) -> list:
    return [[[value] * 3 for value in values]]


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "gif", "webp"])
def test_rgb_is_read_as_it_is(tmp_path, suffix):
    pixels = np.array([[[250, 0, 10], [0, 250, 10]]], dtype=np.uint8)
    read = saved(tmp_path / f"a.{suffix}", Image.fromarray(pixels), **({"lossless": True} if suffix == "webp" else {}))
    assert read.dtype == np.uint8
    assert read.tolist() == pixels.tolist()


def test_greyscale_is_repeated(tmp_path):
    assert saved(tmp_path / "a.png", Image.fromarray(GREY)).tolist() == grey_as_rgb(0, 100, 255)


def test_one_bit(tmp_path):
    assert saved(tmp_path / "a.png", Image.fromarray(GREY > 50)).tolist() == grey_as_rgb(0, 255, 255)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_kept(tmp_path, suffix):
    values = np.array([[0, 255, 256, 40000, 65535]], dtype=np.uint16)
    read = saved(tmp_path / f"a.{suffix}", Image.fromarray(values))
    assert read.dtype == np.uint16
    assert read.tolist() == grey_as_rgb(0, 255, 256, 40000, 65535)
    # The upper eight for who does not ask for more: 255 / 256 = 0, 256 / 256 = 1, 40000 / 256 = 156.
    upper = plugin.read_image(tmp_path / f"a.{suffix}")
    assert upper.dtype == np.uint8
    assert upper.tolist() == grey_as_rgb(0, 0, 1, 156, 255)


@WHITENED
def test_transparency_lies_over_white(tmp_path):
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    # 51 of 255 is a fifth: 255 * 4 / 5 = 204.
    assert saved(tmp_path / "a.png", Image.fromarray(pixels)).tolist() == [[[200, 0, 0], [255] * 3, [204] * 3]]


@WHITENED
def test_grey_with_transparency(tmp_path):
    pixels = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    assert saved(tmp_path / "a.png", Image.fromarray(pixels, "LA")).tolist() == grey_as_rgb(10, 255)


@WHITENED
def test_a_palette_is_looked_up(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([7, 8, 9, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert saved(tmp_path / "a.png", image).tolist() == [[[7, 8, 9], [200, 100, 50]]]
    transparent = saved(tmp_path / "b.png", image, transparency=bytes([0, 255]))
    assert transparent.tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_cmyk(tmp_path):
    white, black = saved(
        tmp_path / "a.tif", Image.fromarray(np.array([[[0] * 4, [0, 0, 0, 255]]], dtype=np.uint8), "CMYK")
    )[0]
    assert white.tolist() == [255] * 3
    assert black.tolist() == [0] * 3


def test_the_exif_orientation_is_applied(tmp_path):
    image = Image.fromarray(np.array([[0, 250], [0, 250], [0, 250]], dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    # Orientation 6: turned by 90° clockwise for display, so that 3 × 2 becomes 2 × 3 with the left column on top.
    read = saved(tmp_path / "a.png", image, exif=exif)
    assert read[..., 0].tolist() == [[0, 0, 0], [250, 250, 250]]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format(tmp_path, suffix, orientation):
    stored = np.zeros((16, 32, 3), dtype=np.uint8)
    stored[:8, :16] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    read = saved(tmp_path / f"a.{suffix}", Image.fromarray(stored), exif=exif, **options)
    # Where row 0 and column 0 of the stored image belong, as the EXIF standard says it.
    turned = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: stored.transpose(1, 0, 2)[:, ::-1],
        7: stored.transpose(1, 0, 2)[::-1, ::-1],
        8: stored.transpose(1, 0, 2)[::-1],
    }
    np.testing.assert_allclose(read.astype(int), turned[orientation].astype(int), atol=3)


def test_exif_data_that_cannot_be_read_are_passed_over(tmp_path):
    path = png(tmp_path / "a.png", (1, 1, 8, 0), b"\0\7", eXIf=b"garbage")
    assert read_image(path).tolist() == grey_as_rgb(7)


@WHITENED
def test_16_bits_of_colour_and_of_transparency(tmp_path):
    path = png(tmp_path / "a.png", (2, 1, 16, 2), b"\0" + struct.pack(">6H", 0, 256, 65535, 40000, 255, 1))
    assert read_image(path).tolist() == [[[0, 256, 65535], [40000, 255, 1]]]
    path = png(tmp_path / "b.png", (2, 1, 16, 6), b"\0" + struct.pack(">8H", 0, 256, 65535, 65535, 1, 1, 1, 0))
    assert read_image(path).tolist() == [[[0, 256, 65535], [65535, 65535, 65535]]]
    # A third of 30000 and two thirds of white are 10000 + 43690.
    path = png(tmp_path / "c.png", (1, 1, 16, 6), b"\0" + struct.pack(">4H", 30000, 0, 65535, 21845))
    assert read_image(path).tolist() == [[[53690, 43690, 65535]]]


@pytest.mark.parametrize("largest", [1, 100, 255, 300, 1023, 4095, 65535])
@pytest.mark.parametrize("kind", [b"P5", b"P6", b"P2"])
def test_the_largest_value_that_a_pnm_file_declares_is_white(tmp_path, kind, largest):
    values = np.array([0, largest // 2, largest])
    stored = values.repeat(3 if kind == b"P6" else 1).astype(">u2" if largest > 255 else "u1").tobytes()
    stored = " ".join(map(str, values)).encode() if kind == b"P2" else stored
    (tmp_path / "a.pgm").write_bytes(kind + b" 3 1 %d\n" % largest + stored)
    read = read_image(tmp_path / "a.pgm")
    white = 255 if read.dtype == np.uint8 else 65535
    assert abs(read.astype(int) - (values * white / largest)[None, :, None]).max() <= 1
    assert read[0, ::2, 0].tolist() == [0, white]


@pytest.mark.parametrize("height", [2, -2])
@pytest.mark.parametrize("bits", [24, 32])
def test_bmp_files_from_below_and_from_above(tmp_path, height, bits):
    # Rows are stored from below unless the height is negative, each as blue, green, red and one byte of nothing.
    head = struct.pack("<IiiHHIIiiII", 40, 1, height, 1, bits, 0, 8, 0, 0, 0, 0)
    rows = bytes([1, 2, 3, 0, 4, 5, 6, 0])
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 62, 0, 0, 54) + head + rows)
    wanted = [[[3, 2, 1]], [[6, 5, 4]]]
    assert read_image(tmp_path / "a.bmp").tolist() == wanted[:: -1 if height > 0 else 1]


def test_a_bmp_of_three_colours_in_16_bits(tmp_path):
    # Five bits of red, six of green, five of blue.
    values = np.array([[0xFFFF, 0xF800, 0x07E0, 0x001F]], "<u2")
    head = struct.pack("<IHHIIiiHHIIiiIIIII", 74, 0, 0, 66, 40, 4, 1, 1, 16, 3, 8, 0, 0, 0, 0, 0xF800, 0x07E0, 0x001F)
    (tmp_path / "a.bmp").write_bytes(b"BM" + head + values.tobytes())
    expected = np.array([[[255] * 3, [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    for bits in (None, 12):
        np.testing.assert_array_equal(read_image(tmp_path / "a.bmp", bits), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_grey_of_few_bits(tmp_path, bits):
    # Each grey once or more, in a row; the second one is transparent, which the file says on the scale of its bits.
    top = (1 << bits) - 1
    values = np.arange(8) % (top + 1)
    data = b"\0" + np.packbits(np.unpackbits(values.astype(np.uint8)[:, None], axis=1)[:, 8 - bits :]).tobytes()
    path = png(tmp_path / "a.png", (8, 1, bits, 0), data, tRNS=struct.pack(">H", 1))
    with pytest.warns(ImageWarning, match="transparent in places"):
        read = read_image(path)
    assert read[0, :, 0].tolist() == [255 if value == 1 else value * 255 // top for value in values]


@pytest.mark.parametrize(("largest", "right"), [(2, True), (3, False), (15, False)])
def test_a_colour_beyond_the_palette_is_no_colour(tmp_path, largest, right):
    colours = [(10, 20, 30), (40, 50, 60), (70, 80, 90)]
    palette = b"".join(map(bytes, colours))
    numbers = [0, 1, 2, largest, 0, 0, 0, 0]
    packed = bytes(16 * a + b for a, b in zip(numbers[::2], numbers[1::2], strict=True))
    files = [png(tmp_path / "a.png", (8, 1, 4, 3), b"\0" + packed, PLTE=palette)]
    entries = b"".join(bytes([b, g, r, 0]) for r, g, b in colours)
    head = struct.pack("<IiiHHIIiiII", 40, 8, 1, 1, 4, 0, 4, 0, 0, len(colours), 0)
    offset = 14 + len(head) + len(entries)
    files.append(tmp_path / "a.bmp")
    files[1].write_bytes(struct.pack("<2sIHHI", b"BM", offset + 4, 0, 0, offset) + head + entries + packed)
    for path in files:
        if right:
            assert [tuple(pixel) for pixel in read_image(path)[0, :4].tolist()] == [*colours, colours[largest]]
        else:
            with pytest.raises(DataError, match=f"uses colour {largest}, but its palette ends at 2: it is damaged"):
                read_image(path)


def test_a_transparent_colour_of_16_bits(tmp_path):
    # Of grey, 4095 is transparent and 4094 is not.
    grey = b"\0" + struct.pack(">3H", 4095, 4094, 65535)
    with pytest.warns(ImageWarning, match=r"transparent in places, which became white \(33.3 % of its pixels\)"):
        read = read_image(png(tmp_path / "a.png", (3, 1, 16, 0), grey, tRNS=struct.pack(">H", 4095)))
    assert read.tolist() == grey_as_rgb(65535, 4094, 65535)
    assert read_image(png(tmp_path / "b.png", (3, 1, 16, 0), grey, tRNS=struct.pack(">H", 7))).tolist() == grey_as_rgb(
        4095, 4094, 65535
    )
    colour = b"\0" + struct.pack(">6H", 256, 512, 768, 1024, 1280, 65535)
    with pytest.raises(DataError, match="has a transparent colour of 16 bits"):
        read_image(png(tmp_path / "c.png", (2, 1, 16, 2), colour, tRNS=struct.pack(">3H", 256, 512, 768)))


@FIRST
@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_the_first_frame_of_an_animation(tmp_path, suffix, kind):
    frames = [Image.new(kind, (2, 2), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    read = saved(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    assert read.tolist() == [[[255, 0, 0]] * 2] * 2


def test_a_decompression_bomb_is_refused_before_its_memory_is_asked_for(tmp_path):
    path = png(tmp_path / "a.png", (60_000, 60_000, 8, 2), b"\0" * 100)
    with pytest.raises(DataError, match=r"a\.png has too many pixels to be opened safely"):
        read_image(path)
    path = png(tmp_path / "b.png", (1, 1, 8, 0), b"\0\7", zTXt=b"a\0\0" + zlib.compress(b"x" * 80_000_000))
    with pytest.raises(DataError, match=r"b\.png cannot be read \(Decompressed data too large"):
        read_image(path)


def test_large_images_are_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert saved(tmp_path / "a.png", Image.new("L", (10, 20))).shape == (20, 10, 3)
    with pytest.raises(DataError, match="too many pixels"):
        saved(tmp_path / "b.png", Image.new("L", (10, 21)))


@pytest.mark.parametrize("size", [(1, 50), (50, 1), (1, 1)])
def test_slivers(tmp_path, size):
    assert saved(tmp_path / "a.png", Image.new("RGB", size)).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (np.array([[0.5, 1.0]], dtype=np.float32), "floating-point pixels"),
        (np.array([[0, 255, 70_000]], dtype=np.int32), "pixels of 32 bits or with a sign"),
        (np.array([[0, 255]], dtype=np.int32), "pixels of 32 bits or with a sign"),
    ],
)
def test_pixels_without_a_known_white_are_refused(tmp_path, pixels, kind):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif has {kind}, which have no one meaning as RGB"):
        read_image(tmp_path / "a.tif")


def test_lab_is_refused(tmp_path):
    Image.new("LAB", (2, 2)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif has CIE Lab pixels"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"patient,label\n1,0\n", r"is not an image but a text that begins with 'patient,label\\n1,0\\n'"),
        (b"no: save it, then get more\n", r"begins with 'no: save it, then get more\\n'\.\nReplace the file"),
        (bytes(range(200, 256)), "a.png is not an image"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            r"a pointer of Git LFS.*\nRun git lfs pull, then",
        ),
        (
            "<!DOCTYPE html><p>Sign in".encode("utf-16"),
            r"but an HTML page, not the file.*\nGet the file itself",
        ),
        (bytes(4096), "but full of zeros, as downloads are that did not end"),
        (gzip.compress(b"x" * 99, mtime=0), r"but a gzip archive\.\nUnpack it, and give the file in it, then ingest"),
        (bz2.compress(b"x" * 99), "but a bzip2 archive"),
        (lzma.compress(b"x" * 99), "but an xz archive"),
        (b"\x00\x05\x16\x07\0\2\0\0Mac OS X", r"but what macOS keeps beside a file of this name\.\nDelete it"),
        (
            b"\0\0\0\x1cftypavif\0\0\0\0",
            r"is an AVIF image, which is not read .*\nSave it as PNG or TIFF, then",
        ),
        (b"\0\0\0\x24ftypheic\0\0\0\0", "is an HEIC image"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "is a video"),
        (b"\xff\x0a\xfa\x7f", "is a JPEG XL image"),
        (bytes(128) + b"DICM\2\0", "is a DICOM file"),
        (b"ZISRAWFILE" + bytes(22), "is a CZI file of Zeiss"),
        (b"<?xml version='1.0'?><svg/>", "is an XML text, which"),
        (b"\x93NUMPY\1\0", "is a NumPy array, which"),
        (b"\x89PNG\r\n\x1a\n", r"cannot be read|is not an image"),
    ],
)
def test_files_that_are_no_images(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_image(path)
    assert str(path) in caught.value.message
    assert caught.value.next


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files(tmp_path, kind, share):
    buffer = io.BytesIO()
    noise().save(buffer, kind)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(DataError, match=r"is not an image|cannot be read"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::histokit.plugin.remarks.ImageWarning")
@settings(deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP"]), data=st.data())
def test_damaged_files_give_pixels_or_a_data_error(tmp_path_factory, kind, data):
    buffer = io.BytesIO()
    noise().save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, min(len(content), 300) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        pixels = read_image(path)
    except DataError:
        return
    assert pixels.ndim == 3
    assert pixels.dtype == np.uint8


def test_crop_inside():
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert crop(image, (1, 2, 3, 2)).tolist() == image[2:4, 1:4].tolist()


@settings(deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    box=st.tuples(st.integers(-30, 8), st.integers(-30, 8), st.integers(31, 40), st.integers(31, 40)),
)
def test_crop_reflects_as_numpy_pads(height, width, box):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    x, y, w, h = box
    if x >= width or y >= height:
        with pytest.raises(DataError):
            crop(image, box)
        return
    padded = np.pad(image, ((40, 50), (40, 50), (0, 0)), mode="reflect")
    assert crop(image, box).tolist() == padded[40 + y : 40 + y + h, 40 + x : 40 + x + w].tolist()


@pytest.mark.parametrize("box", [(5, 0, 2, 2), (0, 4, 2, 2), (-2, 0, 2, 2), (0, -3, 2, 2), (0, 0, 0, 2), (0, 0, 2, 0)])
def test_a_box_without_a_pixel_of_the_image_is_an_error(box):
    with pytest.raises(DataError, match="lies outside an image of 5 × 4 pixels"):
        crop(np.zeros((4, 5, 3), dtype=np.uint8), box)


@pytest.mark.parametrize("box", [(0, 0, 40_000, 40_000), (-1, -1, 3_000, 3_000), (0, 3, 2**31 - 1, 1)])
def test_a_box_far_larger_than_its_image_takes_no_memory(box):
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="too large for an image of 5 × 4 pixels"):
            crop(np.zeros((4, 5, 3), dtype=np.uint8), box)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_box_that_leaves_a_large_image_may_be_large():
    image = np.zeros((600, 600, 1), dtype=np.uint8)
    assert crop(image, (-900, -900, 2_400, 2_400)).shape == (2_400, 2_400, 1)


@pytest.mark.parametrize("box", [(0, 0, 2, 2), (0, 0, 4, 4), (-1, 0, 2, 2)])
def test_the_crop_does_not_share_memory(box):
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    crop(image, box)[:] = 9
    assert image.max() == 0


@pytest.fixture
def opened(monkeypatch):
    """The names of the files that were opened."""
    names = []

    def read(path):
        names.append(path.name)
        time.sleep(0.01)
        return read_image(path)

    monkeypatch.setattr(images, "read_image", read)
    return names


def grey(path, level, side=4):
    Image.new("L", (side, side), level).save(path)
    return path


def again(recent, path):
    return recent.read([path], None, lambda: Opened(images.read_image(path))).numbers


def test_an_image_is_opened_once_by_all_threads(tmp_path, opened):
    paths = [grey(tmp_path / f"{i}.png", i) for i in range(3)]
    recent = RecentImages()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(partial(again, recent), [path for path in paths for _ in range(20)]))
    assert [int(pixels[0, 0, 0]) for pixels in found] == [0] * 20 + [1] * 20 + [2] * 20
    assert sorted(opened) == ["0.png", "1.png", "2.png"]


def test_few_images_are_kept_and_fewer_large_ones(tmp_path, opened, monkeypatch):
    paths = [grey(tmp_path / f"{i}.png", i) for i in range(6)]
    recent = RecentImages()
    for path in [*paths, *paths[2:]]:
        again(recent, path)
    assert len(opened) == 6
    again(recent, paths[0])
    assert opened[6:] == ["0.png"]
    monkeypatch.setattr(recent_images, "_RECENT_BYTES", 2 * 4 * 4 * 3)
    recent = RecentImages()
    for number in (0, 1, 0, 1, 5, 0):
        again(recent, paths[number])
    assert opened[7:] == ["0.png", "1.png", "5.png", "0.png"]


def test_a_changed_image_and_one_that_could_not_be_read_are_opened_anew(tmp_path):
    recent = RecentImages()
    path = tmp_path / "a.png"
    with pytest.raises(DataError, match="does not exist"):
        again(recent, path)
    assert again(recent, grey(path, 1)).max() == 1
    assert again(recent, grey(path, 2, side=5)).max() == 2
    assert again(pickle.loads(pickle.dumps(recent)), path).max() == 2


def test_postscript_is_no_image_and_starts_nothing(tmp_path, monkeypatch):
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "x.png").write_bytes(text)
    started = []
    monkeypatch.setattr("subprocess.check_call", lambda *arguments, **_: started.append(arguments))
    monkeypatch.setattr("subprocess.run", lambda *arguments, **_: started.append(arguments))
    with pytest.raises(DataError, match="is a PostScript document, which is not read as an image"):
        read_image(tmp_path / "x.png")
    assert started == []


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_path_may_be_text(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    expected = saved(path, Image.fromarray(GREY))
    assert read_image(str(path)).tolist() == expected.tolist() == grey_as_rgb(0, 100, 255)
    with pytest.raises(DataError, match=r"missing\.tif does not exist"):
        read_image(str(tmp_path / "missing.tif"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_an_image_that_another_file_holds(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path, kind)
    assert np.array_equal(decode_image(path.read_bytes(), "a"), read_image(path))
    with pytest.raises(DataError, match=r"^tiles.zip/a.png is empty\."):
        decode_image(b"", "tiles.zip/a.png")
    with pytest.raises(DataError, match=r"^tiles.zip/a.png cannot be read|^tiles.zip/a.png is not an image"):
        decode_image(path.read_bytes()[:-60], "tiles.zip/a.png")
