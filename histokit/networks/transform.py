"""From pixels to a network's input: selection of channels, pixel operations, batched resizing, normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histokit.errors import UsageError, did_you_mean
from histokit.networks.adapters import over_channels
from histokit.networks.devices import one_thread
from histokit.networks.failures import free_memory, is_out_of_memory, reason_of
from histokit.networks.requests import channels_in
from histokit.networks.resizing import resized
from histokit.plugin import Preprocess
from histokit.plugin.images import Pixels
from histokit.plugin.preprocess import LARGEST_SIZE

#: Weights of red, green and blue in luminance (ITU-R BT.601, as in PIL).
_LUMINANCE = (0.299, 0.587, 0.114)


#: Scales that differ by less are taken for the same: sides are whole pixels.
_SAME_SCALE = 0.01

#: What 16 bits are divided by to be on the scale of 8.
_OF_16_BITS = 257.0

#: Numbers of which two sets and what they are added to stay in a processor's nearest memory.
_NEAR = 4096


def _greyscale(pixels: Tensor) -> Tensor:
    if pixels.shape[1] == 1:
        # It is grey; one channel is repeated where it is normalised.
        return pixels
    if pixels.shape[1] != len(_LUMINANCE):
        raise UsageError(
            f"The pixel operation 'greyscale' takes red, green and blue; {pixels.shape[1]} channels go in.",
            next="Choose three with --channels RED,GREEN,BLUE, or leave it out of the preprocessing.",
        )
    # Numbers and no tensor of them, which would be copied to the device and waited for.
    planes = zip(pixels.float().split(1, dim=1), _LUMINANCE, strict=True)
    grey = sum(plane * weight for plane, weight in planes)
    if pixels.dtype == torch.uint8:
        grey = grey.round().clamp(0, 255).to(torch.uint8)
    return grey.expand(-1, 3, -1, -1)


def _invert(pixels: Tensor) -> Tensor:
    return 255 - pixels


#: Pixel operations by name; each takes and gives (N, C, H, W), uint8 or float32 from 0 to 255.
TRANSFORMS: Mapping[str, Callable[..., Tensor]] = {"greyscale": _greyscale, "invert": _invert}


class TooLargeError(UsageError):
    """What images would become takes more memory than any image that is read."""


class Transform:
    """Applies a `Preprocess` to batches of pixels of one size.

    Parameters
    ----------
    preprocess : Preprocess
    channels : sequence of str
        Of the dataset.
    device : torch.device

    Raises
    ------
    UsageError
        If a channel or a pixel operation is unknown.
    """

    def __init__(self, preprocess: Preprocess, channels: Sequence[str], device: torch.device):
        self.preprocess = preprocess
        self.device = device
        self.channels = channels_in(preprocess, channels)
        # On the device already, because a copy of its own would wait for all that the device still has to do.
        chosen = torch.tensor(self.channels, device=device)
        self._chosen = None if self.channels == list(range(len(channels))) else chosen
        for name, _ in preprocess.transforms:
            if name not in TRANSFORMS:
                hint = did_you_mean(name, TRANSFORMS)
                raise UsageError(
                    f"There is no pixel operation {name!r}.", next=f"{hint}Use one of {', '.join(TRANSFORMS)}."
                )
        #: How many channels the network takes.
        self.depth = len(self.channels) if preprocess.adapter == "inflate" else len(preprocess.mean)
        statistics = (over_channels(values, self.depth) for values in (preprocess.mean, preprocess.std))
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in statistics)
        self._scale = (1 / (255 * std)).float().to(device).view(1, -1, 1, 1)
        self._shift = (-mean / std).float().to(device).view(1, -1, 1, 1)
        #: How many times as coarse as `target_mpp` images went in, at least and at most.
        self._coarser: tuple[float, float] | None = None
        self._known: tuple[int, int] | None = None
        self._inputs: Tensor | None = None
        self._whole: list[Tensor] = []

    def resize(self, pixels: Sequence[Pixels], mpp: float | None) -> Tensor:
        """Bring n images of one size to the network's input size: `load`, and the `centre` of that.

        Parameters
        ----------
        pixels : sequence of (H, W, C) arrays
            All uint8, or all uint16 of which 65535 is white.
        mpp : float, optional
            Micrometres per pixel of these images.

        Returns
        -------
        (n, C, size, size) Tensor on the device
            255 is white: uint8, or float32 of pixels of 16 bits, which are rounded nowhere.

        Raises
        ------
        TooLargeError
            If these images would become huge.
        UsageError
            If memory is too short for one image alone.
        """
        return self._in_pieces(lambda piece: self.centre(self._loaded(piece, mpp)), pixels)

    def load(self, pixels: Sequence[Pixels], mpp: float | None) -> Tensor:
        """Do all that `resize` does but the last central crop, so that it may be cut elsewhere in training.

        Parameters, types and errors are those of `resize`.

        Returns
        -------
        (n, C, H, W) Tensor on the device
            Both sides at least ``size``: with ``shortest-crop`` the shorter one is ``resize_size`` or ``size``, with
            the other ways both are.
        """
        return self._in_pieces(lambda piece: self._loaded(piece, mpp), pixels)

    def centre(self, batch: Tensor) -> Tensor:
        """Return the central (…, size, size) of what `load` gave, which is kept whole where ``resize`` is ``none``."""
        if self.preprocess.resize == "none":
            return batch
        size = self.preprocess.size
        margins = [side - size for side in batch.shape[-2:]]
        # Half pixels are rounded as torchvision does where that is copied, and down as ever without `resize_size`.
        top, left = (m // 2 if self.preprocess.resize_size is None else round(m / 2) for m in margins)
        return batch[..., top : top + size, left : left + size]

    def _in_pieces(self, work: Callable[[Sequence[Pixels]], Tensor], pixels: Sequence[Pixels]) -> Tensor:
        try:
            return work(pixels)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = reason_of(error)
        free_memory(self.device)
        if len(pixels) == 1:
            height, width = pixels[0].shape[:2]
            raise UsageError(
                f"An image of {height} × {width} pixels cannot be resized on the device {self.device}: {reason}.",
                next="Change --preprocess size=N, or use another --device.",
            )
        # In pieces, which change no bit of an image.
        half = len(pixels) // 2
        return torch.cat([self._in_pieces(work, piece) for piece in (pixels[:half], pixels[half:])])

    def _loaded(self, pixels: Sequence[Pixels], mpp: float | None) -> Tensor:
        # Only from pinned memory does a copy to a GPU go on while the network runs.
        kind = torch.uint8 if pixels[0].dtype == np.uint8 else torch.uint16
        shape, pinned = (len(pixels), *pixels[0].shape), self.device.type == "cuda"
        stacked = torch.empty(shape, dtype=kind, pin_memory=pinned)
        np.stack(pixels, out=stacked.numpy())
        batch = stacked.to(self.device, non_blocking=True)
        if batch.dtype == torch.uint16:
            batch = batch.float().div_(_OF_16_BITS)
        if self._chosen is not None:
            batch = batch.index_select(-1, self._chosen)
        batch = batch.permute(0, 3, 1, 2)
        for name, parameters in self.preprocess.transforms:
            batch = TRANSFORMS[name](batch, **parameters)
        batch = self._to_target_mpp(batch, mpp)
        if self.preprocess.resize == "none":
            return batch
        found = self._to_size(batch)
        if self.preprocess.target_mpp is not None:
            self._keep_scale(batch.shape, found.shape)
        return found

    def _keep_scale(self, before: Sequence[int], after: Sequence[int]) -> None:
        sides = [(min(before[-2:]), min(after[-2:]))]
        if self.preprocess.resize == "squash":
            sides = list(zip(before[-2:], after[-2:], strict=True))
        scales = [*(self._coarser or ()), *(old / new for old, new in sides)]
        self._coarser = min(scales), max(scales)

    @property
    def notes(self) -> list[str]:
        """What a user should know of the scale at which images went in."""
        target, way = self.preprocess.target_mpp, self.preprocess.resize
        if target is None or self._coarser is None or max(abs(scale - 1) for scale in self._coarser) < _SAME_SCALE:
            return []
        low, high = (f"{target * scale:.3g}" for scale in self._coarser)
        came = low if low == high else f"{low} to {high}"
        side = self.preprocess.resize_size or self.preprocess.size
        return [
            f"images went in at {came} µm per pixel, not at target_mpp={target:g}: {way} brings them to {side} pixels "
            f"after it; what keeps it is resize=none, or images that are {side * target:g} µm wide"
        ]

    def _to_target_mpp(self, batch: Tensor, mpp: float | None) -> Tensor:
        target = self.preprocess.target_mpp
        if target is None:
            return batch
        if mpp is None:
            raise UsageError(
                "target_mpp is set, but the samples have no micrometres per pixel.",
                next="Ingest the dataset with its mpp, such as -o mpp=0.5, or leave out target_mpp.",
            )
        scale = min(mpp / target, LARGEST_SIZE**2)
        height, width = (max(1, round(side * scale)) for side in batch.shape[-2:])
        return self._interpolate(batch, (height, width))

    def _to_size(self, batch: Tensor) -> Tensor:
        side, (height, width) = self.preprocess.resize_size or self.preprocess.size, batch.shape[-2:]
        shorter = min(height, width)
        if self.preprocess.resize == "center-square":
            batch = _center_crop(batch, shorter)
        elif self.preprocess.resize == "shortest-crop":
            return self._interpolate(batch, (self._scaled(height, shorter), self._scaled(width, shorter)))
        return self._interpolate(batch, (side, side))

    def _scaled(self, length: int, shorter: int) -> int:
        if self.preprocess.resize_size is not None:
            # As torchvision and timm do it, whose weights are published with what is measured so.
            return self.preprocess.resize_size * length // shorter
        return max(self.preprocess.size, round(length * (self.preprocess.size / shorter)))

    def _interpolate(self, batch: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(batch.shape[-2:]) == size:
            return batch
        if math.prod(size) > max(LARGEST_SIZE**2, math.prod(batch.shape[-2:])):
            height, width = batch.shape[-2:]
            raise TooLargeError(
                f"resizing would make an image of {width:,} × {height:,} pixels one of {size[1]:,} × {size[0]:,}",
                next="Change --preprocess resize or target_mpp, or check the micrometres per pixel of the data.",
            )
        return resized(batch, size, self.preprocess.interpolation)

    def normalise(self, batch: Tensor) -> Tensor:
        """Return (n, C, H, W) float32: scaled to 0..1, minus mean, divided by std; one channel is repeated.

        On processors, its memory is used again by the next call: new memory takes half of the time.
        """
        if batch.device.type != "cpu" or self._scale.shape[1] != batch.shape[1]:
            scale, shift = self._factors(*batch.shape[-2:])
            return torch.addcmul(shift, batch.float(), scale)
        if self._inputs is None or self._inputs.shape != batch.shape:
            self._inputs = torch.empty(batch.shape, dtype=torch.float32, memory_format=torch.channels_last)
        whole, (channels, height, width) = self._inputs, batch.shape[1:]
        # A few rows stay in the nearest memory, a plane does not: of 300 pixels, it takes half as long again.
        near = math.gcd(height, max(1, _NEAR // (width * channels)))
        scale, shift = (values.permute(0, 2, 3, 1).flatten() for values in self._factors(near, width))
        # Where other processes compute, threads wait for each other longer than such a sum takes.
        with one_thread():
            rows = whole.copy_(batch).permute(0, 2, 3, 1).view(-1, len(scale))
            torch.addcmul(shift, rows, scale, out=rows)
        return whole

    def _factors(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        # Whole rows, because three numbers are too few for an inner loop over channels.
        if self._known != (height, width):
            self._known = (height, width)
            self._whole = [
                values.expand(1, -1, height, width).contiguous(memory_format=torch.channels_last)
                for values in (self._scale, self._shift)
            ]
        return self._whole[0], self._whole[1]


def as_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Return a (C, H, W) image of a batch that `Transform` made, of which 255 is white, as (H, W, C) uint8."""
    pixels: NDArray[np.uint8] = image.detach().float().round().clamp(0, 255).byte().cpu().numpy().transpose(1, 2, 0)
    return pixels


def _center_crop(batch: Tensor, side: int) -> Tensor:
    top, left = (batch.shape[-2] - side) // 2, (batch.shape[-1] - side) // 2
    return batch[..., top : top + side, left : left + side]
