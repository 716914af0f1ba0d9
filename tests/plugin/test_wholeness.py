from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile
from raw_images import chunk, png

from histokit.errors import DataError
from histokit.plugin import read_image
from histokit.plugin.images import decode_image
from histokit.plugin.remarks import ImageWarning

NOISE = np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8)
LARGE = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)

#: First column, first row, and the steps of the passes of an interlaced PNG file.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def rows(pixels) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def interlaced(path, pixels, passes=7):
    """Write an interlaced PNG file of grey, or the first passes of it."""
    height, width = pixels.shape
    data = b"".join(rows(pixels[y::dy, x::dx]) for x, y, dx, dy in ADAM7[:passes] if pixels[y::dy, x::dx].size)
    header = chunk("IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk("IDAT", zlib.compress(data)) + chunk("IEND", b""))
    return path


def truncated(path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(.*truncated"):
        read_image(path)


@pytest.mark.parametrize("share", [0.025, 0.5, 0.975])
@pytest.mark.parametrize("kind", [0, 2, 6])
def test_a_png_of_which_rows_are_missing_is_no_image(tmp_path, kind, share):
    # The stream of the pixels ends as it should, after half of the rows: a decoder leaves the others black.
    pixels = {0: NOISE[..., 0], 2: NOISE, 6: np.dstack([NOISE, NOISE[..., :1] | 255])}[kind]
    truncated(png(tmp_path / "a.png", (24, 40, 8, kind), rows(pixels[: int(40 * share)])))
    assert read_image(png(tmp_path / "b.png", (24, 40, 8, kind), rows(pixels))).shape == (40, 24, 3)


def test_a_png_of_1_bit_and_one_of_16(tmp_path):
    bits = np.packbits(NOISE[..., 0] > 127, axis=1)
    truncated(png(tmp_path / "a.png", (24, 40, 1, 0), rows(bits[:39])))
    # Twenty pixels of one bit take three bytes.
    truncated(png(tmp_path / "d.png", (20, 40, 1, 0), rows(bits[:39])))
    bits[-1] = 0
    assert (
        read_image(png(tmp_path / "b.png", (24, 40, 1, 0), rows(bits)))[..., 0].tolist()
        == (np.unpackbits(bits, axis=1) * 255).tolist()
    )
    deep = NOISE[..., 0].astype(">u2") << 8
    truncated(png(tmp_path / "c.png", (24, 40, 16, 0), rows(deep[:20])))


@pytest.mark.parametrize("rest", [0, 5])
def test_a_png_whose_last_rows_are_black(tmp_path, rest):
    dark = NOISE.copy()
    dark[-rest - 1 :] = 0
    read = read_image(png(tmp_path / "a.png", (24, 40, 8, 2), rows(dark)))
    assert read.tolist() == dark.tolist()


def test_interlaced_pngs(tmp_path):
    for shape in ((40, 24), (41, 23), (3, 2), (1, 1)):
        pixels = NOISE[:, :, 0].repeat(2, 0)[: shape[0], : shape[1]] | 1
        read = read_image(interlaced(tmp_path / "a.png", pixels))
        assert read[..., 0].tolist() == pixels.tolist()
    truncated(interlaced(tmp_path / "b.png", NOISE[:39, :, 0] | 1, passes=6))


def test_pillow_is_not_asked_to_fill_up_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(NOISE).save(buffer, kind)
        path = tmp_path / f"a.{kind.lower()}"
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        with pytest.raises(DataError, match="cannot be read"):
            read_image(path)
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)


def jpeg(pixels, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


KINDS = [
    {},
    {"subsampling": 0},
    {"restart_marker_rows": 1},
    {"progressive": True},
    {"progressive": True, "restart_marker_rows": 1},
]


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_jpeg_that_ends_early_with_a_mark_of_its_end(tmp_path, options, share):
    content = jpeg(LARGE, **options)
    path = tmp_path / "a.jpg"
    path.write_bytes(content[: int(len(content) * share)] + b"\xff\xd9")
    truncated(path)
    path.write_bytes(content)
    assert read_image(path).shape == (64, 80, 3)


def test_a_grey_jpeg_that_ends_early(tmp_path):
    content = jpeg(LARGE[..., 0])
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 2 // 3] + b"\xff\xd9")
    truncated(tmp_path / "a.jpg")


def restarts(content: bytes) -> list[int]:
    """Return where the restart markers of a JPEG file are; within the data of a scan, FF is followed by 0 else."""
    start = content.index(b"\xff\xda")
    return [k for k in range(start, len(content) - 1) if content[k] == 0xFF and 0xD0 <= content[k + 1] <= 0xD7]


@pytest.mark.parametrize(
    "options", [{}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}, {"progressive": True}]
)
@pytest.mark.parametrize("shape", [(64, 80), (61, 77), (17, 9), (9, 8)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpegs_of_any_side_are_whole(tmp_path, options, shape, subsampling):
    for pixels in (
        LARGE[: shape[0], : shape[1]],
        LARGE[: shape[0], : shape[1], 0],
        np.full((*shape, 3), 255, np.uint8),
    ):
        content = jpeg(np.ascontiguousarray(pixels), subsampling=subsampling, **options)
        (tmp_path / "a.jpg").write_bytes(content)
        assert read_image(tmp_path / "a.jpg").shape == (*shape, 3)


def test_a_jpeg_that_lost_pieces_between_its_restart_markers(tmp_path):
    content = jpeg(LARGE, restart_marker_blocks=2)
    marks, path = restarts(content), tmp_path / "a.jpg"
    assert [content[k + 1] - 0xD0 for k in marks] == [k % 8 for k in range(9)]
    first, third, sixth = marks[0], marks[2], marks[5]
    damaged = {
        # A piece from mark to mark, as many as eight of them, after which the marks are in order again; or an end.
        "one": content[:first] + content[third:],
        "eight": content[:first] + content[marks[8] :],
        "last": content[: marks[-1]] + b"\xff\xd9",
        "exchanged": content[: marks[1]] + content[third:sixth] + content[marks[1] : third] + content[sixth:],
        "end": content[: marks[1] - 40] + content[marks[1] :],
        "mark": content[:third] + content[third + 2 :],
    }
    for name, found in damaged.items():
        path.write_bytes(found)
        with pytest.raises(DataError, match="truncated"):
            print(name, read_image(path).shape)
    path.write_bytes(content)
    assert read_image(path).shape == (64, 80, 3)


def scan_of(content: bytes, number: int) -> tuple[int, int]:
    """Return where the data of a scan begin and end."""
    start = -1
    for _ in range(number + 1):
        start = content.index(b"\xff\xda", start + 1)
    start += 2 + struct.unpack_from(">H", content, start + 2)[0]
    end = start
    while content[end] != 0xFF or content[end + 1] in (0, *range(0xD0, 0xD8)):
        end += 1
    return start, end


@pytest.mark.parametrize("number", range(10))
def test_a_progressive_jpeg_of_which_one_scan_is_cut_short(tmp_path, number):
    content = jpeg(LARGE, progressive=True)
    start, end = scan_of(content, number)
    (tmp_path / "a.jpg").write_bytes(content[: start + (end - start) // 2] + content[end:])
    truncated(tmp_path / "a.jpg")


@pytest.mark.parametrize("options", KINDS)
def test_a_jpeg_whose_corner_is_of_a_middle_grey(tmp_path, options):
    padded = LARGE.copy()
    padded[30:, 40:] = 128
    for name, pixels in (("a", padded), ("b", np.full_like(LARGE, 128)), ("c", padded[..., 0].copy())):
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(jpeg(pixels, **options) + b"left by another program")
        assert abs(int(read_image(path)[-1, -1, 0]) - 128) <= 1


def test_several_pictures_in_one_jpeg(tmp_path):
    padded = LARGE.copy()
    padded[30:, 40:] = 128
    first, second = Image.fromarray(padded), Image.fromarray(LARGE[:32])
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    with pytest.warns(ImageWarning, match=r"holds more than what was read, its first picture \(2 frames\)"):
        assert read_image(tmp_path / "a.jpg").shape == (64, 80, 3)


@pytest.mark.parametrize(
    "options", [{"optimize": True}, {"quality": 95}, {"exif": b"Exif\0\0MM\0*\0\0\0\10\0\0\0\0\0\0"}]
)
def test_a_jpeg_whose_data_are_damaged_inside(tmp_path, options):
    content, path = jpeg(LARGE, **options), tmp_path / "a.jpg"
    start, end = scan_of(content, 0)
    path.write_bytes(content)
    assert read_image(path).shape == (64, 80, 3)
    middle = (start + end) // 2
    # Zeros are codes of their own: by them, rows are made up of which the file holds nothing.
    path.write_bytes(content[:middle] + bytes(end - middle) + content[end:])
    with pytest.raises(DataError, match=r"a\.jpg cannot be read \(.*(truncated|its JPEG data are damaged)"):
        read_image(path)
    # A piece taken out: what follows is shifted, and the last blocks are made up, or there are too many.
    path.write_bytes(content[:middle] + content[middle + 200 :])
    with pytest.raises(DataError, match=r"cannot be read \(.*(truncated|its JPEG data are damaged)"):
        read_image(path)


def test_a_jpeg_with_bytes_that_belong_to_no_block(tmp_path):
    content, path = jpeg(LARGE), tmp_path / "a.jpg"
    end = scan_of(content, 0)[1]
    # As cameras fill up a place.
    path.write_bytes(content[:end] + bytes(7) + content[end:])
    whole = read_image(path)
    path.write_bytes(content)
    assert whole.tolist() == read_image(path).tolist()
    path.write_bytes(content[:end] + bytes(range(100)) + content[end:])
    with pytest.raises(DataError, match=r"JPEG data are damaged: \d+ extraneous bytes"):
        read_image(path)


def encoded(image, kind, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


#: More than 128 colours, so that those that are numbered as the mark of a palette are among them.
IN_COLOURS = Image.fromarray(NOISE).quantize(250)
IMAGES = {"colours": Image.fromarray(NOISE), "grey": Image.fromarray(NOISE[..., 0]), "palette": IN_COLOURS}
CUT = [
    *((kind, {}, name) for kind in ("BMP", "TGA", "GIF", "PCX", "TIFF", "PNG") for name in IMAGES),
    *((kind, {}, name) for kind in ("SGI", "PPM", "JPEG2000") for name in ("colours", "grey")),
    *(
        ("JPEG2000", options, "colours")
        for options in ({"tile_size": (8, 8)}, {"no_jp2": True}, {"irreversible": True})
    ),
    *(("WEBP", {"lossless": lossless}, "colours") for lossless in (True, False)),
    ("TGA", {"compression": "tga_rle"}, "palette"),
    ("TIFF", {"compression": "tiff_lzw"}, "colours"),
    ("ICO", {"sizes": [(16, 16)]}, "colours"),
    ("ICO", {"sizes": [(16, 16)], "bitmap_format": "bmp"}, "colours"),
]


@pytest.mark.filterwarnings("ignore::histokit.plugin.remarks.ImageWarning")
@pytest.mark.parametrize(("kind", "options", "name"), CUT, ids=lambda value: str(value).replace(" ", ""))
def test_a_file_that_is_cut_short_is_read_right_or_not_at_all(kind, options, name):
    content = encoded(IMAGES[name], kind, **options)
    whole, read = decode_image(content, "a"), 0
    # Each place in the last bytes, behind the head and around the palette of a PCX file; some between them.
    size = len(content)
    for place in {*range(size - 40, size), *range(max(1, size - 775), size - 740), *range(1, size, 41)}:
        with contextlib.suppress(DataError):
            assert np.array_equal(decode_image(content[:place], "a"), whole), place
            read += 1
    assert read < size // 10 or kind == "PCX"


def test_a_pcx_file_without_its_palette_is_cut_short():
    content = encoded(IN_COLOURS, "PCX")
    for place in range(len(content) - 769, len(content)):
        with pytest.raises(DataError, match="truncated"):
            decode_image(content[:place], "a")
    # One that says that it is grey needs none.
    grey = bytearray(encoded(IMAGES["grey"], "PCX"))
    grey[68:70] = b"\2\0"
    assert (decode_image(bytes(grey[:-769]), "a")[..., 0] == NOISE[..., 0]).all()


def test_a_jpeg_2000_file_without_all_of_its_tiles_is_cut_short():
    content = encoded(Image.fromarray(NOISE), "JPEG2000", tile_size=(8, 8))
    places = [place for place in range(len(content)) if content.startswith(b"\xff\x90\0\x0a", place)]
    assert len(places) == 15
    for place in places:
        for more in (0, 2, 6, 12, 14):
            with pytest.raises(DataError, match="cannot be read"):
                decode_image(content[: place + more], "a")
    # The mark of the end alone may be missing, where each tile says how many parts it has.
    assert content.endswith(b"\xff\xd9")
    with contextlib.suppress(DataError):
        assert (decode_image(content[:-2], "a") == NOISE).all()


def test_a_small_pcx_file_in_grey_needs_no_palette():
    grey = bytearray(encoded(Image.fromarray(NOISE[:3, :3, 0]), "PCX")[:-769])
    with pytest.raises(DataError, match="truncated"):
        decode_image(bytes(grey), "a")
    grey[68:70] = b"\2\0"
    assert (decode_image(bytes(grey), "a")[..., 0] == NOISE[:3, :3, 0]).all()


@pytest.mark.parametrize("long", [False, True])
def test_a_preview_in_a_jpeg_2000_file_is_not_taken_for_its_code(long):
    content = encoded(Image.fromarray(NOISE), "JPEG2000", tile_size=(8, 8))
    start = content.index(b"jp2c") - 4
    preview = encoded(Image.fromarray(NOISE[:8, :8]), "JPEG2000", no_jp2=True)[:-9]
    box = struct.pack(">I4s16s", len(preview) + 24, b"uuid", b"preview") + preview
    code = content[start + 8 :]
    head = struct.pack(">I4sQ", 1, b"jp2c", 16 + len(code)) if long else content[start : start + 8]
    assert (decode_image(content[:start] + box + head + code, "a") == NOISE).all()
    with pytest.raises(DataError, match="cannot be read"):
        decode_image(content[:start] + box + head + code[: len(code) // 2], "a")
