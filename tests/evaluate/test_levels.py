"""Scores aggregated through several levels, the class of the highest one taken last."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from histokit.errors import DataError, UsageError
from histokit.evaluate.evaluate import evaluate
from histokit.features import FeatureStore
from histokit.figures.scores import draw_scores
from tests.cli.command_line import CommandLine
from tests.evaluate.made_up import save_run
from tests.toy import make_store

#: Treatment, label, compound; well, replicate and the scores of its images. The wells of T1 are unequal.
WELLS = [
    ("T1", "a", "C1", "w1", 1, [-5.0, -5.0, -5.0]),
    ("T1", "a", "C1", "w2", 1, [1.0]),
    ("T1", "a", "C1", "w3", 2, [1.0]),
    ("T2", "b", "C2", "w4", 1, [2.0]),
    ("T2", "b", "C2", "w5", 2, [4.0]),
    ("T2", "b", "C2", "w6", 2, [-9.0]),
]


def save_wells(store, levels=("well", "treatment"), wells=WELLS, **changes):
    named = {"well": 3, "replicate": 4, "treatment": 0}
    rows = []
    for well in wells:
        for score in well[5]:
            units = [str(well[named[level]]) for level in levels]
            rows.append((int(well[2][1:]) % 2, str(len(rows)), well[1], score, well[2], *units))
    return save_run(store, rows, levels=levels, **changes)


@pytest.fixture
def store(tmp_path):
    """A store with a dataset whose replicates are a column, no level."""
    images = [well for well in WELLS for _ in well[5]]
    samples = {"id": [str(number) for number in range(len(images))], "label": [well[1] for well in images]}
    samples |= {"compound": [well[2] for well in images], "replicate": [well[4] for well in images]}
    return make_store(tmp_path / "toy", samples, {"last": np.zeros((len(images), 1))}, group="compound")


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "empty")


def test_a_class_without_votes_does_not_win_where_no_mean_is_finite(tmp_path):
    empty, least = FeatureStore(tmp_path / "empty"), -np.inf
    rows = [(0, "1", "c", [least, 0.0, least], "P", "X"), (0, "2", "c", [least, least, 0.0], "P", "X")]
    run = save_run(empty, rows, classes=("a", "b", "c"), levels=("slide",))
    (found,) = evaluate(empty, run, by="slide:vote")
    assert np.argwhere(found.by["slide:vote"]["confusion"]["counts"]).tolist() == [[2, 1]]


def matrix(store, by):
    (found,) = evaluate(store, "abcd", by=by)
    return list(found.by.values())[-1]["confusion"]["counts"]


def test_medians_of_wells_and_of_replicates_are_not_the_same(store):
    save_wells(store)
    # T1: the wells have -5, 1, 1; its replicates median(-5, -5, -5, 1) and 1, so -2; all images -5.
    # T2: the wells have 2, 4, -9; its replicates 2 and (4 - 9) / 2, so -0.25; all images 2.
    assert matrix(store, "well:median,treatment:median") == [[0, 1], [0, 1]]
    assert matrix(store, "replicate:median,treatment:median") == [[1, 0], [1, 0]]
    assert matrix(store, "treatment:median") == [[1, 0], [0, 1]]
    assert matrix(store, "well:mean,treatment:mean") == [[1, 0], [1, 0]]


@pytest.mark.parametrize("how", ["mean", "median"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e9])
def test_equal_scores_stay_equal(empty, how, scale):
    # (0.1 + 0.7) / 2 is 0.39999999999999997, and not 0.4.
    shares = [("u", "a", 0.1), ("u", "a", 0.7), ("v", "b", 0.4), ("v", "b", 0.4), ("w", "c", 0.8), ("w", "c", 0.0)]
    rows = [
        (0, str(n), true, [scale * share, scale * 0.4, scale * (0.6 - share)], unit, unit)
        for n, (unit, true, share) in enumerate(shares)
    ]
    save_run(empty, rows, levels=("unit",), classes=("a", "b", "c"), parameters={})
    (found,) = evaluate(empty, "abcd", by=f"unit:{how}")
    units = found.by[f"unit:{how}"]
    assert units["confusion"]["counts"] == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    # Of the class a, all units have the same score.
    assert units["per_class"]["a"]["roc_auc"] == 0.5


def test_classes_are_chosen_last(store):
    # Each well would be taken for b, b, a; the mean score of all three is of a.
    wells = [("T1", "a", "C1", f"w{n}", 1, [s]) for n, s in enumerate([1.0, 1.0, -5.0])] + WELLS[3:]
    save_wells(store, wells=wells)
    assert matrix(store, "well:median,treatment:mean") == [[1, 0], [1, 0]]
    assert matrix(store, "well:median,treatment:vote")[0] == [0, 1]


def test_replicates_are_counted_inside_treatments_and_that_is_told(store):
    save_wells(store)
    (found,) = evaluate(store, "abcd", by="replicate:median,treatment:median")
    assert [entry["units"] for entry in found.by.values()] == [4, 2]
    assert [entry["kind"] for entry in found.by.values()] == ["level", "level"]
    text = "2 of 2 values of replicate come in several units of treatment: taken apart by treatment"
    assert text in found.notes
    (found,) = evaluate(store, "abcd", by="well:median,treatment:median")
    assert not any("taken apart" in note for note in found.notes)


def test_wells_of_one_name_are_told_apart_by_their_plates(tmp_path):
    # On each of two plates, w1 is of a and w2 of b; one well on a plate of no name. By wells, w1 of P2 alone is wrong.
    places = [("P1", "w1"), ("P1", "w2"), ("P2", "w1"), ("P2", "w2"), (None, "w1")]
    scores, labels = [-5.0, 5.0, 1.0, 5.0, -5.0], ["a", "b", "a", "b", "a"]
    samples = {"id": [str(number) for number in range(5)], "label": labels, "compound": ["c"] * 5}
    samples |= {"plate": [plate for plate, _ in places], "well": [well for _, well in places]}
    facts = {"group": "compound", "columns": {"plate": "str", "well": "str"}}
    store = make_store(tmp_path / "toy", samples, {"last": np.zeros((5, 1))}, **facts)
    rows = [(0, str(n), labels[n], scores[n], "c", places[n][1]) for n in range(5)]
    for levels, cut in ((("well",), 6), ((), 5)):
        save_run(store, [row[:cut] for row in rows], levels=levels)
        (found,) = evaluate(store, "abcd", by="well:mean")
        assert found.by["well:mean"]["units"] == 5
        assert "2 of 2 values of well come on several plates: taken apart by plate" in found.notes
    save_run(store, rows, levels=("well",))
    assert matrix(store, "well:mean") == [[2, 1], [0, 2]]
    # Of units that were trained on, no plate is known.
    save_run(store, rows, levels=("well",), parameters={"positive": "b", "aggregate": "well:mean"})
    assert matrix(store, "well:mean") == [[1, 0], [0, 1]]


def test_a_column_that_no_level_follows_is_scored_inside_its_units(store):
    save_wells(store)
    (found,) = evaluate(store, "abcd", by=["replicate:mean", "well:median,treatment:median,compound:mean"])
    assert [entry["kind"] for entry in found.by.values()] == ["per-unit", "level", "level", "per-unit"]
    assert found.by["replicate:mean"]["units"] == 2


def test_replicates_may_be_a_level(empty):
    save_wells(empty, levels=("replicate", "treatment"))
    assert matrix(empty, "replicate:median,treatment:median") == [[1, 0], [1, 0]]
    with pytest.raises(DataError, match="replicate '1' holds samples of several true labels: a, b"):
        evaluate(empty, "abcd", by="replicate:median")


def test_a_well_that_is_wrong_is_named_whatever_follows(empty):
    save_wells(empty, wells=[*WELLS, ("T2", "b", "C2", "w3", 1, [1.0])])
    for by in ("well:median", "well:median,treatment:median"):
        with pytest.raises(DataError, match="well 'w3' holds samples of several true labels: a, b"):
            evaluate(empty, "abcd", by=by)
    save_wells(empty, wells=[*WELLS, ("T3", "b", "C3", "w5", 1, [1.0])])
    with pytest.raises(DataError, match="well 'w5' lies in several units of treatment: T2, T3"):
        evaluate(empty, "abcd", by="well:median,treatment:median")


def test_missing_units_and_levels_in_the_wrong_order(store):
    save_wells(store)
    with pytest.raises(UsageError, match="level well is finer than treatment"):
        evaluate(store, "abcd", by="treatment:median,well:median")
    with pytest.raises(UsageError, match="no column 'replicat'"):
        evaluate(store, "abcd", by="replicat:median,treatment:median")


def test_units_that_were_trained_on_have_no_columns_of_samples(store):
    rows = [(0, "T1", "a", -1.0, "C1", "T1"), (1, "T2", "b", 1.0, "C2", "T2")]
    parameters = {"positive": "b", "aggregate": "treatment:median"}
    save_run(store, rows, levels=("treatment",), parameters=parameters)
    assert matrix(store, "treatment:median") == [[1, 0], [0, 1]]
    with pytest.raises(
        UsageError, match=r"predicts units \(treatment:median\) in place of samples: .* their replicate"
    ):
        evaluate(store, "abcd", by="replicate:median,treatment:median")
    # No treatment lies in one well: the column lacks nothing.
    rows = [(0, "T1", "a", -1.0, "C1", None, "T1"), (1, "T2", "b", 1.0, "C2", "w1", "T2")]
    save_run(store, rows, levels=("well", "treatment"), parameters=parameters, run_id="efgh")
    said = r"1 of the 2 predictions is of units \(treatment\) that lie in no single well, such as 'T1'"
    with pytest.raises(DataError, match=said) as caught:
        evaluate(store, "efgh", by="well:median")
    assert "ingest again" not in caught.value.next


def test_units_of_which_the_order_of_the_classes_decides_are_told(store):
    images = [("T1", [-1.0, 1.0]), ("T2", [2.0, -1.0]), ("T3", [3.0, -3.0, 0.0])]
    rows = [
        (number, f"{unit}-{n}", "b", score, unit, unit)
        for number, (unit, scores) in enumerate(images)
        for n, score in enumerate(scores)
    ]
    save_run(store, rows, levels=("treatment",))
    (found,) = evaluate(store, "abcd", by="treatment:mean,treatment:vote")
    assert found.by["treatment:mean"]["metrics"]["accuracy"] == pytest.approx(1 / 3)
    told = [note for note in found.notes if "highest score" in note]
    assert told == ["2 of 3 treatment units have the same highest score in several classes: the first of these counts"]


def test_intervals_resample_compounds_and_figures_show_each_level(store, capsys, tmp_path):
    run = save_wells(store)
    by = "well:median,treatment:median"
    (found,) = evaluate(store, run, by=by, bootstrap=50)
    entry = found.by["treatment:median"]
    assert (entry["intervals"]["groups"], entry["intervals"]["reliable"]) == (2, False)
    # T1 is wrong and T2 right: of two drawn compounds none, one or both are right.
    assert_allclose(entry["intervals"]["metrics"]["accuracy"], [0, 1])
    axes = draw_scores([found]).axes
    assert [np.asarray(axis.images[0].get_array()).shape for axis in axes[::2]] == [(2, 2)] * 3
    assert [axis.get_title().split(" · ")[-1] for axis in axes[::2]] == ["cv", "well:median", "treatment:median"]
    assert next(line.get_ydata()[0] for line in axes[5].lines) == pytest.approx(0.5)
    histokit = CommandLine(capsys)
    figure = tmp_path / "units.png"
    done = histokit.ok("--store", store.uri, "evaluate", run, "--by", by, "--json", "--figure", figure)
    assert json.loads(json.dumps(done.document))["runs"][0]["by"]["treatment:median"]["units"] == 2
    assert figure.exists()
