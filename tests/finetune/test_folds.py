"""By what the epoch is chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from histokit.finetune.curve import Judge
from histokit.finetune.folds import TrainingPart, fold_facts, training_parts
from histokit.finetune.judging import Best, Judged
from histokit.protocol.tuning import Problem


def parted(sizes: dict[str, tuple[int, int]], seed: int) -> tuple[Any, Any, TrainingPart]:
    """Labels and groups of samples, of which each group has so many of both classes, and how they are trained on."""
    groups = np.array([group for group, (m, n) in sizes.items() for _ in range(m + n)])
    labels = np.array([label for m, n in sizes.values() for label in [0] * m + [1] * n])
    experiment: Any = SimpleNamespace(
        features=SimpleNamespace(sample_ids=[]),
        folds=[],
        training=np.arange(len(labels)),
        labels=labels,
        problem=SimpleNamespace(groups=groups, numbers=False),
    )
    (part,) = training_parts(experiment, True, seed)
    return labels, groups, part


@pytest.mark.parametrize("seed", range(5))
def test_the_validation_groups_are_those_most_like_the_rest(seed: int) -> None:
    # Groups a to d have one class each, e to h both: only a fold of the latter tells of both.
    sizes = {"a": (9, 0), "b": (0, 9), "c": (8, 0), "d": (0, 8), "e": (5, 5), "f": (4, 4)}
    labels, groups, part = parted(sizes, seed)
    assert not {*groups[part.val]} & {*groups[part.fit]}
    share = np.bincount(labels[part.val], minlength=2)
    assert share.min() >= 4, f"validated by {share} of the groups { ({*groups[part.val]}) }"


@pytest.mark.parametrize("seed", range(5))
def test_the_validation_groups_are_no_larger_than_their_share(seed: int) -> None:
    # Of five folds of one group each, a fifth of all is 12 of each class.
    sizes = {"a": (40, 40), "b": (4, 4), "c": (8, 8), "d": (4, 4), "e": (4, 4)}
    _, groups, part = parted(sizes, seed)
    assert {*groups[part.val]} == {"c"}
    assert {*groups[part.fit]} == set("abde")


def test_of_groups_that_are_all_alike_the_seed_tells_which_validate() -> None:
    sizes = dict.fromkeys("abcdefghij", (3, 3))
    drawn = []
    for seed in range(6):
        _, groups, part = parted(sizes, seed)
        drawn.append("".join(sorted({*groups[part.val]})))
        assert len(part.val) == 12
    assert len({*drawn}) > 1


def test_the_validation_samples_of_a_split_are_in_the_order_of_the_dataset_whatever_that_of_the_split_is() -> None:
    fold = SimpleNamespace(repeat=1, fold=2, val=["e", "gone", "b"])
    rows = np.arange(5)
    experiment: Any = SimpleNamespace(
        features=SimpleNamespace(sample_ids=list("abcde")),
        folds=[SimpleNamespace(fold=fold, train=rows, test=np.array([], np.intp))],
        training=rows,
        problem=SimpleNamespace(groups=None),
    )
    (part,) = training_parts(experiment, True, 0)
    assert (part.name, part.fit.tolist(), part.val.tolist()) == ("1.2", [0, 2, 3], [1, 4])


def test_a_class_that_validates_alone_was_not_trained_on() -> None:
    labels = np.array(["a", "a", "b"])
    experiment: Any = SimpleNamespace(lacking=lambda rows: sorted({"a", "b"} - {*labels[rows]}))
    part = TrainingPart("final", np.array([0, 1]), np.array([2]), np.empty(0, np.intp), None)
    facts = fold_facts(experiment, part, None)
    assert facts == {"train": 3, "validation": 1, "classes_without_training": ["b"]}


@pytest.mark.parametrize(
    ("metric", "found", "epoch", "waited"),
    [
        # Of equal metrics the lower loss counts, of equal losses the earlier epoch.
        ("accuracy", [(0.5, 1.0), (0.7, 2.0), (0.7, 1.5), (0.7, 1.5)], 3, 1),
        ("accuracy", [(0.7, 2.0), (0.5, 1.0), (0.6, 1.0)], 1, 2),
        # Epochs are waited for since the best one, not in all.
        ("accuracy", [(0.5, 1.0), (0.4, 1.0), (0.3, 1.0), (0.6, 1.0)], 4, 0),
        ("accuracy", [(0.5, 1.0), (0.4, 1.0), (0.6, 1.0), (0.5, 1.0)], 3, 1),
        ("mae", [(3.0, 1.0), (2.0, 1.0), (2.5, 0.1)], 2, 1),
        ("accuracy", [(None, 2.0), (None, 1.0), (None, 1.0), (None, None)], 2, 2),
        ("accuracy", [(None, 0.1), (0.2, 9.0)], 2, 0),
        ("accuracy", [(0.2, 9.0), (None, 0.1)], 1, 1),
    ],
)
def test_the_first_of_the_best_epochs_is_kept(metric: str, found: list[Any], epoch: int, waited: int) -> None:
    empty = np.empty(0)
    judge = Judge(Problem(empty, empty, None, 2, None, metric, numbers=metric == "mae"))
    best, network = Best(), nn.Linear(1, 1)
    for number, (value, loss) in enumerate(found, 1):
        nn.init.constant_(network.bias, number)
        best.offer(Judged(np.empty(0, np.intp), empty, loss, value), number, network, judge)
    assert (best.epoch, best.waited, best.tensors["bias"].item()) == (epoch, waited, epoch)
