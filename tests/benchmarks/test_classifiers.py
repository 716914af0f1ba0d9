"""The benchmark of classifiers compares the same grids on the same folds, and draws what it measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Vectors of 320 columns, of which some tell the class."""
    folder = tmp_path / "vectors"
    folder.mkdir()
    (folder / "notes.txt").write_text("Made up.")
    rng = np.random.default_rng(0)
    y = np.arange(240) % 2
    X = rng.normal(size=(240, 320)).astype(np.float32)
    X[:, ::8] += 0.4 * y[:, None]
    np.savez(folder / "320.npz", X=X, y=y, groups=(np.arange(240) // 6).astype(str))
    return folder


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:Got `batch_size`")
def test_grids_are_compared_and_drawn(tmp_path: Path, run: Any, vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import classifiers

    monkeypatch.setattr(classifiers, "cores", lambda: 1)
    monkeypatch.setattr(classifiers, "FACTORS", {"rows": (2,), "columns": (2,), "classes": (2,), "folds": (2,)})
    file = tmp_path / "result.json"
    sizes = ["--shape", "60,8,2,2", "--base", "60,8,2,2", "--epochs", "2,20", "--folds", 3, "--columns", 320]
    printed = run(classifiers, *sizes, "--rounds", 1, "--vectors", vectors, "--json", file)
    assert "Made up." in printed
    document = json.loads(file.read_text())
    library, ours = (sorted(timing["facts"][0]["means"]) for timing in document["timings"]["perceptron"])
    assert [key for *key, _ in library] == [key for *key, _ in ours]
    assert len(ours) == 8
    # One mini-batch holds all training samples of a fold, so that both do the same.
    np.testing.assert_allclose([mean for *_, mean in ours], [mean for *_, mean in library], atol=0.01)
    hundred = document["timings"]["100 settings"]
    assert [timing["items"] for timing in hundred] == [50] * 4 + [3] * 4
    assert [row[0] for row in document["tables"][1]["rows"]] == ["svm", "logreg", "ridge", "knn", "together"]
    cost = {timing["name"]: timing["facts"][0]["points"] for timing in document["timings"]["cost"]}
    assert list(cost) == list(classifiers.SOLVERS)
    for points in cost.values():
        assert [point["changed"] for point in points] == ["", "rows", "columns", "classes", "folds"]
        assert [point["classes"] for point in points] == [2, 2, 2, 4, 2]
    assert file.with_suffix(".svg").read_text().startswith("<?xml")


def test_drawn_features_are_like_a_networks() -> None:
    import classifiers

    X, y = classifiers.drawn(400, 30, 3)
    assert X.dtype == np.float32
    assert X.min() == 0
    folds = classifiers.places(y, None, 4)
    accuracy = classifiers.solved("ridge", X, y, folds, [{"alpha": 1.0}]).mean()
    assert 0.5 < accuracy < 0.95
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(400))


def test_100_settings_are_100() -> None:
    import classifiers

    from histokit.classifiers.grids import make_grid

    grids = [make_grid(name, grid)[-25:] for name, grid in classifiers.GRIDS.items()]
    assert [len(grid) for grid in grids] == [25] * 4
