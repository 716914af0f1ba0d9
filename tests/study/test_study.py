from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import histokit
from histokit.errors import DataError
from histokit.plugin import hookimpl
from histokit.plugin.testing import added_plugin
from histokit.study import extractions, selections_and_runs
from histokit.study.plan import Plan, plan_study
from histokit.study.run import PieceOutcome, StudyResult, run_study
from histokit.study.study_pieces import MakeSplit
from tests.study.small_study import FILE, PIECES, RUNS, write_study
from tests.toy import make_samples, make_store

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}


def missing(plan: Plan) -> Counter[str]:
    return Counter(piece.kind for piece in plan.missing)


def states(result: StudyResult) -> Counter[str]:
    return Counter(outcome.state for outcome in result.outcomes)


def test_a_study_is_planned_done_and_answered_from_the_store(file: Path) -> None:
    plan = plan_study(file)
    counts = {"ingest": 2, "split": 2, "extract": 4, "select": 2, "train": RUNS}
    assert missing(plan) == counts
    assert not plan.study.store.uri.exists()
    assert all(piece.seconds is not None for piece in plan.pieces if piece.kind != "extract")
    said: list[str] = []
    told: list[tuple[int, int, str]] = []
    heard: list[str] = []
    tracker = SimpleNamespace(on_run_finished=hookimpl(lambda run: heard.append(run.id)))
    with added_plugin(tracker, "tracker"):
        result = run_study(file, say=said.append, progress=lambda *told_now: told.append(told_now))
        assert sorted(heard) == sorted(set(heard))
        assert set(result.runs) <= set(heard)
    assert states(result) == {"done": PIECES}
    assert said[0] == f"0 of {PIECES} pieces are done already"
    assert said[-1].startswith(f"{PIECES}/{PIECES}  train more images et-fl (et-fl): accuracy ")
    assert {total for _, total, _ in told} == {PIECES}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert plan_study(file).missing == []
    again = run_study(file, say=said.append)
    assert states(again) == {"cached": PIECES}
    assert again.runs == result.runs
    check_runs(result)


def check_runs(result: StudyResult) -> None:
    """What the study did is what single commands do."""
    store = result.plan.study.store
    train = {"split": "study", "inner_folds": 2}
    svm = {**train, "grid": {"C": "0.01,1"}}
    (last,) = histokit.train(store, "cells", "small/last", "svm", **svm)
    (merged,) = histokit.train(store, "more", "tiny/last+small/last", "knn", **train, grid={"k": "3"})
    (layers,) = histokit.train(store, "more", "tiny/all", "svm", **svm)
    *_, inner = histokit.train(store, "cells", "tiny/each", "svm", **svm, choose="inner")
    selection = histokit.select(store, "cells", "tiny/last", split="study", inner_folds=2, step=5)
    (selected,) = histokit.train(store, "cells", "tiny/last", "svm", **svm, selection=selection.id)
    assert {run.id for run in (last, merged, layers, inner, selected)} < set(result.runs)
    assert len(result.runs) == RUNS


def test_the_plan_knows_what_a_change_leaves_valid(file: Path, tmp_path: Path) -> None:
    text = FILE.replace('["svm", "knn"]', '["svm"]').replace("[classifier.knn.grid]\nk = 3\n", "")
    text = f'strategies = ["last layer", "inner layers", "feature selection"]\n{text}'
    text = text.replace("[classifier.et-fl.grid]\nwindows = 240\nmin_leaf = 10\ntrees = 2\nk = 8\n", "")
    write_study(tmp_path, text)
    run_study(file)
    assert missing(plan_study(file)) == {}
    write_study(tmp_path, text.replace("test = 0.25", "folds = 4"))
    assert missing(plan_study(file)) == {"split": 2, "select": 2, "train": 10}
    write_study(tmp_path, text.replace("1.0]", "0.1]"))
    assert missing(plan_study(file)) == {"train": 10}
    write_study(tmp_path, text.replace('weights = "random:5"', 'weights = "random:6"'))
    assert missing(plan_study(file)) == {"extract": 2, "train": 4}
    write_study(tmp_path, text.replace("step = 5", "step = 4"))
    assert missing(plan_study(file)) == {"select": 2, "train": 2}
    # Other labels are another question to the same features.
    write_study(tmp_path, text)
    (tmp_path / "more" / "a" / "dark").rename(tmp_path / "more" / "a" / "night")
    (tmp_path / "more" / "a" / "bright").rename(tmp_path / "more" / "a" / "dark")
    (tmp_path / "more" / "a" / "night").rename(tmp_path / "more" / "a" / "bright")
    assert missing(plan_study(file))["ingest"] == 1, "files were renamed"
    histokit.ingest(plan_study(file).study.store, "folder", tmp_path / "more", name="more", options=OPTIONS)
    assert missing(plan_study(file)) == {"extract": 2, "select": 1, "train": 5}


def test_a_failing_dataset_stops_no_other(file: Path, tmp_path: Path) -> None:
    text = f'strategies = ["last layer"]\n{FILE.split("[classifier.knn")[0]}'.replace('["svm", "knn"]', '["svm"]')
    write_study(tmp_path, text)
    (tmp_path / "more" / "b" / "dark" / "1.png").write_bytes(b"no image")
    result = run_study(file)
    assert states(result) == {"done": 8, "failed": 2, "left out": 2}
    first, _ = result.failed
    assert first.piece.title == "extract more tiny/3"
    assert isinstance(first.error, DataError)
    assert "1 sample of 'more' could not be used, such as 'b/dark/1.png'" in first.error.message
    assert "allow_missing = true under [datasets.more]" in first.error.next
    assert len(result.runs) == 2
    assert result.comparison is not None
    assert {row["dataset"] for row in result.comparison.rows} == {"cells"}
    trouble = [piece for piece in plan_study(file).pieces if piece.trouble]
    assert [piece.title for piece in trouble] == ["extract more tiny/3", "extract more small/3"]
    write_study(tmp_path, text.replace("[datasets.more]", "[datasets.more]\nallow_missing = true"))
    result = run_study(file)
    assert states(result) == {"cached": 10, "done": 2}
    assert any("1 of 24 samples is left out" in note for note in result.plan.study.store.run(result.runs[-1]).notes)


def test_networks_that_share_their_layers_are_extracted_in_one_pass(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, f'strategies = ["merged layers"]\n{FILE.split("[classifier.")[0]}')
    asked: list[list[str]] = []
    real = extractions.extract

    def extract(store: Any, dataset: str, networks: list[str], **options: Any) -> Any:
        if not options.get("dry_run"):
            asked.append(networks)
        return real(store, dataset, networks, **options)

    monkeypatch.setattr(extractions, "extract", extract)
    monkeypatch.setattr(selections_and_runs.Train, "do", lambda piece, report: "")
    result = run_study(file)
    assert asked[:3] == [["tiny", "small"], ["tiny"], ["small"]]
    assert [outcome.result for outcome in result.outcomes if outcome.piece.kind == "extract"] == ["24 images"] * 4
    read = result.plan.study.store.feature_tables()
    assert {table.address for table in read} == {f"{name}/{layer}" for name in ("tiny", "small") for layer in (0, 1, 3)}


SPLIT_IN_THE_TABLE = """\
strategies = ["last layer"]
classifiers = ["knn"]
classifier.knn.grid.k = 1
[datasets.cells]
plugin = "table"
root = "."
options = { table = "t.csv", split = "fold" }
[backbones.tiny]
"""


def test_a_split_that_changed_in_the_data_is_the_one_of_the_next_run(file: Path, tmp_path: Path) -> None:
    write_study(tmp_path, SPLIT_IN_THE_TABLE)
    paths = [path.relative_to(tmp_path).as_posix() for path in sorted((tmp_path / "cells").rglob("*.png"))]

    def write(patient: str) -> None:
        rows = [f"{path},{path.split('/')[2]},{'test' if f'/{patient}/' in path else 'train'}" for path in paths]
        (tmp_path / "t.csv").write_text("\n".join(["image,label,fold", *rows]))

    def tested() -> set[str]:
        result = run_study(file)
        return {row["id"].split("/")[1] for row in result.plan.study.store.predictions(result.runs[0]).to_pylist()}

    write("a")
    assert tested() == {"a"}
    write("b")
    assert missing(plan_study(file)) == {"ingest": 1, "extract": 1, "train": 1}
    assert tested() == {"b"}
    assert missing(plan_study(file)) == {}


def test_what_is_to_be_known_of_pieces_is_told_once_and_of_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    record = SimpleNamespace(id="r", notes=("of the run",), mean_over_folds=0.5, metric="accuracy")
    found = SimpleNamespace(notes=("slow",), warnings=("dark",), problems=())
    monkeypatch.setattr(selections_and_runs.Train, "_ask", lambda *_, **__: [record])
    monkeypatch.setattr(extractions, "extract_networks", lambda *_, **__: found)
    data: Any = SimpleNamespace(name="d", aggregate="well:mean", normalise="standardise", allow_missing=False)
    network: Any = SimpleNamespace(name="tiny", layers=("last",))
    nothing: Any = None
    pieces: list[Any] = [
        extractions.Extract(study=nothing, data=data, network=network),
        selections_and_runs.Train(study=nothing, data=data, layers="last"),
        selections_and_runs.Train(study=nothing, data=data, layers=""),
    ]
    outcomes = [PieceOutcome(piece, "done", piece.do(lambda *_: None)) for piece in pieces]
    assert StudyResult(nothing, outcomes, 0.0).notes == [
        "slow",
        "dark",
        "of the run (2 pieces)",
        "images cannot be aggregated: scored on images, not by well:mean",
        "images cannot be normalised by controls, which are trained on where they have labels",
    ]


def test_a_split_of_another_group_is_made_again_though_its_folds_are_the_same(tmp_path: Path) -> None:
    samples, X = make_samples(n=24)
    samples["patient"] = [f"patient {slide}" for slide in samples["slide"]]
    store = make_store(tmp_path / "store", samples, {"last": X})
    facts = {"name": "toy", "split": "study", "target": None, "target_type": None}
    split = {}
    for group, done in (("slide", False), ("patient", False), ("patient", True)):
        data: Any = SimpleNamespace(**facts, made={"folds": 2, "group": group})
        study: Any = SimpleNamespace(store=store)
        piece = MakeSplit(study=study, data=data)
        piece.look()
        assert piece.done is done
        piece.do(lambda *_: None)
        split[group] = store.split("toy", "study")
    assert [split[group].group for group in ("slide", "patient")] == ["slide", "patient"]
    assert split["slide"].digest == split["patient"].digest
