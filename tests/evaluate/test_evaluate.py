import json
import time
import tracemalloc
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn import metrics as sk

from histokit import cli
from histokit.compare.compare import compare
from histokit.errors import DataError, StoreError, UsageError
from histokit.evaluate.evaluate import evaluate
from histokit.evaluate.listing import predictions
from histokit.evaluate.pooled import pooled_scores
from histokit.features import FeatureStore
from histokit.features.written_tables import write_table
from histokit.store import tables
from histokit.store.results import Results
from histokit.store.tables import Tables
from histokit.train.train import train
from tests.evaluate.made_up import save_dataset, save_run
from tests.toy import make_samples, make_store


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


@pytest.fixture
def toy_of_many(empty):
    """Twelve runs of 300 predictions on samples that are in the store."""
    samples, X = make_samples(n=300, slides=30)
    store = make_store(empty.uri, samples, {"last": X})
    signs = [(1.0 if i % 2 else -1.0) * (1 if i % 3 else -1) for i in range(300)]
    rows = [(0, name, "ab"[i % 2], signs[i], f"P{i // 10}") for i, name in enumerate(samples["id"])]
    return store, [save_run(store, rows, run_id=f"{k:x}bcd12345678") for k in range(1, 13)]


SIX = [
    (0, "1", "a", -1.0, "P"),
    (0, "2", "b", 2.0, "P"),
    (0, "3", "b", -3.0, "Q"),
    (1, "4", "a", 20.0, "R"),
    (1, "5", "b", 30.0, "R"),
    (1, "6", "b", 10.0, "S"),
]


def test_progress_counts_the_runs_that_are_done(empty):
    runs = [save_run(empty, SIX, run_id=run_id) for run_id in ("abcd12345678", "bbbb12345678")]
    calls = []
    evaluate(empty, runs, progress=lambda *given: calls.append(given))
    assert calls == [(1, 2, runs[0]), (2, 2, runs[1])]


def test_predictions_of_many_runs_are_read_in_one_pass_and_held_one_by_one(toy_of_many, monkeypatch):
    store, runs = toy_of_many
    opened, held = Counter(), []
    open_table, one_by_one = Tables._open, Results.one_by_one

    def counted(self, name, *given, **named):
        opened[name] += 1
        return open_table(self, name, *given, **named)

    def weighed(self, *given):
        for run, rows in one_by_one(self, *given):
            held.append(len(rows))
            assert rows.column("true").get_total_buffer_size() < 3 * rows.column("true").nbytes
            yield run, rows

    monkeypatch.setattr(tables, "_SCAN_ROWS", 100)
    monkeypatch.setattr(Tables, "_open", counted)
    monkeypatch.setattr(Results, "one_by_one", weighed)
    backwards = runs[::-1]
    assert [found.run for found in evaluate(store, backwards)] == backwards
    assert [row["run"] for row in compare(store, backwards, bootstrap=2).rows] == backwards
    listed = pooled_scores(store, store.runs(), pytest.fail)
    assert {name: listed[name] for name in runs} == dict.fromkeys(runs, ("accuracy", 2 / 3))
    assert held == [300] * 36
    assert opened["predictions"] <= 2 * 3
    assert opened["runs"] <= 2 * 3


def test_runs_of_classes_beside_one_of_numbers_are_read_in_the_same_pass(tmp_path, monkeypatch):
    samples, X = make_samples(n=40)
    make_store(tmp_path, samples | {"size": [i + 0.5 for i in range(40)]}, {"l": X})
    runs = [train(tmp_path, "toy", "net/l", classifier="knn", seed=seed)[0].id for seed in range(2)]
    runs += [train(tmp_path, "toy", "net/l", classifier="ridge", target="size")[0].id]
    monkeypatch.setattr(Results, "predictions", lambda *_: pytest.fail("a run is read by itself"))
    assert [found.run for found in evaluate(tmp_path, runs)] == runs


def test_scores_by_hand(empty):
    (found,) = evaluate(empty, save_run(empty, SIX))
    assert found.metrics["accuracy"] == pytest.approx(4 / 6)
    assert found.metrics["balanced_accuracy"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    # "a" scores -1, 20; "b" scores 2, -3, 30, 10: of the eight pairs 3 + 1 are won.
    assert found.metrics["roc_auc"] == pytest.approx(4 / 8)
    # Within the folds one of two pairs is won each.
    assert found.metrics["roc_auc_fold_mean"] == pytest.approx(0.5)
    assert found.confusion == {"classes": ["a", "b"], "counts": [[1, 1], [1, 3]]}
    assert found.per_class["b"] == pytest.approx(
        {"precision": 3 / 4, "recall": 3 / 4, "f1": 3 / 4, "roc_auc": 0.5, "support": 4}
    )
    assert found.folds["mean"]["accuracy"] == pytest.approx(2 / 3)
    assert [fold["n"] for fold in found.folds["each"]] == [3, 3]
    assert found.baseline == {"class": "b", "accuracy": 4 / 6, "balanced_accuracy": 0.5}
    assert (found.n, found.groups, found.undefined) == (6, 4, {})


def test_undefined_is_none_with_a_reason_and_json_has_no_nan(empty):
    rows = [(0, "1", "a", -1.0, "P"), (0, "2", "a", -2.0, "Q")]
    (found,) = evaluate(empty, save_run(empty, rows), bootstrap=20)
    assert found.metrics["roc_auc"] is None
    assert found.undefined["roc_auc"] == "all samples are of the class 'a'"
    assert found.per_class["b"]["undefined"]["recall"] == "no such sample"
    assert found.intervals["metrics"]["roc_auc"] is None
    assert found.intervals["undefined_resamples"]["roc_auc"] == 20
    json.dumps(found.to_json(), allow_nan=False)


def test_fold_mean_of_the_area_leaves_out_folds_of_one_class(empty):
    rows = [*SIX, (2, "7", "a", 1.0, "T")]
    (found,) = evaluate(empty, save_run(empty, rows))
    assert found.folds["undefined"] == {"roc_auc": 1}
    assert found.metrics["roc_auc_fold_mean"] == pytest.approx(0.5)


LEVELS = [
    # id, true, score, group = treatment, well, treatment
    (0, "1", "a", -3.0, "T1", "w1", "T1"),
    (0, "2", "a", 1.0, "T1", "w1", "T1"),
    (0, "3", "a", 1.0, "T1", "w1", "T1"),
    (0, "4", "a", -1.0, "T1", "w2", "T1"),
    (1, "5", "b", 2.0, "T2", "w3", "T2"),
    (1, "6", "b", -9.0, "T2", "w4", "T2"),
]


def units(store, by):
    (found,) = evaluate(store, "abcd", by=by)
    return found.by


@pytest.mark.parametrize(
    ("how", "wells"),
    # w1: mean -1/3, median 1, two of three votes for b; w2 -1; w3 2; w4 -9.
    [("mean", 3 / 4), ("median", 2 / 4), ("vote", 2 / 4)],
)
def test_levels_aggregate_scores(empty, how, wells):
    save_run(empty, LEVELS, levels=("well", "treatment"))
    (entry,) = units(empty, f"well:{how}").values()
    assert (entry["kind"], entry["units"]) == ("level", 4)
    assert entry["metrics"]["accuracy"] == pytest.approx(wells)


def test_levels_follow_each_other(empty):
    save_run(empty, LEVELS, levels=("well", "treatment"))
    found = units(empty, "well:median,treatment:mean")
    # Medians 1 and -1 of T1 have the mean 0: the first class; 2 and -9 of T2 are wrong.
    assert found["treatment:mean"]["units"] == 2
    assert found["treatment:mean"]["metrics"]["accuracy"] == pytest.approx(0.5)
    assert list(found) == ["well:median", "treatment:mean"]
    # At once: T1 scores -3, 1, 1, -1 have the mean -0.5.
    assert units(empty, "treatment")["treatment:mean"]["confusion"]["counts"] == [[1, 0], [1, 0]]


def test_units_have_a_table_of_classes(empty, capsys):
    save_run(empty, LEVELS, levels=("well", "treatment"))
    assert cli.run(["--store", str(empty.uri), "evaluate", "abcd", "--by", "well:vote"]) == 0
    tables = capsys.readouterr().out.split("units of well:vote by class, and confusion")
    rows = [line.split() for line in tables[1].split("samples by class")[0].splitlines()]
    # w1 has two of three votes for b, w2 is right; w3 is right, w4 is wrong. Support, then what they were taken for.
    assert [(row[0], *row[-3:]) for row in rows if row and row[0] in "ab"] == [
        ("a", "2", "1", "1"),
        ("b", "2", "1", "1"),
    ]


def test_votes_that_tie_go_to_the_higher_mean(empty):
    rows = [(0, "1", "a", -1.0, "P", "w"), (0, "2", "a", 5.0, "P", "w"), (0, "3", "b", 1.0, "P", "v")]
    save_run(empty, rows, levels=("well",))
    assert units(empty, "well:vote")["well:vote"]["confusion"]["counts"] == [[0, 1], [0, 1]]


def test_mixed_labels_in_a_unit_are_an_error_that_names_it(empty):
    save_run(empty, [*LEVELS, (1, "7", "a", 1.0, "T2", "w4", "T2")], levels=("well", "treatment"))
    with pytest.raises(DataError, match="well 'w4' holds samples of several true labels: a, b"):
        units(empty, "well")


def test_other_columns_give_the_metric_inside_each_unit(empty):
    save_run(empty, SIX)
    entry = units(empty, "slide:mean")["slide:mean"]
    assert (entry["kind"], entry["units"]) == ("per-unit", 4)
    # P: 2 of 2, Q: 0 of 1, R: 1 of 2, S: 1 of 1.
    assert entry["metrics"]["accuracy"] == pytest.approx(2.5 / 4)
    assert units(empty, "slide:median")["slide:median"]["metrics"]["accuracy"] == pytest.approx(0.75)
    assert entry["undefined_units"]["roc_auc"] == 2
    with pytest.raises(UsageError, match="no level"):
        units(empty, "slide:vote")


@pytest.mark.parametrize(
    ("column", "units", "accuracy"), [("image", 4, 2.5 / 4), ("id", 6, 4 / 6), ("content", 6, 4 / 6)]
)
def test_columns_that_every_sample_has_are_units_too(tmp_path, column, units, accuracy):
    samples, X = make_samples(n=6, image=[[f"{name}.png"] for name in "ppqrrs"])
    samples["id"] = list("123456")
    store = make_store(tmp_path / "store", samples, {"last": X})
    (found,) = evaluate(store, save_run(store, SIX), by=f"{column}:mean")
    entry = found.by[f"{column}:mean"]
    assert entry["units"] == units
    assert entry["metrics"]["accuracy"] == pytest.approx(accuracy)


def test_wrong_by(empty, tmp_path):
    samples, X = make_samples(n=6)
    store = make_store(tmp_path / "store", samples, {"last": X})
    save_run(store, SIX)
    with pytest.raises(UsageError) as caught:
        evaluate(store, "abcd", by="slid")
    assert "Did you mean 'slide'" in caught.value.next
    with pytest.raises(UsageError, match="not of the form"):
        evaluate(store, "abcd", by="slide:max")
    with pytest.raises(StoreError, match="no run"):
        evaluate(store, "ffff")


def test_predictions_without_a_unit(tmp_path):
    samples, X = make_samples(n=6, plate=[None] * 6, grade=["x", *[None] * 5])
    samples["id"] = list("123456")
    store = make_store(tmp_path / "store", samples, {"last": X})
    wells = ["w", None, "v", None, "v", "v"]
    save_run(store, [(*row, well) for row, well in zip(SIX, wells, strict=True)], levels=("well",))
    with pytest.raises(DataError, match="2 predictions have no well, such as that of '2'"):
        evaluate(store, "abcd", by="well")
    with pytest.raises(DataError, match="No prediction has a value of 'plate'"):
        evaluate(store, "abcd", by="plate")
    (found,) = evaluate(store, "abcd", by="grade")
    assert (found.by["grade:mean"]["units"], found.by["grade:mean"]["left_out"]) == (1, 5)


def test_intervals_resample_groups(empty):
    # Two groups, all right and all wrong: a resample scores 0, 1/2 or 1.
    rows = [(0, str(i), "b", 1.0 if i < 5 else -1.0, "P" if i < 5 else "Q") for i in range(10)]
    (found,) = evaluate(empty, save_run(empty, rows), bootstrap=200)
    assert found.intervals["metrics"]["accuracy"] == [0.0, 1.0]
    assert (found.intervals["groups"], found.intervals["unit"], found.intervals["reliable"]) == (2, "slide", False)
    assert "unreliable" in found.notes[-1]
    rows = [(0, str(i), "b", 1.0 if i % 2 else -1.0, f"P{i // 2}") for i in range(40)]
    (found,) = evaluate(empty, save_run(empty, rows), bootstrap=200)
    assert found.intervals["metrics"]["accuracy"] == [0.5, 0.5]
    assert found.intervals["reliable"]


def test_a_metric_of_its_own(empty):
    (found,) = evaluate(empty, save_run(empty, SIX), metric="roc_auc")
    assert (found.metric, found.metrics["accuracy"]) == ("roc_auc", pytest.approx(4 / 6))
    with pytest.raises(UsageError, match="no metric 'auc'"):
        evaluate(empty, "abcd", metric="auc")


def test_intervals_of_one_group_are_none(empty):
    (found,) = evaluate(empty, save_run(empty, [(0, str(i), "ab"[i % 2], 1.0, "P") for i in range(4)]), bootstrap=50)
    assert found.intervals["metrics"]["accuracy"] is None


def test_intervals_without_groups_resample_samples(empty):
    rows = [(0, str(i), "ab"[i % 2], i % 3 - 1.0, None) for i in range(30)]
    (found,) = evaluate(empty, save_run(empty, rows, group=None), bootstrap=50)
    assert (found.intervals["unit"], found.intervals["groups"], found.groups) == ("sample", 30, None)


def test_a_thousand_resamples_take_less_than_three_seconds(empty):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2061)
    rows = [(int(i % 10), str(i), "ab"[y[i]], float(y[i] - 0.5 + rng.normal()), f"P{i % 64}") for i in range(2061)]
    run = save_run(empty, rows)
    started = time.process_time()
    (found,) = evaluate(empty, run, by="slide:mean", bootstrap=1000)
    assert time.process_time() - started < 3
    low, high = found.intervals["metrics"]["roc_auc"]
    assert low < found.metrics["roc_auc"] < high


def test_multiclass_equals_scikit_learns_area(empty):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 60)
    scores = rng.dirichlet(np.ones(3), 60) + 0.4 * np.eye(3)[y]
    scores /= scores.sum(1, keepdims=True)
    rows = [(0, str(i), "abc"[y[i]], scores[i].tolist(), "P") for i in range(60)]
    (found,) = evaluate(empty, save_run(empty, rows, classes=("a", "b", "c")))
    assert found.metrics["roc_auc"] == pytest.approx(sk.roc_auc_score(y, scores, multi_class="ovr"))
    assert found.confusion["counts"] == sk.confusion_matrix(y, scores.argmax(1)).tolist()


def test_unlabelled_samples_and_unknown_labels(empty):
    rows = [*SIX, (0, "7", None, 1.0, "P"), (0, "8", "zebra", 1.0, "P")]
    (found,) = evaluate(empty, save_run(empty, rows))
    assert found.confusion["classes"] == ["a", "b", "zebra"]
    assert (found.n, found.per_class["zebra"]["recall"]) == (7, 0)
    assert "1 sample without a label is not scored" in found.notes
    with pytest.raises(DataError, match="None of the 1 predictions"):
        evaluate(empty, save_run(empty, rows[6:7]))


def test_an_unknown_label_is_never_what_units_are_taken_for(empty):
    rows = [(0, "1", "a", -1.0, "P", "w"), (0, "2", "b", 1.0, "P", "v"), (0, "3", "zebra", 1.0, "Q", "u")]
    save_run(empty, rows, levels=("well",))
    for how in ("mean", "median", "vote"):
        (entry,) = units(empty, f"well:{how}").values()
        assert entry["confusion"] == {"classes": ["a", "b", "zebra"], "counts": [[1, 0, 0], [0, 1, 0], [0, 1, 0]]}


def test_labels_that_the_model_does_not_know_at_all(empty):
    rows = [(0, "1", "zebra", -1.0, "P"), (0, "2", "okapi", 1.0, "P")]
    with pytest.raises(DataError, match="predicts a, b; the labels of 'toy' are okapi, zebra"):
        evaluate(empty, save_run(empty, rows))
    # Where runs are listed it has no score, which is not one of 0.
    (listed,) = pooled_scores(empty, empty.runs(), pytest.fail).values()
    assert listed == ("accuracy", None)


def test_a_sample_without_a_label_is_not_listed_as_wrong(tmp_path):
    samples, X = make_samples(n=3)
    store = make_store(tmp_path / "store", samples, {"last": X})
    run = save_run(store, [(0, "s0", "a", 1.0, "P"), (0, "s1", None, 1.0, "P"), (0, "s2", "b", 1.0, "P")])
    assert predictions(store, run, wrong=True)["id"].to_pylist() == ["s0"]


def test_listing_and_files(tmp_path):
    samples, X = make_samples(box=[[1, 2, 3, 4]] * 60)
    store = make_store(tmp_path / "store", samples, {"last": X}, root="/data")
    (run,) = train(store, "toy", "net/last", grid={"C": 1})
    everything = predictions(store, run.id)
    wrong = predictions(store, run.id, wrong=True)
    first = everything.to_pylist()[0]
    assert first["image"] == f"/data/{first['id']}.png"
    assert first["box"] == "1,2,3,4"
    assert first["score:a"] == -first["score:b"]
    expected = [row for row in everything.to_pylist() if row["true"] != row["predicted"]]
    assert wrong.to_pylist() == expected
    of_one = predictions(store, run.id, where="slide = 'P1' AND label = 'a'").to_pylist()
    assert of_one == [row for row in everything.to_pylist() if (row["group"], row["true"]) == ("P1", "a")] != []
    assert len(predictions(store, run.id, where="slide = 'none'")) == 0
    (found,) = evaluate(store, run.id)
    assert len(wrong) == round(60 * (1 - found.metrics["accuracy"]))
    write_table(everything, tmp_path / "p.csv")
    assert pa.csv.read_csv(tmp_path / "p.csv").column_names == everything.column_names
    write_table(everything, tmp_path / "p.parquet")
    assert pa.parquet.read_table(tmp_path / "p.parquet").equals(everything)
    for path in (tmp_path / "p.txt", tmp_path / "nowhere" / "p.csv"):
        with pytest.raises(UsageError):
            write_table(everything, path)


def test_many_classes_take_little_more_memory_than_their_scores(empty):
    classes, count = 200, 2000
    names = tuple(f"grade {k}" for k in range(classes))
    scores = np.random.default_rng(0).normal(size=(count, classes))
    rows = [(k % 2, str(k), names[k % classes], scores[k].tolist(), f"P{k % 7}") for k in range(count)]
    run = save_run(empty, rows, classes=names)
    tracemalloc.start()
    try:
        (found,) = evaluate(empty, run)
        # Neither a Python object for each score, nor the orders of all columns beside each other: they were 7 times it.
        assert tracemalloc.get_traced_memory()[1] < 3 * scores.nbytes
    finally:
        tracemalloc.stop()
    true = np.arange(count) % classes
    area = sk.roc_auc_score(true == 7, scores[:, 7])
    assert found.per_class["grade 7"]["roc_auc"] == pytest.approx(area, abs=1e-12)


def test_tied_and_infinite_scores_are_ranked(empty):
    scores = [[0, 1, 2], [0, 1, 2], [1, 0, -np.inf], [-0.0, 2, 1], [0.0, -np.inf, 1], [np.inf, 1, np.inf]]
    rows = [(0, str(k), "abc"[k % 3], [float(v) for v in row], f"P{k}") for k, row in enumerate(scores)]
    (found,) = evaluate(empty, save_run(empty, rows, classes=("a", "b", "c")))
    ranks = np.unique(scores, return_inverse=True)[1].reshape(6, 3)
    for k, name in enumerate("abc"):
        area = sk.roc_auc_score(np.arange(6) % 3 == k, ranks[:, k])
        assert found.per_class[name]["roc_auc"] == area


def test_the_first_predictions_take_little_more_memory_than_the_scores_of_all(empty, capsys):
    classes, count = 200, 2000
    names = tuple(f"grade {k}" for k in range(classes))
    scores = np.random.default_rng(0).normal(size=(count, classes))
    rows = [(0, str(k), names[k % classes], scores[k].tolist(), "P") for k in range(count)]
    save_dataset(empty, "toy")
    run = save_run(empty, rows, classes=names)
    wanted = ["--store", str(empty.uri), "predictions", run, "--order", "surest", "--limit", "3", "--json"]
    assert cli.run([*wanted]) == 0
    shown = json.loads(capsys.readouterr().out)
    ordered = np.sort(scores)
    first = np.argsort(ordered[:, -2] - ordered[:, -1])[:3]
    assert [row["id"] for row in shown["predictions"]] == [str(k) for k in first]
    assert shown["count"] == count
    for k, row in zip(first, shown["predictions"], strict=True):
        assert [row[f"score:{name}"] for name in names] == scores[k].tolist()
    tracemalloc.start()
    try:
        assert cli.run([*wanted]) == 0
        # A Python object for each score takes four times as much, and each list of them as much again.
        assert tracemalloc.get_traced_memory()[1] < 3 * scores.nbytes
    finally:
        tracemalloc.stop()
