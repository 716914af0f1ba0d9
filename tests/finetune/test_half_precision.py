"""Half precision: the scale of gradients in training, and processors that have to convert such numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

import histokit
from histokit.features import FeatureStore
from histokit.networks import devices
from tests.finetune.test_finetune import data, interrupted, tensors, trained

pytestmark = pytest.mark.usefixtures("tiny")

__all__ = ["data"]


def test_an_interrupted_training_in_half_precision_keeps_the_scale_of_its_gradients(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of so large a scale the first gradients overflow: their steps are left out, until it has been halved often enough.
    scaler = partial(torch.amp.GradScaler, init_scale=2.0**22, growth_interval=4)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    how = {"precision": "float16", "settings": {"optimiser": "momentum", "stages.1.epochs": 4, "choose_epoch": "last"}}
    whole = tensors(data, trained(data, **how))
    interrupted(data, monkeypatch, 9, force=True, **how)
    found = tensors(data, trained(data, force=True, **how))
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_a_processor_that_emulates_a_precision_is_told_of(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices, "is_native", lambda dtype: dtype != torch.float16)
    run = trained(data, precision="float16", device="cpu", settings={"stages.1.epochs": 1})
    details: dict[str, set[str]] = {"float16": set(), "bfloat16": set()}
    extractions = []
    for kind, told in details.items():
        note = partial(lambda told, *facts: told.update(facts[2:]), told)
        extractions.append(histokit.extract(data, "cells", "tiny", precision=kind, device="cpu", progress=note))
    half = f"tiny/3@{extractions[0].tables[-1]['fingerprint']}"
    (fitted,) = histokit.train(data, "cells", half, "ridge", split="half")
    model = histokit.load_model(histokit.export_model(data, fitted.id, tmp_path / "model"), device="cpu")
    scorers = model.scorers(1, model.channels, None, lambda position, reason: None)
    text = "this processor emulates float16, which takes many times as long as float32"
    assert [[n for n in found.notes if "emulates" in n] for found in (run, *extractions, *scorers)] == [
        [text], [text], [], [text],
    ]  # fmt: skip
    assert [told - {""} for told in details.values()] == [{text}, set()]
