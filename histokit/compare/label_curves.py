"""Scores against labels: each method on several splits of a dataset, by how many groups they train on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from histokit.errors import StoreError, UsageError, some
from histokit.store import Store
from histokit.store.split_records import Split

Document = Mapping[str, Any]


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
        ``panels``, one for each dataset: ``dataset``, ``target``, ``where``, ``metric``, ``unit`` (what groups are
        called; none where a split has no groups), and ``curves`` of each ``method`` with at least two ``points``:
        ``split``, ``groups`` and ``samples`` (means over folds of what a fold trains on, validation samples among
        them), ``score``, ``interval`` and ``runs``. ``unknown``: columns whose split is gone, or another by now.

    Raises
    ------
    UsageError
        If no method was run on two splits of a dataset.
    """
    sizes, unknown = _sizes(store, columns)
    tasks = list(dict.fromkeys(_task(column) for column in columns))
    panels = [
        panel
        for task in tasks
        for panel in _panels([column for column in columns if _task(column) == task], methods, sizes)
    ]
    if not panels:
        name = columns[0]["dataset"]
        lost = f" Of {some(unknown)}, the split is gone or another one by now." if unknown else ""
        raise UsageError(
            f"No method was run on two splits of one dataset with other numbers of training groups.{lost}",
            next=f"Make some: histokit split {name} --name k4 --folds 5 --train-groups 4, again with other numbers, "
            "and train on each with --split.",
        )
    return {"panels": panels, "unknown": unknown}


def _task(column: Document) -> tuple[Any, ...]:
    return tuple(column[name] for name in ("dataset", "target", "target_type", "where", "metric"))


def _sizes(store: Store, columns: Sequence[Document]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return what the folds of columns train on, by their names, and those of which it is not known."""
    found, unknown = {}, []
    for column in columns:
        try:
            split = store.split(column["dataset"], column["split"]) if column["split"] else None
        except StoreError:
            split = None
        if split is None or split.digest != column["split_digest"]:
            unknown.append(column["column"])
        else:
            found[column["column"]] = _size(store, split)
    return found, unknown


def _size(store: Store, split: Split) -> dict[str, Any]:
    """Return the means over folds of training groups and samples."""
    parts = [[*fold.train, *fold.val] for fold in split.folds()]
    size: dict[str, Any] = {"samples": float(np.mean([len(ids) for ids in parts])), "groups": None, "unit": split.group}
    if split.group and split.group in store.samples(split.dataset).schema.names:
        samples = store.samples(split.dataset, ["id", split.group])
        group = dict(zip(samples.column("id").to_pylist(), samples.column(split.group).to_pylist(), strict=True))
        size["groups"] = float(np.mean([len({group.get(i) for i in ids}) for ids in parts]))
    return size


def _panels(
    columns: Sequence[Document], methods: Sequence[Document], sizes: Mapping[str, Document]
) -> Iterator[dict[str, Any]]:
    """Yield the panel of a dataset, if there is a curve in it."""
    there = [column for column in columns if column["column"] in sizes]
    units = {sizes[column["column"]]["unit"] if sizes[column["column"]]["groups"] else None for column in there}
    unit = units.pop() if len(units) == 1 else None
    by = "samples" if unit is None else "groups"
    curves = [{"method": method["method"], "points": _points(there, method, sizes, by)} for method in methods]
    curves = [curve for curve in curves if len({point[by] for point in curve["points"]}) > 1]
    if curves:
        facts = {name: columns[0][name] for name in ("dataset", "target", "where", "metric")}
        yield {**facts, "unit": unit, "curves": curves}


def _points(
    columns: Sequence[Document], method: Document, sizes: Mapping[str, Document], by: str
) -> list[dict[str, Any]]:
    found = []
    for column in columns:
        cell = method["cells"].get(column["column"])
        if cell is not None and cell["score"] is not None:
            size = {name: sizes[column["column"]][name] for name in ("groups", "samples")}
            facts = {name: cell[name] for name in ("score", "interval", "runs")}
            found.append({"split": column["split"], **size, **facts})
    return sorted(found, key=lambda point: float(point[by]))
