"""Networks that a study trains on images, beside classifiers on their features."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from histokit.errors import HistokitError, UsageError
from histokit.study.plan import plan_study
from histokit.study.run import run_study
from histokit.study.study_reader import read_study
from tests.study.small_study import FILE, write_study

HEAD, _, _ = FILE.partition("[classifier.svm")
HEAD = HEAD.replace('["svm", "knn"]', '["knn"]')
TRAINED = f"""\
strategies = ["last layer", "fine-tuning"]
{HEAD}
[strategy."last layer"]
backbones = ["tiny"]
[strategy.fine-tuning]
backbones = ["tiny"]
from_scratch = [false, true]
set = {{ batch_size = 5, lr = 1e-2, patience = 0, "head.layer" = "3", epochs = 2 }}
[strategy.fine-tuning.presets.default]
[strategy.fine-tuning.presets.head-first]
set.stages.2.epochs = 3
[compare]
bootstrap = 20
"""
ONE = TRAINED.replace("[false, true]", "false")


def test_networks_are_trained_by_each_preset_and_answered_from_the_store(file: Path, tmp_path: Path) -> None:
    write_study(tmp_path, ONE)
    counts = {"ingest": 2, "split": 2, "extract": 2, "train": 2, "finetune": 4}
    assert Counter(piece.kind for piece in plan_study(file).missing) == counts
    result = run_study(file)
    assert Counter(outcome.state for outcome in result.outcomes) == {"done": 12}
    assert len(result.runs) == 6
    assert plan_study(file).missing == []
    assert run_study(file).runs == result.runs


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
        (("from_scratch = false", 'classifiers = ["knn"]'), "There is no key 'classifiers' here"),
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


def test_all_mistakes_are_told_at_once(file: Path, tmp_path: Path) -> None:
    text = ONE.replace("patience = 0", 'patience = "x", lrr = 3').replace("presets.default", "presets.defalt")
    write_study(tmp_path, text)
    with pytest.raises(UsageError, match="has 3 mistakes") as caught:
        read_study(file)
    assert [found["line"] for found in caught.value.details["mistakes"]] == sorted(
        found["line"] for found in caught.value.details["mistakes"]
    )
