"""The same commands on two new stores leave the same bytes; a seed decides wherever there is chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_plugin import TinyPlugin

import histokit
from histokit.features import FeatureStore
from tests.cli.command_line import CommandLine
from tests.durability.processes import Processes
from tests.durability.stores import check_same, ingested, many_images, tables

EXTRACT = ["extract", "d", "--backbone", "tiny", "--backbone", "small", "--weights", "random", "--json"]
TREES = ["--classifier", "et", "--grid", "trees=5", "--grid", "max_features=0.5"]
FEW = ["--features", "tiny/3", "--split", "s1", "--inner-folds", 2]


def test_two_extractions_leave_the_same_bytes(forks: Processes, tmp_path: Path) -> None:
    root = many_images(tmp_path / "images", 50)
    stores = [ingested(tmp_path / name, root) for name in ("one", "two")]
    documents: list[Any] = []
    for store, workers in zip(stores, (1, 4), strict=True):
        documents.append(forks.run(*EXTRACT, "--store", store.uri, "--workers", workers).document)
        del documents[-1]["seconds"]
    assert documents[0] == documents[1]
    first, second = map(tables, stores)
    assert len(first) == 6
    check_same(first, second)


@pytest.fixture
def extracted(tmp_path: Path, tiny: TinyPlugin) -> list[FeatureStore]:
    """Two stores, made in the same way."""
    root = many_images(tmp_path / "images", 40)
    stores = [ingested(tmp_path / name, root) for name in ("one", "two")]
    for store in stores:
        histokit.extract(store, "d", "tiny")
    assert tiny.built == 2
    return stores


def test_a_seed_decides_on_folds_and_trees(extracted: list[FeatureStore], capsys: pytest.CaptureFixture[str]) -> None:
    command = CommandLine(capsys)

    def both(*arguments: object) -> list[Any]:
        return [command.ok(*arguments, "--store", store.uri, "--json").document for store in extracted]

    folds, runs = {}, {}
    for seed in (1, 2):
        split = both("split", "d", "--name", f"s{seed}", "--group", "patient", "--folds", 2, "--seed", seed)
        assert split[0]["digest"] == split[1]["digest"]
        folds[seed] = split[0]["digest"]
        trained = both("train", "d", *FEW, *TREES, "--seed", seed)
        runs[seed] = [document["runs"][0]["run"] for document in trained]
        assert runs[seed][0] == runs[seed][1]
        one, two = (store.predictions(run) for store, run in zip(extracted, runs[seed], strict=True))
        assert one.equals(two)
    assert folds[1] != folds[2]
    scores = [extracted[0].predictions(runs[seed][0]).column("scores") for seed in (1, 2)]
    assert scores[0] != scores[1]
