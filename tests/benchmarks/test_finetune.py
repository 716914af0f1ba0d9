"""The benchmark of training compares the same work: the same network, batches and number of steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import histokit


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each training was asked, and what came of it."""
    found: list[dict[str, Any]] = []
    finetune = histokit.finetune

    def seen(store: Any, *given: Any, **options: Any) -> Any:
        (run,) = finetune(store, *given, **options)
        tensors = store.networks.read(run, run.found["networks"][-1]).tensors
        recipe = run.parameters["recipe"]
        found.append({"recipe": recipe, "shapes": sorted(tuple(tensor.shape) for tensor in tensors.values())})
        return [run]

    monkeypatch.setattr("histokit.finetune", seen)
    return found


def test_both_train_the_same_network_in_the_same_steps(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, trained: list[dict[str, Any]]
) -> None:
    import finetune

    monkeypatch.setattr(finetune, "_FEW", 4)
    # Before it runs in this process: what it waits by is read when torch is imported.
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    file = tmp_path / "result.json"
    options = ("--images", 10, "--size", 32, "--batch", 4, "--rounds", 1, "--epochs", 2, "--json", file)
    printed = run(finetune, *options)
    assert all(name in printed for name in (finetune.BARE, finetune.PLAIN, finetune.AUGMENTED))
    bare, plain, augmented = json.loads(file.read_text())["timings"]["squeezenet"]
    assert [one["items"] for one in (bare, plain, augmented)] == [20] * 3
    # A last batch of two samples stays one of its own.
    assert [one["facts"][0]["images"] for one in (plain, augmented)] == [10, 10]
    assert [one["facts"][0]["steps"] for one in (plain, augmented)] == [3, 3]
    assert all(one["facts"][0]["processor"] > 0 for one in (bare, plain, augmented))
    own = sorted(tuple(tensor.shape) for tensor in finetune._network("squeezenet").state_dict().values())
    for asked in trained:
        (stage,) = asked["recipe"]["stages"]
        assert (stage["train"], stage["epochs"], stage["optimiser"], stage["lr"]) == ("all", 3, "sgd", 1e-3)
        assert (asked["recipe"]["batch_size"], asked["recipe"]["choose_epoch"]) == (4, "last")
        assert asked["shapes"] == own
    # Each is warmed up on a few images before the rounds.
    assert [asked["recipe"]["stages"][0]["augment"] for asked in trained] == [False, True, False, True]


def test_only_the_epochs_behind_the_first_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import finetune
    from work import draw_images

    clock = iter(range(1000))
    monkeypatch.setattr(finetune.time, "perf_counter", lambda: float(next(clock)))
    draw_images(tmp_path / "images", 9, 32)
    asked = {"images": tmp_path / "images", "folder": tmp_path / "f", "network": "squeezenet", "batch": 4, "size": 32}
    monkeypatch.setattr(finetune, "_FEW", 4)
    work = finetune.training(**asked, epochs=2, augment=False)
    seconds, facts = work()
    # Two steps an epoch; the clock is asked once at each.
    assert (seconds, facts["steps"], facts["images"]) == (4.0, 2, 8)


def test_processor_times_are_compared_round_by_round() -> None:
    import finetune
    from common import Timing

    one = Timing("a", 10, seconds=[1.0] * 3, facts=[{"processor": value} for value in (1.0, 2.0, 8.0)])
    bare = Timing("b", 10, seconds=[1.0] * 3, facts=[{"processor": value} for value in (0.5, 1.8, 7.0)])
    # 0.5, 0.9 and 0.875.
    assert finetune.processor_ratio(one, bare) == 0.875
    assert finetune.rows([bare, one], 2)[1][:6] == ["a", "10.0", "1.00", "0.88", "0.5", "1.0"]
