"""The features of a run on another dataset: what is missing of them is extracted."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Any

from histokit.errors import StoreError
from histokit.extract.extract import extract
from histokit.features import FeatureSet, FeatureStore
from histokit.features.run_tables import remedy, variants, weights_path
from histokit.plugin import Preprocess
from histokit.store import RunRecord
from histokit.store.fingerprints import spec_differences
from histokit.store.repeat_commands import make_again
from histokit.store.table_differences import table_differences
from histokit.store.vectors import FeatureTable


def extracted_features(
    store: FeatureStore,
    run: RunRecord,
    dataset: str,
    wanted: Sequence[FeatureTable],
    running: Mapping[str, Any],
    allow_missing: bool,
    progress: Callable[..., None],
) -> tuple[FeatureSet, list[str]]:
    """Extract what is missing of the features that a run was trained on, and return them for another dataset.

    Parameters
    ----------
    store : FeatureStore
    run : RunRecord
    dataset : str
    wanted : sequence of FeatureTable
        In the order of its columns.
    running : mapping
        ``device``, ``batch_size`` and ``workers``, as of `histokit.extract`.
    allow_missing : bool
    progress : callable

    Returns
    -------
    features : FeatureSet
    remarks : list of str
        What is to be known of the images.

    Raises
    ------
    StoreError
        If they cannot be made as they were.
    """
    # Before torch: skops looks for each function of scipy through all modules, in the order in which they came.
    importlib.import_module("scipy.special")
    remarks: dict[str, None] = {}
    _require_imported(store, run, dataset, wanted)
    for variant in variants(wanted):
        if not variant[0].imported:
            remarks |= dict.fromkeys(_extract_variant(store, dataset, variant, running, progress))
    address = "+".join(f"{table.address}@{table.fingerprint}" for table in wanted)
    return store.features(dataset, address, allow_missing=allow_missing), list(remarks)


def _require_imported(store: FeatureStore, run: RunRecord, dataset: str, wanted: Sequence[FeatureTable]) -> None:
    """Raise unless the vectors that were computed elsewhere are there, all that are not named together."""
    here = store.feature_tables(store.dataset(dataset).name)
    known = {table.fingerprint for table in here}
    absent = [table for table in wanted if table.imported and table.fingerprint not in known]
    if not absent:
        return
    what = []
    for table in absent:
        similar = [other for other in here if other.address == table.address]
        changes = [f"@{o.fingerprint}: " + "; ".join(table_differences(table, o)) for o in similar]
        what.append(table.address + (f" (it has {', '.join(changes)})" if changes else ""))
    commands = dict.fromkeys(make_again(replace(table, dataset=dataset)) for table in absent)
    raise StoreError(
        f"The run {run.id} was trained on vectors that were computed elsewhere and that {dataset!r} does not have: "
        f"{'; '.join(what)}.",
        next=f"Bring them in: {'; '.join(commands)}",
    )


def _absent_weights(store: FeatureStore, dataset: str, tables: Sequence[FeatureTable]) -> bool:
    """Return whether features are there that were made with a copy of a weights file that is gone.

    Raises
    ------
    StoreError
        If they are not.
    """
    if {table.fingerprint for table in tables} <= {table.fingerprint for table in store.feature_tables(dataset)}:
        return True
    file = str(tables[0].info["weights_request"])
    again = make_again(tables[0], dataset, ",".join(table.layer for table in tables)).replace(quote(file), "FILE")
    raise StoreError(
        f"The weights that the features of the run were made with are gone: {file}.",
        next=f"Put the file back; or name a copy of it, then predict again: {again}",
    )


def _extract_variant(
    store: FeatureStore,
    dataset: str,
    tables: Sequence[FeatureTable],
    running: Mapping[str, Any],
    progress: Callable[..., None],
) -> tuple[str, ...]:
    """Extract what is missing, and return what is to be known of the images."""
    spec, info = tables[0].spec, tables[0].info
    path = weights_path(tables[0])
    if path is not None and not path.exists() and _absent_weights(store, dataset, tables):
        return ()
    done = extract(
        store,
        dataset,
        str(spec["backbone"]),
        layers=[table.layer for table in tables],
        weights={str(spec["backbone"]): str(info["weights_request"])},
        preprocess={str(spec["backbone"]): Preprocess.from_json(spec["preprocess"])},
        precision=str(spec["precision"]),
        store_dtype=tables[0].dtype,
        compile=spec.get("engine") == "inductor",
        engine="openvino" if spec.get("engine") == "openvino" else "torch",
        **running,
        progress=progress,
    )
    made = {entry["fingerprint"]: entry["table"] for entry in done.tables}
    if {table.fingerprint for table in tables} != set(made):
        new = next(t for t in store.feature_tables(dataset) if t.name in made.values())
        changes = "; ".join(spec_differences(spec, new.spec))
        advice = remedy(spec, new.spec)
        if spec.get("engine") != new.spec.get("engine"):
            advice = f"Predict where that is possible ({' '.join(done.notes)}), or train again on the new features."
        raise StoreError(
            f"The features of {dataset!r} are not made as those that the model was trained on: {changes}.", next=advice
        )
    return done.warnings
