"""Event files of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from histokit.plugin import FinishedRun

#: What of a run stands beside what was asked for.
_FACTS = ("dataset", "kind", "address", "classifier", "split", "metric")


def write_run(run: FinishedRun, folder: str | Path) -> Path:
    """Write the event files of a run, in place of those of an earlier form of it.

    Parameters
    ----------
    run : FinishedRun
    folder : path

    Returns
    -------
    Path
        ``DATASET/RUN`` in the folder, which holds parameters and mean scores; of each fold there is a folder in it.
    """
    root = Path(folder, run.dataset, run.id)
    for earlier in root.glob("**/events.out.tfevents.*"):
        earlier.unlink()
    wall = datetime.fromisoformat(run.created).timestamp()
    scores = {f"mean over folds/{name}": value for name, value in run.scores.items() if value is not None}
    with SummaryWriter(str(root)) as writer:
        parameters = {name: getattr(run, name) for name in _FACTS} | dict(_flat(run.asked))
        # A run name of its own would be a time, and a folder more.
        writer.add_hparams(parameters, scores, run_name=".")
        writer.add_text("notes", "\n\n".join(run.notes) or "none", walltime=wall)
    for fold in run.folds:
        with SummaryWriter(str(root / _name(fold))) as writer:
            for name, value in fold["scores"].items():
                if value is not None:
                    writer.add_scalar(f"test/{name}", value, walltime=wall)
    for name, points in groupby(sorted(run.curves, key=_place), key=_name):
        with SummaryWriter(str(root / name)) as writer:
            for point in points:
                _write_point(writer, point, run.metric, wall - run.seconds)
    return root


def _write_point(writer: SummaryWriter, point: Mapping[str, Any], metric: str, began: float) -> None:
    """Write a point of a learning curve, at the iteration it was recorded after."""
    series, step = point["series"], point["iteration"]
    values = {f"loss/{series}": point["loss"], f"{metric}/{series}": point["metric"]}
    if series == "train":
        values |= {"learning rate": point["lr"], "epoch": point["epoch"]}
    for tag, value in values.items():
        if value is not None:
            writer.add_scalar(tag, value, step, walltime=began + point["seconds"])


def _place(point: Mapping[str, Any]) -> tuple[int, bool, int, int]:
    return point["repeat"], point["fold"] is None, point["fold"] or 0, point["iteration"]


def _name(entry: Mapping[str, Any]) -> str:
    """Return what the folder of a fold is called; the network of all training samples has one as well."""
    return "all training samples" if entry["fold"] is None else f"repeat {entry['repeat']} fold {entry['fold']}"


def _flat(asked: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    """Yield what was asked for as the names and plain values that TensorBoard knows: ``recipe.lr``."""
    for key, value in asked.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{before}{key}", value
        elif value is not None:
            yield f"{before}{key}", json.dumps(value)
