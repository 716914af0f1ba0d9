"""Clauses of a backbone's contract about its weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from histokit.errors import HistokitError
from histokit.plugin.backbone import Backbone
from histokit.plugin.testing.checks import Advice, require
from histokit.plugin.testing.probed import Probed
from histokit.plugin.weights import NONE, PRETRAINED, RANDOM, normalise_weights, offline, random_seed

if TYPE_CHECKING:
    from torch import nn


def stated_weights(probed: Probed) -> None:
    """`weights` is in its normal form, and `weights_file` names a file exactly where there is one."""
    weights = probed.backbone.weights
    if weights != NONE:
        require(weights == normalise_weights(weights), f"weights is {weights!r}, not {normalise_weights(weights)!r}")
    file = probed.backbone.weights_file()
    if weights == NONE or random_seed(weights) is not None:
        require(file is None, f"weights are {weights!r}, but weights_file() is {file}")
    else:
        require(file is not None and file.is_file(), f"weights are {weights!r}, but weights_file() is {file}")


def licence_of_pretrained(probed: Probed) -> None:
    """Pretrained weights have a licence to show."""
    if probed.backbone.weights == PRETRAINED:
        require(probed.backbone.licence, "the weights are pretrained, but licence is empty")


def two_builds_identical(probed: Probed) -> None:
    """Building twice gives the same weights."""
    require(_same(probed.network, probed.backbone.build()), "a second build() has other weights than the first")


def seeds_honoured(probed: Probed) -> None:
    """``random:0`` and ``random:1`` give different weights, where the network has weights."""
    if probed.backbone.weights == NONE:
        return
    first, second = (probed.ask(f"random:{seed}").build() for seed in (0, 1))
    require(not _same(first, second), "random:0 and random:1 give the same weights")


def pretrained_is_not_random(probed: Probed) -> None:
    """Asked for pretrained weights, it gives those of a file, whatever the seed; checked where they are to be had."""
    try:
        with offline():
            backbone = probed.ask(PRETRAINED)
            file = backbone.weights_file()
            networks = [_built(backbone, seed) for seed in (1, 2)]
    except HistokitError:
        return
    if backbone.weights == NONE:
        return
    seed = random_seed(backbone.weights)
    require(seed is None, f"asked for pretrained weights, it gives {backbone.weights!r} instead of an error")
    require(file is not None, "asked for pretrained weights, it builds a network, but weights_file() is None")
    require(_same(*networks), "pretrained weights change with the seed of torch: some of them are random")
    first = probed.ask(f"{RANDOM}:0").build()
    require(not _same(networks[0], first), "pretrained weights are those of random:0")


def stated_version(probed: Probed) -> None:
    """A plugin's backbone states a version, to be raised when other vectors come out of the same weights."""
    backbone = probed.backbone
    own = type(backbone).__module__.partition(".")[0] == "histokit"
    if not own and backbone.version == Backbone.version:
        raise Advice("set `version`, and raise it whenever build() gives other vectors: caches tell them apart by it")


def foreign_weights_refused(probed: Probed) -> None:
    """A file with weights of another network is an error, and never replaced by random or other weights."""
    import torch
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "foreign.safetensors")
        save_file({"of_another_network.weight": torch.zeros(2, 2)}, path)
        require(_refused(probed, str(path)), "it builds with a file that holds weights of another network")


def missing_weights_refused(probed: Probed) -> None:
    """A file that does not exist is an error, and never replaced by random or other weights."""
    path = Path(tempfile.gettempdir(), "histokit-no-such-weights.safetensors")
    require(_refused(probed, str(path)), "it builds with a weights file that does not exist")


def incomplete_weights_refused(probed: Probed) -> None:
    """A file that lacks the first weights of the network is an error: these would stay random."""
    from safetensors.torch import save_file

    whole = probed.network.state_dict()
    lacking = next((name for name, tensor in whole.items() if tensor.is_floating_point()), None)
    if lacking is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "incomplete.safetensors")
        save_file({name: tensor.clone().contiguous() for name, tensor in whole.items() if name != lacking}, path)
        require(_refused(probed, str(path)), f"it builds with a file that lacks {lacking}")


def _built(backbone: Backbone, seed: int) -> nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return backbone.build()


def _refused(probed: Probed, weights: str) -> bool:
    try:
        probed.ask(weights).build()
    except HistokitError:
        return True
    return False


def _same(first: nn.Module, second: nn.Module) -> bool:
    import torch

    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][k]) for k, v in states[0].items())
