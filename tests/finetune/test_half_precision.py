"""Training in half precision, whose gradients are scaled."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from histokit.features import FeatureStore
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
