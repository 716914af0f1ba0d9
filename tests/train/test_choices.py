from dataclasses import replace

import numpy as np
import pytest

from histokit.errors import DataError, UsageError
from histokit.train import choices
from histokit.train.predict import predict_features
from histokit.train.train import train
from tests.toy import make_samples, make_store

FAST = {"grid": {"C": "1e-2,1"}, "inner_folds": 3}


@pytest.fixture
def toy(tmp_path):
    samples, X = make_samples(n=90, slides=9, seed=3)
    rng = np.random.default_rng(1)
    # One layer knows nothing, two know the same a bit, each with its own noise.
    layers = {"early": X[:, 4:], "inner": X + rng.normal(size=X.shape), "last": X + rng.normal(size=X.shape)}
    return make_store(tmp_path / "store", samples, layers)


def by_place(store, run):
    table = store.predictions(run.id)
    keys = zip(table["repeat"].to_pylist(), table["fold"].to_pylist(), table["id"].to_pylist(), strict=True)
    return dict(zip(keys, table["scores"].to_pylist(), strict=True))


def test_inner_folds_choose_in_each_outer_fold(toy):
    *runs, found = train(toy, "toy", "net/each", choose="inner", **FAST)
    assert [run.address for run in runs] == ["net/early", "net/inner", "net/last"]
    predictions = [by_place(toy, run) for run in runs]
    chosen = by_place(toy, found)
    for number, fold in enumerate(found.folds):
        scores = [run.folds[number]["tuning"]["score"] for run in runs]
        best = int(np.argmax(scores))
        assert fold["address"] == runs[best].address
        here = [key for key in chosen if key[1] == fold["fold"]]
        assert len(here) == fold["test"]
        assert all(chosen[key] == predictions[best][key] for key in here)
    assert len({fold["address"] for fold in found.folds}) > 1, "the folds should not agree here"
    assert found.parameters["choose"] == "inner"
    assert found.parameters["candidates"] == [run.address for run in runs]
    assert found.address == "net/each"
    assert found.seconds == pytest.approx(sum(run.seconds for run in runs), abs=0.002)
    assert not any("optimistic" in note for note in found.notes)


def test_the_model_is_that_of_the_best_on_all_training_samples(toy):
    *runs, found = train(toy, "toy", "net/each", choose="inner", **FAST)
    best = max(runs, key=lambda run: run.found["final"]["tuning"]["score"])
    assert found.features == best.features
    assert found.found["final"]["address"] == best.address
    mine, theirs = (predict_features(toy, run, toy.features("toy", best.address)) for run in (found, best))
    assert toy.predictions(mine.id)["scores"] == toy.predictions(theirs.id)["scores"]


def scored(part, score):
    table = [row | {"mean": score, "scores": [score] * len(row["scores"])} for row in part["tuning"]["table"]]
    return part | {"tuning": part["tuning"] | {"score": score, "table": table}}


def test_what_is_to_be_known_of_the_model_is_told_though_no_fold_has_its_features(toy):
    scores = {"net/early": (0.9, 0.5), "net/inner": (0.5, 0.9), "net/last": (0.5, 0.5)}
    runs = []
    for run in train(toy, "toy", list(scores), **FAST):
        inside, whole = scores[run.address]
        folds = [scored(fold, inside) for fold in run.folds]
        final = scored(run.found["final"], whole)
        runs.append(replace(run, notes=[f"of {run.address}"], folds=folds, found=run.found | {"final": final}))
    found = choices.chosen(toy, runs, "inner")
    assert {fold["address"] for fold in found.folds} == {"net/early"}
    assert found.found["final"]["address"] == "net/inner"
    assert found.notes == ["of net/early", "of net/inner"]


def test_a_choice_by_the_test_samples_is_marked(toy):
    *runs, found = train(toy, "toy", "net/each", choose="test", **FAST)
    means = [np.mean([fold["scores"]["accuracy"] for fold in run.folds]) for run in runs]
    assert {fold["address"] for fold in found.folds} == {runs[int(np.argmax(means))].address}
    assert any("chosen by their scores on the test samples" in note for note in found.notes)


def test_a_single_setting_is_scored_all_the_same(toy):
    *runs, found = train(toy, "toy", "net/each", choose="inner", grid={"C": 1}, inner_folds=3)
    for number, fold in enumerate(found.folds):
        assert fold["tuning"]["score"] == pytest.approx(max(run.folds[number]["tuning"]["score"] for run in runs))


def test_a_run_that_was_not_scored_inside_is_not_taken_for_one_that_is_chosen_by_it(toy):
    how = {"grid": {"C": 1}, "inner_folds": 3}
    plain = train(toy, "toy", "net/each", **how)
    assert not any("tuning" in fold for run in plain for fold in run.folds)
    *runs, found = train(toy, "toy", "net/each", choose="inner", **how)
    assert not {run.id for run in plain} & {run.id for run in runs}
    for number, fold in enumerate(found.folds):
        assert fold["tuning"]["score"] == pytest.approx(max(run.folds[number]["tuning"]["score"] for run in runs))


def test_a_choice_is_answered_from_the_store(toy):
    first = train(toy, "toy", "net/each", choose="inner", **FAST)
    assert train(toy, "toy", "net/each", choose="inner", **FAST) == first
    assert train(toy, "toy", "net/each", choose="test", **FAST)[-1].id != first[-1].id


def test_no_such_choice(toy):
    with pytest.raises(UsageError, match="'iner'") as caught:
        train(toy, "toy", "net/each", choose="iner", **FAST)
    assert "inner" in caught.value.next


@pytest.mark.parametrize(
    ("addresses", "named"),
    [
        (["net/early", "net/early+net/last"], "net/early net/early+net/last"),
        (["net/early+net/inner", "net/early+net/last"], "net/early+net/inner net/early+net/last"),
    ],
)
def test_what_is_more_than_layers_of_a_network_is_named_in_full(toy, addresses, named):
    *_, found = train(toy, "toy", addresses, "knn", choose="test", grid={"k": "1"}, split="holdout")
    assert found.address == named


def test_a_fold_without_a_score_does_not_count_in_the_choice(tmp_path):
    # On one of three slides, where all are "b", no ROC AUC is defined; on the others the second layer is better.
    labels = ["a", "b"] * 4 + ["b"] * 4
    samples = {"id": [f"s{i}" for i in range(12)], "label": labels, "slide": [f"P{i // 4}" for i in range(12)]}
    right = np.array([[float(label == "b")] for label in labels])
    store = make_store(tmp_path / "store", samples, {"first": right[::-1] * 0, "last": right})
    options = {"grid": {"k": "1", "metric": "euclidean"}, "metric": "roc_auc", "split": "leave-one-group-out"}
    first, last, found = train(store, "toy", "net/each", "knn", choose="test", **options)
    assert [fold["scores"]["roc_auc"] for fold in first.folds] == [0.5, 0.5, None]
    assert [fold["scores"]["roc_auc"] for fold in last.folds] == [1.0, 1.0, None]
    assert {fold["address"] for fold in found.folds} == {"net/last"}


@pytest.mark.parametrize("choose", ["inner", "test"])
def test_scores_of_other_metrics_or_of_other_folds_are_not_compared(tmp_path, choose):
    # Of constant features all predictions are alike, and the mean absolute error decides; noise goes astray by it.
    rng, slides = np.random.default_rng(0), np.arange(60) % 6
    samples = {"id": [f"s{i}" for i in range(60)], "label": ["a", "b"] * 30, "slide": [f"P{k}" for k in slides]}
    samples["share"] = rng.random(60) / 100
    wrong = np.stack([-samples["share"] * np.where(slides < 3, 1, -1), rng.random(60)], axis=1)
    store = make_store(tmp_path / "store", samples, {"flat": np.zeros((60, 2)), "wrong": 100 * wrong})
    options = {"target": "share", "metric": "pearson", "grid": {"alpha": "1e-2"}, "inner_folds": 3}
    flat, _, found = train(store, "toy", "net/each", "ridge", choose=choose, split="cv", **options)
    assert {fold["scores"]["pearson"] for fold in flat.folds} == {None}
    assert {fold["address"] for fold in found.folds} == {"net/wrong"}


def test_features_that_tell_nothing_in_some_inner_folds_are_not_chosen_by_the_others(tmp_path):
    # The first layer knows the target better than the last one, but of a few slides only: of the others all its
    # predictions are alike, and correlate with nothing.
    rng = np.random.default_rng(0)
    samples, X = make_samples(120, 12)
    value = X[:, 0] + 0.8 * rng.normal(size=120)
    few = np.isin(samples["slide"], ["P0", "P1", "P2", "P3"])
    first = np.where(few, value + 0.1 * rng.normal(size=120), 0.0)[:, None]
    store = make_store(tmp_path / "store", samples | {"value": value.tolist()}, {"first": first, "last": X})
    options = {"target": "value", "metric": "pearson", "grid": {"alpha": 1.0}, "split": "holdout"}
    first, last, found = train(store, "toy", "net/each", "ridge", choose="inner", **options)
    inner = [run.folds[0]["tuning"]["table"][0]["scores"] for run in (first, last)]
    known = [score for score in inner[0] if score is not None]
    assert 0 < len(known) < 5
    assert np.mean(known) > np.mean(inner[1]) > np.sum(known) / 5
    assert found.folds[0]["address"] == found.found["final"]["address"] == "net/last"


def test_a_choice_is_between_features_of_the_same_samples(tmp_path):
    samples, X = make_samples(n=90, slides=9)
    holes = X.copy()
    holes[4] = np.nan
    store = make_store(tmp_path / "store", samples, {"first": X, "last": holes})
    options = {"classifier": "knn", "grid": {"k": "1"}, "choose": "test", "allow_missing": True}
    with pytest.raises(DataError, match="net/first, net/last are not there for the same samples"):
        train(store, "toy", "net/each", **options)
    # As many, but others: each layer lacks a sample of the same slide.
    holes[4], others = X[4], X.copy()
    holes[0] = others[9] = np.nan
    assert samples["slide"][0] == samples["slide"][9]
    store = make_store(tmp_path / "other", samples, {"first": others, "last": holes})
    with pytest.raises(DataError, match="net/first, net/last are not there for the same samples"):
        train(store, "toy", "net/each", **options)


def test_of_equally_good_features_the_first_is_taken_whatever_their_means_are_rounded_to(tmp_path):
    # Each layer is the label but for some samples of each slide: 3, 2, 1 of ten, or 3, 1, 2.
    labels = np.tile([-1.0, 1.0], 15)
    samples = {"id": [f"s{i:02}" for i in range(30)], "label": ["b" if y > 0 else "a" for y in labels]}
    samples["slide"] = [f"P{i // 10}" for i in range(30)]
    layers = {}
    for name, wrong in (("first", (3, 2, 1)), ("last", (3, 1, 2))):
        signs = [-1 if i % 10 < wrong[i // 10] else 1 for i in range(30)]
        layers[name] = (labels * signs)[:, None]
    store = make_store(tmp_path / "store", samples, layers)
    options = {"split": "leave-one-group-out", "grid": {"alpha": "1"}, "choose": "test"}
    *runs, found = train(store, "toy", "net/each", "ridge", **options)
    scores = [[fold["scores"]["accuracy"] for fold in run.folds] for run in runs]
    assert scores == [[0.7, 0.8, 0.9], [0.7, 0.9, 0.8]]
    assert np.mean(scores[0]) < np.mean(scores[1]), "as numbers are rounded"
    assert {fold["address"] for fold in found.folds} == {"net/first"}
