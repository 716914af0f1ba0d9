"""The pixels of a sample whose files hold more than red, green and blue of 8 bits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError, UsageError, did_you_mean
from histokit.plugin.colours import Pixels
from histokit.plugin.deep_colours import WHITE, to_16_bits
from histokit.plugin.images import read_image
from histokit.plugin.intensities import Histogram, Scale, limits_of, require_finite, scaled
from histokit.plugin.raw_images import RawImage, is_foreign, parts_of, read_raw
from histokit.plugin.remarks import collected_remarks, remark, repeat

RGB = ("R", "G", "B")

#: In place of a part: the maximum of all of them.
MAXIMUM = "max"

_BLACK = 256  # The least of 16 bits that is not black in 8.
_AGAIN = "Replace the file, then ingest the dataset again."


class ChannelSource(NamedTuple):
    """Where the channels of a dataset's samples are, and what becomes of their numbers.

    Parameters
    ----------
    channels : tuple of str
        Of the dataset.
    within : tuple of str
        For each of them, its name or its number from 1 in the file that holds all; empty for all of them in order, and
        so are the names themselves where the file has none.
    bits : int, optional
        That were recorded, where a file of 16 bits does not say it.
    scale : Scale
    joint : bool
        Whether one black and one white are sought for all channels.
    limits : tuple of (float, float), optional
        Black and white of each channel, where they are those of all the data.
    """

    channels: tuple[str, ...] = RGB
    within: tuple[str, ...] = ()
    bits: int | None = None
    scale: Scale = Scale("full")
    joint: bool = True
    limits: tuple[tuple[float, float], ...] | None = None

    def pixels(self, paths: Sequence[str | os.PathLike[str]], part: str | None) -> Pixels:
        """Return an image as intensities, (H, W, C): uint8, or uint16 of which 65535 is white.

        Raises
        ------
        DataError
            If a file cannot be read, or does not hold what is wanted.
        """
        if self.plain and part is None and len(paths) == 1 and not is_foreign(Path(paths[0]).suffix):
            return read_image(paths[0], self.bits, deep=True)
        numbers, bits = self.numbers(paths, part)
        return self.intensities(numbers, bits, str(paths[0]))

    @property
    def described(self) -> list[Any]:
        """Which channels are taken from where, and fitted limits, as JSON-serialisable data."""
        return [list(self.channels), list(self.within), self.limits and [list(pair) for pair in self.limits]]

    @property
    def plain(self) -> bool:
        """Whether what is wanted are red, green and blue as they are."""
        return self.channels == RGB and not self.within and self.scale.how == "full"

    def numbers(self, paths: Sequence[str | os.PathLike[str]], part: str | None) -> tuple[npt.NDArray[Any], int | None]:
        """Return an image as its files hold it, (H, W, C), and the bits that were recorded where files say it."""
        if len(paths) == 1:
            raw = _whole(paths[0], part)
            return self.chosen(raw, str(paths[0])), raw.bits
        with collected_remarks() as remarks:
            planes = [self._full(_opaque(_whole(path, part), str(path))) for path in paths]
        # That each has a part of the image is what was said.
        repeat(each for each in remarks if each.kind != "of several")
        for path, plane in zip(paths, planes, strict=True):
            if plane.pixels.shape[:2] != planes[0].pixels.shape[:2] or plane.pixels.dtype != planes[0].pixels.dtype:
                raise _unlike(path, plane, paths[0], planes[0])
        one = [_one_channel(plane.pixels, str(path)) for path, plane in zip(paths, planes, strict=True)]
        told = {plane.bits for plane in planes}
        if len(told) > 1:
            raise DataError(
                f"{paths[0]} and the other channels of the image were recorded with different bits: "
                f"{', '.join(map(str, told))}.",
                next="Give what is black and white: -o scale=minmax, or such as range:0,4095.",
            )
        return np.concatenate(one, axis=2), told.pop()

    def chosen(self, raw: RawImage, path: str) -> npt.NDArray[Any]:
        """Return the channels that are wanted of an image that has all of them; grey as one, where it becomes RGB.

        Raises
        ------
        DataError
            If it does not have them.
        """
        raw = self._full(_opaque(raw, path) if self.channels == RGB and not self.within else raw)
        count = raw.pixels.shape[2]
        unnamed = self.within == self.channels and not raw.channels and count == len(self.channels)
        if self.within and not unnamed:
            return np.take(raw.pixels, [_place(name, raw, path) for name in self.within], axis=2)
        # Grey is repeated once it has its limits, in which it would count three times.
        if count == 1 and self.channels == RGB:
            return raw.pixels
        if count == len(self.channels) and (self.channels != RGB or raw.channels in ((), RGB)):
            return raw.pixels
        listed = f" ({', '.join(raw.channels)})" if raw.channels else ""
        if listed and all(name.startswith("page=") for name in raw.channels):
            raise DataError(
                f"{path} has {count} pages (page=0 to {count - 1}), not one image; nothing says what they are.",
                next="Choose all, their maximum or one (ingest folder or table with -o planes=each, max, or such as "
                "page=0), or save each alone. Channels are named: -o channels=NAME:NUMBER,… counting from 1.",
            )
        raise DataError(
            f"{path} has {count} channel{'s' * (count > 1)}{listed}, not {len(self.channels)}: "
            f"{', '.join(self.channels)}.",
            next="Name the channels that are wanted: -o channels=NAME:NUMBER,… counting from 1.",
        )

    def _full(self, raw: RawImage) -> RawImage:
        """Return an image whose white is the largest number of its type, where no other scale wants its own numbers."""
        if self.scale.how != "full" or raw.white is None or raw.pixels.dtype.kind != "u":
            return raw
        top = np.iinfo(raw.pixels.dtype).max
        return raw._replace(pixels=np.rint(raw.pixels / raw.white * top).clip(0, top).astype(raw.pixels.dtype))

    def intensities(self, numbers: npt.NDArray[Any], bits: int | None, path: str) -> Pixels:
        """Return (H, W, C) numbers, or those of grey, as intensities.

        Raises
        ------
        DataError
            If nothing says what is black and what is white.
        """
        found = self._intensities(numbers, bits, path)
        if found.shape[2] == len(self.channels):
            return found
        repeated: Any = np.repeat(found, len(self.channels), axis=2)
        return repeated

    def _intensities(self, numbers: npt.NDArray[Any], bits: int | None, path: str) -> Pixels:
        kind = numbers.dtype
        if self.scale.how != "full":
            return self._scaled(numbers, path)
        if kind == np.uint8:
            return numbers
        if kind != np.uint16:
            sort = {"f": "floating-point numbers", "i": "numbers with a sign"}.get(kind.kind, f"{kind}")
            raise DataError(
                f"{path} holds {sort} ({numbers.min()} to {numbers.max()}): it does not say which is black or white.",
                next="Give it: -o scale=minmax, percentile:0.1,99.9 or range:BLACK,WHITE.",
            )
        told = bits or self.bits or 16
        if (largest := int(numbers.max())) >> told:
            raise DataError(
                f"{path} holds {largest}, more than the {told} bits that it was said to have.",
                next="Give the bits that were recorded: -o bits=N.",
            )
        return to_16_bits(numbers, told)

    def _scaled(self, numbers: npt.NDArray[Any], path: str) -> Pixels:
        try:
            if self.limits is None:
                limits = limits_of(self.scale, numbers, self.joint)
            else:
                require_finite(numbers)
                limits = np.array(self.limits)
        except DataError as error:
            raise DataError(f"{path} {error.message}", next=error.next) from error
        top = self.scale.high
        if self.scale.how == "bits" and (numbers.max() > top or numbers.min() < 0):
            what = (
                f"{numbers.max()}, more than the {top:.0f}" if numbers.max() > top else f"{numbers.min()}, less than 0"
            )
            advice = "Give the bits that were recorded, or what is black and white: -o scale=range:BLACK,WHITE."
            raise DataError(f"{path} holds {what} of scale=bits.", next=advice)
        found = scaled(numbers, limits)
        _remark_on_what_is_lost(numbers, limits, found, path)
        if self.limits is not None or not self.scale.of_the_data:
            _remark_on_another_range(numbers.dtype, limits, path)
        return found


def _remark_on_what_is_lost(
    numbers: npt.NDArray[Any], limits: npt.NDArray[np.float64], found: Pixels, path: str
) -> None:
    """Remark on numbers that are none, and on images or channels that are all black or all white by their scale."""
    if numbers.dtype.kind == "f" and not (finite := np.isfinite(numbers)).all():
        remark("no numbers", path, f"{100 * float((~finite).mean()):.3g} % of them")
    least, most = found.min((0, 1)), found.max((0, 1))
    flat = (least == WHITE) | (most < _BLACK)
    if flat.any():
        (low, high), seen = limits[flat][0], np.broadcast_to(numbers, found.shape)[..., flat]
        where = f"{int(flat.sum())} of {flat.size} channels; " if not flat.all() else ""
        detail = f"{where}numbers from {seen.min():g} to {seen.max():g}"
        remark("flat", path, f"{detail}, where {low:g} is black and {high:g} white")


def _remark_on_another_range(kind: np.dtype[Any], limits: npt.NDArray[np.float64], path: str) -> None:
    """Remark on whole numbers that cannot reach a quarter of the range that is said to be theirs: 8 bits of 12."""
    if kind.kind not in "ui":
        return
    top, (black, white) = np.iinfo(kind).max, (limits[:, 0].min(), limits[:, 1].max())
    if top - black < (white - black) / 4:
        remark("dark", path, f"numbers of {8 * kind.itemsize} bits, of which {white:g} is white")


def from_16_bits(pixels: Pixels, bits: int | None) -> Pixels:
    """Return pixels of which 65535 is white, or of 8 bits, so that the largest number of some bits is white."""
    if pixels.dtype != np.uint16 or bits in (None, 16):
        return pixels
    return np.rint(pixels * (((1 << bits) - 1) / WHITE)).astype(np.uint16)


def fitted_limits(source: ChannelSource, images: Iterable[Callable[[], npt.NDArray[Any]]]) -> list[tuple[float, float]]:
    """Return what is black and white in each channel over many images; those that cannot be read are passed over.

    Parameters
    ----------
    source : ChannelSource
    images : iterable of callable
        Each returns an image as of `ChannelSource.numbers`.

    Raises
    ------
    DataError
        If none can be read.
    """
    count = len(source.channels)
    histogram = Histogram(1 if source.joint else count)
    kinds: set[str] = set()
    reason = DataError("There is no image.", next="Check the folder.")
    for read in images:
        try:
            numbers = read()
            require_finite(numbers)
        except DataError as error:
            reason = error
            continue
        kinds.add("floating-point numbers" if numbers.dtype.kind == "f" else f"{8 * numbers.dtype.itemsize} bits")
        if len(kinds) > 1:
            raise UsageError(
                f"Images of {' and '.join(sorted(kinds))} have no black and white in common.",
                next="Ingest them as datasets of their own, or with black and white of each image: scale_over=image.",
            )
        histogram.add(numbers.reshape(-1, 1, 1) if source.joint else numbers)
    if histogram.empty:
        raise reason
    limits = [(float(low), float(high)) for low, high in histogram.limits(source.scale)]
    return limits * count if source.joint else limits


def _whole(path: str | os.PathLike[str], part: str | None) -> RawImage:
    """Open a file, or a part of it, or the maximum of all of its parts."""
    if part != MAXIMUM:
        return read_raw(Path(path), part)
    parts = parts_of(Path(path))
    if not parts:
        return read_raw(Path(path))
    largest = read_raw(Path(path), parts[0])
    for each in parts[1:]:
        other = read_raw(Path(path), each)
        if other.pixels.shape != largest.pixels.shape:
            raise DataError(f"{path} has planes of different sizes, which have no maximum.", next=_AGAIN)
        largest = largest._replace(pixels=np.maximum(largest.pixels, other.pixels))
    return largest


def _opaque(raw: RawImage, path: str) -> RawImage:
    """Return an image with its transparency laid over white."""
    kind = raw.pixels.dtype
    if not raw.alpha or kind.kind != "u" or kind.itemsize > 2:
        return raw
    white = (1 << (raw.bits or 8 * kind.itemsize)) - 1
    colours, alpha = raw.pixels[..., :-1].astype(np.float64), (raw.pixels[..., -1:] / white).clip(0, 1)
    mixed = (colours if raw.alpha == 1 else colours * alpha) + white * (1 - alpha)
    if (alpha < 1).any():
        remark("transparent", path, f"{100 * float((alpha < 1).mean()):.3g} % of its pixels")
    return raw._replace(pixels=np.rint(mixed).clip(0, white).astype(kind), channels=raw.channels[:-1], alpha=0)


def _one_channel(pixels: npt.NDArray[Any], path: str) -> npt.NDArray[Any]:
    if pixels.shape[2] > 1 and (pixels != pixels[..., :1]).any():
        raise DataError(
            f"{path} holds {pixels.shape[2]} channels that differ, in place of one.",
            next="Leave {channel} out of the pattern where one file holds all channels.",
        )
    return pixels[..., :1]


def _place(name: str, raw: RawImage, path: str) -> int:
    count = raw.pixels.shape[2]
    if name in raw.channels:
        return raw.channels.index(name)
    if name.isdecimal() and 1 <= int(name) <= count:
        return int(name) - 1
    listed = f": {', '.join(raw.channels)}" if raw.channels else ", without names"
    raise DataError(
        f"{path} has no channel {name!r}: it has {count}{listed}.",
        next="Where channels lie in files of their own, say where their names stand: -o pattern=…{channel}…"
        if count == 1
        else f"{did_you_mean(name, raw.channels)}Name one of them, or give its number from 1.",
    )


def _unlike(path: str | os.PathLike[str], plane: RawImage, first: str | os.PathLike[str], whole: RawImage) -> DataError:
    sizes = [f"{each.pixels.shape[1]} × {each.pixels.shape[0]} ({each.pixels.dtype})" for each in (plane, whole)]
    return DataError(f"{path} is of {sizes[0]}, and {first}, of the same image, of {sizes[1]}.", next=_AGAIN)
