"""What a TIFF file says of the slide in it: whether its pixels can be read as RGB, its resolution, its maker."""

from __future__ import annotations

from typing import Any

from histokit.plugin.deep_colours import ORIENTATION
from histokit.plugin.tiff_images import ome_mpp
from histokit.plugin.tiff_tags import YCBCR_LIMITS, YCBCR_WEIGHTS
from histokit.plugin.ycbcr import OTHER_YCBCR, is_unusual_ycbcr

#: Micrometres of the units in which TIFF gives resolutions: inch and centimetre.
_PER_UNIT = {2: 25_400.0, 3: 10_000.0}

#: Coarser resolutions are those of screens and printers, which programs write where they know of none.
_COARSEST = 20.0

#: What tifffile finds of makers whose files OpenSlide reads as they are meant.
_SCANNERS = ("svs", "ndpi", "scn", "bif", "philips")

#: An image of so many times as many pixels as the first one is no picture of the glass.
_LARGER = 4


def scanner(file: Any) -> str | None:
    """Return the maker of the scanner that wrote a TIFF file, where it is one that OpenSlide knows."""
    return next((name for name in _SCANNERS if getattr(file, f"is_{name}")), None)


def refusal(series: Any, page: Any) -> str | None:
    """Return why a slide is not read, as the end of a sentence."""
    kind = str(page.dtype)
    planes = [f"{axis} = {size}" for axis, size in zip(series.axes, series.shape, strict=True) if axis not in "YXS"]
    stack = ", ".join(plane for plane in planes if not plane.endswith("= 1"))
    if kind != "uint8":
        what = "with a sign" if kind.startswith("int") else "of another kind"
        return f"holds pixels {what} ({kind}{f', in planes of {stack}' if stack else ''}): slides are of 8 bits (uint8)"
    if stack:
        return f"is a stack of planes ({stack}): a slide is one plane of RGB or grey"
    if page.samplesperpixel not in (1, 3, 4) or (page.samplesperpixel > 1 and page.planarconfig != 1):
        where = "in planes of their own" if page.planarconfig != 1 else "in each pixel"
        return f"holds {page.samplesperpixel} channels {where}: a slide is one plane of RGB or grey"
    if page.bitspersample != 8:
        return f"holds pixels of {page.bitspersample} bits: slides are of 8 bits (uint8)"
    if page.photometric in (0, 1) and page.samplesperpixel > 1:
        return f"holds {page.samplesperpixel} channels in each pixel, none of them said to be red, green or blue"
    if (turned := int(page.tags.valueof(ORIENTATION, 1))) != 1:
        return f"is stored turned (orientation {turned}), and its tiles would be cut from it as it is stored"
    weights, limits = (page.tags.valueof(tag, ()) for tag in (YCBCR_WEIGHTS, YCBCR_LIMITS))
    if page.photometric == 6 and is_unusual_ycbcr(weights, limits):
        return OTHER_YCBCR
    # 6 is YCbCr, which JPEG decodes.
    if page.photometric not in (0, 1, 2) and not (page.photometric == 6 and page.compression in (7, 33007)):
        return f"holds colours as {getattr(page.photometric, 'name', page.photometric)}, which are not read"
    return None


def coarse_first(file: Any, page: Any) -> str | None:
    """Return that a slide's first image is its label, its thumbnail or the like, as the end of a sentence."""
    images = [*(series.keyframe for series in file.series), *(inner.aspage() for inner in page.pages or ())]
    largest = max(images, key=lambda image: image.imagewidth * image.imagelength)
    across, down = largest.imagewidth / page.imagewidth, largest.imagelength / page.imagelength
    # A cut of a slide may come with a somewhat larger picture of the glass.
    if across * down < _LARGER and not (across > 1.05 and abs(across - down) < 0.02 * across):
        return None
    sizes = (f"{image.imagewidth} × {image.imagelength}" for image in (page, largest))
    return "begins with an image of {} pixels and holds one of {}: a slide begins with its finest level".format(*sizes)


def told_resolution(file: Any, page: Any) -> tuple[float, float] | None:
    """Return the micrometres per pixel that a TIFF file tells of a slide; none where it tells none, or a printer's."""
    sides = ome_mpp(file) if file.is_ome else _of_tags(page)
    return sides if sides and all(0 < side <= _COARSEST for side in sides) else None


def _of_tags(page: Any) -> tuple[float, float] | None:
    per_unit = _PER_UNIT.get(int(page.tags.valueof("ResolutionUnit", 1)))
    if per_unit is None:
        return None
    sizes = []
    for name in ("XResolution", "YResolution"):
        above, below = page.tags.valueof(name, (0, 1))
        sizes.append(per_unit * below / above if above else 0.0)
    return sizes[0], sizes[1]
