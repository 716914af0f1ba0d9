"""Folds of one setting are solved together, with the outcome of one after the other."""

import numpy as np
import pytest

from histokit.train import folds
from histokit.train.train import train
from tests.toy import make_samples, make_store


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("name", "grid"), [("svm", {"C": 0.5}), ("logreg", {"C": 0.5}), ("knn", {"k": 3, "metric": "cosine"})]
)
def test_outcomes_are_those_of_one_fold_after_the_other(tmp_path, monkeypatch, name, grid, classes):
    samples, X = make_samples()
    if classes == 3:
        samples["label"] = [label + "2" * (label == "a" and i % 3 == 0) for i, label in enumerate(samples["label"])]
    store = make_store(tmp_path, samples, {"last": X})
    how = {"classifier": name, "grid": grid, "split": "leave-one-group-out"}
    calls, alone = [], folds.fit_rows
    monkeypatch.setattr(folds, "fit_rows", lambda *given: calls.append(given) or alone(*given))
    (together,) = train(store, "toy", "net/last", **how)
    assert not calls
    found = store.predictions(together.id)
    monkeypatch.setattr(folds, "can_be_solved_together", lambda *_: False)
    (one_by_one,) = train(store, "toy", "net/last", **how, force=True)
    assert (len(calls), one_by_one.id) == (6, together.id)
    expected = store.predictions(one_by_one.id)
    for column in ("id", "fold", "predicted", "true"):
        assert found[column].to_pylist() == expected[column].to_pylist()
    scores, wanted = (np.array(rows["scores"].to_pylist()) for rows in (found, expected))
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-5)
    assert scores.shape[1] == classes
    without = [
        [{k: v for k, v in fold.items() if k != "seconds"} for fold in run.folds] for run in (together, one_by_one)
    ]
    assert without[0] == without[1]
    assert together.notes == one_by_one.notes
