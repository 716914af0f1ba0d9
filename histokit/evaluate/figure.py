"""Figures of scores: the confusion matrix of a run, and its metric in each fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histokit.errors import UsageError
from histokit.evaluate.evaluate import Evaluation


def figure(evaluations: Evaluation | Sequence[Evaluation], path: str | Path) -> Path:
    """Draw the confusion matrix and the scores by fold of each run, one run a row.

    Parameters
    ----------
    evaluations : Evaluation or sequence of Evaluation
    path : path
        The ending decides the format: .png, .svg or .pdf.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    return save_sheet(draw_scores(evaluations), path)


def draw_scores(evaluations: Evaluation | Sequence[Evaluation]) -> Any:
    """Return the matplotlib figure of `figure`: on each row of axes a confusion matrix and the scores by fold."""
    listed = [evaluations] if isinstance(evaluations, Evaluation) else list(evaluations)
    sheet = new_sheet(9, 3.6 * len(listed))
    axes = sheet.subplots(len(listed), 2, squeeze=False)
    for (left, right), evaluation in zip(axes, listed, strict=True):
        _draw_confusion(left, evaluation)
        _draw_folds(right, evaluation)
    return sheet


def new_sheet(width: float, height: float) -> Any:
    """Return an empty matplotlib figure of so many inches, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(sheet)
    return sheet


def save_sheet(sheet: Any, path: str | Path) -> Path:
    """Write a figure, the same bytes for the same figure.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    from matplotlib import rc_context

    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    try:
        with rc_context({"svg.hashsalt": "histokit"}):
            sheet.savefig(path, dpi=120, metadata=dated.get(Path(path).suffix.lower()))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The figure {path} cannot be written: {error}.",
            next="Choose a path ending in .png, in a folder that exists.",
        ) from error
    return Path(path)


def _draw_confusion(axis: Any, evaluation: Evaluation) -> None:
    classes = evaluation.confusion["classes"]
    counts = np.array(evaluation.confusion["counts"], float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= 12:
        for row, column in np.ndindex(counts.shape):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(classes)), classes, rotation=30 if len(classes) > 3 else 0)
    axis.set_yticks(range(len(classes)), classes)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    axis.set_title(f"{evaluation.address} · {evaluation.classifier} · {evaluation.split}", fontsize=9)


def _draw_folds(axis: Any, evaluation: Evaluation) -> None:
    metric = evaluation.metric
    each = [fold["metrics"][metric] for fold in evaluation.folds["each"]]
    values = [np.nan if value is None else value for value in each]
    axis.bar(range(len(values)), values, color="#7da7c9")
    pooled = evaluation.metrics[metric]
    if pooled is not None:
        axis.axhline(pooled, color="#b03a2e", label=f"pooled {pooled:.3f}")
    bounds = (evaluation.intervals or {}).get("metrics", {}).get(metric)
    if bounds:
        axis.axhspan(*bounds, color="#b03a2e", alpha=0.15, label="95 % interval")
    if metric in evaluation.baseline:
        value = evaluation.baseline[metric]
        axis.axhline(value, color="grey", linestyle=":", label=f"always {evaluation.baseline['class']} {value:.3f}")
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("fold")
    axis.set_ylabel(metric.replace("_", " "))
    axis.set_title(f"{evaluation.dataset}, run {evaluation.run}", fontsize=9)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, loc="lower right")
