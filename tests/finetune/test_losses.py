"""Losses with class weights and smoothing, and mixed images, against calculations by hand and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from histokit.finetune.losses import class_weights, make_loss, make_mixup
from histokit.finetune.recipe import NetworkRecipe

OUTPUTS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 0.0], [0.3, 0.2, 0.1], [-1.0, 3.0, 0.5]])
CODES = torch.tensor([0, 0, 1, 2])


def test_without_weights_it_is_torchs() -> None:
    for smoothing in (0.0, 0.1):
        loss = make_loss(NetworkRecipe(label_smoothing=smoothing))
        torch.testing.assert_close(
            loss(OUTPUTS, CODES), functional.cross_entropy(OUTPUTS, CODES, label_smoothing=smoothing)
        )
        soft = torch.tensor([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0], [0.0, 0.4, 0.6], [0.2, 0.2, 0.6]])
        torch.testing.assert_close(
            loss(OUTPUTS, soft), functional.cross_entropy(OUTPUTS, soft, label_smoothing=smoothing)
        )


def test_weights_are_those_of_balanced_classes() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    assert class_weights([60, 30, 10]).tolist() == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    labels = np.repeat([0, 1, 3], [6, 2, 4])
    theirs = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    assert class_weights([6, 2, 0, 4]).tolist() == pytest.approx([theirs[0], theirs[1], 0, theirs[2]])


def test_weights_do_not_depend_on_who_else_is_in_the_batch() -> None:
    loss = make_loss(NetworkRecipe(class_weight="balanced"), [60, 30, 10])
    each = -functional.log_softmax(OUTPUTS, 1)[range(4), CODES].numpy()
    by_hand = (each * [100 / 180, 100 / 180, 100 / 90, 100 / 30]).sum() / 4
    assert loss(OUTPUTS, CODES).item() == pytest.approx(by_hand, rel=1e-6)
    torchs = functional.cross_entropy(OUTPUTS, CODES, weight=class_weights([60, 30, 10])).item()
    assert abs(torchs - by_hand) > 0.1
    assert loss(OUTPUTS[3:], CODES[3:]).item() == pytest.approx(each[3] * 100 / 30, rel=1e-6)


def test_a_class_without_samples_weighs_nothing() -> None:
    loss = make_loss(NetworkRecipe(class_weight="balanced"), [5, 5, 0])
    assert loss(OUTPUTS[3:], CODES[3:]).item() == 0
    assert loss(OUTPUTS[:1], CODES[:1]).item() == pytest.approx(functional.cross_entropy(OUTPUTS[:1], CODES[:1]).item())


def test_a_mixture_has_the_mixture_of_both_losses() -> None:
    loss = make_loss(NetworkRecipe(class_weight="balanced", label_smoothing=0.2), [60, 30, 10])
    shares = torch.tensor([[0.7, 0.0, 0.3]])
    one = OUTPUTS[:1]
    expected = 0.7 * loss(one, torch.tensor([0])) + 0.3 * loss(one, torch.tensor([2]))
    torch.testing.assert_close(loss(one, shares), expected)


def test_half_precision_is_summed_in_single() -> None:
    assert make_loss(NetworkRecipe())(OUTPUTS.bfloat16(), CODES).dtype == torch.float32


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (NetworkRecipe(loss="squared"), (0.25 + 9) / 2),
        (NetworkRecipe(loss="huber"), (0.125 + 2.5) / 2),
        (NetworkRecipe(loss="huber", huber_delta=2.0), (0.125 + 2 * (3 - 1)) / 2),
    ],
)
def test_numbers(recipe: NetworkRecipe, expected: float) -> None:
    loss = make_loss(recipe)
    assert loss(torch.tensor([[1.5], [4.0]]), torch.tensor([1.0, 1.0]).double()).item() == pytest.approx(expected)


def images(count: int) -> Tensor:
    return torch.arange(count * 3 * 4 * 4, dtype=torch.float32).reshape(count, 3, 4, 4)


def test_mixup_mixes_pairs_and_their_classes() -> None:
    assert make_mixup(NetworkRecipe(), 3) is None
    mix = make_mixup(NetworkRecipe(mixup=0.4, label_smoothing=0.3), 3)
    assert mix is not None
    np.random.seed(7)
    mixed, shares = mix(images(4), CODES)
    share = shares[0, 0].item()
    assert 0 < share < 1
    torch.testing.assert_close(shares, torch.tensor([[share, 0, 1 - share], [share, 1 - share, 0],
                                                     [1 - share, share, 0], [1 - share, 0, share]]))  # fmt: skip
    original = images(4)
    torch.testing.assert_close(mixed, share * original + (1 - share) * original.flip(0))
    np.random.seed(7)
    again, _ = mix(images(4), CODES)
    assert torch.equal(again, mixed)


def test_cutmix_pastes_a_box_of_the_share_that_it_says() -> None:
    mix = make_mixup(NetworkRecipe(cutmix=1.0), 3)
    assert mix is not None
    np.random.seed(3)
    mixed, shares = mix(images(2), CODES[2:])
    pasted = (mixed[0] != images(2)[0]).float().mean().item()
    assert 0 < pasted < 1
    assert shares[0].tolist() == pytest.approx([0, 1 - pasted, pasted])


def test_the_odd_one_stays_as_it_is() -> None:
    mix = make_mixup(NetworkRecipe(mixup=0.4), 3)
    assert mix is not None
    np.random.seed(7)
    mixed, shares = mix(images(3), CODES[1:])
    assert torch.equal(mixed[2], images(3)[2])
    assert shares[2].tolist() == [0, 0, 1]
    assert not torch.equal(mixed[0], images(3)[0])
    alone, shares = mix(images(1), CODES[:1])
    assert torch.equal(alone, images(1))
    assert shares.tolist() == [[1, 0, 0]]
