"""Writes the model of a run, with all that it needs, into a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

import histokit
from histokit.classifiers.table import classifier
from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.features.run_tables import tables_of_run
from histokit.models.card import model_card
from histokit.models.description import data_of, pixels_of, record_of, scores_of, split_of
from histokit.models.loaded import load_model
from histokit.models.model_folder import (
    CARD,
    CLASSIFIER,
    CLASSIFIER_FILE,
    DESCRIPTION,
    MODEL_FORMAT,
    NETWORK,
    NETWORK_FILE,
    file_facts,
    new_folder,
    signed,
)
from histokit.models.networks import architecture, plugin_of, save_backbones, save_seen, save_tensors, table_facts
from histokit.networks.trained_runs import network_of
from histokit.plugin.weights import TRAINED
from histokit.protocol.targets import CLASS
from histokit.store import RunRecord
from histokit.store.networks import final_part
from histokit.store.records import NUMBER


def export_model(store: StoreLike, run_id: str, out: str | Path, *, force: bool = False) -> Path:
    """Write the model of a run as a folder that works without the store, on any machine.

    It holds the weights of all networks (safetensors), the classifier where there is one (skops), ``histokit.json``,
    which tells how images are prepared, the layers, the classes, how it was trained and what it scored, and a
    ``README.md`` that is a model card of the Hugging Face hub. Equal runs give equal bytes.

    Parameters
    ----------
    store : FeatureStore or path
    run_id : str
        Of `histokit.train` or `histokit.finetune`; of its networks, that of all training samples is written.
    out : path
        The folder, which is made.
    force : bool
        Take the place of a model that is there.

    Returns
    -------
    Path
        The folder, for `histokit.load_model` and `histokit.predict`.

    Raises
    ------
    UsageError
        If the run has no model, its features were computed elsewhere, or something else is at the path.
    StoreError
        If the weights are not there or have changed, or the folder cannot be written.
    """
    opened = open_store(store)
    run = opened.run(run_id)
    if run.kind not in ("train", "finetune"):
        raise UsageError(
            f"The run {run.id} is of the kind {run.kind!r}: it has no model of its own.",
            next=f"Export the run that predicted: histokit export-model {run.source_run or 'RUN'} "
            f"--out {quote(str(out))}",
        )
    with new_folder(out, force) as folder:
        document = {
            "format": MODEL_FORMAT,
            "histokit": histokit.__version__,
            "target_type": NUMBER if run.numbers else CLASS,
            "classes": list(run.classes),
            "channels": list(opened.dataset(run.dataset).channels),
            # First, for of vectors that were computed elsewhere there may be no images.
            **(_network(opened, run, folder) if run.kind == "finetune" else _classifier(opened, run, folder)),
            "pixels": pixels_of(opened, run),
            "run": record_of(run),
            "dataset": data_of(opened, run),
            "split": split_of(run),
            "scores": scores_of(opened, run),
        }
        document["files"] = file_facts(folder)
        # As it is read again: with lists in place of tuples.
        document = signed(json.loads(json.dumps(document)))
        text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
        (folder / DESCRIPTION).write_text(f"{text}\n", "utf-8")
        (folder / CARD).write_text(model_card(json.loads(text), Path(out).name), "utf-8")
        # As on another machine: what cannot be built without the store and the net is told now.
        load_model(folder, device="cpu").prepare()
    return Path(out)


def _network(store: FeatureStore, run: RunRecord, folder: Path) -> dict[str, Any]:
    stored = store.networks.read(run, network_of(run, final_part(run)))
    facts = dict(stored.document["facts"])
    begun = facts.pop("architecture", stored.document["backbone"])
    backbone, arguments = architecture(store, str(begun), facts.get("arguments", {}))
    described = {**stored.document, "backbone": backbone, "facts": {**facts, "arguments": arguments}}
    save_tensors(stored.tensors, folder / NETWORK_FILE, described)
    save_seen(store, [f"{TRAINED}{run.id}"], folder)
    return {"kind": NETWORK, "network": {**described, "plugin": plugin_of(backbone), "file": NETWORK_FILE}}


def _classifier(store: FeatureStore, run: RunRecord, folder: Path) -> dict[str, Any]:
    (folder / CLASSIFIER_FILE).write_bytes(store.model(run.id))
    found: dict[str, Any] = {"kind": CLASSIFIER, "classifier": {"name": run.classifier, "file": CLASSIFIER_FILE}}
    if classifier(run.classifier, run.numbers or None).pixels:
        return {**found, "tables": [], "networks": []}
    tables = tables_of_run(store, run)
    save_seen(store, [table.backbone for table in tables], folder)
    networks = save_backbones(store, tables, folder)
    return {**found, "tables": [table_facts(table) for table in tables], "networks": networks}
