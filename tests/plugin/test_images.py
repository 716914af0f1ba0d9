from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from histokit.errors import DataError
from histokit.plugin import crop, read_image

GREY = np.array([[0, 100, 255]], dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options) -> np.ndarray:
    image.save(path, **options)
    return read_image(path)


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
def test_16_bits_are_scaled(tmp_path, suffix):
    values = np.array([[0, 255, 256, 40000, 65535]], dtype=np.uint16)
    # 255 / 256 = 0, 256 / 256 = 1, 40000 / 256 = 156, 65535 / 256 = 255.
    assert saved(tmp_path / f"a.{suffix}", Image.fromarray(values)).tolist() == grey_as_rgb(0, 0, 1, 156, 255)


def test_transparency_lies_over_white(tmp_path):
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    # 51 of 255 is a fifth: 255 * 4 / 5 = 204.
    assert saved(tmp_path / "a.png", Image.fromarray(pixels)).tolist() == [[[200, 0, 0], [255] * 3, [204] * 3]]


def test_grey_with_transparency(tmp_path):
    pixels = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    assert saved(tmp_path / "a.png", Image.fromarray(pixels, "LA")).tolist() == grey_as_rgb(10, 255)


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


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 50), (50, 1), (1, 1)])
def test_slivers(tmp_path, size):
    assert saved(tmp_path / "a.png", Image.new("RGB", size)).shape == (size[1], size[0], 3)


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.array([[0.5, 1.0]], dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif has pixels of mode F"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"patient,label\n1,0\n", "is not an image"),
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


def test_the_crop_does_not_share_memory():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    crop(image, (0, 0, 2, 2))[:] = 9
    assert image.max() == 0
