"""The benchmark of support vector machines gives both the same folds, and compares their scores."""

import json

import numpy as np


def test_both_score_the_same(tmp_path, monkeypatch, run):
    import svm

    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    X = rng.normal(size=(120, 10)).astype(np.float32) + y[:, None]
    vectors = tmp_path / "vectors"
    vectors.mkdir()
    (vectors / "notes.txt").write_text("Drawn.")
    np.savez(vectors / "320.npz", X=X, y=y, groups=(np.arange(120) % 12).astype(str))
    monkeypatch.setattr(svm, "_PENALTIES", [1e-3, 1e-2])
    monkeypatch.setattr(svm, "cores", lambda: 1)
    run(svm, "--columns", "320", "--vectors", vectors, "--rounds", 1, "--json", tmp_path / "out.json")
    (table,) = json.loads((tmp_path / "out.json").read_text())["tables"]
    theirs, ours = table["rows"]
    assert theirs[0] == "GridSearchCV(LinearSVC)"
    assert float(ours[5]) <= 0.0101
    assert abs(float(ours[3]) - float(theirs[3])) <= 0.0101
    assert "Drawn." in table["notes"]
