"""JPEG files come out the same whether Pillow reads them or what reads the plain ones in half of the time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFilter
from simplejpeg import encode_jpeg

from histokit.errors import DataError
from histokit.plugin import images, read_image
from histokit.plugin.plain_jpeg import plain_pixels
from histokit.plugin.remarks import collected_remarks

RANDOM = np.random.default_rng(7)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    noise = Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return noise.filter(ImageFilter.GaussianBlur(1.5)).convert(mode)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def oriented(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def outcome(path: Path) -> Any:
    """What comes of a file: its pixels and what is told of them, or why there are none."""
    try:
        with collected_remarks() as remarks:
            pixels = read_image(path)
    except DataError as error:
        return error.message
    return pixels.shape, pixels.tobytes(), remarks


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads bytes as a file in both ways, which have to agree, and tells whether the file was plain."""

    def read(data: bytes) -> bool:
        path = tmp_path / "a.jpg"
        path.write_bytes(data)
        found = outcome(path)
        with monkeypatch.context() as patch:
            patch.setattr(images, "plain_pixels", lambda *_: None)
            assert outcome(path) == found
        return plain_pixels(data, images.LARGEST_IMAGE) is not None

    return read


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_plain_files_of_any_side_and_quality(both: Any, subsampling: str) -> None:
    for side in (1, 2, 7, 8, 9, 16, 17, 31, 64, 223):
        for quality in (1, 50, 93, 100):
            data = jpeg(picture(side, side + 5), quality=quality, subsampling=subsampling, optimize=quality > 90)
            assert both(data)


@pytest.mark.parametrize("subsampling", ["444", "422", "440", "420", "411"])
def test_files_of_another_program(both: Any, subsampling: str) -> None:
    for side in (24, 45, 67):
        pixels = np.asarray(picture(side, side + 9))
        assert both(encode_jpeg(np.ascontiguousarray(pixels), 88, "RGB", subsampling))


def test_profiles_and_comments_turn_no_pixel(both: Any) -> None:
    assert both(jpeg(picture(40, 50), icc_profile=PROFILE, comment=b"slide 7"))


@pytest.mark.parametrize(("kind", "start"), [(0xE0, b"JFIF\0"), (0xE2, b"ICC_PROFILE\0")])
def test_metadata_that_end_too_early(both: Any, kind: int, start: bytes) -> None:
    data = jpeg(picture(40, 50))
    for size in range(len(start), 20):
        segment = bytes([0xFF, kind, 0, size + 2]) + start.ljust(size, b"\1")
        both(data[:2] + segment + data[2:])


@pytest.mark.parametrize(
    "data",
    [
        jpeg(picture(40, 50, "L")),
        jpeg(picture(40, 50, "CMYK")),
        jpeg(picture(40, 50), progressive=True),
        jpeg(picture(40, 50), restart_marker_blocks=2),
        jpeg(picture(40, 50), keep_rgb=True),
        *(jpeg(picture(40, 50), exif=oriented(number)) for number in range(1, 9)),
        jpeg(picture(40, 50), xmp=b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'),
    ],
)
def test_all_else_is_left_to_pillow(both: Any, data: bytes) -> None:
    assert not both(data)


def test_several_pictures_in_one_file_are_told_of(both: Any) -> None:
    file = io.BytesIO()
    picture(40, 50).save(file, "MPO", save_all=True, append_images=[picture(40, 50)])
    assert not both(file.getvalue())


def in_scans(image: Image.Image, count: int) -> bytes:
    """A file whose three components lie in a scan each, of which some are there."""
    greys = [jpeg(part, quality=90) for part in image.convert("YCbCr").split()]
    frame, tables, scan = (greys[0].index(mark) for mark in (b"\xff\xc0", b"\xff\xc4", b"\xff\xda"))
    # Of one component each: its number, its sampling and its table.
    three = b"\xff\xc0\x00\x11" + greys[0][frame + 4 : frame + 9] + b"\x03" + b"\1\x11\0\2\x11\0\3\x11\0"
    data = greys[0][:frame] + three + greys[0][tables:scan]
    for number, grey in enumerate(greys[:count], 1):
        start = grey.index(b"\xff\xda")
        data += grey[start : start + 5] + bytes([number]) + grey[start + 6 : -2]
    return data + b"\xff\xd9"


def test_several_scans_are_left_to_pillow(both: Any) -> None:
    assert not any(both(in_scans(picture(40, 48), count)) for count in (1, 2, 3))


def damaged(data: bytes, count: int) -> Iterator[bytes]:
    """A file of which bits were turned over, bytes are gone, or others stand in between."""
    for _ in range(count):
        place, length = int(RANDOM.integers(2, len(data))), int(RANDOM.integers(1, 40))
        yield data[:place] + bytes([data[place] ^ (1 << int(RANDOM.integers(8)))]) + data[place + 1 :]
        yield data[:place]
        yield data[:place] + b"\xff\xd9"
        yield data[:place] + b"\0\xff\xd9"
        yield data[:place] + data[place + length :]
        yield data[:place] + RANDOM.bytes(length) + data[place:]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_come_to_the_same(both: Any) -> None:
    for subsampling in ("4:4:4", "4:2:0"):
        for data in damaged(jpeg(picture(48, 60), subsampling=subsampling), 60):
            both(data)


def test_huge_sizes_are_left_to_pillow(tmp_path: Path) -> None:
    data = jpeg(picture(30, 40))
    assert plain_pixels(data, 1_199) is None
    found = plain_pixels(data, 1_200)
    assert found is not None
    assert not found.flags.writeable
