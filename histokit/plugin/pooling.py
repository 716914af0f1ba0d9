"""From the output of a cut point to one vector for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from histokit.errors import UsageError
from histokit.plugin.backbone import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn


#: How far a tensor may lie inside sequences; one that holds itself has no end.
_DEEPEST = 16
#: From so many tokens on, a number of them that makes rows and columns tells whether all are patches.
_SQUARE = 16


def pool(output: Any, layer: Layer, prefix_tokens: int = 1, size: Sequence[int] = (1, 1)) -> Tensor:
    """Reduce the output of a layer's module to one vector for each image.

    Parameters
    ----------
    output : Tensor, or a sequence whose first element is one
        An (N, C, H, W) map, or (N, H, W, C) where the layer says `channels_last`; an (N, T, C)
        sequence of tokens; or an (N, d) matrix, which every spatial pooling leaves as it is.
    layer : Layer
        Names the pooling.
    prefix_tokens : int
        How many class and register tokens precede the patch tokens; the class token is the first. See `leading_tokens`.
    size : sequence of two int
        Height and width of the images, as far as their ratio.

    Returns
    -------
    (N, d) float32 Tensor
        With memory of its own: what follows in the network may overwrite its input.

    Raises
    ------
    UsageError
        If the pooling does not suit the shape of the output.
    """
    tensor = first_tensor(output, layer)
    if tensor.ndim == 2 and layer.pool in ("avg", "max", "none"):
        return tensor.float().clone()
    if tensor.ndim == 4 and layer.pool in ("avg", "max"):
        return _over_positions(tensor, layer)
    if tensor.ndim == 4 and layer.pool == "none" and tensor.shape[2:] == (1, 1):
        return tensor.float().flatten(1).clone()
    if tensor.ndim == 3 and layer.pool != "none":
        # Where torch traces a network for another engine, lengths are no plain numbers.
        return _over_tokens(tensor, layer, leading_tokens(int(tensor.shape[1]), prefix_tokens, size))
    raise _unsuitable(layer, tensor, _suggestion(tensor))


def first_tensor(output: Any, layer: Layer) -> Tensor:
    """Return what a layer's module gives: of a sequence, its first element.

    Raises
    ------
    UsageError
        If that is no tensor of real numbers.
    """
    import torch

    for _ in range(_DEEPEST):
        if not isinstance(output, Sequence) or isinstance(output, str | bytes) or not len(output):
            break
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise UsageError(
            f"Layer {layer.name!r} (module {layer.module!r}) gives a {type(output).__name__}, not a tensor.",
            next="Choose another layer: histokit list layers BACKBONE",
        )
    if output.is_complex():
        raise UsageError(
            f"Layer {layer.name!r} (module {layer.module!r}) gives complex numbers.", next="Choose another layer."
        )
    return output


def is_turned(shape: Sequence[int], layer: Layer) -> bool:
    """Return whether a map of a square image would have its channels elsewhere than a layer says: sides are unequal.

    Parameters
    ----------
    shape : sequence of int
        Of the output of the layer's module.
    layer : Layer
    """
    if len(shape) != 4 or layer.pool not in ("avg", "max"):
        return False
    _, first, second, third = shape
    if layer.channels_last:
        return first != second == third
    return first == second != third


def refuse_turned(output: Any, layer: Layer) -> None:
    """Raise where a map of a square image has its channels elsewhere than its layer says: means would be of others.

    Raises
    ------
    UsageError
    """
    shape = tuple(first_tensor(output, layer).shape)
    if is_turned(shape, layer):
        where = "first" if layer.channels_last else "last"
        raise UsageError(
            f"Layer {layer.name!r} (module {layer.module!r}) gives shape {shape}, whose channels come {where}.",
            next=f"Choose another layer, or declare it in the plugin with channels_last={not layer.channels_last}.",
        )


def refuse_rows(module: nn.Module, shape: Sequence[int], layer: Layer) -> None:
    """Raise where a module computes along one axis: of its (N, C, L), a mean over tokens would be one over channels.

    Raises
    ------
    UsageError
    """
    from torch import nn

    convolutions = nn.Conv1d, nn.ConvTranspose1d
    others = nn.BatchNorm1d, nn.InstanceNorm1d, nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d
    found = [module] if isinstance(module, (*convolutions, *others, nn.Unfold)) else []
    # What wraps a convolution, with its normalisation and its activation, gives as many channels as that.
    found += [
        each for each in module.children() if isinstance(each, convolutions) and shape[1:2] == (each.out_channels,)
    ]
    if found and len(shape) == 3 and shape[1] > 1:
        raise UsageError(
            f"Layer {layer.name!r} (module {layer.module!r}) gives shape {tuple(shape)}, whose channels come first: "
            f"{type(found[0]).__name__} computes along the last axis, and tokens are (N, T, C).",
            next="Choose the module that it is part of; in a plugin, let the network turn it, and cut there.",
        )


def _over_positions(tensor: Tensor, layer: Layer) -> Tensor:
    positions = (1, 2) if layer.channels_last else (2, 3)
    if any(tensor.shape[axis] == 0 for axis in positions):
        raise _unsuitable(layer, tensor, "Give larger images: --preprocess size=N")
    return _mean(tensor, positions) if layer.pool == "avg" else tensor.amax(dim=positions).float()


def _mean(tensor: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    """Return means as float32, without a copy of the whole as float32, which takes a GPU longer than the sums."""
    import torch

    return tensor.mean(dim=axes, dtype=torch.float32)


def leading_tokens(count: int, prefix_tokens: int, size: Sequence[int] = (1, 1)) -> int:
    """Return how many of so many tokens are class and register tokens: none where all are rows and columns of patches.

    Modules such as ``patch_embed`` run before these tokens come to the patches, of which the first would be taken for
    the class token. Of fewer than 16 tokens that cannot be told. Patches are taken to be square, of images of a `size`
    (height and width): 196 tokens are 14 rows of a square image, and of 208 × 240 pixels 13 × 15 behind a class token.
    """
    patches = count >= _SQUARE and _is_grid(count, *size) and not _is_grid(count - prefix_tokens, *size)
    return 0 if patches else prefix_tokens


def _is_grid(count: int, height: int, width: int) -> bool:
    rows = round((count * height / width) ** 0.5) if count > 0 else 0
    return rows > 0 and rows * width % height == 0 and rows * (rows * width // height) == count


def _over_tokens(tensor: Tensor, layer: Layer, prefix_tokens: int) -> Tensor:
    if layer.pool == "cls":
        if prefix_tokens < 1:
            raise _unsuitable(layer, tensor, f"It has no class token; write {_stem(layer)}:avg")
        return tensor[:, 0].float().clone()
    patches = tensor[:, prefix_tokens:]
    if patches.shape[1] == 0:
        raise _unsuitable(layer, tensor, f"No patch tokens follow the {prefix_tokens} prefix tokens; choose another")
    if layer.pool == "max":
        return patches.amax(dim=1).float()
    if layer.pool == "avg":
        return _mean(patches, 1)
    if prefix_tokens < 1:
        raise _unsuitable(layer, tensor, f"It has no class token; write {_stem(layer)}:avg")
    import torch

    return torch.cat([tensor[:, 0].float(), _mean(patches, 1)], dim=1)


def _stem(layer: Layer) -> str:
    return layer.name.partition(":")[0]


def _suggestion(tensor: Tensor) -> str:
    fitting = {2: "none", 3: "cls, cls-mean, avg or max", 4: "avg or max"}.get(tensor.ndim)
    if fitting is None:
        return "Choose another layer: histokit list layers BACKBONE"
    return f"Write the pooling behind the layer: LAYER:POOL, with {fitting}"


def _unsuitable(layer: Layer, tensor: Tensor, suggestion: str) -> UsageError:
    return UsageError(
        f"Layer {layer.name!r} (module {layer.module!r}) gives shape {tuple(tensor.shape)}, "
        f"which pooling {layer.pool!r} cannot reduce to one vector for each image.",
        next=f"{suggestion}.",
    )
