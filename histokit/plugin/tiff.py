"""How a TIFF file is to be read by what it says of itself, or why it is not: decoders ignore much of that."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from histokit.plugin.tiff_tags import (
    STACKS,
    Page,
    TagError,
    byte_order,
    is_big,
    read_pages,
    sub_pages,
)
from histokit.plugin.tiff_told import are_coloured_otherwise, declared_bits, other_files, told_planes
from histokit.plugin.ycbcr import OTHER_YCBCR, is_other_ycbcr

_UNCLEAR = "which have no one meaning as RGB: save it with 8 bits for each channel"
_SCALE = ", or say what is black and white (-o scale=range:BLACK,WHITE)"

#: Values of PhotometricInterpretation and SampleFormat whose numbers are no shades of grey, red, green and blue.
_COLOURS = {
    4: "pixels of a mask",
    **dict.fromkeys((8, 9, 10), "CIE Lab pixels"),
    **dict.fromkeys((32844, 32845), "LogLuv pixels"),
    **dict.fromkeys((32803, 34892), "raw pixels of a camera"),
}
_NUMBERS = {
    2: "pixels of 32 bits or with a sign",
    3: "floating-point pixels",
    **dict.fromkeys((5, 6), "pixels of complex numbers"),
}

#: Compressions that are not read, for people.
_COMPRESSIONS = {
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    34887: "LERC",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
    22610: "JPEG XR",
    34934: "JPEG XR",
}
_READ_COMPRESSIONS = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 32773, 32809, 32946, 34925, 50000])

#: Those that imagecodecs reads.
_READ_ELSEWHERE = frozenset((34712, 34887, 34933, 50001, 50002, 52546, 22610, 34934))

#: What the numbers of a file are.
NUMBERS, COLOURS = "numbers", "colours"
_JPEG = 7
#: The value of SampleFormat that says nothing.
_UNSAID = 4

_PER_PIXEL = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}
_ALPHA = (1, 2)


@dataclass(frozen=True)
class TiffLayout:
    """How the pixels of a TIFF file are to be read.

    Parameters
    ----------
    refusal : str, optional
        Why they are not, as the end of a sentence.
    bits : int
        That the grey of a pixel was declared to have.
    inverted : bool
        Whether 0 is white, where the decoder does not turn it round.
    pages : int
        1; or 3, which are red, green and blue.
    left_out : str, optional
        What besides is in the file.
    deep : bool
        Whether its red, green and blue have more than 8 bits each.
    mark : bytes
        Not empty where pixels came out otherwise before, or were not refused.
    elsewhere : bool
        Whether libtiff does not decode it, or Pillow not what comes out, so that tifffile does.
    files : str, optional
        Which other files hold more of the same image.
    """

    refusal: str | None = None
    bits: int = 16
    inverted: bool = False
    pages: int = 1
    left_out: str | None = None
    deep: bool = False
    mark: bytes = b""
    elsewhere: bool = False
    files: str | None = None


def tiff_layout(file: BinaryIO) -> TiffLayout | None:
    """Look at what a file says of itself; none where it is no TIFF file."""
    file.seek(0)
    head = file.read(4)
    if byte_order(head) is None:
        return None
    try:
        pages = read_pages(file)
        below = sub_pages(file, pages[0]) if pages else []
    except TagError:
        return _refused("cannot be read (the directory of the TIFF file is damaged)")
    if not pages:
        return _refused("cannot be read (the TIFF file has no page)")
    page, length = pages[0], file.seek(0, os.SEEK_END)
    reason, count, left_out = _further_pages(pages, below)
    for each in pages[:count]:
        reason = _unclear(each) or _unread(each) or _incomplete(each, length) or reason
    if reason:
        return _refused(reason)
    elsewhere = _is_read_elsewhere(page, is_big(head), byte_order(head) == ">")
    if elsewhere and not _is_plain(page):
        return _refused("is a TIFF file of a kind that is not read: save it as a plain TIFF or PNG")
    grey16 = page.value(258, 1) > 8 and page.samples == 1
    inverted = (grey16 or elsewhere) and page.value(262, 0) == 0
    above = page.value(258, 1) > 8
    # Of other colours, such as inks, the decoder gives the upper eight.
    deep = above and page.samples > 1 and page.value(262, 0) == 2
    bits = declared_bits(page) if (grey16 or deep or elsewhere) and not _is_deep_palette(page) else 16
    otherwise = inverted or bits != 16 or count > 1 or _was_turned_wrongly(page)
    dim = deep and bits != 16 and not elsewhere
    mark = b"tiff-4" if dim else b"tiff-3" if elsewhere else b"tiff-2" if above else b"tiff-1" if otherwise else b""
    files = other_files(page.description) or None
    return TiffLayout(None, bits, inverted, count, left_out, deep, mark, elsewhere, files)


def numbers_of(file: BinaryIO) -> tuple[str, str | None]:
    """Return whether the numbers of a TIFF file are grey or channels, or colours in some way, or why they are not read.

    Returns
    -------
    str
        `NUMBERS` where a larger number is lighter, or darker if 0 is said to be white; `COLOURS` else.
    str, optional
        What is the matter, as the end of a sentence.
    """
    file.seek(0)
    if byte_order(file.read(4)) is None:
        return NUMBERS, "is not a TIFF file"
    try:
        pages = read_pages(file)
    except TagError:
        return NUMBERS, "cannot be read (the directory of the TIFF file is damaged)"
    if not pages:
        return NUMBERS, "cannot be read (the TIFF file has no page)"
    first, length = pages[0], file.seek(0, os.SEEK_END)
    alike = [page for page in pages if page.size == first.size]
    if first.value(254, 0) & 1:
        return NUMBERS, "has only a reduced image on its first page: save the full one as a plain TIFF or PNG"
    formats, photometric = set(first.values(339, (1,))), first.value(262, -1)
    if photometric not in (0, 1, 2) and not (photometric == 6 and first.value(259, 1) == _JPEG):
        return COLOURS, f"has {_COLOURS.get(photometric, 'colours')} in planes, which are not read: save each as RGB"
    if is_other_ycbcr(first):
        return NUMBERS, f"{OTHER_YCBCR}: save it as a plain TIFF or PNG"
    if formats & {5, 6}:
        return NUMBERS, f"has {_NUMBERS[5]}, which are not read"
    if photometric == 0 and formats & {2, 3}:
        return NUMBERS, "says that 0 is white of numbers with a sign or a fraction: save it with 0 as black"
    if 1 < first.value(258, 1) < 8:
        return COLOURS, f"has {first.value(258, 1)} bits for each pixel in planes, which are not read: save it with 8"
    if first.description.startswith("ImageJ=") and told_planes(first)[0] > len(alike) and first.value(259, 1) == 1:
        # One directory and all planes after each other, as ImageJ writes large stacks.
        plane = first.size[0] * first.size[1] * first.samples * first.value(258, 1) // 8
        if first.value(273, 0) + told_planes(first)[0] * plane > length:
            return NUMBERS, "cannot be read (the image file is truncated, or some of its planes were never written)"
    return NUMBERS, next(filter(None, (_incomplete(page, length) for page in alike)), None)


def _is_read_elsewhere(page: Page, big: bool, big_endian: bool) -> bool:
    bits, compression = page.value(258, 1), page.value(259, 1)
    apart = page.value(284, 1) == 2
    grey_with_alpha = page.value(262, 0) in (0, 1) and page.samples == 2
    grey_with_alpha &= bits > 8 or page.value(338, 0) == 1 or apart
    # Pillow loses the last column of rows of an odd number of 12 bits.
    odd = bits == 12 and (compression == _JPEG or big_endian or page.samples > 1 or page.value(262, 0) != 1)
    unusual = compression in _READ_ELSEWHERE or bits not in (1, 2, 4, 8, 12, 16)
    # What the numbers are is not said, and then they are whole numbers.
    unsaid = page.value(339, 1) == _UNSAID and page.value(262, -1) in (0, 1, 2)
    return (big and big_endian) or unusual or grey_with_alpha or odd or unsaid or _is_deep_palette(page)


def _is_deep_palette(page: Page) -> bool:
    return page.value(262, 0) == 3 and page.value(258, 1) == 16 and page.samples == 1


def _is_plain(page: Page) -> bool:
    """Whether the pixels are of grey or of red, green and blue of 8 to 16 bits, with or without transparency."""
    bits = page.values(258, (1,))
    if _is_deep_palette(page):
        return True
    return page.value(262, -1) in (0, 1, 2) and 8 <= bits[0] <= 16 and len(set(bits)) == 1


def _refused(reason: str) -> TiffLayout:
    return TiffLayout(reason, mark=b"tiff-refused-1")


def _was_turned_wrongly(page: Page) -> bool:
    """Whether Pillow mapped the file into memory, and turned it after that: uncompressed, and in one piece."""
    bits, photometric = page.value(258, 1), page.value(262, 0)
    mapped = (page.samples == 1 and bits in (8, 16) and photometric in (1, 3)) or (page.samples == 4 and bits == 8)
    whole = len(page.values(324, page.values(273))) == 1 and page.value(259, 1) == 1
    return mapped and whole and page.value(274, 1) in (5, 6, 7, 8) and page.size[0] != page.size[1]


def _unclear(page: Page) -> str | None:
    """Return why the numbers are no shades of colours, as the end of a sentence."""
    photometric, formats = page.value(262, -1), set(page.values(339, (1,)))
    kinds = [_COLOURS.get(photometric), *(_NUMBERS.get(kind) for kind in sorted(formats))]
    if max(page.values(258, (1,)), default=1) >= 32:
        kinds.append(_NUMBERS[2])
    if photometric == 5 and page.value(332, 1) != 1:
        kinds.append("inks other than cyan, magenta, yellow and black")
    kind = next((kind for kind in kinds if kind), None)
    if kind:
        return f"has {kind}, {_UNCLEAR}{_SCALE if kind in (_NUMBERS[2], _NUMBERS[3]) else ''}"
    colours, extras = _PER_PIXEL.get(photometric, 1), page.values(338)
    further = page.samples - colours - sum(extra in _ALPHA for extra in extras)
    if colours == 1 and further > 0:
        return (
            f"has {page.samples} channels in each pixel, none of them said to be red, green or blue: name those that "
            "are wanted (-o channels=A:1,B:2), or save it as RGB"
        )
    return None


def _unread(page: Page) -> str | None:
    """Return what the decoder would get wrong or cannot do, as the end of a sentence."""
    compression, planar, inks = page.value(259, 1), page.value(284, 1) == 2, page.value(262, 0) == 5
    if compression not in _READ_COMPRESSIONS | _READ_ELSEWHERE:
        name = _COMPRESSIONS.get(compression, "a method")
        return (
            f"is compressed by {name} (TIFF compression {compression}), which is not read: save it with LZW or Deflate"
        )
    checks = [
        (min(page.size) < 1, "has no pixels"),
        (262 not in page.tags and compression != 6, "does not say whether 0 is black or white"),
        (max(page.value(32997, 1), page.value(32998, 1)) > 1, "has more than one plane in depth"),
        (max(page.value(tag, 1) for tag in STACKS) > 1, "has more than one plane (MetaMorph stack)"),
        (page.value(317, 1) != 1 and compression == 1, "names a predictor, but no compression that it belongs to"),
        (planar and inks and page.value(258, 1) > 8, "keeps inks of 16 bits in planes of their own"),
        (inks and page.value(336, 0) > 0, "says that another number than 0 is no ink (DotRange)"),
        (planar and 1 in page.values(338), "keeps associated transparency in a separate plane"),
        (_is_dim(page), "has a colour map of 8 bits where a TIFF file has 16"),
        (_is_subsampled(page) and compression == 1, "has subsampled YCbCr pixels without compression"),
        (is_other_ycbcr(page), OTHER_YCBCR),
    ]
    return next((f"{words}: save it as a plain TIFF or PNG" for wrong, words in checks if wrong), None)


def _is_dim(page: Page) -> bool:
    return page.value(262, 0) == 3 and 0 < max(page.values(320), default=0) < 256


def _is_subsampled(page: Page) -> bool:
    return page.value(262, 0) == 6 and page.samples == 3 and set(page.values(530, (2, 2))) != {1}


def _incomplete(page: Page, length: int) -> str | None:
    """Return whether some of the pixels are not there, as the end of a sentence."""
    tiled = 324 in page.tags
    places, counts = page.values(324 if tiled else 273), page.values(325 if tiled else 279)
    (width, height), planes = page.size, page.samples if page.value(284, 1) == 2 else 1
    rows = max(1, page.value(323, 1) if tiled else min(page.value(278, height), height))
    across = -(-width // max(1, page.value(322, width))) if tiled else 1
    down = -(-height // rows)
    if len(places) < across * down * planes:
        return f"cannot be read (it has {len(places)} of {across * down * planes} pieces)"
    columns = page.value(322, width) if tiled else width
    each = page.values(258, (1,))[: page.samples]
    bits = each[0] if planes > 1 else sum(each) if len(each) > 1 else each[0] * page.samples
    for number, place in enumerate(places[: across * down * planes]):
        here = rows if tiled else min(rows, height - number % down * rows)
        needed = -(-columns * bits // 8) * here if page.value(259, 1) == 1 else 1
        held = counts[number] if number < len(counts) else needed
        end = place + (needed if page.value(259, 1) == 1 else held)
        if place < 8 or held < needed or end > length:
            return "cannot be read (the image file is truncated, or some of its pixels were never written)"
    return None


def _further_pages(pages: list[Page], below: list[Page]) -> tuple[str | None, int, str | None]:
    """Return why the file is refused, how many pages are its colours, and what besides is in it."""
    first = pages[0]
    if first.value(254, 0) & 1:
        return "has only a reduced image on its first page: save the full one as a plain TIFF or PNG", 1, None
    alike = [page for page in pages if page.size == first.size and not page.value(254, 0) & 5]
    told, channels = told_planes(first)
    count, (width, height) = max(len(alike), told), first.size
    if count > 1:
        said = count == channels == len(alike) == 3 and not are_coloured_otherwise(first)
        if said and _are_grey(alike) and pages[:3] == alike:
            return None, 3, None
        what, option = f"{count} planes or pages", "planes=each, max or one of them, of folder or table"
        if channels == count:
            what, option = f"{count} channels", "channels=A:1,B:2"
        by = " by its own description" if told > len(alike) else ""
        how = f"say which are wanted (-o {option}), or save each alone"
        return f"has {what}{by}, {width} × {height} pixels each, which are not one RGB image: {how}", 1, None
    larger = next((page.size for page in pages[1:] + below if page.size[0] * page.size[1] > width * height), None)
    if larger:
        return f"has a first page smaller than another ({larger[0]} × {larger[1]} pixels): save that alone", 1, None
    others = [] if first.description.startswith("Aperio") else [p for p in pages[1:] if not p.value(254, 0) & 5]
    extras = sum(extra not in _ALPHA for extra in first.values(338))
    if others:
        return None, 1, f"{len(others)} more page{'s' * (len(others) > 1)}"
    return None, 1, f"{extras} more channel{'s' * (extras > 1)} in each pixel" if extras else None


def _are_grey(pages: list[Page]) -> bool:
    first = pages[0]
    same = len({(page.samples, page.values(258), page.value(262, 0)) for page in pages}) == 1
    return same and first.samples == 1 and first.value(262, 0) in (0, 1) and first.value(258, 1) in (8, 12, 16)
