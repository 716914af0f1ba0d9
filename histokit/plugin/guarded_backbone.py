"""A backbone whose methods are called with care: what its plugin raises, or gives wrongly, is told as the plugin's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.errors import PluginError
from histokit.plugin.backbone import Backbone, Layer, Preprocess
from histokit.plugin.calls import plugin_call, shown
from histokit.plugin.digests import canonical_json
from histokit.plugin.manager import registry, split_backbone_name
from histokit.plugin.registered import Registered

if TYPE_CHECKING:
    from torch import nn


def registered_backbone(name: str) -> Registered:
    """Return who registered the backbone of a whole name, or its prefix.

    Raises
    ------
    PluginError
        If nobody did.
    """
    base, _ = split_backbone_name(name)
    prefix, colon, _ = base.partition(":")
    return registry().find_backbone(prefix + ":" if colon else base)


class GuardedBackbone:
    """Calls the methods of a backbone.

    Parameters
    ----------
    backbone : Backbone
        Errors of histokit's own backbones stay what they are.
    name : str, optional
        What it was asked for as; its own name where not given.
    """

    def __init__(self, backbone: Backbone, name: str = ""):
        self.backbone = backbone
        try:
            entry = registered_backbone(name or backbone.name)
        except PluginError:
            # Made by hand: whoever did so sees what it raises.
            self._ours, self.owner, self.title = True, "", backbone.name
            return
        self._ours = not entry.third_party
        self.owner = f"The backbone {entry.name!r} of {entry.distribution} ({entry.module})"
        self.title = backbone.name if self._ours else f"{backbone.name} of {entry.distribution}"

    def call(
        self, method: str, *, through: tuple[type[Exception], ...] = (), watched: bool = True
    ) -> AbstractContextManager[None]:
        """Call a method; see `plugin_call`."""
        return nullcontext() if self._ours else plugin_call(self.owner, method, through=through, watched=watched)

    def _wrong(self, method: str, what: str) -> PluginError:
        return PluginError(
            f"{self.owner or self.title} gave {what} in {method}.", next="Tell its author; a newer version may help."
        )

    def layers(self) -> tuple[Layer, ...]:
        """Return the curated cut points.

        Raises
        ------
        PluginError
            If they are none.
        """
        with self.call("layers"):
            found = self.backbone.layers
            items = tuple(found) if isinstance(found, Sequence) and not isinstance(found, str) else None
        if items is None:
            raise self._wrong("layers", f"{shown(found)} in place of a sequence of Layer")
        for layer in items:
            self._check_layer("layers", layer)
        return items

    def layer(self, text: str) -> Layer:
        """Return the cut point of a name, see `Backbone.layer`.

        Raises
        ------
        PluginError
            If it is none, or if ``last`` is asked for and there is no curated one.
        """
        method = f"layer({text!r})"
        with self.call(method):
            found = self.backbone.layer(text)
        self._check_layer(method, found)
        return found

    def _check_layer(self, method: str, layer: Any) -> None:
        if not isinstance(layer, Layer):
            raise self._wrong(method, f"{shown(layer)} in place of a Layer")
        if not all(isinstance(value, str) for value in (layer.name, layer.module, layer.pool)):
            raise self._wrong(method, f"{shown(layer)}, whose name, module and pool are not all texts")

    def preprocess(self) -> Preprocess:
        """Return how images are prepared.

        Raises
        ------
        PluginError
            If it is no Preprocess.
        """
        with self.call("preprocess"):
            found = self.backbone.preprocess
        if not isinstance(found, Preprocess):
            raise self._wrong("preprocess", f"{shown(found)} in place of a Preprocess")
        return found

    def weights_file(self) -> Path | None:
        """Return the file of the weights, or none.

        Raises
        ------
        PluginError
            If it is no path of a file that is there.
        """
        # It may fetch the file, which takes its time.
        with self.call("weights_file()", watched=False):
            found = self.backbone.weights_file()
        if found is None or self._ours:
            return found
        if not isinstance(found, str | PathLike):
            raise self._wrong("weights_file()", f"{shown(found)} in place of a path or None")
        path = Path(found)
        if not path.is_file():
            raise self._wrong("weights_file()", f"{str(path)!r}, which is no file")
        return path

    def facts(self) -> dict[str, Any]:
        """Return what else is remembered of it, as JSON-serialisable data.

        Raises
        ------
        PluginError
            If something of it cannot be kept as JSON.
        """
        with self.call("its attributes"):
            found = {
                "name": self.backbone.name,
                "licence": self.backbone.licence,
                "version": str(self.backbone.version),
                "origin": self.backbone.preprocess_origin,
                "arguments": dict(self.backbone.file_arguments),
                "undeclared": list(self.backbone.undeclared),
                "notes": list(self.backbone.weights_notes),
                "operations": self.backbone.operations,
            }
        if not isinstance(found["name"], str):
            raise self._wrong("name", f"{shown(found['name'])} in place of a text")
        if not _is_operations(found["operations"]):
            raise self._wrong("operations", f"{shown(found['operations'])} in place of (billions, side) or None")
        for key, value in found.items():
            try:
                canonical_json(value)
            except (TypeError, ValueError, RecursionError) as error:
                raise self._wrong(key, f"what JSON cannot hold ({error})") from error
        return found

    def build(self) -> nn.Module:
        """Return the network.

        Raises
        ------
        PluginError
            If it is no ``torch.nn.Module``.
        """
        from torch import nn

        with self.call("build()"):
            network = self.backbone.build()
        if not isinstance(network, nn.Module):
            raise self._wrong("build()", f"{shown(network)} in place of a torch.nn.Module")
        return network

    def prefix_tokens(self, network: nn.Module) -> int:
        """Return how many tokens precede the patch tokens.

        Raises
        ------
        PluginError
            If it is no count.
        """
        with self.call("prefix_tokens()"):
            count = self.backbone.prefix_tokens(network)
        if not isinstance(count, int) or count < 0:
            raise self._wrong("prefix_tokens()", f"{shown(count)} in place of a count")
        return count


def _is_operations(value: Any) -> bool:
    if value is None:
        return True
    pair = isinstance(value, Sequence) and len(value) == 2
    return pair and all(isinstance(number, int | float) and 0 < number < math.inf for number in value)
