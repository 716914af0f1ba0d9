"""A run that was interrupted goes on where it stopped, and ends the same."""

import itertools
import tracemalloc

import numpy as np
import pytest

from histokit.classifiers.solvers import gaps
from histokit.ingest.imports import import_features
from histokit.protocol import elimination_paths, finished_parts
from histokit.select.select import select
from histokit.store.care import collect_garbage
from histokit.store.records import PREDICTION_SCHEMA
from histokit.store.removal import remove
from histokit.store.unfinished import Unfinished
from histokit.train import folds
from histokit.train.train import train
from tests.toy import make_samples, make_store

WAYS = [
    {"classifier": "svm", "grid": {"C": "1e-2,1"}},
    {"classifier": "et", "grid": {"trees": 5, "max_features": "1,sqrt"}, "rfe": True},
]


@pytest.fixture
def stores(tmp_path, monkeypatch, few_trees):
    """Two equal stores; every fold is worth keeping, and selections are made by few trees."""
    monkeypatch.setattr(folds, "_WORTH_KEEPING", -1.0)
    samples, X = make_samples(slides=4)
    return [make_store(tmp_path / name, samples, {"last": X}) for name in ("one", "other")]


@pytest.fixture
def counted(monkeypatch):
    """What was fitted, and which stretches of elimination were gone."""
    done = {"fits": 0, "walks": 0}
    fit_rows, walk = folds.fit_rows, elimination_paths.walk

    def counting(name, function):
        def call(*arguments):
            done[name] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(folds, "fit_rows", counting("fits", fit_rows))
    monkeypatch.setattr(elimination_paths, "walk", counting("walks", walk))
    return done


def stop_after(share):
    """Return what ends a run after a share of its steps, as Ctrl-C does."""

    def report(done, total, detail):
        if done >= share * total:
            raise KeyboardInterrupt

    return report


def what_it_gave(store, run):
    document = {key: value for key, value in run.to_json().items() if key not in ("seconds", "created")}
    document["folds"] = [{k: v for k, v in fold.items() if k != "seconds"} for fold in run.folds]
    document["parameters"]["final"].pop("seconds")
    predictions = store.predictions(run.id).sort_by("id")
    return document, predictions.select(PREDICTION_SCHEMA.names).to_pylist()


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_run_goes_on(stores, counted, way):
    one, other = stores
    options = {**way, "split": "leave-one-group-out", "inner_folds": 2}
    (whole,) = train(one, "toy", "net/last", **options)
    assert counted["fits"] == 4
    walks = counted["walks"]
    # Four outer folds and all samples: half of the way lies inside the third fold.
    with pytest.raises(KeyboardInterrupt):
        train(other, "toy", "net/last", **options, progress=stop_after(0.5))
    assert not other.has_run(whole.id)
    assert counted["fits"] == 4 + 3
    (resumed,) = train(other, "toy", "net/last", **options)
    assert counted["fits"] == 4 + 3 + 2
    assert counted["walks"] == 2 * walks
    assert what_it_gave(other, resumed) == what_it_gave(one, whole)
    assert Unfinished(other.database).read(whole.id) == {}


@pytest.mark.parametrize("way", [*WAYS, None])
def test_what_was_kept_of_vectors_that_were_replaced_is_not_used(stores, few_trees, tmp_path, way):
    def bring(store, place):
        (tmp_path / "v.csv").write_text(
            "id,label,slide,x,y,z\n"
            + "".join(f"s{i},{'ab'[i % 2]},{i % 4},{(i + place) % 7},{i * (i + place) % 11},{i}\n" for i in range(60))
        )
        how = {"name": "net", "version": "1", "create": True, "group": "slide"}
        import_features(store, "made", tmp_path / "v.csv", **how)

    def do(store, **more):
        if way is None:
            return select(store, "made", "net/imported", split="leave-one-group-out", **more)
        return train(store, "made", "net/imported", **way, split="leave-one-group-out", **more)[0]

    one, other = stores
    bring(one, 0)
    with pytest.raises(KeyboardInterrupt):
        do(one, progress=stop_after(0.5))
    assert one.database.count("unfinished")
    remove(one, ["made"])
    collect_garbage(one, older_than=0, orphans=True)
    for store in (one, other):
        bring(store, 3)
    found, wanted = do(one), do(other)
    assert found.id == wanted.id
    if way is None:
        assert [part["curve"] for part in found.folds] == [part["curve"] for part in wanted.folds]
    else:
        assert what_it_gave(one, found) == what_it_gave(other, wanted)


def test_what_takes_no_time_is_not_kept(stores, monkeypatch):
    monkeypatch.setattr(folds, "_WORTH_KEEPING", 60.0)
    store, _ = stores
    with pytest.raises(KeyboardInterrupt):
        train(store, "toy", "net/last", **WAYS[0], split="leave-one-group-out", progress=stop_after(0.9))
    assert not store.database.exists("unfinished")
    train(store, "toy", "net/last", **WAYS[0], split="leave-one-group-out")
    assert not store.database.exists("unfinished")


def test_a_class_without_training_samples_is_kept_as_it_is(stores, tmp_path):
    samples, X = make_samples(slides=4)
    for i in range(0, 60, 4):
        samples["label"][i] = "c"  # all of the first slide, and no other
    one, other = (make_store(tmp_path / name, samples, {"last": X}) for name in ("c1", "c2"))
    options = {**WAYS[0], "split": "leave-one-group-out", "inner_folds": 2}
    (whole,) = train(one, "toy", "net/last", **options)
    with pytest.raises(KeyboardInterrupt):
        train(other, "toy", "net/last", **options, progress=stop_after(0.7))
    (resumed,) = train(other, "toy", "net/last", **options)
    assert what_it_gave(other, resumed) == what_it_gave(one, whole)


def test_seconds_are_those_of_both_parts(stores, monkeypatch):
    store, _ = stores
    clock = itertools.count(0, 100)
    monkeypatch.setattr(finished_parts, "perf_counter", lambda: float(next(clock)))
    # Begun at 0, two folds kept at 100 and 200; then begun at 300, two folds kept at 400 and 500, and done at 600.
    with pytest.raises(KeyboardInterrupt):
        train(store, "toy", "net/last", **WAYS[0], split="leave-one-group-out", progress=stop_after(0.5))
    (run,) = train(store, "toy", "net/last", **WAYS[0], split="leave-one-group-out")
    assert run.seconds == 200 + 300


def test_what_was_kept_without_its_seconds_is_still_used(stores):
    store, _ = stores
    Unfinished(store.database).save(
        "run", f"{finished_parts.FinishedParts(store, 'run', ['s0']).prefix}0/outcome", {"order": [1]}
    )
    found = finished_parts.FinishedParts(store, "run", ["s0"])
    assert dict(found.of(0)) == {"outcome": {"order": [1]}}
    assert found.seconds < 100


def test_what_an_earlier_version_kept_is_still_used(stores, counted):
    one, other = stores
    options = {**WAYS[0], "split": "leave-one-group-out", "inner_folds": 2}
    (whole,) = train(one, "toy", "net/last", **options)
    with pytest.raises(KeyboardInterrupt):
        train(other, "toy", "net/last", **options, progress=stop_after(0.5))
    unfinished = Unfinished(other.database)
    kept = {key: document for key, document in unfinished.read(whole.id).items() if "scores" in document}
    assert len(kept) >= 2
    for key, document in kept.items():
        # It wrote each number as text, and none for minus infinity.
        scores = finished_parts.unpacked(document["scores"])
        listed = [[None if score == -np.inf else score for score in row] for row in scores.tolist()]
        unfinished.save(whole.id, key, {**document, "scores": listed})
    before = counted["fits"]
    (resumed,) = train(other, "toy", "net/last", **options)
    assert counted["fits"] == before + 2
    assert what_it_gave(other, resumed) == what_it_gave(one, whole)


def test_many_classes_are_kept_without_an_object_for_each_score_and_checked_together(tmp_path, monkeypatch):
    monkeypatch.setattr(folds, "_WORTH_KEEPING", -1.0)
    checked = []
    quadratic = gaps._quadratic
    monkeypatch.setattr(gaps, "_quadratic", lambda *given: checked.append(1) or quadratic(*given))
    classes, count = 200, 4000
    samples = {"id": [f"s{k}" for k in range(count)], "label": [f"grade {k % classes}" for k in range(count)]}
    samples["slide"] = [f"P{k // classes % 5}" for k in range(count)]
    X = np.random.default_rng(0).normal(size=(count, 8))
    store = make_store(tmp_path / "many", samples, {"last": X})
    options = {"classifier": "ridge", "grid": {"alpha": "1"}, "split": "leave-one-group-out"}
    train(store, "toy", "net/last", **options)
    assert len(checked) == 1, "once for all classes, whose curvature is the same"
    tracemalloc.start()
    try:
        train(store, "toy", "net/last", **options, force=True)
        # As texts and as Python's numbers the scores of finished folds took twice as much.
        assert tracemalloc.get_traced_memory()[1] < 6.5 * count * classes * 8
    finally:
        tracemalloc.stop()
