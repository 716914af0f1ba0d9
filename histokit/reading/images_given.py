"""Images that a caller has: paths, Pillow's and arrays, read as those of a dataset are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import DataError, UsageError
from histokit.files import require_file
from histokit.plugin.colours import OpenImage, RefusalError, as_rgb
from histokit.plugin.dataset import Dataset, Sample
from histokit.plugin.deep_colours import to_8_bits, to_16_bits
from histokit.plugin.digests import digest_bytes
from histokit.plugin.guarded import Guarded
from histokit.plugin.image_files import ImageFiles
from histokit.plugin.images import Pixels
from histokit.plugin.intensities import parse_scale
from histokit.plugin.manager import registry
from histokit.plugin.remarks import repeat
from histokit.plugin.sample_pixels import RGB, from_16_bits
from histokit.plugin.tiff import TiffLayout
from histokit.reading.reader import read_sample
from histokit.store import DatasetRecord
from histokit.store.fingerprints import content_digest

#: Modes of Pillow whose numbers are grey of 8 or 16 bits as it stands in the file.
_GREY = ("L", "I;16", "I;16L", "I;16B", "I;16N")

_KINDS = "paths, Pillow's images, or arrays of (H, W) or (H, W, C)"


def as_list(images: Any) -> list[Any]:
    """Return images one by one; a path, one of Pillow's and an array of up to three axes are a single image.

    Raises
    ------
    UsageError
        If they are neither an image nor several.
    """
    if isinstance(images, str | bytes | os.PathLike) or hasattr(images, "convert"):
        return [images]
    if hasattr(images, "__array__"):
        # Tensors and tables, too, whose rows are no images.
        images = np.asarray(images)
    if isinstance(images, np.ndarray):
        if images.ndim < 4 and images.dtype.kind not in "OU":
            return [images]
        images = images.reshape(-1) if images.dtype.kind in "OU" else images
    if not isinstance(images, Iterable) or isinstance(images, Mapping):
        raise UsageError(f"Images are given as {type(images).__name__}.", next=f"Give a list of {_KINDS}, or one.")
    return list(images)


class GivenImage(NamedTuple):
    """The (H, W, C) pixels of an image, its micrometres per pixel, and a digest of what it is."""

    pixels: Pixels
    mpp: float | None
    content: bytes


def reading_of(record: DatasetRecord, samples: pa.Table) -> dict[str, Any]:
    """Return how a dataset takes pixels from its files, by which files are read where it is not.

    Parameters
    ----------
    record : DatasetRecord
    samples : pyarrow.Table
        Its columns ``image``, ``part`` and ``box``.

    Raises
    ------
    HistokitError
        If its plugin cannot open it.
    """
    dataset = registry().open_dataset(record.plugin, record.root, record.options, record.state)
    own = type(dataset).read is not Dataset.read
    parts = [] if own else pc.unique(samples["part"]).to_pylist()
    return {
        "reader": record.plugin if own else None,
        "revision": record.reader,
        "file_channels": list(dataset.file_channels),
        "bits": dataset.bits,
        "scale": dataset.scale,
        "scale_over": dataset.scale_over,
        "state": ImageFiles(dataset).limits_found,
        "files": 1 if own else pc.max(pc.list_value_length(samples["image"])).as_py(),
        "part": parts[0] if len(parts) == 1 else None,
        "parts": len(parts),
        "boxes": samples["box"].null_count < len(samples),
    }


class _FilesOfDataset(Dataset):
    """Files that are read as those of a dataset were.

    Parameters
    ----------
    document : mapping
        Of `reading_of`.
    channels : sequence of str
    """

    name = "given"

    def __init__(self, document: Mapping[str, Any], channels: Sequence[str]):
        super().__init__(Path(os.sep))
        self.channels, self.file_channels = tuple(channels), tuple(document["file_channels"])
        self.bits, self.scale, self.scale_over = document["bits"], document["scale"], document["scale_over"]
        self.state = document["state"]


class GivenImages:
    """Reads images as a dataset reads them, such as the one that a model was trained on.

    Parameters
    ----------
    document : mapping
        Of `reading_of`.
    channels : sequence of C str
    whose, instead : str
        Who takes images so, and what takes whole datasets, for messages.
    """

    dataset: Dataset

    def __init__(
        self,
        document: Mapping[str, Any],
        channels: Sequence[str],
        whose: str = "the model",
        instead: str = "histokit predict FOLDER DATASET",
    ):
        self.document, self.channels = document, tuple(channels)
        self.whose, self.instead = whose, instead
        self._who = whose[0].upper() + whose[1:]
        self.dataset = _FilesOfDataset(document, channels)
        self.guarded = Guarded(self.dataset)
        self.deadly: Mapping[str, str] = {}
        self._source = ImageFiles(self.dataset).source._replace(within=())

    def changed(self, sample: Sample) -> None:
        """Return none: files are what they are."""

    def read(self, image: Any, mpp: float | None, place: int) -> GivenImage:
        """Return an image.

        Parameters
        ----------
        image : path, tuple of C paths, PIL.Image.Image, or (H, W) or (H, W, C) array
            An array holds the numbers that an image file holds, with the channels of the model in their order; grey is
            repeated where a model takes red, green and blue.
        mpp : float, optional
        place : int
            Among the images, for messages.

        Raises
        ------
        DataError
            If it cannot be read, has other channels, or nothing says which of its numbers is white.
        UsageError
            If the dataset read its images otherwise than can be done with one alone.
        """
        told = self.document
        if told["boxes"] and told["scale_over"] == "image" and parse_scale(told["scale"]).of_the_data:
            raise UsageError(
                f"{self._who} takes boxes of images, with black and white of whole images "
                f"({told['scale']}): a box alone does not have them.",
                next=f"Ingest the images as a dataset, then: {self.instead}",
            )
        paths = _paths_of(image)
        for path in paths:
            require_file(path, "image", next="Check the path.")
        try:
            return self._of_files(paths, mpp) if paths else self._of_pixels(image, mpp, f"The image {place}")
        except DataError as error:
            raise DataError(error.message, next="Mend the image, leave it out, or give its pixels.") from error

    def _of_pixels(self, image: Any, mpp: float | None, what: str) -> GivenImage:
        pixels = self._of_numbers(_of_pillow(image, what) if hasattr(image, "convert") else np.asarray(image), what)
        return GivenImage(pixels, mpp, digest_bytes(str(pixels.shape).encode(), pixels.tobytes()))

    def _of_files(self, paths: Sequence[str | os.PathLike[str]], mpp: float | None) -> GivenImage:
        count = self.document["files"]
        if len(paths) != count:
            wanted = "one file" if count == 1 else f"{count} files, one for each of {', '.join(self.channels)}"
            several = f"Give a tuple of {count} paths for each image; or ingest the files, then: {self.instead}"
            raise UsageError(
                f"{', '.join(map(str, paths))}: {self.whose} takes images of {wanted}.",
                next="Give a path for each image." if count == 1 else several,
            )
        if self.document["parts"] > 1:
            raise UsageError(
                f"{self._who} takes single planes of files: {paths[0]} does not say which is meant.",
                next=f"Give the plane as an array, or ingest the files: {self.instead}",
            )
        files = tuple(os.path.abspath(path) for path in paths)
        sample = Sample(str(paths[0]), files, part=self.document["part"], mpp=mpp)
        result = read_sample(self, 0, sample)
        if result.pixels is None:
            # Files of a dataset are to be ingested again once they are mended; these are of none.
            raise DataError(re.sub(r"[,;] then ingest the dataset again", "", str(result.reason)), next="")
        repeat(result.remarks)
        digests = [self.dataset.file_digest(Path(file)) for file in files]
        return GivenImage(
            result.pixels, mpp, content_digest(digests, sample.part, None, self.dataset.pixel_key(sample), mpp)
        )

    def _of_numbers(self, numbers: npt.NDArray[Any], what: str) -> Pixels:
        found = numbers[:, :, None] if numbers.ndim == 2 else numbers
        if found.ndim != 3 or found.dtype.kind not in "uif" or not found.size:
            raise DataError(f"{what} is {found.dtype} of shape {numbers.shape}, not numbers of (H, W, C).", next="")
        count = found.shape[2]
        if count != len(self.channels) and not (count == 1 and self.channels == RGB):
            listed = ", ".join(self.channels)
            raise DataError(f"{what} has {count} channels; {self.whose} takes {len(self.channels)}: {listed}.", next="")
        native = found.astype(found.dtype.newbyteorder("="), copy=False)
        pixels, bits = self._source.intensities(native, None, what), self.dataset.bits
        if pixels.dtype == np.uint16:
            # As datasets give them: of as many bits as were recorded.
            pixels = to_16_bits(from_16_bits(pixels, bits), bits or 16)
        whole: Any = np.ascontiguousarray(pixels)
        return whole


def _paths_of(image: Any) -> tuple[str | os.PathLike[str], ...]:
    """Return the paths that an image is given by; none where it is given by its numbers."""
    given = image if isinstance(image, tuple | list) else (image,)
    return tuple(given) if all(isinstance(each, str | os.PathLike) for each in given) else ()


def _of_pillow(image: Any, what: str) -> npt.NDArray[Any]:
    """Return one of Pillow's images as it would be read from its file: upright, and laid over white."""
    from PIL import ImageOps

    try:
        image.load()
        upright = image.copy()
        # Parsers raise whatever they stumble upon.
        with suppress(Exception):
            upright = ImageOps.exif_transpose(image)
        if upright.mode in _GREY and "transparency" not in upright.info:
            return np.asarray(upright)
        return as_rgb(OpenImage(Path(what), upright, BytesIO(), TiffLayout(), False))
    except (RefusalError, OSError, ValueError) as error:
        raise DataError(f"{what} {error}.", next="") from error


def micrometres(mpp: float | Sequence[float] | None, count: int) -> list[float | None]:
    """Return the micrometres per pixel of each image.

    Raises
    ------
    UsageError
        If there are not as many as images, or one is no positive number.
    """
    given: Any = mpp
    found = list(given) if np.ndim(given) else [given] * count
    if len(found) != count:
        raise UsageError(f"mpp has {len(found)} values for {count} images.", next="Give one number, or one for each.")
    for each in found:
        if each is not None and (isinstance(each, str) or not 0 < each < inf):
            raise UsageError(f"mpp is {each!r}.", next="Give the micrometres per pixel of the images, more than 0.")
    return [None if each is None else float(each) for each in found]


class PixelRows:
    """Pixels as something that a classifier on images takes; rows are taken as from an array.

    Parameters
    ----------
    images : sequence of n GivenImage
    channels : sequence of C str
    """

    def __init__(self, images: Sequence[GivenImage], channels: Sequence[str]):
        self._images, self.channels = list(images), tuple(channels)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: slice) -> PixelRows:
        return PixelRows(self._images[rows], self.channels)

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        return (to_8_bits(image.pixels) for image in self._images)

    @property
    def shape(self) -> tuple[int, int]:
        """As of a matrix of n rows with one image each."""
        return len(self), 1

    @property
    def contents(self) -> list[bytes]:
        """Digests of the files, as those of datasets, or of the pixels."""
        return [image.content for image in self._images]
