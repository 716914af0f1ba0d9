"""Which runs are compared: by their ids, their datasets and filters, and which of them are left out."""

import pytest

from histokit.compare.compare import compare
from histokit.errors import DataError, StoreError, UsageError
from histokit.features import FeatureStore
from tests.compare.made_up import scores
from tests.evaluate.made_up import save


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def test_one_run_is_no_comparison(empty):
    run = save(empty, "A", 15)
    with pytest.raises(UsageError, match="two runs or more"):
        compare(empty, [run, run])
    with pytest.raises(UsageError, match="two runs or more"):
        compare(empty, where="classifier = 'knn'")
    with pytest.raises(UsageError, match="not said which runs"):
        compare(empty)


def test_many_runs_by_their_ids_or_beginnings(empty):
    runs = [save(empty, "A", 10 + i, address=f"net/{i}") for i in range(6)]
    calls = []
    found = compare(empty, [*runs[:5], runs[5][:5]], bootstrap=1, progress=lambda *given: calls.append(given))
    assert [row["run"] for row in found.rows] == runs
    assert calls == [(number, 6, run) for number, run in enumerate(runs, start=1)]


def test_a_run_tells_whether_its_columns_were_selected(empty):
    save(empty, "A", 15)
    save(empty, "A", 15, "et", rfe=True)
    save(empty, "A", 15, "knn", selection="abcd")
    rows = {row["classifier"]: row["selected"] for row in compare(empty, everything=True, bootstrap=1).rows}
    assert rows == {"svm": False, "et": True, "knn": True}


def test_a_newer_run_of_the_same_replaces_the_older_one(empty):
    save(empty, "0", 15, "knn", created="2025-01-01")
    old = save(empty, "A", 10, run_id="aaaa", created="2026-01-01")
    new = save(empty, "A", 18, run_id="bbbb", created="2026-02-01")
    other = save(empty, "A", 15, "et")
    found = compare(empty, everything=True, bootstrap=5)
    # The dataset whose run comes first has no part in it.
    assert scores(found, "A") == pytest.approx({"svm": 0.9, "et": 0.75})
    assert "aaaa is left out: bbbb is a newer run of the same on A" in found.notes
    by_hand = compare(empty, [old, new, other], bootstrap=5)
    assert scores(by_hand, "A") == pytest.approx({"svm run bbbb": 0.9, "et": 0.75, "svm run aaaa": 0.5})
    assert scores(compare(empty, [old, new], by="classifier", bootstrap=5), "A") == pytest.approx({"svm": 0.7})


def test_runs_of_a_dataset_come_in_the_order_in_which_they_were_made(empty):
    runs = [
        save(empty, "A", 15, classifier, run_id=run_id, created=f"2026-0{month}-01")
        for month, (classifier, run_id) in enumerate([("svm", "bbbb"), ("et", "cccc"), ("knn", "aaaa")], start=1)
    ]
    assert [row["run"] for row in compare(empty, dataset="A", bootstrap=1).rows] == runs


def test_unlabelled_predictions(empty):
    runs = [save(empty, "A", 15), save(empty, "A", 14, "et")]
    blind = save(empty, "A", 0, "knn", labels=[None] * 20, scores=[1.0] * 20)
    found = compare(empty, dataset="A", bootstrap=5)
    assert set(scores(found, "A")) == {"svm", "et"}
    assert any(f"left out: None of the 20 predictions of the run {blind}" in note for note in found.notes)
    with pytest.raises(DataError, match="has a true label"):
        compare(empty, [*runs, blind])
    save(empty, "B", 15)
    save(empty, "B", 0, "knn", labels=[None] * 20, scores=[1.0] * 20)
    with pytest.raises(UsageError, match="two runs or more"):
        compare(empty, dataset="B")


def test_filters_over_what_is_known_of_runs(empty):
    save(empty, "A", 15, seed=0)
    save(empty, "A", 15, "et", seed=1, rfe=True)
    save(empty, "B", 15, "et", seed=2, grid=[{"C": 1}])

    def kept(where):
        return sorted(row["dataset"] + row["classifier"] for row in compare(empty, where=where, bootstrap=1).rows)

    assert kept("seed > 0") == ["Aet", "Bet"]
    assert kept("dataset = 'A'") == ["Aet", "Asvm"]
    assert kept("NOT rfe") == ["Asvm", "Bet"]
    assert kept("strategy = 'feature selection' OR grid IS NOT NULL") == ["Aet", "Bet"]
    with pytest.raises(UsageError) as caught:
        kept("klassifier = 'svm'")
    assert "there is no column 'klassifier'" in caught.value.message
    assert "classifier, " in caught.value.next
    with pytest.raises(UsageError):
        kept("seed = ")
    with pytest.raises(StoreError, match="no dataset 'Z'"):
        compare(empty, dataset="Z")
