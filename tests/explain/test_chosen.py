"""Which predictions are explained, and for which class."""

import pytest

from histokit.errors import DataError, UsageError
from histokit.explain import chosen
from histokit.explain.chosen import ExplainOptions, choose_samples
from tests.evaluate.made_up import save_run

CLASSES = ("predicted", "true", "c")


def a_run(store, classes=CLASSES, repeats=()):
    """Nine samples, three of each class, of which the first of each is predicted as the class after it."""
    rows = []
    for i in range(9):
        told = (i // 3 + (i % 3 == 0)) % 3
        rows.append((i % 2, f"s{i}", classes[i // 3], [float(k == told) for k in range(3)], f"P{i}"))
    return store.run(save_run(store, rows, classes=classes, repeats=repeats))


def outputs(store, run, **asked):
    found, notes = choose_samples(store, run, ExplainOptions(**asked))
    return [(each.id, each.output, each.explained) for each in found], notes


def test_classes_that_are_called_as_options_are(store):
    run = a_run(store)
    some = ("s3", "s4", "s0")
    assert outputs(store, run, samples=some, target="true") == (
        [("s3", 1, "true"), ("s4", 1, "true"), ("s0", 0, "predicted")],
        ["true stands for the true class; the class of this name is =true"],
    )
    assert outputs(store, run, samples=some, target="predicted") == (
        [("s3", 2, "c"), ("s4", 1, "true"), ("s0", 1, "true")],
        ["predicted stands for the predicted class; the class of this name is =predicted"],
    )
    assert outputs(store, run, samples=some, target="=true") == ([(i, 1, "true") for i in some], [])
    marked = a_run(store, ("x", "=x", "c"))
    for target in ("=x", "==x"):
        assert outputs(store, marked, samples=some, target=target)[0] == [(i, 1, "=x") for i in some]
    plain = a_run(store, ("a", "b", "c"))
    assert outputs(store, plain, samples=some, target="true")[1] == []
    with pytest.raises(UsageError, match="has no class 'true'"):
        outputs(store, plain, samples=some, target="=true")


def test_samples_of_a_class_that_the_model_does_not_know_are_named(store):
    rows = [(0, "s0", "a", -1.0, "P0"), (0, "s1", None, 1.0, "P1"), (0, "s2", "z", 1.0, "P2")]
    run = store.run(save_run(store, rows))
    with pytest.raises(DataError, match="2 samples have no true class that the model knows: s1, s2"):
        outputs(store, run, samples=("s0", "s1", "s2"), target="true")
    with pytest.raises(DataError, match=r"^1 sample has no true class that the model knows: s1"):
        outputs(store, run, samples=("s0", "s1"), target="true")
    assert [i for i, *_ in outputs(store, run, wrong=True)[0]] == ["s2"], "without a true class nothing is wrong"


def test_images_are_drawn_from_each_class_and_those_of_the_first_repeat_are_explained(store):
    again = [[(1 - i % 2, f"s{i}", CLASSES[i // 3], [0.0, 0.0, 1.0], f"P{i}") for i in range(9)]]
    run = a_run(store, repeats=again)
    found, _ = choose_samples(store, run, ExplainOptions(per_class=3))
    assert [(each.id, each.part, each.group) for each in found] == [(f"s{i}", f"0.{i % 2}", f"P{i}") for i in range(9)]
    assert [each.predicted for each in found[:2]] == ["true", "predicted"], "as the first repeat has it"
    wrong, _ = choose_samples(store, run, ExplainOptions(wrong=True, limit=2))
    assert [each.id for each in wrong] == ["s0", "s3"]
    few = [choose_samples(store, run, ExplainOptions(per_class=1, seed=seed))[0] for seed in range(8)]
    assert all([each.true for each in one] == list(CLASSES) for one in few)
    assert len({tuple(each.id for each in one) for one in few}) > 2


def test_no_more_are_explained_than_memory_holds_maps_of(store, monkeypatch):
    monkeypatch.setattr(chosen, "MOST", 8)
    run = a_run(store)
    with pytest.raises(UsageError, match="9 samples are to be explained; at most 8 are at once") as caught:
        outputs(store, run, per_class=3)
    assert caught.value.next == "Give --limit 8, or fewer --per-class."
    assert len(outputs(store, run, per_class=3, limit=8)[0]) == 8
