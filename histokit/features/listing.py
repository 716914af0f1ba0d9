"""The samples of a dataset as people look at them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from histokit.errors import UsageError
from histokit.features.feature_store import StoreLike, open_store
from histokit.ranges import check_ranges
from histokit.store import RunRecord, Store

#: What an error names that somebody asks of samples.
_OF_PREDICTIONS = re.compile(r"^ '(predicted|repeat|fold|group|residual|score:.*)'\.$")


def list_samples(
    store: StoreLike, dataset: str, *, where: str | None = None, limit: int | None = None
) -> tuple[list[dict[str, Any]], int]:
    """Return the samples of a dataset, one mapping each, and how many there are.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    where : str, optional
        A filter over the columns of the samples.
    limit : int, optional
        Only so many, the first ones.

    Returns
    -------
    list of dict
        id, image (path), part, box (``x,y,width,height``), label, mpp and the metadata.
    int
        How many the filter keeps, whatever the limit.

    Raises
    ------
    UsageError
        If the filter is no condition over the columns, or the limit is negative.
    """
    check_ranges(limit=limit)
    store = open_store(store)
    root, rows = store.dataset(dataset).root, store.samples(dataset, where=where)
    shown = rows.drop_columns(["content"]).slice(0, limit).to_pylist()
    return [{**row, "image": image_path(root, row["image"]), "box": box_text(row["box"])} for row in shown], len(rows)


def image_path(root: str | Path, images: list[str] | None) -> str | None:
    """Return the path of an image, or those of its channels joined by ``;``."""
    return ";".join(str(Path(root) / image) for image in images) if images else None


def box_text(box: list[int] | None) -> str | None:
    """Return a box as ``x,y,width,height``."""
    return ",".join(map(str, box)) if box else None


def tested_where(store: Store, run: RunRecord, where: str) -> set[str]:
    """Return the ids of the samples of a run's dataset that a filter keeps.

    Raises
    ------
    UsageError
        If the filter is no condition over their columns, or the run predicted units of several samples.
    """
    if units := run.parameters.get("aggregate"):
        raise UsageError(
            f"The run {run.id} predicts units of several samples ({units}), which have no columns to filter by.",
            next="Leave the filter out.",
        )
    try:
        return set(store.samples(run.dataset, ["id"], where).column("id").to_pylist())
    except UsageError as error:
        found = _OF_PREDICTIONS.search(error.message.rpartition("there is no column")[2])
        if not found:
            raise
        raise UsageError(
            error.message,
            next=f"{found[1]} is of the predictions, and filters are over the columns of the samples. Take the wrong "
            f"ones with --wrong, or write all to filter them there: histokit predictions {run.id} --out FILE.csv. "
            f"{error.next}",
        ) from error
