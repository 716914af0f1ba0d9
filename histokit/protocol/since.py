"""Whether what a run predicted is still what its dataset holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from histokit.errors import StoreError, counted
from histokit.protocol.leaks import samples_digest
from histokit.protocol.predictions import as_text
from histokit.store import RunRecord, Store


def changed_since(store: Store, run: RunRecord, predictions: pa.Table | None = None) -> list[str]:
    """Return a sentence where other images, classes or groups stand under the ids that a run predicted, else nothing.

    Parameters
    ----------
    store : Store
    run : RunRecord
    predictions : pyarrow.Table, optional
        Those of the run, where they have been read.
    """
    if run.predicted is None:
        return []
    try:
        there = {"label", *store.dataset(run.dataset).columns}
        columns = {field: name for field, name in _columns(run).items() if name in there}
        samples = store.samples(run.dataset, list(dict.fromkeys(["id", "content", *columns.values()])))
    except StoreError as error:
        return [f"the samples of {run.dataset!r} cannot be looked at: {error.message}"]
    predicted = store.predictions_of([run], ["run", "id", *columns])[run.id] if predictions is None else predictions
    wanted = set(predicted.column("id").to_pylist())
    rows = {row["id"]: row for row in samples.to_pylist() if row["id"] in wanted}
    if samples_digest(list(rows), [row["content"] for row in rows.values()]) == run.predicted:
        found = list(_otherwise(columns, predicted, rows))
    else:
        lost = len(wanted) - len(rows)
        found = [f"{lost} of its samples are gone" if lost else "other images stand under the same ids"]
    return [
        f"{run.dataset!r} was ingested again since the run {run.id}, and {what}: labels and predictions are those of "
        "then; train or predict again"
        for what in found
    ]


def _columns(run: RunRecord) -> dict[str, str]:
    """Return what predictions keep of their samples, and the columns of the dataset that it is from."""
    truth = {} if run.numbers else {"true": run.parameters.get("target") or "label"}
    return {**truth, **({"group": run.group} if run.group else {})}


def _otherwise(columns: Mapping[str, str], predicted: pa.Table, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say of how many samples the class or the group is another one now."""
    ids = predicted.column("id").to_pylist()
    for field, column in columns.items():
        then = dict(zip(ids, predicted.column(field).to_pylist(), strict=True))
        count = sum(text is not None and text != as_text(rows[each][column]) for each, text in then.items())
        if count:
            yield counted(
                count, f"of its samples has another {column} now", f"of its samples have another {column} now"
            )
