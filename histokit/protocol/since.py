"""Whether what a run predicted is still what its dataset holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from histokit.errors import StoreError, counted, some
from histokit.protocol.leaks import samples_digest
from histokit.protocol.predictions import as_text
from histokit.store import RunRecord, Store


class Change(NamedTuple):
    """What is otherwise now in the samples that runs predicted.

    Parameters
    ----------
    what : str
    seen : bool
        Whether the samples could be looked at.
    """

    what: str
    seen: bool = True

    def tell(self, dataset: str, runs: Sequence[str]) -> str:
        """Return the sentence on it, of runs on a dataset by their ids."""
        if not self.seen:
            return f"the samples of {dataset!r} cannot be looked at: {self.what}"
        # What differs in groups or units alone is answered with what is stored.
        return (
            f"{dataset!r} was ingested again since the run{'s' if len(runs) > 1 else ''} {some(runs)}, and "
            f"{self.what}: labels and predictions are those of then; train or predict again with --force"
        )


def changed_since(store: Store, run: RunRecord, predictions: pa.Table | None = None) -> list[str]:
    """Return a sentence where other images, targets, groups or units stand under the ids that a run predicted.

    Parameters
    ----------
    store : Store
    run : RunRecord
    predictions : pyarrow.Table, optional
        Those of the run, where they have been read.
    """
    return [change.tell(run.dataset, [run.id]) for change in changes_since(store, run, predictions)]


def changes_since(store: Store, run: RunRecord, predictions: pa.Table | None = None) -> list[Change]:
    """Return what is otherwise now in the samples that a run predicted; see `changed_since`."""
    if run.predicted is None:
        return []
    try:
        there = {"label", *store.dataset(run.dataset).columns}
        kept = {column: place for column, place in _kept(run).items() if column in there}
        samples = store.samples(run.dataset, list(dict.fromkeys(["id", "content", *kept])))
    except StoreError as error:
        return [Change(error.message, seen=False)]
    if predictions is None:
        fields = [place if isinstance(place, str) else "levels" for place in kept.values()]
        predictions = store.predictions_of([run], list(dict.fromkeys(["run", "id", *fields])))[run.id]
    wanted = set(predictions.column("id").to_pylist())
    rows = {row["id"]: row for row in samples.to_pylist() if row["id"] in wanted}
    if samples_digest(list(rows), [row["content"] for row in rows.values()]) == run.predicted:
        return [Change(what) for what in _otherwise(kept, predictions, rows)]
    lost = len(wanted) - len(rows)
    gone = counted(lost, "of its samples is gone", "of its samples are gone")
    return [Change(gone if lost else "other images stand under the same ids")]


def _kept(run: RunRecord) -> dict[str, str | int]:
    """Return the columns of the dataset that predictions keep: in which field, or at which place of their levels."""
    truth = "true_value" if run.numbers else "true"
    found: dict[str, str | int] = {run.parameters.get("target") or "label": truth}
    found |= {run.group: "group"} if run.group else {}
    return found | {name: place for place, name in enumerate(run.levels) if name not in found}


def _otherwise(
    kept: Mapping[str, str | int], predicted: pa.Table, rows: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Say of how many samples the target, the group or a unit is another one now."""
    ids = predicted.column("id").to_pylist()
    for column, place in kept.items():
        if isinstance(place, str):
            values = predicted.column(place).to_pylist()
        else:
            values = [each[place] for each in predicted.column("levels").to_pylist()]
        then = dict(zip(ids, values, strict=True))
        count = sum(value is not None and value != _now(rows[each][column], value) for each, value in then.items())
        if count:
            yield counted(
                count, f"of its samples has another {column} now", f"of its samples have another {column} now"
            )


def _now(value: Any, then: str | float) -> str | float | None:
    """Return a value of a dataset as predictions keep it: of numbers as a number."""
    if isinstance(then, float):
        # Not every whole number of more than 53 bits is one of these.
        return float(value) if isinstance(value, int) else value
    return None if value is None else as_text(value)
