"""Vectors that were computed elsewhere, in a study beside networks or alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import histokit
from histokit.errors import StoreError, UsageError
from histokit.features import FeatureStore
from histokit.ingest.imports import import_features
from histokit.store import documents
from histokit.study.plan import plan_study
from histokit.study.run import run_study
from tests.toy import make_samples

STUDY = """\
datasets = ["wells"]
classifiers = ["knn"]
strategies = ["last layer", "merged layers", "inner layers"]
split = "leave-one-group-out"
inner_folds = 2
[backbones.profiler]
last = "cells"
[classifier.knn.grid]
k = 1
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of 24 wells of six compounds, with vectors of two kinds in the store."""
    monkeypatch.delenv("HISTOKIT_STORE", raising=False)
    store = histokit.open_store(tmp_path / "histokit-store")
    bring(store, "cells", create=True, label="moa", group="compound")
    bring(store, "nuclei", metadata=["moa", "compound"])
    return write(tmp_path, STUDY)


def bring(store: FeatureStore, layer: str, version: str = "1", dataset: str = "wells", **options: object) -> None:
    rng = np.random.default_rng([len(layer), int(version)])
    lines = ["id,compound,moa,a,b"]
    for well in range(24):
        values = rng.normal(3 * (well % 6 // 3), 1, 2).round(3).tolist()
        lines.append(f"w{well},c{well % 6},{('actin', 'tubulin')[well % 6 // 3]},{values[0]},{values[1]}")
    path = store.uri.parent / "profiles.csv"
    path.write_text("\n".join(lines))
    import_features(store, dataset, path, name="profiler", version=version, layer=layer, **options)


def write(folder: Path, text: str) -> Path:
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def test_a_study_of_vectors_is_done_and_answered_from_the_store(file: Path) -> None:
    plan = plan_study(file)
    assert [piece.title for piece in plan.pieces if piece.done] == [
        "ingest wells",
        "imported wells profiler/cells,nuclei",
    ]
    result = run_study(file)
    assert result.failures == []
    store = plan.study.store
    options = {"split": "leave-one-group-out", "grid": {"k": "1"}, "inner_folds": 2}
    (last,) = histokit.train(store, "wells", "profiler/cells", "knn", **options)
    (merged,) = histokit.train(store, "wells", "profiler/cells+profiler/nuclei", "knn", **options)
    *_, inner = histokit.train(store, "wells", "profiler/each", "knn", choose="inner", **options)
    assert result.runs == [last.id, merged.id, inner.id]
    assert plan_study(file).missing == []


def test_a_version_is_named_where_there_are_several(file: Path, tmp_path: Path) -> None:
    store = plan_study(file).study.store
    bring(store, "cells", "2", metadata=["moa", "compound"])
    (trouble,) = [piece.trouble for piece in plan_study(file).pieces if piece.trouble]
    assert "ambiguous" in trouble.message
    text = STUDY.replace('strategies = ["last layer", "merged layers", "inner layers"]', 'strategies = ["last layer"]')
    for version in "12":
        result = run_study(write(tmp_path, text.replace('last = "cells"', f'last = "cells"\nversion = "{version}"')))
        (run,) = result.runs
        assert store.run(run).features[0]["table"] in {t.name for t in store.feature_tables() if t.version == version}


def test_a_dataset_without_the_vectors_is_told_how_to_get_them(file: Path, tmp_path: Path) -> None:
    histokit.ingest(plan_study(file).study.store, "synthetic", name="drawn")
    write(tmp_path, STUDY.replace('["wells"]', '["wells", "drawn"]'))
    result = run_study(file)
    assert len(result.runs) == 3
    (failed,) = result.failed
    assert isinstance(failed.error, StoreError)
    assert failed.error.message == "The dataset 'drawn' has no vectors of 'profiler'."
    assert "histokit import-features drawn FILE --name profiler" in failed.error.next


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", 'profiler\' has the layers cells, nuclei.\nSay which is the last one: last = "…"'),
        ('last = "cell"', "no layer 'cell'.\nIt has cells, nuclei."),
        ('last = "cells"\nlayers = ["cells", "x"]', "no layer 'x'.\nIt has cells, nuclei."),
        ('last = "cells"\nversion = "3"', "no version '3'.\nIt has 1."),
        ('last = "cells"\nweights = "random:1"', "weights: 'profiler' are vectors that were imported"),
    ],
)
def test_a_mistake_about_vectors(file: Path, tmp_path: Path, given: str, says: str) -> None:
    write(tmp_path, STUDY.replace('last = "cells"', given))
    with pytest.raises(UsageError) as caught:
        plan_study(file)
    assert says in f"{caught.value.message}\n{caught.value.next}"


def test_a_network_has_no_version(file: Path, tmp_path: Path) -> None:
    write(tmp_path, STUDY.replace('[backbones.profiler]\nlast = "cells"', '[backbones.texture]\nversion = "1"'))
    with pytest.raises(UsageError, match="Only imported vectors have a version"):
        plan_study(file)


def test_all_vectors_that_another_dataset_lacks_are_named(file: Path) -> None:
    store = plan_study(file).study.store
    grid = {"k": "1"}
    (run,) = histokit.train(store, "wells", "profiler/cells+profiler/nuclei", "knn", split="holdout", grid=grid)
    bring(store, "other", dataset="more", create=True, label="moa", group="compound")
    with pytest.raises(
        StoreError, match="elsewhere and that 'more' does not have: profiler/cells; profiler/nuclei"
    ) as caught:
        histokit.predict(store, run.id, "more")
    for layer in ("cells", "nuclei"):
        assert f"histokit import-features more FILE --name profiler --version 1 --layer {layer}" in caught.value.next


BY_CONTROLS = """\
classifiers = ["knn"]
strategies = ["last layer"]
inner_folds = 2
[datasets.wells]
aggregate = "compound:median"
normalise = "standardise"
controls = "compound = 'c0'"
split = { name = "barred", leave_one_group_out = true, bar = "batch" }
[backbones.profiler]
last = "cells"
[classifier.knn.grid]
k = 1
"""


def test_a_study_takes_units_normalised_by_controls_in_folds_that_bar_batches(file: Path, tmp_path: Path) -> None:
    store = plan_study(file).study.store
    rng = np.random.default_rng(3)
    lines = ["id,compound,batch,moa,a,b"]
    for well in range(24):
        compound = well % 6
        values = rng.normal(3 * (compound // 3), 1, 2).round(3).tolist()
        lines.append(
            f"w{well},c{compound},b{compound % 3},{('actin', 'tubulin')[compound // 3]},{values[0]},{values[1]}"
        )
    (tmp_path / "batches.csv").write_text("\n".join(lines))
    how = {"name": "profiler", "version": "1", "layer": "cells", "label": "moa", "group": "compound"}
    import_features(store, "batches", tmp_path / "batches.csv", create=True, **how)
    text = BY_CONTROLS.replace("datasets.wells", "datasets.batches")
    result = run_study(write(tmp_path, text))
    assert result.failures == []
    options = {"split": "barred", "grid": {"k": "1"}, "inner_folds": 2, "aggregate": "compound:median"}
    options |= {"normalise": "standardise", "controls": "compound = 'c0'"}
    (run,) = histokit.train(store, "batches", "profiler/cells", "knn", **options)
    assert result.runs == [run.id]
    # c0 is the control; each other compound is tested without the one of its batch.
    assert sorted(store.predictions(run.id)["id"].to_pylist()) == ["c1", "c2", "c3", "c4", "c5"]
    assert [fold["train"] for fold in run.folds] == [3, 3, 4, 3, 3]
    with pytest.raises(UsageError, match="no column 'compund'"):
        plan_study(write(tmp_path, text.replace("compound = 'c0'", "compund = 'c0'")))
    with pytest.raises(UsageError, match="no way 'standardize'"):
        plan_study(write(tmp_path, text.replace('"standardise"', '"standardize"')))


def test_a_study_selects_columns_of_what_its_classifiers_are_trained_on(file: Path, tmp_path: Path) -> None:
    samples, X = make_samples(60, kind=["control" if i % 5 == 0 else "dose" for i in range(60)])
    lines = [
        ",".join(map(str, [*facts, *vector])) for *facts, vector in zip(*samples.values(), X.tolist(), strict=True)
    ]
    names = [*samples, *(f"x{i}" for i in range(X.shape[1]))]
    (tmp_path / "doses.csv").write_text("\n".join([",".join(names), *lines]))
    store = plan_study(file).study.store
    how = {"name": "profiler", "version": "1", "layer": "cells", "label": "label", "group": "slide"}
    import_features(store, "doses", tmp_path / "doses.csv", create=True, **how)
    text = BY_CONTROLS.replace("datasets.wells", "datasets.doses").replace('"last layer"', '"feature selection"')
    text = text.replace('aggregate = "compound:median"\n', "").replace("compound = 'c0'", "kind = 'control'")
    text = text.replace('{ name = "barred", leave_one_group_out = true, bar = "batch" }', '"holdout"')
    text = text.replace("[backbones", "where = \"slide <> 'P5'\"\nmetric = 'balanced_accuracy'\n[backbones")
    result = run_study(write(tmp_path, f'{text}[strategy."feature selection"]\nstep = 4\n'))
    assert result.failures == []
    options = {"split": "holdout", "inner_folds": 2, "normalise": "standardise", "controls": "kind = 'control'"}
    options |= {"where": "slide <> 'P5'", "metric": "balanced_accuracy"}
    (chosen,) = store.selections()
    assert chosen.id == histokit.select(store, "doses", "profiler/cells", **options, step=4).id
    how = {**options, "grid": {"k": "1"}, "selection": chosen.id}
    assert result.runs == [run.id for run in histokit.train(store, "doses", "profiler/cells", "knn", **how)]
    # No control is selected on, nor trained on.
    assert not {f"s{i}" for i in range(0, 60, 5)} & {each for part in chosen.fitted_on for each in part["ids"]}
    assert store.run(result.runs[0]).parameters["selection"] == chosen.id


def test_a_plan_reads_the_record_of_each_dataset_for_that_dataset_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = tmp_path / "profiles.csv"
    profiles.write_text("id,label,slide,a\n" + "".join(f"s{i},{'xy'[i % 2]},g{i // 2},{i}.5\n" for i in range(8)))
    names = [f"d{number:02}" for number in range(30)]
    for name in names:
        import_features(tmp_path / "store", name, profiles, name="net", version="1", create=True, group="slide")
    file = tmp_path / "study.toml"
    file.write_text(
        f"datasets = {json.dumps(names)}\nstrategies = ['last layer']\nclassifiers = ['knn']\nsplit = 'holdout'\n"
        f"store = '{tmp_path}/store'\n[backbones.net]\n"
    )
    parsed: Counter[str | None] = Counter()
    parse = documents.parse

    def counted(row: Mapping[str, Any]) -> dict[str, Any]:
        parsed[row.get("name")] += 1
        return parse(row)

    monkeypatch.setattr(documents, "parse", counted)
    plan = plan_study(file)
    assert [len(plan.pieces), len(plan.missing)] == [90, 30]
    assert parsed["d07"] < 20
