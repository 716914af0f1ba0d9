"""What is drawn in a step depends on its place alone, and leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histokit.finetune.drawing import drawing_at, seed_of


def drawn() -> list[float]:
    return [*torch.rand(3).tolist(), *np.random.rand(3).tolist()]


def test_a_place_draws_what_its_seed_draws() -> None:
    torch.manual_seed(1)
    with drawing_at("step", 0, 1):
        found = drawn()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("step", 0, 1))
        np.random.seed(seed_of("step", 0, 1) & 0xFFFFFFFF)
        assert drawn() == found
    with drawing_at("step", 0, 2):
        assert drawn() != found


def test_what_is_drawn_around_it_is_as_if_it_had_not_been() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    expected = drawn()
    torch.manual_seed(1)
    np.random.seed(1)
    with pytest.raises(ZeroDivisionError), drawing_at("step"):
        assert 1 / (drawn()[0] * 0)
    assert drawn() == expected
