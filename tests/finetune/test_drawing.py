"""What is drawn in a step depends on its place alone, and leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histokit.finetune.drawing import cut, drawing_at, seed_of


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


@pytest.mark.parametrize(
    ("count", "size", "lengths"),
    [(5, 2, [2, 3]), (6, 2, [2, 2, 2]), (3, 1, [1, 1, 1]), (1, 2, [1]), (0, 2, [])],
)
def test_a_batch_of_one_is_made_only_where_it_is_asked_for(count: int, size: int, lengths: list[int]) -> None:
    batches = cut(np.arange(count), size)
    assert [len(rows) for rows in batches] == lengths
    assert [row for rows in batches for row in rows] == list(range(count))
