"""What a reader of a comparison is told: leaks, choices on test samples, scores that are undefined."""

import json

import numpy as np
import pytest

from histokit.compare.compare import compare
from histokit.features import FeatureStore
from tests.compare.made_up import score_table, scores
from tests.evaluate.made_up import save, save_dataset


@pytest.fixture
def empty(tmp_path):
    return FeatureStore(tmp_path / "store")


def test_what_leaks_into_runs_is_named_again(empty):
    said = [
        "1 test sample is byte-identical to training samples (such as a = b): the scores may be too good",
        "2 of 20 samples were in the training of the model: their scores say nothing",
    ]
    save(empty, "A", 15, notes=[*said, "8 folds instead of 10"])
    save(empty, "A", 12, "et")
    found = compare(empty, everything=True, bootstrap=5)
    assert {f"net/last on A: {note}" for note in said} <= set(found.notes)
    assert not any("instead of" in note for note in found.notes)


def test_layers_chosen_on_the_test_samples_are_marked(empty):
    save(empty, "A", 15)
    peeked = save(empty, "A", 16, choose="test", candidates=["net/1", "net/2"])
    found = compare(empty, everything=True, bootstrap=5)
    assert any(f"layers of {peeked} were chosen on the test samples" in note for note in found.notes)
    assert {m["method"]: m["cells"]["A"]["optimistic"] for m in found.methods} == {"net/each": True, "net/last": False}
    (mean,) = compare(empty, everything=True, by="classifier", bootstrap=5).methods
    assert mean["cells"]["A"]["optimistic"], "as one of its runs is"


def test_epochs_chosen_on_the_test_samples_are_marked_and_predictions_of_other_data_are_not(empty):
    recipes = {name: {"choose_epoch": name} for name in ("validation", "test")}
    kept = save(empty, "A", 15, "fine-tuning", "net/last", kind="finetune", recipe=recipes["validation"])
    peeked = save(empty, "A", 16, "from-scratch", "net/last", kind="finetune", recipe=recipes["test"])
    found = compare(empty, [kept, peeked], bootstrap=5)
    assert [note for note in found.notes if "chosen" in note] == [
        f"epochs of {peeked} were chosen on the test samples: their scores are optimistic"
    ]
    marks = {row["run"]: row["method"] for row in found.rows}
    cells = {m["method"]: m["cells"]["A"]["optimistic"] for m in found.methods}
    assert (cells[marks[kept]], cells[marks[peeked]]) == (False, True)
    # What was chosen by these samples is as good as it is on others.
    other = {"kind": "predict", "split": "", "digest": "none"}
    ids = [save(empty, "B", 15, "fine-tuning", source_run=peeked, recipe=recipes["test"], **other)]
    ids += [save(empty, "B", 16, choose="test", candidates=["net/1", "net/2"], **other)]
    found = compare(empty, ids, bootstrap=5)
    assert not any("chosen" in note for note in found.notes)
    assert not any(m["cells"]["B"]["optimistic"] for m in found.methods)


def test_scores_that_are_no_numbers(empty):
    for name in "AB":
        save_dataset(empty, name, "roc_auc")
        for classifier in ("svm", "et", "knn"):
            broken = [np.nan, *np.tile([-1.0, 1.0], 10)[1:]] if (classifier, name) == ("knn", "B") else None
            save(empty, name, 15, classifier, scores=broken)
    found = compare(empty, everything=True, bootstrap=20)
    assert scores(found, "B")["knn"] is None
    assert found.ranking["left_out"] == {"knn": ["B"]}
    assert any("scores that are no numbers" in note for note in found.notes)
    assert [p["difference"] for p in found.pairs if "knn" in (p["first"], p["second"]) and p["column"] == "B"] == [
        None,
        None,
    ]
    json.dumps(found.to_json(), allow_nan=False)
    assert scores(compare(empty, dataset="B", metric="accuracy", bootstrap=5), "B")["knn"] == pytest.approx(1.0)


def test_an_undefined_score_is_named(empty):
    save_dataset(empty, "A", "roc_auc")
    for classifier in ("svm", "et"):
        save(empty, "A", 15, classifier, run_id=f"{classifier}1234", labels=["a"] * 20)
    found = compare(empty, everything=True, bootstrap=20)
    assert scores(found, "A") == {"svm": None, "et": None}
    assert "the roc_auc of et1234, svm1234 on A is undefined" in found.notes
    assert found.rows[0]["interval"] is None
    assert [row[2] for row in score_table(found).rows] == [None, None]
