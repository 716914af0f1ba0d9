"""Drawing of H&E-like tissue: densities of two stains, turned into colour by the Beer-Lambert law."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from histokit.plugin.images import Pixels

Floats = npt.NDArray[np.float64]

#: Optical densities of haematoxylin and eosin in red, green and blue (Ruifrok & Johnston 2001).
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29])
_EOSIN = np.array([0.07, 0.99, 0.11])


@dataclass(frozen=True)
class Kind:
    """How nuclei of a kind look; lengths in pixels of 0.5 µm.

    Parameters
    ----------
    length : float
        Mean half length of a nucleus.
    roundness : float
        Mean ratio of its width to its length.
    darkness : float
        Mean density of haematoxylin.
    chromatin : float
        How grainy the inside is.
    spacing : float
        Distance between neighbours.
    fibres : float
        How strongly the stroma around is striped.
    """

    length: float
    roundness: float
    darkness: float
    chromatin: float
    spacing: float
    fibres: float


KINDS = {
    "epithelial": Kind(length=11.0, roundness=0.68, darkness=0.85, chromatin=0.35, spacing=22.0, fibres=0.10),
    "fibroblast": Kind(length=12.5, roundness=0.30, darkness=1.05, chromatin=0.20, spacing=25.0, fibres=0.30),
    "inflammatory": Kind(length=6.5, roundness=0.88, darkness=1.35, chromatin=0.15, spacing=19.0, fibres=0.15),
}


@dataclass(frozen=True)
class Slide:
    """What all patches of a slide share.

    Parameters
    ----------
    stains : (2, 3) float64 array
        Optical densities of haematoxylin and eosin in red, green and blue, strength included.
    light : (3,) float64 array
        Intensity of the empty glass, 0 to 255.
    mixture : (3,) float64 array
        Share of each kind.
    grain : float
        Spatial frequency of the stroma.
    scale : float
        Size of nuclei relative to other slides.
    softness : float
        Width of edges, in pixels.
    """

    stains: Floats
    light: Floats
    mixture: Floats
    grain: float
    scale: float
    softness: float


def make_slide(generator: np.random.Generator) -> Slide:
    """Draw what makes a slide differ from others."""
    haematoxylin = _HAEMATOXYLIN * np.exp(generator.normal(0, 0.07, 3)) * generator.uniform(0.8, 1.2)
    eosin = _EOSIN * np.exp(generator.normal(0, 0.08, 3)) * generator.uniform(0.7, 1.25) + generator.uniform(0, 0.06, 3)
    mixture = 0.12 + 0.64 * generator.dirichlet(np.full(len(KINDS), 0.7))
    return Slide(
        stains=np.stack([haematoxylin, eosin]),
        light=generator.uniform(222, 250) * (1 - generator.uniform(0, 0.04, 3)),
        mixture=mixture / mixture.sum(),
        grain=generator.uniform(0.7, 1.5),
        scale=generator.uniform(0.87, 1.15),
        softness=generator.uniform(0.8, 1.8),
    )


def draw_tissue(kind: str, size: int, slide: Slide, generator: np.random.Generator) -> Pixels:
    """Draw a patch with a nucleus of a kind in its middle and neighbours around it.

    Returns
    -------
    (size, size, 3) uint8 array
    """
    direction = generator.uniform(0, np.pi)
    eosin = _stroma(KINDS[kind], size, slide, direction, generator)
    haematoxylin = 0.06 + 0.04 * _clouds(size, 12, generator)
    for centre in _centres(kind, size, generator):
        in_middle = centre[0] == size / 2 and centre[1] == size / 2
        own = kind if in_middle or generator.random() < 0.65 else str(generator.choice(list(KINDS)))
        _add_nucleus(haematoxylin, eosin, centre, KINDS[own], direction, slide, generator)
    density = np.stack([haematoxylin, eosin], axis=-1) @ slide.stains
    light = slide.light * np.exp(-density) + generator.normal(0, 2.0, (size, size, 1))
    return np.rint(light).clip(0, 255).astype(np.uint8)


def _stroma(kind: Kind, size: int, slide: Slide, direction: float, generator: np.random.Generator) -> Floats:
    rows, columns = np.ogrid[:size, :size]
    across = columns * np.sin(direction) - rows * np.cos(direction)
    waves = np.sin(0.55 * slide.grain * across + 9 * _clouds(size, 14, generator)) * _clouds(size, 12, generator)
    cloud = _clouds(size, 16 / slide.grain, generator) + 0.5 * _clouds(size, 5 / slide.grain, generator)
    density: Floats = 0.45 + 0.3 * (cloud - 0.75) + kind.fibres * (waves + 0.2)
    gap = np.clip(6 * (_clouds(size, 18, generator) - 0.68), 0, 1) * generator.uniform(0.2, 1)
    return density.clip(0.05) * (1 - gap)


def _centres(kind: str, size: int, generator: np.random.Generator) -> list[tuple[float, float]]:
    spacing = KINDS[kind].spacing * generator.uniform(0.85, 1.3)
    reach = int(size / 2 / spacing) + 1
    steps = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    jitter = generator.uniform(-0.3, 0.3, (len(steps), 2))
    kept = generator.random(len(steps)) < 0.7
    middle = size / 2
    around = [
        (middle + (i + 0.5 * (j % 2) + dy) * spacing, middle + (j + dx) * spacing)
        for (i, j), (dy, dx), keep in zip(steps, jitter, kept, strict=True)
        if keep and (i, j) != (0, 0)
    ]
    return [*around, (middle, middle)]


def _add_nucleus(
    haematoxylin: Floats,
    eosin: Floats,
    centre: tuple[float, float],
    kind: Kind,
    direction: float,
    slide: Slide,
    generator: np.random.Generator,
) -> None:
    length = kind.length * slide.scale * np.exp(generator.normal(0, 0.2))
    width = length * min(1.0, kind.roundness * np.exp(generator.normal(0, 0.2)))
    angle = direction + generator.normal(0, 0.35)
    darkness = kind.darkness * np.exp(generator.normal(0, 0.2))
    bend, size = generator.normal(0, 0.3) * (1 - kind.roundness), len(haematoxylin)
    lobes, turn = generator.normal(0, (0.10, 0.06, 0.03)), generator.uniform(0, 2 * np.pi, 3)
    chromatin = generator.standard_normal((6, 6))
    reach = 1.3 * length + 3 * slide.softness
    top, bottom = (int(np.clip(centre[0] + s * reach, 0, size)) for s in (-1, 1))
    left, right = (int(np.clip(centre[1] + s * reach, 0, size)) for s in (-1, 1))
    if top >= bottom or left >= right:
        return
    rows, columns = np.ogrid[top:bottom, left:right]
    y, x = rows - centre[0], columns - centre[1]
    along = (x * np.cos(angle) + y * np.sin(angle)) / length
    across = (y * np.cos(angle) - x * np.sin(angle)) / width + bend * (1 - 2 * along**2)
    polar = np.arctan2(across, along)
    outline = 1 + sum(lobe * np.cos(n * polar + t) for n, (lobe, t) in enumerate(zip(lobes, turn, strict=True), 2))
    distance = np.sqrt(along**2 + across**2) / outline
    inside = 1 / (1 + np.exp(((distance - 1) * width / slide.softness).clip(-30, 30)))
    grains = _interpolation(bottom - top, 6) @ chromatin @ _interpolation(right - left, 6).T
    rim = np.exp(-(((distance - 0.85) / 0.2) ** 2))
    density = darkness * inside * (1 + kind.chromatin * (0.8 * grains + 0.8 * rim - 0.3)).clip(0.1)
    window = (slice(top, bottom), slice(left, right))
    haematoxylin[window] = np.maximum(haematoxylin[window], density)
    eosin[window] *= 1 - 0.55 * inside


def _clouds(size: int, scale: float, generator: np.random.Generator) -> Floats:
    knots = int(size / scale) + 2
    weights = _interpolation(size, knots)
    return weights @ generator.random((knots, knots)) @ weights.T


@lru_cache(maxsize=512)
def _interpolation(size: int, knots: int) -> Floats:
    position = np.linspace(0, knots - 1, size)
    distance = np.abs(position[:, None] - np.arange(knots)).clip(0, 1)
    return 1 - distance**2 * (3 - 2 * distance)
