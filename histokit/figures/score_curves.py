"""Scores of methods as curves: against the labels that they were trained on, and against the depth of layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from histokit.errors import UsageError, counted, some
from histokit.figures.evaluations import tested
from histokit.figures.lettering import drawable, folded, longest
from histokit.figures.numbers import GREY, key_of, looks_of
from histokit.figures.panels import SMALL, TITLE, WIDE, Panel, draw_panels
from histokit.figures.sheet import Compared, as_file, open_frame
from histokit.protocol.number_metrics import direction

#: Layers of one network are named below the axis, unless they are more.
_NAMED = 20
#: The share of the axis that a number takes.
_ROOM = 0.1
#: Numbers of groups that differ by as much have a logarithmic axis.
_WIDELY = 8


def draw_labels(comparison: Compared) -> Any:
    """Draw scores against numbers of training groups: a panel for each dataset, colours for the best 16 methods.

    Parameters
    ----------
    comparison : Comparison
        Made with the view ``labels``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UsageError
        If the comparison has no such view.
    """
    panels = []
    for document in _view(comparison, "labels")["panels"]:
        by = "groups" if document["unit"] else "samples"
        # Samples are counted as they are before they are aggregated.
        made = document["aggregate"]
        unit = f" ({document['unit']})" if document["unit"] else f" (then aggregated: {made})" if made else ""
        facts = [document["dataset"], f"target {document['target']}" if document["target"] else None, document["where"]]
        draw = partial(_draw_labels, document=document, by=by, across=f"training {by}{unit}, mean over folds")
        panels.append(Panel(_heading(facts, document, _caveats(document)), _key(document), draw))
    return draw_panels(panels)


def _caveats(document: dict[str, Any]) -> list[str]:
    """Return what makes the splits of a panel differ in more than the number of what they train on."""
    leaks, groupings = list(document["leaks"]), document["groupings"]
    told = [f"{counted(len(leaks), 'split leaks', 'splits leak')}: {some(leaks)}"] if leaks else []
    if len(groupings) > 1:
        units = " or ".join(str(unit) for unit in groupings if unit)
        nothing = " or nothing" * (None in groupings)
        told.append(f"by samples, since not all splits keep the same together ({units}{nothing})")
    return told


def draw_layers(comparison: Compared) -> Any:
    """Draw scores against the depth of layers, a panel for each dataset and a colour for each of the best 16 networks.

    The comparison is one with the view ``layers``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels = []
    for document in _view(comparison, "layers")["panels"]:
        names = [drawable(name) for name in _layers(document["curves"]).values()]
        draw = partial(_draw_layers, document=document)
        panels.append(
            Panel(
                _heading([document["column"], document["split"]], document),
                _key(document),
                draw,
                longest(names, SMALL),
            )
        )
    return draw_panels(panels)


def _layers(curves: Sequence[dict[str, Any]]) -> dict[int, str]:
    """Return the layers to be named, by place: those of one network, or of networks that call them the same."""
    points = [point for curve in curves for point in curve["points"]]
    names = {point["place"]: point["layer"] for point in points}
    same = all(names[point["place"]] == point["layer"] for point in points)
    return dict(sorted(names.items())) if same and len(names) <= _NAMED else {}


def _view(comparison: Compared, name: str) -> dict[str, Any]:
    views: dict[str, Any] = comparison.to_json(pairs=False).get("views", {})
    if name not in views:
        raise UsageError(
            f"The comparison was made without the view {name!r}.",
            next=f'Make it with: histokit.compare(store, runs, views=["{name}"])',
        )
    found: dict[str, Any] = views[name]
    return found


def _heading(facts: Sequence[str | None], document: dict[str, Any], caveats: Sequence[str] = ()) -> str:
    counts = tested(
        (point["tested"] for curve in document["curves"] for point in curve["points"]), [document["aggregate"]]
    )
    texts = (" · ".join(fact for fact in facts if fact), f"tested on {counts}" if counts else "", *caveats)
    return "\n".join(folded(drawable(text), WIDE, TITLE) for text in texts if text)


def _looks(document: dict[str, Any]) -> list[dict[str, Any]]:
    better = direction(document["metric"])
    every = [[point["score"] for point in curve["points"]] for curve in document["curves"]]
    known = [[score for score in scores if score is not None] for scores in every]
    best = [max(scores, key=lambda score: better * score, default=None) for scores in known]
    return looks_of(best, document["metric"])


def _key(document: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    return key_of(_looks(document), [curve["method"] for curve in document["curves"]], "methods")


def _draw_curves(axis: Any, document: dict[str, Any], by: str) -> None:
    for looks, curve in zip(_looks(document), document["curves"], strict=True):
        x = [point[by] for point in curve["points"]]
        axis.plot(x, [point["score"] for point in curve["points"]], **looks)
        for place, point in zip(x, curve["points"], strict=True):
            if point["interval"] and looks is not GREY:
                axis.plot([place] * 2, point["interval"], color=looks["color"], linewidth=0.8, alpha=0.6)
    axis.set_ylabel(f"{document['metric'].replace('_', ' ')}, 95 % intervals", fontsize=SMALL + 1)
    axis.tick_params(labelsize=SMALL)
    open_frame(axis)


def _draw_labels(axis: Any, document: dict[str, Any], by: str, across: str) -> None:
    _draw_curves(axis, document, by)
    places = sorted({point[by] for curve in document["curves"] for point in curve["points"]})
    wide = places[-1] >= _WIDELY * places[0]
    if wide:
        axis.set_xscale("log")
    named = _apart([math.log(place) for place in places] if wide else places)
    axis.set_xticks(
        [places[i] for i in named],
        [f"{places[i]:.3g}" if places[i] < 999.5 else f"{places[i]:,.0f}" for i in named],
    )
    axis.set_xticks([place for i, place in enumerate(places) if i not in named], minor=True)
    axis.xaxis.set_minor_formatter("")
    axis.set_xlabel(drawable(across), fontsize=SMALL + 1)


def _apart(places: Sequence[float]) -> list[int]:
    """Return which of some rising places have room for a number: those far enough from the one before."""
    kept = [0]
    for i, place in enumerate(places):
        if place - places[kept[-1]] > _ROOM * (places[-1] - places[0]):
            kept.append(i)
    return kept


def _draw_layers(axis: Any, document: dict[str, Any]) -> None:
    names = _layers(document["curves"])
    _draw_curves(axis, document, "place" if names else "depth")
    if names:
        axis.set_xticks(list(names), [drawable(name) for name in names.values()], rotation=90, fontsize=SMALL)
        axis.set_xlabel("layer, from the input to the output", fontsize=SMALL + 1)
    else:
        axis.set_xlim(0, 1.03)
        axis.set_xlabel("depth, as a share of the network's cut points", fontsize=SMALL + 1)


labels_figure = as_file(draw_labels)
layers_figure = as_file(draw_layers)
