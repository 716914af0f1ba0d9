"""How the weights of a network begin, by the rules of the papers' own files; each rule is a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from histokit.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Filler:
    """How the weights and the bias of a layer begin.

    Parameters
    ----------
    kind : str
        ``gaussian`` with a standard deviation; ``xavier`` as in Caffe, uniform within ±sqrt(3 / inputs); ``glorot`` as
        in Keras, uniform within ±sqrt(6 / (inputs + outputs)). Inputs and outputs of a convolution are counted with
        the positions of its kernel, and the inputs with those of its own group alone.
    std : float
        Of ``gaussian``.
    bias : float
        All biases.
    """

    kind: Literal["gaussian", "xavier", "glorot"]
    std: float = 0.0
    bias: float = 0.0


def _gaussian(*layers: tuple[float, float]) -> tuple[Filler, ...]:
    return tuple(Filler("gaussian", std, bias) for std, bias in layers)


#: Source → fillers: none to leave a network as its library builds it, one for all convolutions and fully connected
#: layers, or one for each of them in the order of depth.
RULES: Mapping[str, Sequence[Filler]] = {
    # BVLC/caffe, models/bvlc_alexnet/train_val.prototxt.
    "caffe-alexnet": _gaussian(
        (0.01, 0), (0.01, 0.1), (0.01, 0), (0.01, 0.1), (0.01, 0.1), (0.005, 0.1), (0.005, 0.1), (0.01, 0)
    ),
    # BVLC/caffe, models/bvlc_reference_caffenet/train_val.prototxt.
    "caffenet": _gaussian((0.01, 0), (0.01, 1), (0.01, 0), (0.01, 1), (0.01, 1), (0.005, 1), (0.005, 1), (0.01, 0)),
    # GilLevi/AgeGenderDeepLearning, gender_net_definitions/train_val_test_fold_is_0.prototxt.
    "gendernet": _gaussian((0.01, 0), (0.01, 1), (0.01, 0), (0.005, 1), (0.005, 1), (0.01, 0)),
    # Caffe's filler of that name, as Bayramoglu and Heikkilä (2016) began GoogLeNet and VGG-16.
    "xavier": (Filler("xavier"),),
    # As the last layers of Caffe's examples that are trained anew on other data.
    "gaussian": _gaussian((0.01, 0)),
    # The defaults of Keras.
    "keras": (Filler("glorot"),),
    "library": (),
}

_FILLED = (nn.Conv2d, nn.Linear)
_NORMALISATIONS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@torch.no_grad()
def initialise(module: nn.Module, rule: str, generator: torch.Generator) -> None:
    """Set the weights of a network, or of a new classifier alone, in place.

    Normalisations begin with a weight of 1 and a bias of 0, whatever they have learnt. What is neither a convolution,
    nor fully connected, nor a normalisation stays as it is.

    Parameters
    ----------
    module : nn.Module
        By a rule with a filler for each layer: of as many layers as that; or one layer alone, which is taken for the
        classifier, the last of them.
    rule : str
        One of `RULES`.
    generator : torch.Generator
        On the device of the module; the same state of it gives the same weights.

    Raises
    ------
    UsageError
        If there is no such rule, or it is of a network with another number of layers.

    Examples
    --------
    >>> classifier = nn.Linear(512, 3)
    >>> initialise(classifier, "gendernet", torch.Generator().manual_seed(0))
    >>> classifier.bias.tolist()
    [0.0, 0.0, 0.0]
    """
    if rule not in RULES:
        raise UsageError(
            f"There is no initialisation {rule!r}.", next=f"{did_you_mean(rule, RULES)}Use one of {', '.join(RULES)}."
        )
    fillers = RULES[rule]
    if not fillers:
        return
    layers = [each for each in module.modules() if isinstance(each, _FILLED)]
    for layer, filler in zip(layers, _for_layers(layers, fillers, rule), strict=True):
        _fill(layer.weight, filler, generator)
        if layer.bias is not None:
            layer.bias.fill_(filler.bias)
    for each in module.modules():
        if isinstance(each, _NORMALISATIONS):
            each.reset_parameters()


def _for_layers(layers: Sequence[nn.Module], fillers: Sequence[Filler], rule: str) -> Sequence[Filler]:
    if len(fillers) == 1:
        return [fillers[0]] * len(layers)
    if len(layers) == 1:
        return fillers[-1:]
    if len(layers) == len(fillers) - 1:  # without the last layer, in whose place a head of its own stands
        return fillers[:-1]
    if len(layers) != len(fillers):
        raise UsageError(
            f"The initialisation {rule!r} is of a network with {len(fillers)} layers of weights; this one has "
            f"{len(layers)}.",
            next="Use one for any network: xavier, keras or library.",
        )
    return fillers


def _fill(weight: Tensor, filler: Filler, generator: torch.Generator) -> None:
    if filler.kind == "gaussian":
        weight.normal_(0.0, filler.std, generator=generator)
        return
    positions = weight[0, 0].numel()
    inputs, outputs = weight.shape[1] * positions, weight.shape[0] * positions
    limit = math.sqrt(3 / inputs) if filler.kind == "xavier" else math.sqrt(6 / (inputs + outputs))
    weight.uniform_(-limit, limit, generator=generator)
