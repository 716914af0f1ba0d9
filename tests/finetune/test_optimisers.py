"""What a stage trains, with which rates, decays and moments: against steps by hand."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from histokit.errors import UsageError
from histokit.finetune.kept_state import optimizer_state, restore_optimizer
from histokit.finetune.optimisers import RateSchedule, make_optimiser, parameter_groups, set_modes
from histokit.finetune.recipe import Stage
from histokit.networks.trainable import TrainableNetwork, make_head
from histokit.plugin import Layer


def network() -> TrainableNetwork:
    """Two convolutions with a normalisation and dropout in between, and two new layers."""
    torch.manual_seed(0)
    base = nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 4, 3),
            norm=nn.BatchNorm2d(4),
            drop=nn.Dropout(0.5),
            block=nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1)),
        )
    )
    return TrainableNetwork(base, Layer("last", "block"), make_head(5, (6,), 0.0, 3), flatten=False, prefix_tokens=0)


def by_name(net: TrainableNetwork, groups: list[dict[str, Any]], key: str) -> dict[str, float]:
    names = {id(p): name for name, p in net.named_parameters()}
    return {names[id(p)]: group[key] for group in groups for p in group["params"]}


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ("head", {"head.hidden1", "head.output"}),
        ("all", {"head.hidden1", "head.output", "base.stem", "base.norm", "base.block.0", "base.block.2"}),
        ("block.2", {"head.hidden1", "head.output", "base.block.2"}),
        ("head+norm+block", {"head.hidden1", "head.output", "base.norm", "base.block.0", "base.block.2"}),
    ],
)
def test_what_is_trained(train: str, expected: set[str]) -> None:
    net = network()
    found = by_name(net, parameter_groups(net, Stage(train=train)), "lr")
    assert {name.rpartition(".")[0] for name in found} == expected
    assert {name for name, p in net.named_parameters() if p.requires_grad} == found.keys()


def test_a_stage_thaws_what_an_earlier_one_froze() -> None:
    net = network()
    parameter_groups(net, Stage(train="head"))
    parameter_groups(net, Stage(train="all"))
    assert all(p.requires_grad for p in net.parameters())


def test_gradients_of_what_a_stage_freezes_do_not_count_where_those_of_the_rest_are_clipped() -> None:
    net = network()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    parameter_groups(net, Stage(train="head"))
    trained = sum(p.numel() for p in net.head.parameters())
    assert float(nn.utils.clip_grad_norm_(net.parameters(), 1.0)) == pytest.approx(trained**0.5)


def test_a_module_that_is_not_there_is_named_with_those_near_it() -> None:
    with pytest.raises(UsageError, match="no module 'blok'") as caught:
        parameter_groups(network(), Stage(train="norm+blok"))
    assert "'block'" in caught.value.next
    with pytest.raises(UsageError, match=r"'block\.1'.* has no parameters"):
        parameter_groups(network(), Stage(train="block.1"))
    with pytest.raises(UsageError, match="no module ''"):
        parameter_groups(network(), Stage(train="norm+"))


def test_multiples_of_rates_and_decays() -> None:
    net = network()
    stage = Stage(lr=0.1, head_lr=10, head_bias_lr=20, bias_lr=2, weight_decay=0.01, bias_decay=0)
    groups = parameter_groups(net, stage)
    rates = by_name(net, groups, "lr")
    assert rates == pytest.approx(
        {name: 0.1 * (2 if name.endswith("bias") else 1) for name in rates}
        | {"head.output.weight": 1.0, "head.output.bias": 2.0}
    )
    decays = by_name(net, groups, "weight_decay")
    assert {name for name, decay in decays.items() if decay} == {
        *("base.stem.weight", "base.block.0.weight", "base.block.2.weight", "head.hidden1.weight", "head.output.weight")
    }
    assert set(decays.values()) == {0.0, 0.01}


def test_layer_decay_counts_from_the_head() -> None:
    net = network()
    rates = by_name(net, parameter_groups(net, Stage(lr=1.0, layer_decay=0.5)), "lr")
    assert {name: rate for name, rate in rates.items() if name.endswith("weight")} == {
        "head.output.weight": 1.0,
        "head.hidden1.weight": 1.0,
        "base.block.2.weight": 0.5,
        "base.block.0.weight": 0.25,
        "base.norm.weight": 0.125,
        "base.stem.weight": 0.125,
    }


def test_layer_decay_follows_the_groups_of_timm() -> None:
    import timm
    from timm.optim import param_groups_layer_decay

    whole = timm.create_model("test_vit", pretrained=False)
    theirs = {
        id(p): group["lr_scale"] for group in param_groups_layer_decay(whole, layer_decay=0.5) for p in group["params"]
    }
    expected = {name: theirs[id(p)] for name, p in whole.named_parameters() if not name.startswith("head")}
    whole.head = nn.Identity()
    net = TrainableNetwork(
        whole, Layer("last", "norm", "cls"), make_head(64, (), 0.0, 2), flatten=False, prefix_tokens=1
    )
    found = by_name(net, parameter_groups(net, Stage(lr=1.0, layer_decay=0.5)), "lr_scale")
    assert {name.removeprefix("base."): scale for name, scale in found.items() if name.startswith("base.")} == expected
    assert len(set(expected.values())) > 3


def test_positions_of_a_transformer_decay_as_biases_do() -> None:
    import timm

    base = timm.create_model("test_vit", pretrained=False, num_classes=0)
    net = TrainableNetwork(
        base, Layer("last", "norm", "cls"), make_head(64, (), 0.0, 2), flatten=False, prefix_tokens=1
    )
    decays = by_name(net, parameter_groups(net, Stage(weight_decay=0.1, bias_decay=0)), "weight_decay")
    assert decays["base.pos_embed"] == decays["base.cls_token"] == decays["base.norm.weight"] == 0
    assert decays["base.blocks.0.mlp.fc1.weight"] == 0.1


def trained(stage: Stage, count: int, per_epoch: int = 2) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Make some steps with made-up gradients; return weights before and after, and the gradients."""
    net = network().double()
    draws = np.random.default_rng(3)
    rates = RateSchedule(stage, per_epoch)
    optimiser = make_optimiser(stage, parameter_groups(net, stage))
    before = {name: p.detach().numpy().copy() for name, p in net.named_parameters()}
    gradients = []
    for step in range(count):
        rates.apply(optimiser, step)
        gradients.append({name: draws.normal(size=p.shape) for name, p in net.named_parameters()})
        for name, p in net.named_parameters():
            p.grad = torch.from_numpy(gradients[-1][name]) if p.requires_grad else None
        optimiser.step()
    return {"before": before, "after": {n: p.detach().numpy() for n, p in net.named_parameters()}}, gradients


#: Rates and decays of three kinds of parameters at 10 and 20 times, 2 times and no decay of biases.
CAFFE = {
    "base.stem.weight": (1.0, 1.0),
    "base.stem.bias": (2.0, 0.0),
    "head.output.weight": (10.0, 1.0),
    "head.output.bias": (20.0, 0.0),
}


@pytest.mark.parametrize("form", ["caffe", "torch"])
def test_sgd_accumulates_as_caffe_or_as_torch(form: str) -> None:
    stage = Stage(
        lr=0.01, momentum_form=form, weight_decay=5e-2, schedule="inv", gamma=0.5, power=0.75,
        head_lr=10, head_bias_lr=20, bias_lr=2, bias_decay=0,
    )  # fmt: skip
    weights, gradients = trained(stage, 4)
    for name, (scale, decayed) in CAFFE.items():
        w, v = weights["before"][name], 0.0
        for step, gradient in enumerate(gradients):
            rate = 0.01 * (1 + 0.5 * step) ** -0.75 * scale
            g = gradient[name] + 5e-2 * decayed * w
            v = 0.9 * v + rate * g if form == "caffe" else 0.9 * v + g
            w = w - v if form == "caffe" else w - rate * v
        np.testing.assert_allclose(weights["after"][name], w, rtol=1e-10)


def test_momentum_is_not_nesterovs_unless_asked_for() -> None:
    weights, gradients = trained(Stage(lr=0.1), 1)
    expected = weights["before"]["head.output.weight"] - 0.1 * gradients[0]["head.output.weight"]
    np.testing.assert_allclose(weights["after"]["head.output.weight"], expected, rtol=1e-12)
    weights, gradients = trained(Stage(lr=0.1, optimiser="nesterov"), 1)
    expected = weights["before"]["head.output.weight"] - 0.19 * gradients[0]["head.output.weight"]
    np.testing.assert_allclose(weights["after"]["head.output.weight"], expected, rtol=1e-12)


@pytest.mark.parametrize(("optimiser", "decoupled"), [("adam", False), ("adamw", True)])
@pytest.mark.parametrize("beta", [0.9, 0.99])
def test_adam_with_the_betas_of_the_recipe(optimiser: str, decoupled: bool, beta: float) -> None:
    stage = Stage(optimiser=optimiser, lr=0.01, betas=(beta, 0.999), weight_decay=0.1, bias_decay=0)
    weights, gradients = trained(stage, 3)
    for name in ("head.output.weight", "head.output.bias", "base.norm.weight"):
        decay = 0.1 if name == "head.output.weight" else 0.0
        w, m, v = weights["before"][name], 0.0, 0.0
        for t, gradient in enumerate(gradients, 1):
            g = gradient[name] + (0 if decoupled else decay * w)
            m, v = beta * m + (1 - beta) * g, 0.999 * v + 0.001 * g**2
            step = (m / (1 - beta**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            w = w - 0.01 * (step + (decay * w if decoupled else 0))
        np.testing.assert_allclose(weights["after"][name], w, rtol=1e-9)


def test_what_is_frozen_stays() -> None:
    weights, _ = trained(Stage(train="block.2", weight_decay=0.1, lr=0.1), 2)
    moved = {name for name, w in weights["before"].items() if not np.array_equal(w, weights["after"][name])}
    assert {name.rpartition(".")[0] for name in moved} == {"base.block.2", "head.hidden1", "head.output"}


@pytest.mark.parametrize("optimiser", ["adan", "lamb", "madgrad"])
def test_what_an_optimiser_has_accumulated_is_kept_also_where_groups_have_it(optimiser: str) -> None:
    stage, nets, optimisers = Stage(optimiser=optimiser, lr=0.1), [network(), network()], []
    for net in nets:
        optimisers.append(make_optimiser(stage, parameter_groups(net, stage)))
    first, second = optimisers
    for step in range(3):
        for parameter in nets[0].parameters():
            parameter.grad = torch.full_like(parameter, 1.0 + step)
        first.step()
    nets[1].load_state_dict(nets[0].state_dict())
    tensors, plain = optimizer_state(first)
    restore_optimizer(second, {name.removeprefix("optimizer."): each.clone() for name, each in tensors.items()}, plain)
    for net, each in zip(nets, optimisers, strict=True):
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, -2.0)
        each.step()
    for one, other in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(one, other)


def test_an_optimiser_that_is_not_there_is_named() -> None:
    groups = parameter_groups(network(), Stage())
    with pytest.raises(UsageError, match="no optimiser 'adamm'") as caught:
        make_optimiser(Stage(optimiser="adamm"), groups)
    assert "'adam'" in caught.value.next
    with pytest.raises(UsageError, match=r"'adahessian' cannot be used here.*second derivatives"):
        make_optimiser(Stage(optimiser="adahessian"), groups)
    with pytest.raises(UsageError, match="'kron' cannot be used here: it draws numbers that no checkpoint keeps"):
        make_optimiser(Stage(optimiser="kron"), groups)
    with pytest.raises(UsageError, match="'bnbadam' cannot be used here"):
        make_optimiser(Stage(optimiser="bnbadam"), groups)
    assert type(make_optimiser(Stage(optimiser="lion"), groups)).__name__ == "Lion"


def test_inv_is_caffes() -> None:
    stage = Stage(lr=1e-3, schedule="inv", gamma=1e-3, power=0.75, epochs=10)
    rates = RateSchedule(stage, 340)
    assert [1e-3 * rates.factor(step) for step in (0, 1700, 3400)] == pytest.approx([1e-3, 4.75e-4, 3.29e-4], rel=1e-3)


def test_steps_and_a_constant() -> None:
    rates = RateSchedule(Stage(schedule="step", gamma=0.1, step_epochs=1.5, epochs=4), 4)
    assert [rates.factor(step) for step in (0, 5, 6, 11, 12)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert [RateSchedule(Stage(), 4).factor(step) for step in (0, 1000)] == [1, 1]


def test_cosine_rises_and_falls() -> None:
    stage = Stage(lr=0.2, lr_minimum=0.02, schedule="cosine", epochs=5, warmup_epochs=1)
    rates = RateSchedule(stage, 4)
    # Fifths up to the whole rate at step 4; half of the way down is 8 steps later; the last of 16 is above the end.
    assert [rates.factor(step) for step in (0, 1, 3, 4)] == pytest.approx([0.2, 0.4, 0.8, 1.0])
    assert rates.factor(12) == pytest.approx(0.55)
    assert rates.factor(19) == pytest.approx(0.1 + 0.45 * (1 + np.cos(np.pi * 15 / 16)))
    assert rates.factor(2) == pytest.approx(0.6), "in any order"
    assert RateSchedule(Stage(schedule="cosine", epochs=1), 1).factor(0) == 1


def test_rates_of_groups_keep_to_their_multiples() -> None:
    stage = Stage(lr=0.2, head_lr=10, head_bias_lr=20, schedule="step", gamma=0.5, step_epochs=1, epochs=2)
    net = network()
    optimiser = make_optimiser(stage, parameter_groups(net, stage))
    RateSchedule(stage, 3).apply(optimiser, 3)
    found = by_name(net, optimiser.param_groups, "lr")
    assert found["head.output.weight"] == pytest.approx(1.0)
    assert found["head.output.bias"] == pytest.approx(2.0)
    assert found["base.stem.weight"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("train", "statistics", "norm", "drop", "head"),
    [
        ("head", "eval", False, False, True),
        ("head", "train", True, False, True),
        ("block", "eval", False, False, True),
        ("norm", "eval", True, False, True),
        ("all", "eval", True, True, True),
    ],
)
def test_modes(train: str, statistics: str, norm: bool, drop: bool, head: bool) -> None:
    net = network().train()
    set_modes(net, Stage(train=train, frozen_statistics=statistics))
    modes = (net.base.norm.training, net.base.drop.training, net.head.training)
    assert modes == (norm, drop, head)
    before = net.base.norm.running_mean.clone()
    net(torch.rand(4, 3, 6, 6))
    assert torch.equal(net.base.norm.running_mean, before) is not norm
