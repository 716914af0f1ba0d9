"""Which groups fail: a strip for each slide or patient, the worst on top, with its samples beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from histokit.errors import counted
from histokit.figures.evaluations import heading_of, score_text, viewed
from histokit.figures.lettering import drawable, in_legend, line_height, longest, shortened_names
from histokit.figures.numbers import COLOURS
from histokit.figures.panels import SMALL, TITLE, under
from histokit.figures.sheet import Document, Flow, as_file, new_sheet, open_frame
from histokit.layout import natural

#: Of more groups than these, the worst are drawn.
_NAMED = 60
#: Axes, in inches; names are cut to so many letters.
_SCORES, _SAMPLES = 2.4, 2.0
_LETTERS = 28
#: Axes have room for so many rows at least.
_FEW = 6
_MEASURES = {"accuracy": "share of right predictions", "mae": "mean absolute error"}
_BAR, _OTHERS = "#7da7c9", "#c8c8c8"
#: Behind numbers, so that no line goes through them.
_CLEAR = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}


def draw_groups(evaluations: Document | Sequence[Document]) -> Any:
    """Draw the score inside each group of each run, the worst on top, beside its predictions by true class.

    Parameters
    ----------
    evaluations : Evaluation, or a sequence of them
        Made with the view ``groups``.

    Returns
    -------
    matplotlib.figure.Figure
        For each run and level, axes of scores and axes of samples; of more than have room, for the first ones.

    Raises
    ------
    UsageError
        If an evaluation has no such view.
    """
    found = viewed(evaluations, "groups")
    labels = [_cut([entry["group"] for entry in document["groups"][:_NAMED]]) for _, document in found]
    wide = _SCORES + _SAMPLES + max(longest(names, SMALL) for names in labels) + 0.4
    headings = [heading_of(evaluation, wide - 0.4) for evaluation, _ in found]
    heights = [
        0.8
        + _height(len(names))
        + (heading.count("\n") + 2) * line_height(TITLE)
        + 1.7 * line_height(SMALL) * max(1, min(len(document["classes"]), len(COLOURS)))
        for (_, document), names, heading in zip(found, labels, headings, strict=True)
    ]
    flow = Flow.of(heights, wide)
    sheet = new_sheet(wide * flow.beside, flow.high)
    parts = sheet.subfigures(len(flow.heights), flow.beside, squeeze=False, height_ratios=flow.heights).flat
    flow.tell(sheet, "runs and levels")
    for part, (_, document), names, heading in zip(parts, found, labels, headings, strict=False):
        scores, samples = part.subplots(1, 2, width_ratios=[_SCORES, _SAMPLES], sharey=True)
        shown = document["groups"][:_NAMED]
        part.suptitle("\n".join([heading, drawable(_rest(document))]).strip(), fontsize=TITLE)
        _draw_scores(scores, document, shown)
        _draw_samples(samples, document, shown)
        scores.set_yticks(range(len(shown)), names, fontsize=SMALL)
        scores.set_ylim(len(shown) - 0.4, -0.6)
        scores.set_ylabel(drawable(document["column"]), fontsize=SMALL + 1)
        for axis in (scores, samples):
            axis.tick_params(axis="x", labelsize=SMALL)
            axis.tick_params(axis="y", length=0)
            open_frame(axis)
    return sheet


def _cut(names: Sequence[str]) -> list[str]:
    return shortened_names([drawable(name) for name in names], _LETTERS)


def _rest(document: dict[str, Any]) -> str:
    """Return what is not drawn."""
    rest = [entry["score"] for entry in document["groups"][_NAMED:]]
    texts = []
    if rest:
        few = counted(len(rest), "group", "groups")
        low, high = (score_text(bound(rest), document["measure"]) for bound in (min, max))
        texts.append(f"the worst {_NAMED}; not drawn: {few} of {low}{f' to {high}' if low != high else ''}")
    if document["left_out"]:
        texts.append(f"{counted(document['left_out'], 'prediction is', 'predictions are')} of no group")
    return "; ".join(texts)


def _draw_scores(axis: Any, document: dict[str, Any], shown: list[dict[str, Any]]) -> None:
    values, accuracy = [entry["score"] for entry in shown], document["measure"] == "accuracy"
    axis.barh(range(len(shown)), values, height=0.7, color=_BAR)
    pooled = document["pooled"]
    axis.axvline(pooled, color="#b03a2e", linewidth=1, label=f"of all {score_text(pooled, document['measure'])}")
    right = 1.0 if accuracy else max([*values, document["pooled"]]) or 1.0
    for row, value in enumerate(values):
        text = score_text(value, document["measure"])
        axis.text(value + 0.02 * right, row, text, va="center", fontsize=SMALL, bbox=_CLEAR)
    axis.set_xlim(0, 1.18 * right)
    if accuracy:
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axis.set_xlabel(_MEASURES[document["measure"]], fontsize=SMALL + 1)
    _legend_below(axis)


def _draw_samples(axis: Any, document: dict[str, Any], shown: list[dict[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = range(len(shown))
    left = [0] * len(shown)
    colours = _colours(document)
    for (name, colour), label in zip(colours.items(), _cut(list(colours)), strict=True):
        counts = [entry["classes"].get(name, 0) for entry in shown]
        axis.barh(rows, counts, height=0.7, left=left, color=colour, label=in_legend(label))
        left = [before + count for before, count in zip(left, counts, strict=True)]
    rest = [entry["n"] - before for entry, before in zip(shown, left, strict=True)]
    if any(rest):
        others = len({name for entry in shown for name in entry.get("classes", {})} - colours.keys())
        what = counted(others, "other class", "other classes") if others else None
        axis.barh(rows, rest, height=0.7, left=left, color=_OTHERS, label=what)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.set_xlabel("predictions", fontsize=SMALL + 1)
    _legend_below(axis)


def _colours(document: dict[str, Any]) -> dict[str, str]:
    """Return the colour of each class; of many, of the most frequent ones."""
    total: Counter[str] = Counter()
    for entry in document["groups"][:_NAMED]:
        total.update(entry.get("classes", {}))
    there = [name for name in document["classes"] if total[name]]
    if len(there) > len(COLOURS):
        kept = {name for name, _ in total.most_common(len(COLOURS) - 1)}
        there = [name for name in there if name in kept]
    return dict(zip(natural(there), COLOURS, strict=False))


def _legend_below(axis: Any) -> None:
    if axis.get_legend_handles_labels()[0]:
        # Below the name of the axis, where it hides no bar.
        place: dict[str, Any] = {"bbox_to_anchor": (0.5, 0), "bbox_transform": under(axis)}
        axis.legend(fontsize=SMALL, loc="upper center", ncols=1, frameon=False, **place)


def _height(rows: int) -> float:
    """Return how high axes of so many groups are, in inches."""
    return 1.15 * line_height(SMALL) * max(rows, _FEW)


groups_figure = as_file(draw_groups)
