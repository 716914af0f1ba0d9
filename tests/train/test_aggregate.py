"""``train --aggregate``: a unit's features are the mean, the median or the maximum of its samples'."""

import numpy as np
import pytest

from histokit.features import open_store
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
