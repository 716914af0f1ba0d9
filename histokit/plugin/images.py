"""The one place that opens image files."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[int, int, int, int]
Pixels = npt.NDArray[np.uint8]

_RECENT_IMAGES = 4
_RECENT_BYTES = 256 << 20


def read_image(path: Path) -> Pixels:
    """Open an image file as RGB.

    Greyscale is repeated over three channels, a palette is looked up, 16-bit values are
    scaled to 8 bits, transparency is laid over white, and the EXIF orientation is applied; EXIF
    data that cannot be read are passed over. Of an animated file, the first frame is read.

    Pixels that are floating-point numbers, signed, of 32 bits or in CIE Lab are refused: which value is white
    is not written in the file. So are images of more than twice Pillow's ``MAX_IMAGE_PIXELS`` (179 million
    pixels), before their memory is asked for; up to there no warning is given.

    Returns
    -------
    (H, W, 3) uint8 array

    Raises
    ------
    DataError
        If the file is missing, empty, not an image that can be decoded to its end, or one that is refused.
    """
    from PIL import Image, UnidentifiedImageError

    _warn_of_no_size()
    try:
        with Image.open(path) as image:
            image.load()
            _set_upright(image)
            unclear = _unclear(image)
            if unclear is None:
                return np.asarray(_to_rgb(image), dtype=np.uint8)
            reason = f"has {unclear}, which have no one meaning as RGB: save it with 8 bits for each channel"
    except UnidentifiedImageError:
        reason = "is empty" if path.stat().st_size == 0 else "is not an image"
    except FileNotFoundError:
        reason = "does not exist"
    except Image.DecompressionBombError:
        reason = "has too many pixels to be opened safely"
    except MemoryError:
        raise
    except Exception as error:  # Decoders raise whatever they stumble upon in a damaged file.
        reason = f"cannot be read ({error or type(error).__name__})"
    raise DataError(f"{path} {reason}.", next="Replace the file, then ingest the dataset again.")


def _warn_of_no_size() -> None:
    """Keep Pillow from warning of large images; those that are too large are errors all the same."""
    from PIL import Image

    # Not with catch_warnings, which other threads that read at the same time would undo.
    if all(kind is not Image.DecompressionBombWarning for _, _, kind, _, _ in warnings.filters):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _unclear(image: Image.Image) -> str | None:
    """Return the kind of pixels, for people, where nothing says which value is black and which is white."""
    # Some versions of Pillow open PNG files of 16 bits in the mode of 32.
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        return "pixels of 32 bits or with a sign"
    return {"F": "floating-point pixels", "LAB": "CIE Lab pixels"}.get(image.mode)


def _set_upright(image: Image.Image) -> None:
    from PIL import ImageOps

    # Parsers raise whatever they stumble upon; the pixels are whole, for they were loaded before.
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        return Image.fromarray((grey >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "La", "PA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def crop(image: Pixels, box: Box) -> Pixels:
    """Cut a box out of an image; what lies outside the image is filled by reflection.

    Parameters
    ----------
    image : (H, W, C) uint8 array
    box : (x, y, width, height) in pixels; may leave the image

    Returns
    -------
    (height, width, C) uint8 array

    Raises
    ------
    DataError
        If no pixel of the box lies inside the image.
    """
    x, y, width, height = box
    rows_left, columns_left = image.shape[0] - y, image.shape[1] - x
    if min(width, height, x + width, y + height, rows_left, columns_left) < 1:
        raise DataError(
            f"The box {box} lies outside an image of {image.shape[1]} × {image.shape[0]} pixels.",
            next="Check the coordinates: a box is x, y, width and height in pixels.",
        )
    if min(x, y, rows_left - height, columns_left - width) >= 0:
        return image[y : y + height, x : x + width].copy()
    rows = _reflected(y, height, image.shape[0])
    columns = _reflected(x, width, image.shape[1])
    return np.ascontiguousarray(image[rows][:, columns])


def _reflected(start: int, length: int, size: int) -> npt.NDArray[np.intp]:
    index = np.arange(start, start + length)
    if size == 1:
        return np.zeros(length, dtype=np.intp)
    period = 2 * (size - 1)
    folded = np.abs(index) % period
    return np.where(folded < size, folded, period - folded).astype(np.intp)


class RecentImages:
    """The images that were opened last: one that is cut into many boxes is decoded once, by whichever thread is first.

    Their arrays are shared and not to be written to.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: OrderedDict[tuple[Path, int, int], Future[Pixels]] = OrderedDict()

    def __reduce__(self) -> tuple[type[RecentImages], tuple[()]]:
        return RecentImages, ()

    def read(self, path: Path) -> Pixels:
        """Open an image file as `read_image` does, unless it was just opened and has not changed since."""
        state = path.stat() if path.is_file() else None
        key = (path, state.st_size, state.st_mtime_ns) if state else (path, 0, 0)
        with self._lock:
            known = self._opened.get(key)
            pixels = self._opened.setdefault(key, known or Future())
            self._opened.move_to_end(key)
        if known is None:
            try:
                pixels.set_result(read_image(path))
            except BaseException as error:
                pixels.set_exception(error)
            self._forget()
        return pixels.result()

    def _forget(self) -> None:
        """Let go of images that could not be read, and of the oldest ones while there are too many."""
        with self._lock:
            done = {key: pixels for key, pixels in self._opened.items() if pixels.done()}
            sizes = {key: pixels.result().nbytes for key, pixels in done.items() if pixels.exception() is None}
            for key in done.keys() - sizes.keys():
                del self._opened[key]
            for key in list(sizes)[:-1]:
                if len(sizes) <= _RECENT_IMAGES and sum(sizes.values()) <= _RECENT_BYTES:
                    break
                del self._opened[key], sizes[key]
