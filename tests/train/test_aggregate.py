"""``train --aggregate``: a unit's features are the mean, the median or the maximum of its samples'."""

import numpy as np
import pytest

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
WRONG = {"mean": set("PQRSTU"), "median": set(), "max": set("RS")}


@pytest.fixture
def histokit(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    samples = {"id": [], "label": [], "slide": []}
    values = []
    for slide, (label, inside) in SLIDES.items():
        for value in inside:
            samples["id"].append(f"s{len(values)}")
            samples["label"].append(label)
            samples["slide"].append(slide)
            values.append([value])
    make_store(tmp_path / "store", samples, {"last": np.array(values)})
    return CommandLine(capsys)


@pytest.mark.parametrize("how", WRONG)
def test_units_are_predicted_from_their_nearest_neighbour(histokit, how):
    arguments = ["train", "toy", "--features", "net/last", "--classifier", "knn", "--grid", "k=1"]
    arguments += ["--grid", "metric=euclidean", "--split", "leave-one-group-out", "--aggregate", f"slide:{how}"]
    run = histokit.ok(*arguments).out.strip()
    rows = histokit.ok("predictions", run, "--json").document["predictions"]
    assert {row["id"]: row["true"] for row in rows} == {slide: label for slide, (label, _) in SLIDES.items()}
    assert {row["id"] for row in rows if row["true"] != row["predicted"]} == WRONG[how]
