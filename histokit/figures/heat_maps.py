"""Figures of where models look: each image, and its map over it, in groups of columns by class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import counted
from histokit.figures.lettering import of_groups
from histokit.figures.pairs import MARGIN, SMALL, Pair, draw_pairs
from histokit.figures.sheet import as_file
from histokit.layout import number_text

#: Perceptually uniform, and of maps with signs diverging; both can be told apart by most eyes.
SEQUENTIAL, DIVERGING = "viridis", "PuOr_r"
ALPHA = 0.55
#: Weights of red, green and blue (ITU-R BT.601).
_LUMINANCE = (0.299, 0.587, 0.114)

#: In inches.
_BAR_WIDE, _BAR_HIGH, _BELOW = 2.4, 0.16, 0.82
_WRONG, _PLAIN = "#b8453c", "black"
#: What colours mean: of a number or not, with signs or not.
_MEANINGS = {
    (False, False): "of each map, its least to its largest: what speaks for the class",
    (True, False): "of each map, its least to its largest: what raises the number",
    (False, True): "share of the largest value of each map: above 0 speaks for the class, below 0 against it",
    (True, True): "share of the largest value of each map: above 0 raises the number, below 0 lowers it",
}

#: And above each other.
_ABOVE = "(below over black, above over white parts of an image; ✗: predicted wrongly)"


def draw_heat_maps(explanation: Any) -> Any:
    """Draw images and their maps: a group of columns for each class.

    Parameters
    ----------
    explanation : Explanation

    Returns
    -------
    matplotlib.figure.Figure
        Of each image two axes, itself and its map over it.
    """
    groups: dict[str, list[Pair]] = {name: [] for name in explanation.classes}
    for sample in explanation.samples:
        groups.setdefault(sample.group, []).append(_pair(sample, explanation))
    shown = [(name, pairs) for name, pairs in groups.items() if pairs]
    sheet = draw_pairs(_title(explanation), shown, columns=True, below=_BELOW)
    _draw_bar(sheet, explanation)
    return sheet


def over_image(image: NDArray[np.uint8], heat: NDArray[np.float32], signed: bool) -> NDArray[np.uint8]:
    """Return the (H, W, 3) picture of a map over its image, whose own colours would be taken for those of the map.

    Parameters
    ----------
    image : (H, W, 3) uint8 array
    heat : (H, W) array
        0 to 1, or -1 to 1 where it has signs.
    signed : bool
    """
    from matplotlib import colormaps

    coloured = colormaps[DIVERGING if signed else SEQUENTIAL]((heat + 1) / 2 if signed else heat)[..., :3] * 255
    grey = image @ np.array(_LUMINANCE)
    found: NDArray[np.uint8] = np.rint((1 - ALPHA) * grey[..., None] + ALPHA * coloured).astype(np.uint8)
    return found


def _title(explanation: Any) -> str:
    count = len(explanation.samples)
    facts = [
        f"{explanation.dataset}, split {explanation.split}" if explanation.split else explanation.dataset,
        f"run {explanation.run}",
        f"{explanation.method} of {explanation.backbone}, layer {explanation.layer}",
        f"{explanation.target} as predicted" if explanation.kind == "value" else "",
        counted(count, "image", "images") + of_groups(explanation.groups),
        explanation.shown,
    ]
    return " · ".join(filter(None, facts))


def _pair(sample: Any, explanation: Any) -> Pair:
    """Return an image and its map; below them the id, what was predicted, the score, and what is wrong."""
    lines = [(sample.id + " (trained on)" * sample.seen, _PLAIN)]
    if sample.explained is None:
        true = "" if sample.true is None else f"true {sample.true:.4g}, "
        lines.append((f"{true}predicted {sample.score:.4g}", _PLAIN))
    else:
        lines.append(("✗ " * sample.wrong + f"predicted {sample.predicted}", _WRONG if sample.wrong else _PLAIN))
        what = "decision value" if explanation.kind == "decision" else "score"
        what = what if sample.explained == sample.predicted else f"{sample.explained}: {what}"
        lines.append((f"{what} {number_text(sample.score, 2)}" + " (no map)" * sample.constant, _PLAIN))
    return Pair(sample.image, over_image(sample.image, sample.heat, explanation.signed), lines)


def _draw_bar(sheet: Any, explanation: Any) -> None:
    """Draw what colours mean, at the bottom: over black at its lower edge, and over white at its upper one."""
    width, high = sheet.get_size_inches()
    axis = sheet.add_axes((MARGIN / width, 0.52 / high, _BAR_WIDE / width, _BAR_HIGH / high))
    low = -1.0 if explanation.signed else 0.0
    values = np.linspace(low, 1, 256, dtype=np.float32)[None].repeat(32, axis=0)
    greys = np.linspace(255, 0, 32).astype(np.uint8)[:, None, None]
    shown = over_image(np.broadcast_to(greys, (32, 256, 3)), values, explanation.signed)
    axis.imshow(shown, extent=(low, 1, 0, 1), aspect="auto")
    axis.set_yticks([])
    axis.set_xticks(np.linspace(low, 1, 5))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.tick_params(labelsize=SMALL, length=2)
    meaning = _MEANINGS[explanation.kind == "value", explanation.signed]
    axis.set_xlabel(f"{meaning}\n{_ABOVE}", fontsize=SMALL, loc="left")


heat_maps_figure = as_file(draw_heat_maps)
