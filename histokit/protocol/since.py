"""Whether the images that a run predicted are still those that its dataset holds."""

from __future__ import annotations

from histokit.errors import StoreError
from histokit.protocol.leaks import samples_digest
from histokit.store import RunRecord, Store


def changed_since(store: Store, run: RunRecord) -> list[str]:
    """Return a sentence where other images stand under the ids that a run predicted, else nothing.

    Parameters
    ----------
    store : Store
    run : RunRecord
    """
    if run.predicted is None:
        return []
    try:
        samples = store.samples(run.dataset, ["id", "content"])
    except StoreError as error:
        return [f"the samples of {run.dataset!r} cannot be looked at: {error.message}"]
    wanted = set(store.predictions_of([run], ["run", "id"])[run.id].column("id").to_pylist())
    rows = [row for row in samples.to_pylist() if row["id"] in wanted]
    if samples_digest([row["id"] for row in rows], [row["content"] for row in rows]) == run.predicted:
        return []
    lost = len(wanted) - len(rows)
    what = f"{lost} of its samples are gone" if lost else "other images stand under the same ids"
    return [
        f"{run.dataset!r} was ingested again since the run {run.id}, and {what}: labels and predictions are those of "
        "then; train or predict again"
    ]
