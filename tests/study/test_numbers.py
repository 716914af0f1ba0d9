"""Studies of targets that are numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import histokit
from histokit.errors import UsageError
from histokit.ingest.imports import import_features
from histokit.study.plan import plan_study
from histokit.study.run import run_study

STUDY = """\
classifiers = ["ridge", "svr"]
strategies = ["last layer", "feature selection"]
split = {{ folds = 3 }}
inner_folds = 2
metric = "mae"
[datasets.wells]
target = "dose"
{more}
[backbones.profiler]
last = "cells"
[classifier.svr.grid]
C = [0.01, 1.0]
[strategy."feature selection"]
step = 1
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that writes a study of 36 wells of twelve compounds, whose dose one column tells."""
    monkeypatch.delenv("HISTOKIT_STORE", raising=False)
    rng = np.random.default_rng(0)
    lines = ["id,compound,moa,dose,count,a,b,c"]
    for well in range(36):
        values = rng.normal(size=3).round(3)
        dose = round(5 + 2 * values[1] + 0.1 * rng.normal(), 3)
        facts = [f"w{well}", f"c{well % 12}", ("actin", "tubulin")[well % 2], dose, well % 5, *values]
        lines.append(",".join(map(str, facts)))
    path = tmp_path / "profiles.csv"
    path.write_text("\n".join(lines))
    store = histokit.open_store(tmp_path / "histokit-store")
    how = {"layer": "cells", "create": True, "label": "moa", "group": "compound", "metadata": ["dose", "count"]}
    import_features(store, "wells", path, name="profiler", version="1", **how)

    def written(text: str) -> Path:
        (tmp_path / "study.toml").write_text(text)
        return tmp_path / "study.toml"

    return written


def test_a_study_predicts_numbers(write) -> None:
    file = write(STUDY.format(more=""))
    result = run_study(file)
    assert result.failures == []
    store = plan_study(file).study.store
    assert {(run.numbers, run.metric, run.parameters["target"]) for run in store.runs()} == {(True, "mae", "dose")}
    assert plan_study(file).missing == []
    found = result.comparison
    assert found is not None
    assert [(column["metric"], column["target_type"]) for column in found.columns] == [("mae", "number")]
    scores = [method["cells"]["wells"]["score"] for method in found.methods]
    assert scores == sorted(scores)
    assert len(scores) == 4
    with_selection = [run for run in store.runs() if run.parameters["selection"]]
    assert all(fold["columns"] == [1] for run in with_selection for fold in run.folds)


def test_the_type_of_a_target_is_a_key(write) -> None:
    text = STUDY.format(more='target_type = "number"').replace('"dose"', '"count"')
    assert run_study(write(text)).failures == []
    with pytest.raises(UsageError, match="no type of target 'numbers'"):
        plan_study(write(text.replace('"number"', '"numbers"')))


def test_what_cannot_predict_numbers_is_told_before_anything_is_done(write) -> None:
    with pytest.raises(UsageError, match="The classifier svm predicts classes, and the target is a number"):
        plan_study(write(STUDY.format(more="").replace("svr", "svm")))
    with pytest.raises(UsageError, match="svr predicts numbers, and the target is a class"):
        plan_study(write(STUDY.format(more='target_type = "class"')))
