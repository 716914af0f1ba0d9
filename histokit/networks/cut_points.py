"""Whether a layer is a place where a network can be cut."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from histokit.errors import UsageError, did_you_mean
from histokit.plugin import Layer
from histokit.plugin.calls import Caller
from histokit.plugin.guarded_backbone import GuardedBackbone
from histokit.plugin.pooling import first_tensor, refuse_rows, refuse_turned


def check_module(network: nn.Module, guarded: GuardedBackbone, layer: Layer) -> None:
    """Raise unless a layer is a module of a network.

    Raises
    ------
    PluginError
        If it is a cut point that a plugin gave.
    UsageError
        That tells which layers there are.
    """
    modules = guarded.modules(network)
    if layer.module in modules:
        return
    layers = guarded.layers()
    if not guarded.caller.ours and layer.module in [known.module for known in layers]:
        raise guarded.caller.wrong("layers", f"{layer.name!r}, whose module {layer.module!r} the network does not have")
    name, curated = guarded.backbone.name, [known.name for known in layers]
    names = ["last", "all", *curated, *(path for path in modules if path)]
    raise UsageError(
        f"The backbone {name!r} has no layer {layer.module!r}.",
        next=f"{did_you_mean(layer.module, names)}Its layers are: last, {', '.join(curated)}; "
        f"or any module path. See: histokit list layers {name}",
    )


def check_once(base: nn.Module, layer: Layer, batch: Tensor, *, pooled: bool = True, foreign: bool = False) -> None:
    """Raise where a layer is used several times: a cut is at its first output, and features are of its last one.

    Parameters
    ----------
    base : Module
    layer : Layer
    batch : (N, C, S, S) Tensor
    pooled : bool
        Whether its output becomes a mean or maximum over positions; raise where that would be one over channels, too.
    foreign : bool
        Whether a plugin says where the channels of the layer are, which is looked at then.

    Raises
    ------
    UsageError
    """
    outputs: list[Any] = []
    module = base.get_submodule(layer.module)
    hook = module.register_forward_hook(lambda *given: outputs.append(given[-1]))
    # What cannot run behind the layer is cut off.
    with suppress(Exception), torch.no_grad():
        base(batch)
    hook.remove()
    if pooled and outputs:
        refuse_rows(module, first_tensor(outputs[0], layer).shape, layer)
    if pooled and foreign and outputs:
        refuse_turned(outputs[0], layer)
    if len(outputs) > 1:
        around = layer.module.rpartition(".")[0]
        raise UsageError(
            f"The network uses the layer {layer.module!r} {len(outputs)} times for an image: it cannot be cut there.",
            next=f"Name {around!r}, which it is in, or another layer." if around else "Name another layer.",
        )


def checked_vectors(vectors: Tensor | None, caller: Caller, layer: Layer, count: int, width: int | None) -> Tensor:
    """Return the vectors of a layer, one for each of so many images.

    Parameters
    ----------
    vectors : (n, d) Tensor, optional
        None where the layer was not reached.
    caller : Caller
        Of the network's plugin.
    layer : Layer
    count : int
    width : int, optional
        That they have to have.

    Raises
    ------
    PluginError, UsageError
        If they are others, as of another network or of parts of images.
    """
    if vectors is None:
        raise UsageError(
            f"The layer {layer.name!r} is not reached when the network runs.", next="Choose another layer."
        )
    what = ""
    if len(vectors) != count:
        what = f"{len(vectors)} vectors for {count} images in the layer {layer.name!r}"
    elif width not in (None, vectors.shape[1]):
        what = f"vectors of {vectors.shape[1]} features in the layer {layer.name!r}, after {width}"
    if what and not caller.ours:
        raise caller.wrong("forward()", what)
    if what:
        raise UsageError(f"{caller.owner} gives {what}.", next="Choose another layer.")
    return vectors
