"""Scores against labels: each method on several splits of a dataset, by how many groups or samples they train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from histokit.compare.score_table import point_facts
from histokit.errors import HistokitError, UsageError, some
from histokit.store import Store
from histokit.store.split_records import Split

Document = Mapping[str, Any]
#: Of columns and controls.
Sizes = dict[tuple[str, str | None], dict[str, Any]]


def label_curves(store: Store, columns: Sequence[Document], methods: Sequence[Document]) -> dict[str, Any]:
    """Return the score of each method against the groups and samples that it was trained on.

    Parameters
    ----------
    store : Store
        Tells what the splits hold.
    columns, methods : sequences of dict
        Of a `Comparison`.

    Returns
    -------
    dict
        ``panels``, one for each dataset: ``dataset``, ``target``, ``where``, ``metric``, ``aggregate`` (what samples,
        which are counted before it, are aggregated to), ``unit`` (what groups are called; none where splits have no
        groups, or different ones, or where samples were drawn), ``groupings`` (what each split keeps together; none
        where nothing), ``leaks`` (split → how it leaks), and ``curves`` of each ``method`` with at least two
        ``points``: ``split``, ``groups`` and ``samples`` (means over folds of what a fold trains on: samples that
        have the target and that the runs' filter keeps, validation samples among them, controls not), ``score``,
        ``interval``, ``runs``, and ``tested``: how many samples (``predicted``) of how many ``groups`` the score is of.
        ``unknown``: columns whose split is gone, or another by now.

    Raises
    ------
    UsageError
        If no method was run on two splits of a dataset.
    """
    sizes, unknown = _sizes(store, columns, methods)
    tasks = list(dict.fromkeys(_task(column) for column in columns))
    panels = [
        panel
        for task in tasks
        for panel in _panels([column for column in columns if _task(column) == task], methods, sizes)
    ]
    if not panels:
        name = columns[0]["dataset"]
        lost = (
            f" Of {some(unknown)}, the split is gone or another one by now, or a column of its samples is gone."
            if unknown
            else ""
        )
        raise UsageError(
            f"No method was run on two splits of one dataset with other numbers of training groups or samples.{lost}",
            next=f"Make some: histokit split {name} --name k4 --folds 5 --train-groups 4 (or --train-per-class 20), "
            "again with other numbers, and train on each with --split.",
        )
    return {"panels": panels, "unknown": unknown}


def _task(column: Document) -> tuple[Any, ...]:
    return tuple(column[name] for name in ("dataset", "target", "target_type", "where", "metric", "aggregate"))


def _sizes(store: Store, columns: Sequence[Document], methods: Sequence[Document]) -> tuple[Sizes, list[str]]:
    """Return what the folds of columns train on, by their names and controls, and those of which it is not known."""
    found: Sizes = {}
    unknown = []
    for column in columns:
        controls = {_controls(method) for method in methods if column["column"] in method["cells"]}
        try:
            split = store.split(column["dataset"], column["split"]) if column["split"] else None
            known = split is not None and split.digest == column["split_digest"]
            size = {(column["column"], each): _size(store, split, column, each) for each in controls if split and known}
        except HistokitError:
            size = {}
        found |= size
        if not size:
            unknown.append(column["column"])
    return found, unknown


def _controls(method: Document) -> str | None:
    """Return the filter of the controls that a method neither trains on nor tests."""
    controls: str | None = method["facts"].get("controls")
    return controls


def _size(store: Store, split: Split, column: Document, controls: str | None) -> dict[str, Any]:
    """Return the means over folds of training groups and samples: of those that runs can have been trained on."""
    target, group = column["target"] or "label", split.group
    samples = store.samples(split.dataset, list(dict.fromkeys(["id", target, group or "id"])), column["where"])
    samples = samples.filter(pc.is_valid(samples.column(target)))
    of = samples.column(group or "id").to_pylist()
    owner = dict(zip(samples.column("id").to_pylist(), of, strict=True))
    for control in store.samples(split.dataset, ["id"], controls).column("id").to_pylist() if controls else []:
        owner.pop(control, None)
    parts = [[owner[i] for i in (*fold.train, *fold.val) if i in owner] for fold in split.folds()]
    groups = float(np.mean([len(set(part)) for part in parts])) if group else None
    return {
        "samples": float(np.mean([len(part) for part in parts])),
        "groups": groups,
        "unit": group,
        "by_class": "train_per_class" in split.params,
        "leaks": split.leaks,
    }


def _panels(columns: Sequence[Document], methods: Sequence[Document], sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Yield the panel of a dataset, if there is a curve in it."""
    of_columns = {name: size for (name, _), size in sizes.items()}
    there = [column for column in columns if column["column"] in of_columns]
    known = [of_columns[column["column"]] for column in there]
    units = dict.fromkeys(size["unit"] if size["groups"] else None for size in known)
    by_class = any(size["by_class"] for size in known)
    unit = next(iter(units)) if len(units) == 1 and not by_class else None
    by = "samples" if unit is None else "groups"
    curves = [{"method": method["method"], "points": _points(there, method, sizes, by)} for method in methods]
    curves = [curve for curve in curves if len({point[by] for point in curve["points"]}) > 1]
    if curves:
        facts = {name: columns[0][name] for name in ("dataset", "target", "where", "metric", "aggregate")}
        drawn = {point["split"] for curve in curves for point in curve["points"]}
        leaks = {column["split"]: of_columns[column["column"]]["leaks"] for column in there if column["split"] in drawn}
        leaks = {name: how for name, how in leaks.items() if how}
        yield {**facts, "unit": unit, "groupings": list(units), "leaks": leaks, "curves": curves}


def _points(columns: Sequence[Document], method: Document, sizes: Sizes, by: str) -> list[dict[str, Any]]:
    found = []
    for column in columns:
        cell = method["cells"].get(column["column"])
        if cell is not None and cell["score"] is not None:
            known = sizes[column["column"], _controls(method)]
            size = {name: known[name] for name in ("groups", "samples")}
            found.append({"split": column["split"], **size, **point_facts(cell)})
    return sorted(found, key=lambda point: float(point[by]))
