"""Whether a layer is a place where a network can be cut."""

from __future__ import annotations

from torch import nn

from histokit.errors import UsageError, did_you_mean
from histokit.plugin import Layer
from histokit.plugin.guarded_backbone import GuardedBackbone


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
