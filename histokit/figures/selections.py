"""Figures of selections: the score by subset size, and the importance that each network or layer brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from histokit.errors import counted
from histokit.figures.lettering import drawable, folded, line_height, of_groups
from histokit.figures.numbers import COLOURS, GREY, key_of, looks_of
from histokit.figures.panels import SMALL, TITLE, WIDE, Panel, draw_panels
from histokit.figures.sheet import MOST, Document, as_file, new_sheet, open_frame
from histokit.layout import number_text
from histokit.protocol.number_metrics import ERRORS
from histokit.store.records import SelectionRecord

#: What stands around the bars of importances, and how high each row of them is, in inches.
_AROUND, _ROW = 1.4, 0.34
#: From the most to the least informative columns, as in Figure 5 of Mormont et al. 2018.
_BANDS = (COLOURS[1], COLOURS[5], COLOURS[4], COLOURS[6])


def draw_curve(selection: SelectionRecord) -> Any:
    """Draw the score by subset size with its spread over the inner folds; best and smallest subset are marked.

    Parameters
    ----------
    selection : SelectionRecord
        Drawn is the elimination in all training samples, and thinly that in each outer fold.

    Returns
    -------
    matplotlib.figure.Figure
    """
    sheet = new_sheet(8, 5.2)
    axis = sheet.subplots()
    kept = selection.kept or selection.folds[0]
    others = [part for part in selection.folds if part["columns"] != kept["columns"] or part["curve"] != kept["curve"]]
    for number, part in enumerate(others):
        size, mean, _ = np.array(part["curve"], float).T
        label = f"in the {len(others)} outer folds" if not number else None
        axis.plot(size, mean, color="#9db7cc", linewidth=0.7, label=label)
    size, mean, std = np.array(kept["curve"], float).T
    axis.errorbar(
        size, mean, yerr=std, color="#1f4e79", ecolor="#7da7c9", marker="o", markersize=3, capsize=2,
        label="in all training samples: mean and std of the inner folds",
    )  # fmt: skip
    scores = dict(zip(size.astype(int).tolist(), mean.tolist(), strict=True))
    best, least, tolerance = kept["k_best"], kept["k_min"], selection.parameters["tolerance"]
    # Of errors the tolerance is in deviations of the target, which the curve does not know.
    if kept["metric"] not in ERRORS:
        axis.axhline(scores[best] - tolerance, color="grey", linestyle=":", label=f"the best less {tolerance:g}")
    marked = [(best, "k_best", "#2c7a3f"), (least, "k_min", "#b03a2e")]
    for k, name, colour in marked if best != least else [(best, "k_best and k_min", "#b03a2e")]:
        axis.axvline(k, color=colour, linestyle="--", label=f"{name} {k}: {number_text(scores[k])}")
    _name_sizes(axis)
    axis.set_xlabel("columns")
    axis.set_ylabel(kept["metric"].replace("_", " "))
    axis.set_title(folded(drawable(_title(selection, kept)), 7, 9), fontsize=9)
    # Below, where it hides no part of a curve.
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
    return sheet


def _title(selection: SelectionRecord, kept: Mapping[str, Any]) -> str:
    """Return what was selected from, and how many samples the drawn elimination saw."""
    parts = (part for part in selection.fitted_on if all(part[name] == kept[name] for name in ("repeat", "fold")))
    seen = [counted(len(part["ids"]), "training sample", "training samples") for part in parts]
    return " · ".join([selection.dataset, selection.address, selection.split, *seen[:1]])


def draw_curves(overlap: Document) -> Any:
    """Draw the scores of several selections by subset size, a panel for each metric and a colour for each selection.

    Parameters
    ----------
    overlap : Overlap
        The smallest subset that does as well stands out on each curve, and in the key with its score.

    Returns
    -------
    matplotlib.figure.Figure
        As Supplementary Figure 2 of Mormont et al. 2018.
    """
    selections = overlap.to_json()["selections"]
    panels = []
    for metric in dict.fromkeys(entry["metric"] for entry in selections):
        entries = [entry for entry in selections if entry["metric"] == metric]
        addresses = list(dict.fromkeys(entry["address"] for entry in entries))
        heading = addresses[0] if len(addresses) == 1 else f"{len(entries)} selections"
        names = [entry["dataset"] for entry in entries]
        known = [_chosen_size(entry, twice=names.count(entry["dataset"]) > 1) for entry in entries]
        large = [(looks | {"markersize": 6}, name) for looks, name in key_of(_looks(entries), known, "selections")]
        draw = partial(_draw_sizes, entries=entries, metric=metric)
        panels.append(Panel(folded(drawable(heading), WIDE, TITLE), large, draw))
    return draw_panels(panels)


def _looks(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return looks_of([_chosen_score(entry) for entry in entries], entries[0]["metric"])


def _chosen_score(entry: Mapping[str, Any]) -> float:
    (score,) = (mean for size, mean, _ in entry["curve"] if size == entry["k_min"])
    return float(score)


def _chosen_size(entry: Mapping[str, Any], twice: bool) -> str:
    name = f"{entry['dataset']} ({entry['selection']})" if twice else entry["dataset"]
    return f"{name}: {counted(entry['k_min'], 'column', 'columns')}, {number_text(_chosen_score(entry))}"


def _draw_sizes(axis: Any, entries: Sequence[Mapping[str, Any]], metric: str) -> None:
    for looks, entry in zip(_looks(entries), entries, strict=True):
        size, mean, _ = np.array(entry["curve"], float).T
        axis.plot(size, mean, **looks | {"marker": "", "linewidth": 0.5 if looks is GREY else 1})
        if looks is GREY:
            continue
        least = size == entry["k_min"]
        axis.plot(size[least], mean[least], **looks | {"linestyle": "", "markersize": 6})
    _name_sizes(axis)
    axis.tick_params(labelsize=SMALL, which="both")
    axis.set_xlabel("columns; marked: the fewest that do as well", fontsize=SMALL + 1)
    axis.set_ylabel(f"{metric.replace('_', ' ')}, mean of the inner folds", fontsize=SMALL + 1)
    open_frame(axis)


def _name_sizes(axis: Any) -> None:
    """Let numbers of columns go up by factors."""
    from matplotlib.ticker import LogFormatter

    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))


def draw_importances(importances: Document) -> Any:
    """Draw the importance of each network, and of each layer where there are several, as bands beside its columns.

    Parameters
    ----------
    importances : ImportanceShares

    Returns
    -------
    matplotlib.figure.Figure
        Networks above layers, in the order of the address. Of more than have room those of the largest importance are
        drawn, and their number is told.
    """
    shares = importances.to_json()
    panels = [shares["networks"]] if len(shares["networks"]) > 1 else []
    if len(shares["layers"]) > len(shares["networks"]) or not panels:
        panels.append(shares["layers"])
    heights = [_AROUND + _ROW * min(len(rows), _room(panels)) for rows in panels]
    names = "\n".join(folded(drawable(_fitted_on(entry)), 8.5, 9) for entry in shares["datasets"])
    sheet = new_sheet(9, sum(heights) + 0.3 + line_height(9) * (1 + names.count("\n")))
    axes = sheet.subplots(len(panels), squeeze=False, height_ratios=heights)
    for axis, rows in zip(axes.flat, panels, strict=True):
        _draw_shares(axis, rows, _room(panels), shares)
    # Above, where it hides no bar.
    axes.flat[0].legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    sheet.suptitle(names, fontsize=9)
    return sheet


def _fitted_on(entry: Mapping[str, Any]) -> str:
    samples = counted(entry["samples"], "training sample", "training samples")
    return f"{entry['dataset']} · {entry['split']} · {samples}{of_groups(entry['groups'])}"


def _room(panels: Sequence[Sequence[Any]]) -> int:
    """Return how many rows each of some panels has room for."""
    return int((MOST / len(panels) - _AROUND) / _ROW)


def _draw_shares(axis: Any, every: list[dict[str, Any]], room: int, shares: dict[str, Any]) -> None:
    largest = sorted(range(len(every)), key=lambda number: -every[number]["importance"])[:room]
    rows = [every[number] for number in sorted(largest)]
    place, left = np.arange(len(rows)), np.zeros(len(rows))
    axis.barh(place - 0.2, [row["share_of_columns"] for row in rows], 0.36, color="black", label="share of columns")
    edges = [0.0, *shares["bands"]]
    for band, colour in enumerate(_BANDS):
        widths = np.array([row["bands"][band] for row in rows])
        sorted_by = "" if band else "importance, of the best columns first: "
        label = f"{sorted_by}{100 * edges[band]:.0f} to {100 * edges[band + 1]:.0f} % of all"
        axis.barh(place + 0.2, widths, 0.36, left=left, color=colour, label=label)
        left += widths
    if len(shares["datasets"]) > 1:
        axis.errorbar(left, place + 0.2, xerr=[row["std"] for row in rows], fmt="none", ecolor="grey", capsize=2)
    names = ["/".join([row["network"], *([row["layer"]] if "layer" in row else [])]) for row in rows]
    axis.set_yticks(place, [drawable(name) for name in names])
    axis.tick_params(labelsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    few = f" (drawn: the {len(rows)} of {len(every)} of the largest)" * (len(rows) < len(every))
    axis.set_xlabel(f"share of importance{few}", fontsize=8)


curve_figure = as_file(draw_curve)
curves_figure = as_file(draw_curves)
importance_figure = as_file(draw_importances)
