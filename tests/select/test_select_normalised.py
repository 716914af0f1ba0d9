"""Selecting columns of features that are normalised by controls."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from histokit.errors import StoreError, UsageError
from histokit.select.select import identify, select
from histokit.train.train import train
from tests.cli.command_line import CommandLine
from tests.toy import make_store
from tests.train.test_normalised import BY_PLATE, DMSO, NEAREST, make, right

HOW = {"split": "leave-one-group-out", "step": 1, "inner_folds": 2}


def test_columns_are_selected_of_normalised_samples(tmp_path):
    store = make(tmp_path)
    plain = select(store, "toy", "net/last", **HOW)
    record = select(store, "toy", "net/last", **HOW, **BY_PLATE)
    # By the values of all plates together the first column says little, by those of a plate's controls all.
    assert record.kept["columns"] == [0]
    best = {name: max(mean for _, mean, _ in each.kept["curve"]) for name, each in (("plain", plain), ("by", record))}
    assert best["by"] == 1 > best["plain"]
    assert {name: record.parameters[name] for name in BY_PLATE} == BY_PLATE
    assert record.found["steps"][0]["count"] == {"P0": 4, "P1": 4, "P2": 4}
    assert not BY_PLATE.keys() & plain.parameters.keys(), "selections from before are told by what they were told by"
    assert record.id == identify(store, "toy", "net/last", **HOW, **BY_PLATE)
    others = [{"normalise": "mad-robustise"}, {"controls": "label IS NULL"}, {"per": None}]
    ids = {identify(store, "toy", "net/last", **HOW, **{**BY_PLATE, **other}) for other in others}
    assert len({record.id, plain.id, *ids}) == 5


def test_a_selection_is_for_features_that_are_normalised_alike(tmp_path):
    store = make(tmp_path)
    record = select(store, "toy", "net/last", **HOW, **BY_PLATE)
    (run,) = train(store, "toy", "net/last", **NEAREST, **BY_PLATE, selection=record.id)
    assert right(store, run) == 1
    for other in ({}, {**BY_PLATE, "per": None}):
        with pytest.raises(StoreError, match="normalised otherwise") as caught:
            train(store, "toy", "net/last", **NEAREST, **other, selection=record.id)
        assert caught.value.next.startswith("Add --normalise standardise --controls 'compound = '")
        assert "--per plate" in caught.value.next


def test_a_selection_of_features_that_were_not_normalised_is_told(tmp_path):
    store = make(tmp_path)
    raw, alike = (select(store, "toy", "net/last", **HOW, **how) for how in ({}, BY_PLATE))
    for record, how, told in ((raw, BY_PLATE, True), (alike, BY_PLATE, False), (raw, {}, False)):
        (run,) = train(store, "toy", "net/last", **NEAREST, **how, selection=record.id)
        assert any("as they were before --normalise standardise" in note for note in run.notes) == told


def test_the_command(tmp_path, capsys, monkeypatch):
    make(tmp_path)
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path))
    command = CommandLine(capsys)
    start = ["select", "toy", "--features", "net/last", "--split", "leave-one-group-out", "--step", "1"]
    by = ["--normalise", "standardise", "--controls", DMSO, "--per", "plate"]
    found = command.ok(*start, *by, "--json").document
    assert found["kept"]["columns"] == [0]
    command.fails(*start, "--per", "plate", code=2)
    with pytest.raises(UsageError, match="needs to know which samples are controls"):
        select(tmp_path, "toy", "net/last", normalise="standardise")


def test_importances_are_those_of_normalised_samples(tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    plates, controls, y = np.arange(120) % 3, np.arange(120) < 36, np.arange(120) // 3 % 2
    X = rng.normal(size=(120, 2)) * [0.1, 0.8] + np.where(controls, 0, y)[:, None]
    X[:, 0] += 100 * plates
    X = X.astype(np.float32)
    samples = {
        "id": [f"w{n}" for n in range(120)],
        "label": [None if c else "ab"[k] for c, k in zip(controls, y, strict=True)],
    }
    samples |= {"compound": ["DMSO" if c else f"C{n}" for n, c in enumerate(controls)]}
    make_store(tmp_path, {**samples, "plate": [f"P{p}" for p in plates]}, {"last": X}, group="compound")
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path))
    command = CommandLine(capsys)
    start = ["select", "importances", "toy", "--features", "net/last", "--trees", "20"]
    plain = command.ok(*start, "--json").document
    by = ["--normalise", "standardise", "--controls", DMSO, "--per", "plate"]
    found = command.ok(*start, *by, "--json").document
    own = X.astype(float)
    for plate in range(3):
        known = own[controls & (plates == plate)]
        own[plates == plate] = (own[plates == plate] - known.mean(0)) / known.std(0)
    values = ExtraTreesClassifier(20, random_state=0).fit(own[~controls], y[~controls]).feature_importances_
    # The first column says all of a class once plates are made alike, and comes first.
    first = found["networks"][0]["bands"][0]
    assert values[0] > 0.6
    assert first == pytest.approx(values[0], abs=0.02)
    other = ExtraTreesClassifier(20, random_state=0).fit(X[~controls], y[~controls]).feature_importances_.max()
    assert plain["networks"][0]["bands"][0] == pytest.approx(other)
    assert abs(other - values[0]) > 0.1
    assert {name: found["parameters"][name] for name in BY_PLATE} == BY_PLATE
    assert not BY_PLATE.keys() & plain["parameters"].keys()
    command.fails(*start, "--per", "plate", code=2)
