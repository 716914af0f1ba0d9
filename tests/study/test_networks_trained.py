"""Networks that a study trains on images, beside classifiers on their features."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shlex import split

import pytest

import histokit
from histokit.errors import HistokitError, UsageError
from histokit.extract.rates import Estimate
from histokit.finetune.checkpoint import trained_alone
from histokit.finetune.presets import load_preset
from histokit.finetune.training_pace import foreseen_passes
from histokit.store.networks import Networks
from histokit.store.repeat_commands import run_again
from histokit.study.plan import plan_study
from histokit.study.run import run_study
from histokit.study.study_reader import read_study
from histokit.study.train_networks import ExtractTrained
from tests.cli.command_line import CommandLine
from tests.study.small_study import FILE, TRAINING, write_study

ONE = TRAINING
TRAINED = ONE.replace("from_scratch = false", "from_scratch = [false, true]")


def test_networks_are_trained_by_each_preset_and_answered_from_the_store(file: Path, tmp_path: Path) -> None:
    write_study(tmp_path, ONE)
    counts = {"ingest": 2, "split": 2, "extract": 2, "train": 2, "finetune": 4}
    assert Counter(piece.kind for piece in plan_study(file).missing) == counts
    result = run_study(file)
    assert Counter(outcome.state for outcome in result.outcomes) == {"done": 12}
    assert len(result.runs) == 6
    assert plan_study(file).missing == []
    assert run_study(file).runs == result.runs


def test_a_plan_writes_nothing_into_a_store_that_has_all_but_the_split(file: Path, tmp_path: Path) -> None:
    text = TRAINING.replace("split = { test = 0.25 }", 'split = "holdout"')
    asked = text.replace('["last layer", "fine-tuning"]', '["last layer", "fine-tuning", "feature selection"]')
    write_study(tmp_path, f'{asked}[strategy."feature selection"]\nbackbones = ["tiny"]\n')
    store = histokit.open_store(tmp_path / "histokit-store")
    for name in ("cells", "more"):
        options = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
        histokit.ingest(store, "folder", tmp_path / name, name=name, options=options)
        histokit.extract(store, name, "tiny")

    def written() -> dict[Path, int]:
        # What is remembered of a network is no result.
        tables = [table for table in store.uri.glob("*.lance") if table.stem != "backbones"]
        return {each: each.stat().st_mtime_ns for table in tables for each in table.rglob("*") if each.is_file()}

    before = written()
    plan = plan_study(file)
    assert written() == before
    assert store.split_headers("cells") == {}
    foreseen = {piece.id for piece in plan.missing if piece.kind in ("train", "finetune") and piece.id}
    assert len(foreseen) == 6
    assert foreseen < set(run_study(file).runs), "with the same split as was foreseen"


def test_a_study_that_names_no_strategies_trains_networks_where_a_table_asks_for_it(file: Path, tmp_path: Path) -> None:
    names = [method.name for method in read_study(file).methods]
    assert "fine-tuning" not in names
    write_study(tmp_path, f"{FILE}[strategy.fine-tuning]\nrepeats = 3\n")
    study = read_study(file)
    assert {method.name for method in study.methods} == {*names, "fine-tuning"}
    assert [(training.network, training.options["seed"]) for training in study.trainings] == [
        (name, seed) for name in ("tiny", "small") for seed in range(3)
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("presets.default", "presets.defalt"), "[strategy.fine-tuning.presets.defalt]: There is no preset 'defalt'"),
        (("patience = 0", "patiense = 0"), "[strategy.fine-tuning.set] patiense: "),
        (("stages.2.epochs = 3", "stages.3.epochs = 3"), '[strategy.fine-tuning.presets.head-first.set] "stages.3.'),
        (("lr = 1e-2", "lr = -1.0"), "lr=-1.0 is not"),
        (("presets.default]", "presets.default]\nsets.lr = 1.0"), "There is no key 'sets' here.\nDid you mean 'set'?"),
        (("from_scratch = false", 'from_scratch = "no"'), "'no' is not true, false, or a list of both"),
        (
            ("presets.default]", "presets.kieffer2017-vgg16]\nfrom_scratch = true"),
            "[strategy.fine-tuning.presets.kieffer2017-vgg16] from_scratch: The preset 'kieffer2017-vgg16' ",
        ),
        (("from_scratch = false", 'precision = "float8"'), "The precision 'float8' is unknown"),
        (("from_scratch = false", 'classifiers = ["knm"]'), "There is no classifier 'knm'"),
        (('"head.layer" = "3"', '"head.layer" = "33"'), "The backbone 'tiny' has no layer '33'"),
        (("patience = 0", 'train = "0+two"'), "The backbone 'tiny' has no layer 'two'"),
        (('[strategy.fine-tuning]\nbackbones = ["tiny"]', '[strategy.fine-tuning]\nbackbones = ["tini"]'), "'tini'"),
    ],
)
def test_a_mistake_is_told_when_the_file_is_read(
    file: Path, tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    assert change[0] in ONE
    write_study(tmp_path, ONE.replace(*change))
    with pytest.raises(HistokitError) as caught:
        read_study(file)
    assert says in f"{caught.value.message}\n{caught.value.next}"


def test_a_backbone_without_weights_is_told_where_networks_are_named(file: Path, tmp_path: Path) -> None:
    text = ONE.replace('[backbones.small]\nweights = "random:5"', "[backbones.texture]")
    write_study(tmp_path, text.replace('[strategy.fine-tuning]\nbackbones = ["tiny"]', "[strategy.fine-tuning]"))
    with pytest.raises(UsageError, match="'texture' has no weights that could be trained") as caught:
        read_study(file)
    assert 'networks that are trained in [strategy.fine-tuning]: backbones = ["…"]' in caught.value.message


def test_a_network_that_another_process_trains_is_waited_for(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.study.run._PATIENCE", 0.05)
    head = ONE.partition("[strategy.fine-tuning")[0].replace(', "fine-tuning"]', "]")
    write_study(tmp_path, head)
    store = run_study(file).plan.study.store
    write_study(tmp_path, ONE.replace("from_scratch = false", 'classifiers = ["knn"]'))
    pieces = plan_study(file).pieces
    first, second, *_ = (piece for piece in pieces if piece.kind == "finetune")
    with ThreadPoolExecutor(1) as pool:
        with trained_alone(Networks(store.uri).unfinished(str(first.id)), str(first.id)):
            said: list[str] = []
            result = pool.submit(run_study, file, say=said.append)
            # The others are trained meanwhile.
            while not any("waiting for another process" in text for text in said):
                assert not result.done(), result.result()
                time.sleep(0.02)
            assert store.has_run(str(second.id))
            assert not store.has_run(str(first.id))
        outcomes = result.result().outcomes
    # So are its features, and what is trained on them.
    assert {outcome.state for outcome in outcomes} == {"cached", "done"}
    assert store.has_run(str(first.id))
    assert plan_study(file).missing == []
    numbers = [int(text.split("/")[0]) for text in said if f"/{len(pieces)}  " in text]
    assert sorted(numbers) == [n for n, outcome in enumerate(outcomes, 1) if outcome.state == "done"]


def test_all_mistakes_are_told_at_once(file: Path, tmp_path: Path) -> None:
    text = ONE.replace("patience = 0", 'patience = "x", lrr = 3').replace("presets.default", "presets.defalt")
    write_study(tmp_path, text)
    with pytest.raises(UsageError, match="has 3 mistakes") as caught:
        read_study(file)
    assert [found["line"] for found in caught.value.details["mistakes"]] == sorted(
        found["line"] for found in caught.value.details["mistakes"]
    )


def test_a_run_is_the_one_of_the_command_line(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = ONE.split("[strategy.fine-tuning.presets.default]")[0].replace('["last layer", ', "[")
    text = text.replace('[strategy."last layer"]\nbackbones = ["tiny"]\n', "").replace("true]", "false]")
    text = text.replace("[backbones.tiny]", "[backbones.tiny]\npreprocess = { mean = [0.4, 0.5, 0.6] }")
    own = "[datasets.more]\nwhere = \"patient <> 'none'\"\nmetric = 'balanced_accuracy'"
    write_study(tmp_path, text.replace("[datasets.more]", own))
    result = run_study(file)
    sets = [f"--set={text}" for text in ("batch_size=5", "lr=0.01", "patience=0", "head.layer=3", "epochs=2")]
    asked = ["finetune", "more", "--backbone", "tiny", "--split", "study", "--preprocess", "mean=0.4,0.5,0.6", *sets]
    asked += ["--where", "patient <> 'none'", "--metric", "balanced_accuracy"]
    command_line = CommandLine(capsys)
    done = command_line.ok("--store", result.store, *asked)
    assert done.out.split()[-1] == result.runs[1]
    advice = run_again(result.plan.study.store.run(result.runs[1]))
    words = split(advice.removeprefix("Do it again: histokit ").removesuffix(" --force"))
    again = command_line.ok("--store", result.store, *words)
    assert again.out.split()[-1] == result.runs[1]


def test_trainings_are_compared_each_for_itself_and_the_best_of_each_strategy(file: Path, tmp_path: Path) -> None:
    write_study(tmp_path, TRAINED.replace("set.stages.2.epochs = 3", "from_scratch = false"))
    result = run_study(file)
    assert result.failures == []
    assert result.comparison is not None
    methods = [method["method"] for method in result.comparison.methods]
    # Features of one network, and it trained by two presets and from scratch by one.
    assert len(methods) == len(set(methods)) == 4, methods
    best = histokit.compare(result.store, result.runs, best_of="strategy", bootstrap=20)
    assert {method["method"] for method in best.methods} == {"last layer", "fine-tuning", "from scratch"}


def test_classifiers_are_trained_on_features_of_trained_networks_and_are_methods_on_all_datasets(
    file: Path, tmp_path: Path
) -> None:
    write_study(tmp_path, ONE.replace("from_scratch = false", 'classifiers = ["svm", "knn"]'))
    missing = Counter(piece.kind for piece in plan_study(file).missing)
    assert missing == {"ingest": 2, "split": 2, "extract": 2 + 4, "train": 2 + 8, "finetune": 4}
    result = run_study(file)
    assert result.failures == []
    store = result.plan.study.store
    runs = [store.run(name) for name in result.runs]
    tuned = {run.id: run for run in runs if run.kind == "finetune"}
    on_tuned = [run for run in runs if run.address.startswith("run:")]
    assert {run.address.split("/")[0].removeprefix("run:") for run in on_tuned} == set(tuned)
    # As by hand.
    by_hand = histokit.train(
        store, on_tuned[0].dataset, on_tuned[0].address, on_tuned[0].classifier, split="study", inner_folds=2
    )
    assert by_hand[0].id == on_tuned[0].id
    assert result.comparison is not None
    assert len(result.comparison.methods) == 1 + 2 + 2 * 2
    best = histokit.compare(result.store, result.runs, best_of="strategy", bootstrap=20)
    assert {method["method"] for method in best.methods} == {"last layer", "fine-tuning"}
    assert plan_study(file).missing == []


def test_classifiers_take_the_network_of_each_fold(file: Path, tmp_path: Path) -> None:
    text = ONE.replace("from_scratch = false", 'classifiers = ["knn"]').replace("{ test = 0.25 }", "{ folds = 2 }")
    write_study(tmp_path, text)
    assert not [piece for piece in plan_study(file).pieces if piece.trouble]
    result = run_study(file)
    assert result.failures == []
    store = result.plan.study.store
    runs = [store.run(name) for name in result.runs]
    on_tuned = [run for run in runs if run.address.startswith("run:")]
    tuned = [run for run in runs if run.kind == "finetune"]
    assert len(on_tuned) == len(tuned) == 4
    for run in on_tuned:
        network = run.address.partition("/")[0]
        assert [part["backbone"] for parts in run.found["fold_features"] for part in parts] == [
            f"{network}.0",
            f"{network}.1",
        ]
        (by_hand,) = histokit.train(
            store, run.dataset, run.address, "knn", split="study", inner_folds=2, fold_networks=True
        )
        assert by_hand.id == run.id
    assert plan_study(file).missing == []


def test_the_plan_tells_that_networks_of_folds_are_not_kept(file: Path, tmp_path: Path) -> None:
    text = ONE.replace("from_scratch = false", 'keep = "final"\nclassifiers = ["knn"]')
    write_study(tmp_path, text.replace("{ test = 0.25 }", "{ folds = 2 }"))
    troubles = [piece for piece in plan_study(file).pieces if piece.trouble]
    assert {piece.kind for piece in troubles} == {"extract"}
    told = troubles[0].trouble
    assert told is not None
    assert "'cells' is split into 2 folds, whose networks are not kept" in told.message
    write_study(tmp_path, text)
    assert not [piece for piece in plan_study(file).pieces if piece.trouble]


def test_the_plan_tells_what_training_takes(file: Path, tmp_path: Path) -> None:
    write_study(tmp_path, ONE)
    plan = plan_study(file)
    assert {piece.seconds for piece in plan.pieces if piece.kind == "finetune"} == {None}
    run_study(file)
    write_study(tmp_path, ONE.replace("[backbones.tiny]", '[backbones.tiny]\nweights = "random:3"'))
    plan = plan_study(file)
    trained = [piece.to_json() for piece in plan.missing if piece.kind == "finetune"]
    assert [piece["estimate"] for piece in trained] == ["measured"] * 4
    assert all(piece["seconds"] > 0 for piece in trained)
    sizes = [path.stat().st_size for path in (plan.study.store.uri / "networks").rglob("*.safetensors")]
    assert plan.bytes == sum(piece["bytes"] for piece in trained)
    assert plan.bytes == pytest.approx(sum(sizes), rel=0.05)
    assert f"The networks take {plan.bytes / 1e6:,.1f} MB on disk." in plan.expectation


def test_a_network_that_was_never_trained_takes_as_long_for_each_pass_as_extraction_does(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.study.training_cost.estimate", lambda *asked: Estimate(0.5, "typical"))
    write_study(tmp_path, ONE)
    pieces = [piece for piece in plan_study(file).pieces if piece.kind == "finetune"]
    assert len(pieces) == 4
    # Of 24 images, those of one patient of four are tested.
    expected = [0.5 * foreseen_passes(piece.training.recipe, 18, 6) for piece in pieces]
    assert [piece.seconds for piece in pieces] == pytest.approx(expected)
    assert {piece.to_json()["estimate"] for piece in pieces} == {"typical"}


def test_features_of_trained_networks_are_of_each_fold_and_of_all_training_samples(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.study.cost.estimate", lambda *asked, **how: Estimate(0.5, "typical"))
    text = ONE.replace("from_scratch = false", 'classifiers = ["knn"]')
    for split_text, networks in (("{ test = 0.25 }", 1), ("{ folds = 2 }", 3)):
        write_study(tmp_path, text.replace("{ test = 0.25 }", split_text))
        pieces = [piece for piece in plan_study(file).pieces if isinstance(piece, ExtractTrained)]
        assert {piece.seconds for piece in pieces} == {0.5 * 24 * networks}


def test_passes_through_a_network() -> None:
    recipe = load_preset("default").recipe
    (stage,) = recipe.stages
    known = replace(recipe, choose_epoch="last", patience=0)
    # Each epoch is 100 steps of three passes; 10 samples are predicted at the end.
    whole = replace(known, stages=(replace(stage, train="all", epochs=4),))
    assert foreseen_passes(whole, 100, 10) == 4 * 3 * 100 + 10
    # A fifth chooses the epoch: 80 are trained on, 20 predicted after each.
    assert foreseen_passes(replace(whole, choose_epoch="validation"), 100, 10) == 4 * (3 * 80 + 20) + 10
    # What is frozen and not augmented goes through once.
    head = replace(stage, train="head", epochs=9, augment=False)
    assert foreseen_passes(replace(known, stages=(head,)), 100, 10) == 100 + 10
