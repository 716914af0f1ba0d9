"""Reliability diagrams: how often predictions are right, against the probability that they were given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from histokit.figures.evaluations import heading_of, viewed
from histokit.figures.panels import SMALL, WIDE, Panel, draw_panels, unit_square
from histokit.figures.sheet import Document, as_file
from histokit.layout import number_text

_RIGHT: dict[str, Any] = {"color": "#1f4e79", "linewidth": 1.3, "marker": "o", "markersize": 4}
_GAP: dict[str, Any] = {"color": "#d55e00", "linewidth": 1.3}
_SCALED: dict[str, Any] = {"color": "#009e73", "linewidth": 1.1, "linestyle": "--", "marker": "s", "markersize": 3}
_EQUAL: dict[str, Any] = {"color": "grey", "linewidth": 0.8, "linestyle": ":"}
_COUNTS: dict[str, Any] = {"color": "#d0d0d0", "linewidth": 5}
_NOTHING: dict[str, Any] = {"linestyle": ""}
#: The share of a panel's height that the highest count takes.
_LOW = 0.3
_CALLED = {"ece": "ECE", "brier": "Brier score", "log_loss": "log loss"}


def draw_calibration(evaluations: Document | Sequence[Document]) -> Any:
    """Draw the reliability diagram of each run and of each of its levels, with the number of samples in each bin.

    Parameters
    ----------
    evaluations : Evaluation, or a sequence of them
        Made with the view ``calibration``.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each run and level.

    Raises
    ------
    UsageError
        If an evaluation has no such view.
    """
    panels = [
        Panel(heading_of(evaluation, WIDE), _lines(document), partial(_draw, document=document))
        for evaluation, document in viewed(evaluations, "calibration")
    ]
    return draw_panels(panels)


def _draw(axis: Any, document: dict[str, Any]) -> None:
    there = [entry for entry in document["bins"] if entry["n"]]
    most = max(entry["n"] for entry in there)
    for entry in there:
        middle, width = (entry["low"] + entry["high"]) / 2, 0.9 * (entry["high"] - entry["low"])
        high = _LOW * entry["n"] / most
        axis.bar(middle, high, width, color=_COUNTS["color"], zorder=0)
        axis.text(middle, high + 0.01, f"{entry['n']:,}", rotation=90, fontsize=SMALL, ha="center", va="bottom")
    axis.plot([0, 1], [0, 1], **_EQUAL)
    for entry in there:
        axis.plot([entry["confidence"]] * 2, [entry["confidence"], entry["accuracy"]], **_GAP)
    axis.plot([entry["confidence"] for entry in there], [entry["accuracy"] for entry in there], **_RIGHT)
    scaled = [entry for entry in document["temperature"].get("bins", ()) if entry["n"]]
    axis.plot([entry["confidence"] for entry in scaled], [entry["accuracy"] for entry in scaled], **_SCALED)
    unit_square(axis, "probability of the predicted class", "share of right predictions")


def _lines(document: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return what the lines of a panel look like, and what they mean."""
    confidence, accuracy = (number_text(document[name], 3) for name in ("confidence", "accuracy"))
    found = [
        (_RIGHT, f"right predictions: {accuracy} of all, at a mean probability of {confidence}"),
        (_GAP, f"what they differ by: {_measure(document, 'ece')}"),
        (_EQUAL, "as often as the probability says"),
        (_COUNTS, f"predictions in each of {len(document['bins'])} bins"),
    ]
    found += [
        (
            _NOTHING,
            f"{_measure(document, name)}; by shares of classes alone {number_text(document['baseline'][name], 3)}",
        )
        for name in ("brier", "log_loss")
    ]
    if document["zeros"]:
        found.append((_NOTHING, f"true class with probability 0: {document['zeros']:,}"))
    temperature = document["temperature"]
    if temperature["value"]:
        found.append((_SCALED, f"at a temperature of {_temperatures(temperature)}, that of the other folds:"))
        found += [(_NOTHING, _measure(temperature, name)) for name in _CALLED]
    return found


def _temperatures(document: dict[str, Any]) -> str:
    low, *_, high = sorted(entry["temperature"] for entry in document["folds"])
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _measure(document: dict[str, Any], name: str) -> str:
    text = f"{_CALLED[name]} {number_text(document[name], 3)}"
    intervals = document["intervals"]
    bounds = intervals and intervals["metrics"][name]
    if not bounds:
        return text
    low, high = (number_text(bound, 3) for bound in bounds)
    return f"{text} (95 % {low} to {high}{'' if intervals['reliable'] else ', unreliable'})"


calibration_figure = as_file(draw_calibration)
