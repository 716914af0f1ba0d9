"""What Caffe's files call the layers of networks that torchvision and timm have too, and how images were prepared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from histokit.errors import StoreError
from histokit.plugin.preprocess import Preprocess

Tensors = TypeVar("Tensors")

#: Convolutions between two poolings of the networks of Simonyan and Zisserman, and how torchvision numbers them.
_VGG = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
#: Fire modules 2 to 9 of SqueezeNet among torchvision's features.
_FIRES = {"squeezenet1_0": (3, 4, 5, 7, 8, 9, 10, 12), "squeezenet1_1": (3, 4, 6, 7, 9, 10, 11, 12)}

#: Mean of red, green and blue on a scale of 0 to 255, as these networks were given with their weights.
_MEANS = {"squeezenet1_0": (123.0, 117.0, 104.0), "squeezenet1_1": (123.0, 117.0, 104.0)}
_MEAN = (123.68, 116.779, 103.939)

#: Why the weights of Caffe's network of the same name do not fit a library's.
_UNLIKE = {
    "googlenet": "It has batch normalisation, and 3 × 3 in place of 5 × 5 convolutions, unlike Caffe's GoogLeNet",
    "alexnet": "It is another AlexNet, of one tower without response normalisation: caffe_alexnet is Caffe's",
}


def _vgg(blocks: tuple[int, ...]) -> dict[str, str]:
    found, place = {}, 0
    for block, count in enumerate(blocks, 1):
        for number in range(1, count + 1):
            found[f"conv{block}_{number}"] = f"features.{place}"
            place += 2
        place += 1
    return {**found, "fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}


def _squeezenet(places: tuple[int, ...]) -> dict[str, str]:
    convolutions = {"squeeze1x1": "squeeze", "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
    fires = {
        f"fire{number}/{caffe}": f"features.{place}.{own}"
        for number, place in enumerate(places, 2)
        for caffe, own in convolutions.items()
    }
    return {"conv1": "features.0", **fires, "conv10": "classifier.1"}


#: Architecture → Caffe's name of a layer → torchvision's, in depth order; the last one is the classifier.
LAYERS: Mapping[str, Mapping[str, str]] = {
    **{name: _vgg(blocks) for name, blocks in _VGG.items()},
    **{name: _squeezenet(places) for name, places in _FIRES.items()},
}


def as_in_caffe(preprocess: Preprocess, architecture: str) -> Preprocess:
    """Return preprocessing that comes to what Caffe gave a network: 0 to 255, less the mean of each colour."""
    mean = tuple(value / 255 for value in _MEANS.get(architecture, _MEAN))
    return replace(preprocess, mean=mean, std=(1 / 255,) * 3)


def translated(
    state: Mapping[str, Tensors], layers: Mapping[str, str], classifier: str | None = None
) -> dict[str, Tensors]:
    """Return tensors by a library's names in place of Caffe's; what no name is known of keeps its own.

    A classifier that was trained for other classes is left out: it goes by the name of the first with an addition,
    because Caffe copies layers by name.

    Parameters
    ----------
    state : mapping
    layers : mapping
        Caffe's name of a layer → the library's.
    classifier : str, optional
        Caffe's name of the last layer; the last one of `layers` where not given.
    """
    last = classifier or list(layers)[-1]
    parts = {key: key.rpartition(".") for key in state}
    return {
        f"{layers.get(layer, layer)}.{kind}": state[key]
        for key, (layer, _, kind) in parts.items()
        if not re.match(rf"{re.escape(last)}[_\-/]", layer)
    }


def unlike(architecture: str, error: StoreError) -> StoreError:
    """Return the error for weights that do not fit, with the reason where networks share no more than a name."""
    if architecture not in _UNLIKE:
        return error
    return StoreError(f"{error.message} {_UNLIKE[architecture]}.", next=error.next, details=error.details)
