"""Training curves: loss and metric of networks as they are trained, a colour for each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from histokit.errors import counted
from histokit.figures.evaluations import tested
from histokit.figures.lettering import drawable, folded, in_legend, line_height
from histokit.figures.numbers import COLOURS, GREY
from histokit.figures.sheet import Document, as_file, new_sheet, open_frame

#: How each part of the samples is drawn: line and marker.
_STYLES = {"train": (":", "^"), "val": ("-", "o"), "test": ("--", "s")}
#: On which of them an epoch is marked as chosen: on the first that there is.
_MARKED = ("val", "test", "train")
_LOSS = "loss"
_WIDE, _HIGH = 5.0, 3.8
_SMALL = 8
_TITLE = 9
_LABEL = 10
#: Curves of no more epochs than these have a marker on each.
_FEW = 25
#: Where some networks have ended already, the mean is of others than before.
_FEWER = 0.35
_STAGE: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (1, 3))}
_WITHIN: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.4}


def draw_training(curves: Document | Sequence[Document]) -> Any:
    """Draw loss and metric against epochs or iterations: a colour for each run, a line style for each part.

    Lines are means over the networks of a run, bands their spread. Discs are the epochs that were chosen, of an area by
    the share of networks of which it was this one. Of more than 8 runs the first 8 have colours, all others are grey.

    Parameters
    ----------
    curves : RunCurves, or a sequence of them

    Returns
    -------
    matplotlib.figure.Figure
        The loss, then each metric.
    """
    several = curves if isinstance(curves, Sequence) else [curves]
    runs = [found.to_json() for found in several]
    known = dict.fromkeys(measure for run in runs for measure in (_LOSS, run["metric"]))
    measures = [measure for measure in known if any(_series(run, measure) for run in runs)] or [_LOSS]
    wide = len(measures) * _WIDE
    title = folded(drawable(_title(runs)), wide - 0.5, _TITLE)
    names = [folded(drawable(name), _WIDE - 0.8, _SMALL) for name in _names(runs)]
    columns = min(len(measures), 2)
    lines = sum(name.count("\n") + 1.3 for name in names) / columns
    sheet = new_sheet(wide, _HIGH + lines * line_height(_SMALL) + title.count("\n") * line_height(_TITLE))
    axes = sheet.subplots(1, len(measures), squeeze=False)[0]
    for axis, measure in zip(axes, measures, strict=True):
        for run, colour in zip(runs, _colours(runs), strict=True):
            _draw_run(axis, run, measure, colour, alone=len(runs) == 1)
        _letter(axis, runs[0]["against"], _label(runs, measure))
    sheet.suptitle(title, fontsize=_TITLE)
    # Above and below, where they hide no line.
    axes[0].legend(
        handles=_styles(runs, measures), fontsize=_SMALL, loc="lower left", bbox_to_anchor=(0, 1), ncols=3,
        frameon=False,
    )  # fmt: skip
    if names:
        patches = [
            _line(colour, linewidth=3, label=in_legend(name))
            for name, colour in zip(names, _colours(runs), strict=False)
        ]
        sheet.legend(handles=patches, fontsize=_SMALL, loc="outside lower center", ncols=columns, frameon=False)
    return sheet


def _colours(runs: Sequence[Any]) -> list[str]:
    """Return the colour of each run; more than differ for most eyes are grey."""
    return [*COLOURS[: len(runs)], *[str(GREY["color"])] * (len(runs) - len(COLOURS))]


def _names(runs: list[dict[str, Any]]) -> list[str]:
    """Return what the legend says of the colours of several runs, grey last."""
    if len(runs) == 1:
        return []
    grey = len(runs) - len(COLOURS)
    more = [counted(grey, "more run", "more runs")] if grey > 0 else []
    return [*(run["name"] for run in runs[: len(COLOURS)]), *more]


def _line(colour: str, **looks: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, **looks)


def _series(run: dict[str, Any], measure: str) -> list[str]:
    """Return of which parts of the samples a measure was recorded."""
    return [series for series in _STYLES if any(measure in epoch[series] for epoch in run["epochs"])]


def _title(runs: list[dict[str, Any]]) -> str:
    """Return what all runs have in common."""
    runs = [{**run, "target": f"target {run['target']}" * bool(run["target"])} for run in runs]
    names = ("dataset", "target", "address", "classifier", "split")
    facts = [name for name in names if len({run[name] for run in runs}) == 1]
    of_one = [f"run {run['run']}" for run in runs if len(runs) == 1]
    counts = sorted({run["networks"] for run in runs})
    means = [f"mean and std of {' or '.join(map(str, counts))} networks"] if counts[-1] > 1 else []
    counts_tested = tested((run["tested"] for run in runs), [None])
    counted_too = [f"tested on {counts_tested}"] * bool(counts_tested)
    return " · ".join([*(runs[0][name] for name in facts if runs[0][name]), *of_one, *counted_too, *means])


def _draw_run(axis: Any, run: dict[str, Any], measure: str, colour: str, alone: bool) -> None:
    against, recorded = run["against"], _series(run, measure)
    if alone and measure == _LOSS and _within(run):
        axis.plot([s[against] for s in run["steps"]], [s[_LOSS] for s in run["steps"]], color=colour, **_WITHIN)
    for series in recorded:
        there = [epoch for epoch in run["epochs"] if measure in epoch[series]]
        x = np.array([epoch[against] for epoch in there], float)
        mean, std = (np.array([epoch[series][measure][name] for epoch in there], float) for name in ("mean", "std"))
        line, marker = _STYLES[series]
        dotted = marker if len(there) <= _FEW else None
        looks = {"color": colour, "linestyle": line, "linewidth": 1.3, "marker": dotted, "markersize": 3}
        grey = colour == GREY["color"]
        looks |= {**GREY, "linewidth": 0.8, "marker": dotted if len(there) == 1 else None} if grey else {}
        full = sum(epoch["networks"] == run["networks"] for epoch in there)
        axis.plot(x[:full], mean[:full], **looks)
        if full < len(there):
            axis.plot(x[max(full - 1, 0) :], mean[max(full - 1, 0) :], alpha=_FEWER, **looks)
        if len(there) > 1 and not grey:
            axis.fill_between(x, mean - std, mean + std, color=colour, alpha=0.12, linewidth=0)
        elif np.isfinite(std).all() and not grey:
            axis.errorbar(x, mean, yerr=std, color=colour, capsize=3, linewidth=0.8)
        if series == _marked(run, recorded):
            shares = np.array([epoch["chosen"] / run["networks"] for epoch in there])
            hit = shares > 0
            looks = {"color": colour, "linewidths": 0, "zorder": 1 if grey else 3}
            axis.scatter(x[hit], mean[hit], s=10 + 70 * shares[hit], **looks)
    for ended in _stage_ends(run) if alone else []:
        axis.axvline(ended[against], color="grey", **_STAGE)


def _marked(run: dict[str, Any], recorded: list[str]) -> str:
    """Return on which part of the samples the chosen epochs are marked: on that which chose them, if there is one."""
    first = [run["chosen_by"]] if run["chosen_by"] in recorded else []
    return next(series for series in (*first, *_MARKED) if series in recorded)


def _within(run: dict[str, Any]) -> bool:
    """Return whether the loss was recorded more often than at the ends of epochs."""
    return len(run["steps"]) > len(run["epochs"])


def _stage_ends(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the last epoch of each stage but the last."""
    return list({epoch["stage"]: epoch for epoch in run["epochs"]}.values())[:-1]


def _label(runs: list[dict[str, Any]], measure: str) -> str:
    """Return what a measure is called; losses of several kinds, which cannot be compared, are named one by one."""
    kinds = dict.fromkeys(run["loss"] for run in runs if run["loss"] and _series(run, measure))
    if measure != _LOSS or not kinds:
        return measure.replace("_", " ")
    if len(kinds) == 1:
        return f"{_LOSS} ({next(iter(kinds))})"
    return f"{_LOSS}, of several kinds:\n{'; '.join(kinds)}"


def _letter(axis: Any, against: str, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlim(left=0)
    axis.set_xlabel(against)
    axis.set_ylabel(folded(label, _HIGH - 0.8, _LABEL), fontsize=_LABEL)
    open_frame(axis)


def _styles(runs: list[dict[str, Any]], measures: list[str]) -> list[Any]:
    """Return what lines and discs mean."""
    alone, colour = len(runs) == 1, COLOURS[0] if len(runs) == 1 else "#444444"
    recorded = {series for run in runs for measure in measures for series in _series(run, measure)}
    found = [
        _line(colour, linestyle=line, marker=marker, markersize=3, label=series)
        for series, (line, marker) in _STYLES.items()
        if series in recorded
    ]
    if alone and _within(runs[0]) and _LOSS in measures:
        found.append(_line(colour, label="train, within epochs", **_WITHIN))
    if any(epoch["networks"] < run["networks"] for run in runs for epoch in run["epochs"]):
        found.append(_line(colour, linewidth=1.3, alpha=_FEWER, label="of those that had not ended"))
    by = {run["chosen_by"] for run in runs}
    how = f"chosen by {by.pop()}" if len(by) == 1 and by != {""} else "chosen epoch"
    found.append(_line(colour, linestyle="", marker="o", markersize=7, label=how))
    if alone and _stage_ends(runs[0]):
        found.append(_line("grey", label="end of a stage", **_STAGE))
    return found


training_figure = as_file(draw_training)
