"""What is in the store under the name that a dataset is to have: the same data, moved ones, or others."""

from __future__ import annotations

import re

import pyarrow.compute as pc

from histokit.errors import UsageError, counted
from histokit.plugin import Dataset
from histokit.store import DatasetRecord, Store
from histokit.store.database import quote
from histokit.store.records import PROBLEM_SCHEMA, REMARK_STAGE
from histokit.store.spilled_rows import SpilledRows

#: Where problems of files are kept: those of extraction, and of reading images for training on them.
_STAGES = ("extract", "images")

#: Reasons that are about where a file lay or how it was reached, not about what is in it.
_ABSENCE = re.compile(
    "does not exist|No such file|Permission denied|Not a directory|Input/output error|Stale file handle|not connected"
    r"|changed since the dataset was ingested|\[Errno \d+\]"
)


def check_plugin(before: DatasetRecord, dataset: Dataset) -> None:
    """Raise where a dataset of another plugin has the name.

    Raises
    ------
    UsageError
    """
    if before.plugin != dataset.name:
        raise _others(before, f"It would be replaced by data of the plugin {dataset.name!r}.")


def check_moved(store: Store, before: DatasetRecord, dataset: Dataset, rows: SpilledRows) -> None:
    """Raise where another root holds less than half of the images that are known under the name.

    Raises
    ------
    UsageError
    """
    if before.root == str(dataset.root) or not dataset.needs_data:
        return
    old = pc.unique(store.samples(before.name, ["content"]).column("content").drop_null())
    found = pc.sum(pc.is_in(old, pc.unique(rows.column("content")))).as_py() or 0
    if 2 * found < len(old):
        raise _others(before, f"Of its {len(old)} images, {found} are in {str(dataset.root)!r}.")


def _others(before: DatasetRecord, what: str) -> UsageError:
    samples = f"{counted(before.count, 'sample', 'samples')} of the plugin {before.plugin!r} in {before.root}"
    return UsageError(
        f"There is a dataset {before.name!r} already: {samples}. {what}",
        next="Choose another --name, or add --replace to put these data in its place.",
    )


def forget_outdated(store: Store, name: str, moved: bool) -> None:
    """Forget problems of samples that are gone, or have another content now.

    Of the others, that files were not there, or not as they were ingested; where data moved, all that was met there.
    """
    attempts = [row for row in store.problems(name).to_pylist() if not _lasting(row["stage"])]
    if not attempts:
        return
    listed = ", ".join(sorted({quote(row["id"]) for row in attempts}))
    now = store.samples(name, ["id", "content"], f"id IN ({listed})")
    contents = dict(zip(now.column("id").to_pylist(), now.column("content").to_pylist(), strict=True))
    for stage in sorted({row["stage"] for row in attempts}):
        ids = [
            row["id"]
            for row in attempts
            if row["stage"] == stage
            and (
                contents.get(row["id"]) != row["content"]
                or (stage in _STAGES and (moved or _ABSENCE.search(row["reason"])))
            )
        ]
        if ids:
            store.replace_problems(name, stage, PROBLEM_SCHEMA.empty_table(), ids)


def _lasting(stage: str) -> bool:
    """Return whether problems of a stage are those of the ingestion itself, or what is known of all images."""
    return stage == "ingest" or stage.startswith(REMARK_STAGE)
