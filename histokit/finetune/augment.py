"""Images of a training batch, changed at random: each on its own, all at once, where they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from histokit.errors import UsageError, did_you_mean
from histokit.finetune.recipe import Augment
from histokit.finetune.stain import vary_stains
from histokit.ranges import Range

CENTRE, RANDOM = "centre", "random"
CROPS = (CENTRE, RANDOM)
NONE, HORIZONTAL, BOTH = "none", "horizontal", "both"
FLIPS = (NONE, HORIZONTAL, BOTH)

_PROBABILITY = Range(0, 1, whole=False)
_RANGES = {
    "blur": _PROBABILITY,
    "noise": Range(0, 255**2, whole=False),
    "noise_probability": _PROBABILITY,
    "stain": _PROBABILITY,
}
_SHADING = Range(0, 255, whole=False)


def check_augment(augment: Augment, channels: int) -> None:
    """Raise where images cannot be changed so.

    Parameters
    ----------
    augment : Augment
    channels : int
        Of the images.

    Raises
    ------
    UsageError
        If a word is unknown, a number is out of its range, or stains are to be varied in images of other channels than
        red, green and blue.
    """
    for name, known in (("crop", CROPS), ("flip", FLIPS)):
        value = getattr(augment, name)
        if value not in known:
            raise UsageError(
                f"Augmentation {name}={value!r} is unknown.",
                next=f"{did_you_mean(str(value), known)}Use one of {', '.join(known)}.",
            )
    given = [(name, getattr(augment, name), allowed) for name, allowed in _RANGES.items()]
    for name, value, allowed in [*given, *(("shading", factor, _SHADING) for factor in augment.shading)]:
        if not allowed.fits(value):
            raise UsageError(f"Augmentation {name}={value!r} is impossible.", next=f"Give {name} as {allowed.words}.")
    if augment.stain and channels != 3:
        raise UsageError(
            f"Stains are varied in images of red, green and blue; these have {channels} channel{'s' * (channels > 1)}.",
            next="Leave out the augmentation stain, or set it to 0.",
        )


class Augmenter:
    """Changes images at random, each on its own: place, flips and turns, stains, shading, blur, noise, in this order.

    All is drawn on the processor, so that the same generator gives the same changes on every device.

    Parameters
    ----------
    augment : Augment
    size : int
        Side of the square that is cut out of each image.
    channels : int
        Of the images.

    Raises
    ------
    UsageError
        As from `check_augment`.

    Notes
    -----
    The geometry of paper 003 is a random place, flips and turns; shading, blur and noise are those of Kensert's
    published code: a box filter whose border mirrors images without repeating the edge (``cv2.blur``; ``mirror`` of
    ``scipy.ndimage.uniform_filter``), and noise of a variance on a scale of 0 to 255.

    Stains are those of Tellez et al., IEEE Transactions on Medical Imaging 37 (2018), 2126: the amounts S of
    haematoxylin, eosin and the rest, as natural optical densities, become α S + β, with α drawn uniformly from
    1 - stain to 1 + stain and β from -stain to stain, each for each stain of each image.
    """

    def __init__(self, augment: Augment, size: int, channels: int):
        check_augment(augment, channels)
        self.augment, self.size = augment, size
        #: Whether values are changed beside places.
        self._recolours = bool(augment.stain or augment.shading or augment.blur or self._noisy)

    @property
    def _noisy(self) -> bool:
        return bool(self.augment.noise and self.augment.noise_probability)

    def __call__(self, images: Sequence[Tensor] | Tensor, generator: torch.Generator) -> Tensor:
        """Return a batch of changed images; those that go in stay as they are.

        Parameters
        ----------
        images : (N, C, H, W) Tensor, or sequence of (C, H, W) Tensors
            uint8, or float32 from 0 to 255; both sides at least `size`, in a sequence of any shapes.
        generator : Generator
            Of the processor.

        Returns
        -------
        (N, C, size, size) Tensor
            From 0 to 255 on the device of the images: of their type where only places change, else float32.

        Raises
        ------
        UsageError
            If an image is too small.
        """
        batch = self._placed(images, generator)
        if not self._recolours:
            return batch
        batch = batch.float()
        if self.augment.stain:
            alpha, beta = self.augment.stain * (2 * _uniform(generator, 2, len(batch), 3) - 1)
            batch = vary_stains(batch, 1 + alpha, beta)
        if self.augment.shading:
            factors = torch.tensor(self.augment.shading)
            drawn = torch.randint(len(factors), (*batch.shape[:2], 1, 1), generator=generator)
            batch *= factors[drawn].to(batch.device)
        if self.augment.blur:
            chosen = _chosen(generator, len(batch), self.augment.blur).to(batch.device)
            batch[chosen] = _box_blurred(batch[chosen])
        if self._noisy:
            chosen = _chosen(generator, len(batch), self.augment.noise_probability)
            noise = torch.empty(len(chosen), *batch.shape[1:]).normal_(std=self.augment.noise**0.5, generator=generator)
            batch[chosen.to(batch.device)] += noise.to(batch.device)
        return batch.clamp_(0, 255)

    def _placed(self, images: Sequence[Tensor] | Tensor, generator: torch.Generator) -> Tensor:
        """Cut, turn and flip."""
        count, size, mirrored = len(images), self.size, (self.augment.flip != NONE, self.augment.flip == BOTH)
        lefts, tops = self._corners([image.shape for image in images], generator)
        columns, rows = (
            torch.randint(2, (count,), generator=generator) if drawn else torch.zeros(count, dtype=torch.int64)
            for drawn in mirrored
        )
        turns = torch.randint(4, (count,), generator=generator) if self.augment.rotate else torch.zeros_like(rows)
        # A quarter turn is a transposition with the rows from below, three are one with the columns from the right.
        rows, columns = rows ^ ((turns == 1) | (turns == 2)), columns ^ (turns >= 2)
        swapped = (turns % 2).tolist()
        # Views, which are copied once.
        cuts = [i[:, y : y + size, x : x + size] for i, y, x in zip(images, tops, lefts, strict=True)]
        batch = torch.stack([cut.mT if swap else cut for cut, swap in zip(cuts, swapped, strict=True)])
        for axes, group in (((-2,), rows > columns), ((-1,), columns > rows), ((-2, -1), rows & columns == 1)):
            places = group.nonzero()[:, 0].to(batch.device)
            if len(places):
                batch[places] = batch[places].flip(axes)
        return batch

    def _corners(self, shapes: Sequence[torch.Size], generator: torch.Generator) -> tuple[list[int], list[int]]:
        """Return how far from the left and from the top each image is cut."""
        for shape in shapes:
            if min(shape[-2:]) < self.size:
                raise UsageError(
                    f"An image of {shape[-2]} × {shape[-1]} pixels is smaller than the {self.size} × {self.size} that "
                    "are cut out of it.",
                    next="Have images brought to a size: resize=shortest-crop of the preprocessing.",
                )
        shares = _uniform(generator, 2, len(shapes)).tolist() if self.augment.crop == RANDOM else None
        places = [[shape[axis] - self.size for shape in shapes] for axis in (-1, -2)]
        if shares is None:
            lefts, tops = ([rest // 2 for rest in rests] for rests in places)
        else:
            lefts, tops = (
                [math.floor(share * (rest + 1)) for share, rest in zip(drawn, rests, strict=True)]
                for drawn, rests in zip(shares, places, strict=True)
            )
        return lefts, tops


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=generator)


def _chosen(generator: torch.Generator, count: int, probability: float) -> Tensor:
    return (_uniform(generator, count) < probability).nonzero()[:, 0]


def _box_blurred(batch: Tensor) -> Tensor:
    """Return the means of 3 × 3 pixels: by rows, then by columns, which takes an eighth of the time of a pooling."""
    padded = functional.pad(batch, (1, 1, 1, 1), mode="reflect")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :]
    rows += padded[..., 2:, :]
    found = rows[..., :-2] + rows[..., 1:-1]
    found += rows[..., 2:]
    return found.div_(9)
