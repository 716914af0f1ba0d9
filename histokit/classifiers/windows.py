"""Random square windows of images, of one small size and in a colour space (Marée et al. 2016).

What the paper leaves open follows the authors' public code, pyxit: windows are brought to size by bilinear
interpolation, and colours are converted after that, TRGB within each window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

#: Side of a window once it was brought to size: 16 × 16 × 3 = 768 numbers, of which half are tried at a split.
SIDE = 16

#: From which ratio on Pillow shrinks large windows in a quick first step; the result is the same to the eye.
_REDUCING_GAP = 3.0


def window_boxes(
    height: int, width: int, count: int, sizes: tuple[float, float], seed: int, content: bytes
) -> NDArray[np.intp]:
    """Draw windows in an image.

    The side is a fraction, uniform between the two sizes, of the image's smaller side, rounded down to pixels and at
    least one pixel; the position is uniform over those where the window lies inside the image. The same content and
    seed give the same windows, and asking for fewer gives the first of them.

    Parameters
    ----------
    height, width : int
        Of the image, in pixels.
    count : int
    sizes : (float, float)
        Smallest and largest fraction.
    seed : int
    content : bytes
        Digest of the image.

    Returns
    -------
    (count, 4) array of int
        left, top, right, bottom of each; right and bottom are outside.
    """
    drawn = np.random.default_rng([seed, int.from_bytes(content, "little")]).random((count, 3))
    smaller = min(height, width)
    low, high = sizes
    side = ((low + (high - low) * drawn[:, 0]) * smaller).astype(np.intp).clip(1, smaller)
    left = (drawn[:, 1] * (width - side + 1)).astype(np.intp)
    top = (drawn[:, 2] * (height - side + 1)).astype(np.intp)
    return np.column_stack([left, top, left + side, top + side])


def cut_windows(pixels: Pixels, boxes: NDArray[np.intp]) -> Pixels:
    """Cut windows out of an image and bring them to size.

    Parameters
    ----------
    pixels : (H, W, C) uint8 array
    boxes : (n, 4) array of int
        left, top, right, bottom.

    Returns
    -------
    (n, SIDE, SIDE, C) uint8 array
    """
    channels = pixels.shape[2]
    if channels == 3:
        return _cut(pixels, boxes)
    # Pillow knows images of one and of three channels, and would weigh four by the last one.
    return np.concatenate([_cut(pixels[:, :, [c]], boxes) for c in range(channels)], axis=3)


def _cut(pixels: Pixels, boxes: NDArray[np.intp]) -> Pixels:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]))
    # One sheet for all windows takes half the time of an array for each.
    sheet = Image.new(image.mode, (SIDE, SIDE * len(boxes)))
    for number, box in enumerate(boxes.tolist()):
        # Cut first: resize with a box would look at pixels around it too.
        window = image.crop(tuple(box)).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
        sheet.paste(window, (0, SIDE * number))
    return np.asarray(sheet).reshape(len(boxes), SIDE, SIDE, pixels.shape[2])


def normalised(windows: Pixels) -> NDArray[np.float32]:
    """Return each channel of each window minus its mean, divided by its standard deviation; 0 where that is 0.

    Parameters
    ----------
    windows : (n, SIDE, SIDE, C) uint8 array

    Returns
    -------
    (n, SIDE, SIDE, C) float32 array
    """
    values = windows.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    deviation = windows.std(axis=(1, 2), keepdims=True, dtype=np.float32)
    # Of a constant channel the mean may be off by a rounding error.
    return np.where(deviation > 1e-4, values / np.where(deviation > 1e-4, deviation, 1), 0).astype(np.float32)


def hue_saturation_value(windows: Pixels) -> NDArray[np.float32]:
    """Return hue in degrees, saturation from 0 to 1 and value from 0 to 255; grey has the hue 0.

    Parameters
    ----------
    windows : (n, SIDE, SIDE, 3) uint8 array

    Returns
    -------
    (n, SIDE, SIDE, 3) float32 array
    """
    # By hand, because matplotlib's and scikit-image's conversions took four times as long.
    red, green, blue = (np.ascontiguousarray(windows[..., c], np.float32) for c in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    spread = value - np.minimum(np.minimum(red, green), blue)
    divisor = np.where(spread > 0, spread, 1)
    turned = np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4)
    hue = np.where(value == red, (green - blue) / divisor % 6, turned)
    hue = np.where(spread > 0, hue, 0)
    return np.stack([60 * hue, spread / np.where(value > 0, value, 1), value], axis=-1)


#: Colour spaces by name.
COLOURS: Mapping[str, Callable[[Pixels], NDArray[np.float32]]] = {
    "trgb": normalised,
    "hsv": hue_saturation_value,
}
