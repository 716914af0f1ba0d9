"""Images that a caller has: paths, Pillow's and arrays, as the pixels that networks and classifiers take."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError, UsageError
from histokit.plugin.deep_colours import to_8_bits
from histokit.plugin.digests import digest_bytes
from histokit.plugin.images import Pixels, decode_image, read_image

_COLOURS = 3
#: Modes of Pillow's images whose numbers have no one meaning.
_UNCLEAR = ("I", "F", "LAB")


def as_list(images: Any) -> list[Any]:
    """Return images one by one; a path, one of Pillow's and an array of up to three axes are a single image."""
    single = isinstance(images, str | os.PathLike) or hasattr(images, "convert")
    if single or (isinstance(images, np.ndarray) and images.ndim < 4 and images.dtype != object):
        return [images]
    return list(images)


def pixels_of(image: Any, channels: Sequence[str], place: int, asked: Mapping[str, Any] | None = None) -> Pixels:
    """Return the pixels of an image, those of a file as the dataset of the training gave them.

    Parameters
    ----------
    image : path, PIL.Image.Image, or (H, W) or (H, W, C) array
        Grey is repeated where a model takes three colours.
    channels : sequence of C str
    place : int
        Among the images, for messages.
    asked : mapping, optional
        Options of that dataset by which the pixels of a file become those of a sample.

    Returns
    -------
    (H, W, C) array
        uint8, or uint16 of which 65535 is white.

    Raises
    ------
    DataError
        If it cannot be read, or has other channels.
    UsageError
        If a file alone does not tell what the dataset made of it.
    """
    what = f"The image {place}"
    found: npt.NDArray[Any]
    if isinstance(image, str | os.PathLike):
        what, found = str(image), _of_file(Path(image), asked or {})
    elif hasattr(image, "convert"):
        found = _of_pillow(image, what)
    else:
        found = np.asarray(image)
    if found.ndim == 2:
        found = found[:, :, None]
    if found.ndim != 3 or found.dtype not in (np.uint8, np.uint16) or not found.size:
        raise DataError(
            f"{what} is {found.dtype} of shape {found.shape}, not uint8 or uint16 of (H, W, C).",
            next="Give the path of an image, one of Pillow's, or such an array.",
        )
    if found.shape[2] == 1 and len(channels) == _COLOURS:
        found = found.repeat(_COLOURS, axis=2)
    if found.shape[2] != len(channels):
        raise DataError(
            f"{what} has {found.shape[2]} channels; the model takes {len(channels)}: {', '.join(channels)}.",
            next="Give images of these channels, in this order.",
        )
    pixels: Pixels = np.ascontiguousarray(found)
    return pixels


def _of_file(path: Path, asked: Mapping[str, Any]) -> Pixels:
    more = {name: value for name, value in asked.items() if name != "bits"}
    if more:
        options = ", ".join(f"{name}={','.join(v) if isinstance(v, list) else v}" for name, v in more.items())
        raise UsageError(
            f"The model was trained on pixels that its dataset made with {options}: {path} alone does not tell them.",
            next="Ingest the images with the same options and use: histokit predict FOLDER DATASET; or give arrays of "
            "such pixels.",
        )
    return read_image(path, asked.get("bits"), deep=True)


def _of_pillow(image: Any, what: str) -> npt.NDArray[Any]:
    """Return the pixels of one of Pillow's images, as they would be if it were read from a file."""
    from PIL import ImageOps

    if image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode in _UNCLEAR:
        raise DataError(
            f"{what} is one of Pillow's of the mode {image.mode}: which value is white is not told.",
            next="Give an array of uint8 or uint16, of which 255 or 65535 is white.",
        )
    upright = ImageOps.exif_transpose(image)
    if not upright.has_transparency_data:
        return np.asarray(upright.convert("RGB"))
    written = io.BytesIO()
    upright.convert("RGBA").save(written, "PNG", compress_level=1)
    return decode_image(written.getvalue(), what)


def micrometres(mpp: float | Sequence[float] | None, count: int) -> list[float | None]:
    """Return the micrometres per pixel of each image.

    Raises
    ------
    UsageError
        If there are not as many as images.
    """
    if mpp is None or isinstance(mpp, int | float):
        return [mpp] * count
    if len(mpp) != count:
        raise UsageError(f"mpp has {len(mpp)} values for {count} images.", next="Give one number, or one for each.")
    return list(mpp)


class GivenImages:
    """Pixels as something that a classifier on images takes; rows are taken as from an array.

    Parameters
    ----------
    pixels : sequence of n (H, W, C) arrays
    channels : sequence of C str
    """

    def __init__(self, pixels: Sequence[Pixels], channels: Sequence[str]):
        self._pixels, self.channels = list(pixels), tuple(channels)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows: slice) -> GivenImages:
        return GivenImages(self._pixels[rows], self.channels)

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        return map(to_8_bits, self._pixels)

    @property
    def shape(self) -> tuple[int, int]:
        """As of a matrix of n rows with one image each."""
        return len(self), 1

    @property
    def contents(self) -> list[bytes]:
        """Digests of the pixels."""
        return [digest_bytes(str(pixels.shape).encode(), pixels.tobytes()) for pixels in self._pixels]
