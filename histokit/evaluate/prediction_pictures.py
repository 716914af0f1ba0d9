"""Predictions as pictures of their samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from histokit.errors import UsageError, counted
from histokit.evaluate.listing import RESIDUAL, margins
from histokit.features.feature_store import StoreLike, open_store
from histokit.figures.contact import ContactSheet, Mark, Thumbnail
from histokit.reading.thumbnails import Square, squares_by_id
from histokit.store import RunRecord
from histokit.store.records import IMPORT_PLUGIN

#: Of more predictions, the first are drawn.
MOST = 84
#: With more true classes than these among them, all stand in one row.
_ROWS = 12
_SCORE = "score:"


def prediction_sheet(store: StoreLike, run_id: str, found: pa.Table) -> ContactSheet:
    """Return predictions as a contact sheet: a row for each true class, in the order in which they are given.

    Parameters
    ----------
    store : FeatureStore or path
    run_id : str
    found : pyarrow.Table
        Of `histokit.predictions`; of more than `MOST` rows the first.

    Raises
    ------
    UsageError
        If the run predicted units, or samples that have no images.
    """
    store = open_store(store)
    run = store.run(run_id)
    record = store.dataset(run.dataset)
    if run.parameters.get("aggregate") or record.plugin == IMPORT_PLUGIN:
        what = "units of several samples" if run.parameters.get("aggregate") else "samples without images"
        raise UsageError(f"The run {run.id} predicted {what}: there is nothing to be seen.", next="Leave out --figure.")
    shown = found.slice(0, MOST).to_pylist()
    squares = squares_by_id(store, record, (row["id"] for row in shown))
    lines: dict[Any, list[Thumbnail]] = {}
    several = len({row["true"] for row in shown}) <= _ROWS and RESIDUAL not in found.column_names
    for row in shown:
        lines.setdefault(row["true"] if several else None, []).append(_thumbnail(run, row, squares.get(row["id"])))
    marks = {each.mark for line in lines.values() for each in line}
    legend = "✓ and a solid frame: predicted rightly; ✗ and a dashed frame: wrongly. " if marks - {""} else ""
    what = "true → predicted number" if RESIDUAL in found.column_names else "true → predicted class"
    below = (
        f"Below each: {what}, id, and how far its score is above the second"
        if run.classes
        else f"Below each: {what}, id"
    )
    return ContactSheet(_title(run, len(shown), len(found)), list(lines.values()), f"{legend}{below}.")


def _thumbnail(run: RunRecord, row: Mapping[str, Any], square: Square | None) -> Thumbnail:
    true, predicted = row["true"], row["predicted"]
    if RESIDUAL in row:
        known = "unknown" if true is None else f"{true:.4g}"
        return Thumbnail(square, f"{known} → {predicted:.4g}", row["id"], "")
    mark: Mark = "" if true is None else "right" if true == predicted else "wrong"
    above = margins(np.array([[row[f"{_SCORE}{name}"] for name in run.classes]], float))[0]
    return Thumbnail(square, f"{'unknown' if true is None else true} → {predicted}", row["id"], f"{above:.3g}", mark)


def _title(run: RunRecord, shown: int, count: int) -> str:
    many = counted(count, "prediction", "predictions")
    what = many if shown == count else f"the first {shown} of {many}"
    return " · ".join(
        fact for fact in (run.dataset, run.address, run.classifier, run.split, f"run {run.id}", what) if fact
    )
