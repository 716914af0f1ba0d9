"""Figures of what excites the filters of a network, before its training and after."""

from __future__ import annotations

from typing import Any

from histokit.errors import counted
from histokit.figures.lettering import of_groups
from histokit.figures.pairs import Pair, draw_pairs
from histokit.figures.sheet import as_file


def draw_filters(found: Any) -> Any:
    """Draw what excites each filter before the training, and beside it after that, layer by layer.

    Parameters
    ----------
    found : FilterImages

    Returns
    -------
    matplotlib.figure.Figure
        Of each filter two axes, before and after.
    """
    layers: dict[str, dict[int, dict[str, Any]]] = {}
    for image in found.images:
        layers.setdefault(image.layer, {}).setdefault(image.filter, {})[image.when] = image
    groups = [(f"layer {layer}", [_pair(n, both) for n, both in filters.items()]) for layer, filters in layers.items()]
    facts = [
        f"What excites filters of {found.backbone}: left before, right after training on {found.dataset}",
        f"run {found.run}, split {found.split}",
        f"{counted(found.count, 'image', 'images')}{of_groups(found.groups)}",
        f"{found.recipe.iterations} steps from noise",
        f"{counted(len(found.images) // 2, 'filter', 'filters')}: number, and the mean of its map before → after",
        "a filter that nothing excited (none) shows noise" if any(not i.activation for i in found.images) else "",
    ]
    return draw_pairs(" · ".join(filter(None, facts)), groups, columns=False, below=0.0)


def _pair(number: int, both: dict[str, Any]) -> Pair:
    before, after = both["before"], both["after"]
    values = [f"{image.activation:.3g}" if image.activation else "none" for image in (before, after)]
    line = f"{number}: {' → '.join(values)}"
    return Pair(before.image, after.image, [(line, "black")])


filters_figure = as_file(draw_filters)
