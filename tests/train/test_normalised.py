"""Training on features that are normalised by the controls of each plate."""

import numpy as np
import pytest

import histokit
from histokit.errors import DataError, UsageError
from histokit.features import open_store
from histokit.plugin.digests import digest_bytes
from histokit.train.predict import predict_features
from histokit.train.question import identify
from histokit.train.train import train
from tests.cli.command_line import CommandLine
from tests.toy import make_store

DMSO = "compound = 'DMSO'"
BY_PLATE = {"normalise": "standardise", "controls": DMSO, "per": "plate"}
NEAREST = {"classifier": "knn", "grid": {"k": 1, "metric": "euclidean"}, "split": "leave-one-group-out"}


def make(folder, *, control_label=None, name="toy", **changes):
    """Three plates with a shift of their own, each with four controls and two compounds of each of two classes."""
    wells = [("DMSO", control_label, plate, value) for plate in range(3) for value in (-1.0, -1.0, 1.0, 1.0)]
    for compound, label, plate, value in [
        ("C1", "a", 0, 5.0), ("C2", "b", 0, -5.0), ("C3", "a", 1, 5.1), ("C4", "b", 1, -5.1), ("C5", "a", 2, 4.9),
        ("C6", "b", 2, -4.9),
    ]:  # fmt: skip
        wells += [(compound, label, plate, value), (compound, label, plate, value + 0.01)]
    samples = {"id": [f"{name}{number}" for number in range(len(wells))]}
    samples |= {"compound": [well[0] for well in wells], "label": [well[1] for well in wells]}
    samples |= {"plate": [f"P{well[2]}" for well in wells], **changes}
    # On the second plate all is 10 more, and on the third 20 more: unnormalised, plates are told apart, not classes.
    X = np.array([[10.0 * well[2] + well[3], 0.1 * number] for number, well in enumerate(wells)])
    X[:, 1] = [0.0, 0.2] * (len(wells) // 2)
    return make_store(folder, samples, {"last": X}, group="compound", name=name)


def predictions(store, run):
    rows = store.predictions(run.id)
    return dict(zip(rows["id"].to_pylist(), rows["predicted"].to_pylist(), strict=True))


def right(store, run):
    rows = store.predictions(run.id)
    return np.mean([p == t for p, t in zip(rows["predicted"].to_pylist(), rows["true"].to_pylist(), strict=True)])


def test_plates_are_made_alike_by_their_controls(tmp_path):
    store = make(tmp_path)
    (plain,) = train(store, "toy", "net/last", **NEAREST)
    (run,) = train(store, "toy", "net/last", **NEAREST, **BY_PLATE)
    assert right(store, plain) < 0.5
    assert right(store, run) == 1
    assert sorted(predictions(store, run)) == sorted(f"toy{number}" for number in range(12, 24))
    assert {name: run.parameters[name] for name in BY_PLATE} == BY_PLATE
    (step,) = run.found["steps"]
    assert step["count"] == {"P0": 4, "P1": 4, "P2": 4}
    assert "steps" not in plain.found
    assert not BY_PLATE.keys() & plain.parameters.keys(), "runs from before are told by what they were told by"


def test_controls_are_taken_whatever_the_filter_and_never_scored(tmp_path):
    store = make(tmp_path / "a", control_label="dmso")
    (run,) = train(store, "toy", "net/last", **NEAREST, **BY_PLATE)
    assert right(store, run) == 1
    assert run.classes == ("a", "b")
    assert "12 samples are controls: they are neither trained on nor scored" in run.notes
    (kept,) = train(store, "toy", "net/last", **NEAREST, **BY_PLATE, where="label <> 'dmso'")
    assert predictions(store, kept) == predictions(store, run)
    with pytest.raises(DataError, match="All samples of 'toy' are controls"):
        train(store, "toy", "net/last", **NEAREST, normalise="standardise", controls="compound IS NOT NULL")


def test_units_are_made_of_normalised_samples(tmp_path):
    store = make(tmp_path)
    (run,) = train(store, "toy", "net/last", **NEAREST, **BY_PLATE, aggregate="compound:median")
    assert predictions(store, run) == {"C1": "a", "C2": "b", "C3": "a", "C4": "b", "C5": "a", "C6": "b"}


def test_an_id_is_of_the_controls_and_known_before(tmp_path):
    store = make(tmp_path / "a")
    how = {**NEAREST, **BY_PLATE}
    (run,) = train(store, "toy", "net/last", **how)
    assert identify(store, "toy", "net/last", **how) == [run.id]
    assert train(store, "toy", "net/last", **how) == [run]
    others = [{"normalise": "mad-robustise"}, {"normalise": "standardise:0.1"}, {"per": None}]
    others += [{"controls": f"{DMSO} AND id <> 'toy0'"}]
    ids = [identify(store, "toy", "net/last", **{**how, **other})[0] for other in others]
    assert len({run.id, *ids}) == 5
    # One control was on another plate: the features of both are others, though no labelled sample has changed.
    plates = [f"P{number // 4}" for number in range(12)] + [f"P{number // 4}" for number in range(12)]
    corrected = make(tmp_path / "b", plate=plates)
    assert identify(corrected, "toy", "net/last", **how) == [run.id]
    plates[0] = "P1"
    corrected = make(tmp_path / "c", plate=plates)
    assert identify(corrected, "toy", "net/last", **how) != [run.id]
    assert identify(corrected, "toy", "net/last", **NEAREST) == identify(store, "toy", "net/last", **NEAREST)


def test_another_image_of_a_control_makes_another_id(tmp_path):
    contents = [digest_bytes(f"toy{number}".encode()) for number in range(24)]
    replaced = [digest_bytes(b"replaced"), *contents[1:]]
    stores = [make(tmp_path / name, content=each) for name, each in (("a", contents), ("b", replaced))]
    ids = [identify(store, "toy", "net/last", **NEAREST, **BY_PLATE) for store in stores]
    assert ids[0] != ids[1]
    plain = [identify(store, "toy", "net/last", **NEAREST) for store in stores]
    assert plain[0] == plain[1], "it is no labelled sample"


def test_other_data_are_normalised_by_their_own_controls(tmp_path):
    store = make(tmp_path)
    (run,) = train(store, "toy", "net/last", **NEAREST, **BY_PLATE)
    make(tmp_path, name="new", plate=[f"Q{number}" for number in [*np.repeat(range(3), 4), *np.repeat(range(3), 4)]])
    store = open_store(tmp_path)
    done = predict_features(store, store.run(run.id), store.features("new", "net/last"))
    assert right(store, done) == 1
    assert len(store.predictions(done.id)) == 12
    assert done.found["steps"][0]["count"] == {"Q0": 4, "Q1": 4, "Q2": 4}
    assert any("equal in all features to samples that were in the training" in note for note in done.notes)
    without = store.features("new", "net/last", where="compound <> 'DMSO'")
    with pytest.raises(DataError, match="No sample of 'new' is a control"):
        predict_features(store, store.run(run.id), without)


def test_the_command(tmp_path, capsys, monkeypatch):
    make(tmp_path)
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path))
    command = CommandLine(capsys)
    start = ["train", "toy", "--features", "net/last", "--classifier", "knn", "--grid", "k=1"]
    run = command.ok(*start, "--normalise", "standardise", "--controls", DMSO, "--per", "plate").out.strip()
    assert command.ok("evaluate", run, "--json").document["runs"][0]["metrics"]["accuracy"] == 1
    command.fails(*start, "--normalise", "standardise", "--controls", "compund = 'DMSO'", code=2)
    command.fails(*start, "--normalise", "standardise", "--controls", DMSO, "--per", "plat", code=2)
    command.fails(*start, "--normalise", "standardise", code=2)
    command.fails(*start, "--per", "plate", code=2)
    command.fails(*start, "--normalise", "standardise", "--controls", "id = 'toy0'", code=4)
    with pytest.raises(UsageError, match="trained on images"):
        train(open_store(tmp_path), "toy", "images", "et-fl", **BY_PLATE)
    command.ok(*start)
    compared = histokit.compare(open_store(tmp_path), dataset="toy", bootstrap=5).to_json()
    told = {method["method"]: method["facts"].get("normalise") for method in compared["methods"]}
    assert sorted(map(str, told.values())) == ["None", "standardise"]
