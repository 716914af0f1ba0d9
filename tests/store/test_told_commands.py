"""What is told of runs and tables that are alike, and of names that stand for something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from histokit.errors import StoreError
from histokit.features import FeatureStore
from histokit.store.records import IMPORT_PLUGIN
from histokit.store.repeat_commands import ingest_command, make_all_again
from histokit.store.stored_runs import told_apart
from histokit.store.vectors import FeatureTable
from tests.evaluate.made_up import make_record, save_dataset


def test_runs_are_told_apart_by_what_most_others_were_not_asked() -> None:
    asked: list[dict[str, Any]] = [{}, {}, {"seed": 1}, {"scale": True}, {"scale": False}, {"where": "age > 3"}]
    runs = [make_record("A", **each) for each in asked]
    assert told_apart(runs) == [[], [], ["seed 1"], ["scale"], [], ["where age > 3"]]
    # Of another split, nothing is to be told apart.
    assert told_apart([*runs, make_record("A", split="other", seed=5)])[-1] == []
    predicted = [make_record("B", kind="predict", source_run=run) for run in ("aaaa", "aaaa", "bbbb")]
    assert told_apart(predicted) == [[], [], ["model of bbbb"]]


def test_tables_that_are_made_in_the_same_way_are_filled_by_one_command() -> None:
    def table(backbone: str, layer: str, dataset: str = "d", **spec: str) -> FeatureTable:
        kept = {"weights_request": "pretrained", "preprocess_request": {}}
        return FeatureTable("t", dataset, {"backbone": backbone, "layer": layer, **spec}, 4, kept)

    tables = [
        table("net", "one"),
        table("net", "two"),
        table("other", "two"),
        table("net", "one", precision="bfloat16"),
    ]
    assert make_all_again([*tables, table("net", "one", "e")]).split(" && ") == [
        "histokit extract d --backbone net --backbone other --layers one,two",
        "histokit extract d --backbone net --layers one --precision bfloat16",
        "histokit extract e --backbone net --layers one",
    ]


def test_usual_names_of_imported_columns_are_not_typed(store: FeatureStore) -> None:
    save_dataset(store, "A")
    options = {"name": "mine", "id": "id", "layer": "imported", "columns": ["a", "b c"], "group": None}
    record = replace(store.dataset("A"), plugin=IMPORT_PLUGIN, root="/my data.csv", options=options)
    command = "histokit import-features A '/my data.csv' --create --name mine"
    assert ingest_command(record) == f"{command} --columns a --columns 'b c'"
    other = replace(record, options={**options, "id": "file", "layer": "last", "columns": []})
    assert ingest_command(other) == f"{command} --id file --layer last"


def test_a_dataset_where_a_selection_is_asked_for_is_not_one_to_compare(store: FeatureStore) -> None:
    save_dataset(store, "cells")
    for what, ask in (("run", store.run), ("selection", store.selection)):
        with pytest.raises(StoreError, match=f"'cells' is a dataset, where a {what} is asked for") as caught:
            ask("cells")
        assert f"histokit list {what}s cells." in caught.value.next
        assert ("--dataset cells in compare and report" in caught.value.next) is (what == "run")
