"""``train --aggregate``: a unit's features are the mean, the median or the maximum of its samples'."""

import numpy as np
import pytest

from histokit.features import open_store
from histokit.features.chained_units import aggregate_chain
from histokit.train.predict import predict_features
from tests.cli.command_line import CommandLine
from tests.toy import make_store

#: Slides of three samples. Of their medians those of one class are near each other, of their means those of a slide of
#: "a" and one of "b", and of their maxima the pairs PQ, RS and TU.
SLIDES = {
    "P": ("a", [-130.0, 0.0, 100.0]),
    "Q": ("a", [-101.1, 0.1, 101.0]),
    "R": ("a", [-170.25, 0.25, 200.0]),
    "S": ("b", [-235.0, 1.0, 201.0]),
    "T": ("b", [-298.1, 1.1, 300.0]),
    "U": ("b", [-269.25, 1.25, 301.0]),
}
TRAIN = ["train", "toy", "--features", "net/last", "--classifier", "knn", "--grid", "k=1", "--grid", "metric=euclidean"]
TRAIN += ["--split", "leave-one-group-out", "--aggregate"]
WRONG = {"mean": set("PQRSTU"), "median": set(), "max": set("RS")}


@pytest.fixture
def histokit(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    make(tmp_path / "store", SLIDES)
    return CommandLine(capsys)


def make(folder, slides, prefix="s", **record):
    samples = {"id": [], "label": [], "slide": []}
    values = []
    for slide, (label, inside) in slides.items():
        for value in inside:
            samples["id"].append(f"{prefix}{len(values)}")
            samples["label"].append(label)
            samples["slide"].append(slide)
            values.append([value])
    make_store(folder, samples, {"last": np.array(values)}, **record)


@pytest.mark.parametrize("how", WRONG)
def test_units_are_predicted_from_their_nearest_neighbour(histokit, how):
    run = histokit.ok(*TRAIN, f"slide:{how}").out.strip()
    rows = histokit.ok("predictions", run, "--json").document["predictions"]
    assert {row["id"]: row["true"] for row in rows} == {slide: label for slide, (label, _) in SLIDES.items()}
    assert {row["id"] for row in rows if row["true"] != row["predicted"]} == WRONG[how]


def test_a_model_of_units_predicts_units(histokit, tmp_path):
    run = histokit.ok(*TRAIN, "slide:median").out.strip()
    # Means and maxima lie next to those of the other class; the label of the last one is not known.
    new = {"X": ("a", [-200.0, 0.2, 400.0]), "Y": ("b", [-500.0, 1.05, 90.0]), "Z": (None, [0.9, 0.05, -9.0])}
    make(tmp_path / "store", new, "n", name="new")
    store = open_store(tmp_path / "store")
    done = predict_features(store, store.run(run), store.features("new", "net/last"))
    rows = histokit.ok("predictions", done.id, "--json").document["predictions"]
    assert {row["id"]: (row["true"], row["predicted"]) for row in rows} == {
        "X": ("a", "a"),
        "Y": ("b", "b"),
        "Z": (None, "a"),
    }
    assert done.notes == []
    assert "ingested again" not in histokit.ok("evaluate", done.id).err
    seen = predict_features(store, store.run(run), store.features("toy", "net/last"))
    assert seen.notes == ["18 of 18 samples were in the training of the model: their scores say nothing"]


#: Wells of two treatments; of all images the medians lie near each other, of medians of wells they do not.
WELLS = [
    ("T1", "C1", "a", "w1", 1, [0.0, 0.1, 9.0, 9.0, 9.0]),
    ("T1", "C1", "a", "w2", 1, [0.0]),
    ("T1", "C1", "a", "w3", 2, [0.2]),
    ("T2", "C2", "a", "w4", 1, [0.3]),
    ("T3", "C3", "b", "w5", 1, [9.1]),
    ("T4", "C4", "b", "w6", 2, [8.0]),
]
#: The medians of T1: of wells 9, 0, 0.2; of its replicates 4.55 and 0.2; of all images 0.2, 0.1, 9, 9, 9, 0, 0.
UNITS = {"well:median,treatment:median": 0.2, "replicate:median,treatment:median": 2.375, "treatment:median": 0.2}


@pytest.mark.parametrize("chain", UNITS)
def test_units_of_units(tmp_path, capsys, monkeypatch, chain):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    names = ("treatment", "compound", "label", "well", "replicate")
    images = [well for well in WELLS for _ in well[5]]
    samples = {"id": [f"i{number}" for number in range(len(images))]}
    samples |= {name: [image[place] for image in images] for place, name in enumerate(names)}
    X = np.array([[value, 1.0] for well in WELLS for value in well[5]])
    store = make_store(
        tmp_path / "store", samples, {"last": X}, group="compound", levels=("well", "treatment"), classes=("a", "b")
    )
    units, unit_of, notes = aggregate_chain(store.features("toy", "net/last"), chain)
    expected = {"T1": UNITS[chain], "T2": 0.3, "T3": 9.1, "T4": 8.0}
    assert dict(zip(units.sample_ids, units.X[:, 0].tolist(), strict=True)) == pytest.approx(expected)
    assert (len(unit_of), unit_of["i0"], unit_of["i9"]) == (10, "T1", "T4")
    assert bool(notes) == ("replicate" in chain)
    histokit = CommandLine(capsys)
    done = histokit.ok(*TRAIN, chain)
    assert ("taken apart by treatment" in done.err) == ("replicate" in chain)
    rows = histokit.ok("predictions", done.out.strip(), "--json").document["predictions"]
    assert {row["id"]: row["true"] for row in rows} == {"T1": "a", "T2": "a", "T3": "b", "T4": "b"}
    predicted = predict_features(store, store.run(done.out.strip()), store.features("toy", "net/last"))
    assert sorted(store.predictions(predicted.id)["id"].to_pylist()) == ["T1", "T2", "T3", "T4"]
    assert any("taken apart by treatment" in note for note in predicted.notes) == ("replicate" in chain)


def test_numbers_of_fields_and_of_replicates_come_again_in_each_treatment(tmp_path):
    places = [("A", 1, 1)] * 3 + [("A", 1, 2), ("A", 2, 1), ("A", 2, 2)]
    places += [("B", replicate, field) for replicate in (1, 2) for field in (1, 2)]
    columns = {"treatment": [place[0] for place in places], "label": [place[0].lower() for place in places]}
    columns |= {"replicate": [place[1] for place in places], "field": [place[2] for place in places]}
    X = np.array([[0.0], [0.0], [6.0], [8.0], [1.0], [3.0], [10.0], [20.0], [30.0], [40.0]])
    store = make_store(tmp_path, {"id": [f"s{i}" for i in range(10)], **columns}, {"last": X})
    units, *_ = aggregate_chain(store.features("toy", "net/last"), "field:mean,replicate:max,treatment:mean")
    # Of A the fields have 2 and 8, 1 and 3, and the replicates 8 and 3; of B these have 20 and 40.
    assert dict(zip(units.sample_ids, units.X[:, 0].tolist(), strict=True)) == {"A": 5.5, "B": 30.0}


def test_wrong_chains(histokit):
    histokit.fails(*TRAIN, "slide:median,:mean", code=2)
    histokit.fails(*TRAIN, "slide:median,slid:mean", code=2)
    histokit.fails(*TRAIN, "slide:mode", code=2)


def test_profiles_of_wells_are_of_one_plate(tmp_path):
    samples = {"id": list("123456"), "label": list("abaabb"), "compound": ["c"] * 6}
    samples |= {"plate": ["P1", "P1", "P2", "P2", "P2", "P1"], "Metadata_Well": ["w1", "w2", "w1", "w1", "w2", "w3"]}
    X = np.array([[1.0], [2.0], [3.0], [5.0], [6.0], [7.0]])
    store = make_store(tmp_path / "store", samples, {"last": X}, group="compound", levels=("Metadata_Well",))
    units, unit_of, notes = aggregate_chain(store.features("toy", "net/last"), "Metadata_Well:mean")
    assert notes == ["2 of 3 values of Metadata_Well come on several plates: taken apart by plate"]
    assert [unit_of[sample] for sample in "134"] == ["P1, Metadata_Well w1", *["P2, Metadata_Well w1"] * 2]
    assert units.X[:, 0].tolist() == [1.0, 2.0, 4.0, 6.0, 7.0]
