"""A backbone whose methods are called with care: what its plugin raises, or gives wrongly, is told as the plugin's."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.errors import PluginError
from histokit.plugin.backbone import POOLINGS, Backbone, Layer
from histokit.plugin.calls import Caller, shown, shown_value
from histokit.plugin.declared import (
    Attribute,
    are_sentences,
    are_texts,
    check_attributes,
    is_json,
    is_sentence,
    is_sequence,
    is_text,
    or_none,
)
from histokit.plugin.manager import backbone_caller, registered_backbone
from histokit.plugin.names import SEPARATORS, WORDS, fault_of
from histokit.plugin.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor, nn


_MOST_TOKENS = 1 << 16
_FIELDS = {field.name for field in fields(Preprocess)}

#: In the order in which they are looked at.
ATTRIBUTES = (
    Attribute("name", "a text", is_text),
    Attribute("weights", "a text", is_text),
    Attribute("licence", "a text, or None", or_none(is_sentence)),
    Attribute("version", "a text or a number", lambda value: is_text(value) or type(value) in (int, float)),
    Attribute("preprocess_origin", "a text", is_sentence),
    Attribute("file_arguments", "a mapping that JSON can hold", lambda v: isinstance(v, Mapping) and is_json(v)),
    Attribute("undeclared", "a sequence of fields of Preprocess", lambda v: are_texts(v) and set(v) <= _FIELDS),
    Attribute("weights_notes", "a sequence of texts", are_sentences),
    Attribute("operations", "(billions, side), or None", lambda value: _is_operations(value)),
)


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
            self.caller, self.title = Caller(backbone.name, ours=True), backbone.name
            return
        self.caller = backbone_caller(entry)
        self.title = backbone.name if self.caller.ours else f"{backbone.name} of {entry.distribution}"

    def layers(self) -> tuple[Layer, ...]:
        """Return the curated cut points.

        Raises
        ------
        PluginError
            If they are none.
        """
        with self.caller.call("layers"):
            found = self.backbone.layers
            self.caller.check("layers", found, "a sequence of Layer", is_sequence(found))
            items = tuple(found)
        layers = tuple(self._plain_layer("layers", layer) for layer in items)
        names: set[str] = set()
        for layer in () if self.caller.ours else layers:
            # The last one may be called what it is.
            if not (layer is layers[-1] and layer.name == "last"):
                self._check_curated(layer, names)
            names.add(layer.name)
        return layers

    def layer(self, text: str) -> Layer:
        """Return the cut point of a name, see `Backbone.layer`.

        Raises
        ------
        PluginError
            If it is none, or if ``last`` is asked for and there is no curated one.
        """
        method = f"layer({text!r})"
        with self.caller.call(method):
            found = self.backbone.layer(text)
        return self._plain_layer(method, found)

    def _plain_layer(self, method: str, layer: Any) -> Layer:
        # An object may lie about its class.
        if not issubclass(type(layer), Layer):
            raise self.caller.wrong(method, f"{shown(layer)} in place of a Layer")
        if self.caller.ours:
            return layer
        with self.caller.call(method):
            texts = (layer.name, layer.module, layer.pool)
            if not all(isinstance(value, str) and is_json(value) for value in texts):
                raise self.caller.wrong(method, f"{shown(layer)}, whose name, module and pool are not all texts")
            name, module, pool = map(str.__str__, texts)
            if pool not in POOLINGS:
                raise self.caller.wrong(
                    method, f"the layer {name!r} with the pooling {pool!r}, not {', '.join(POOLINGS)}"
                )
            if not all(type(value) is bool for value in (layer.channels_last, layer.composite)):
                raise self.caller.wrong(method, f"{shown(layer)}, whose channels_last and composite are not of bool")
            return replace(layer, name=name, module=module, pool=pool)

    def _check_curated(self, layer: Layer, names: Collection[str]) -> None:
        """Raise where a curated cut point could not be addressed."""
        if layer.name in names:
            raise self.caller.wrong("layers", f"two layers of the name {layer.name!r}")
        if layer.name in WORDS or fault_of(layer.name) or any(letter in layer.name for letter in SEPARATORS):
            raise self.caller.wrong("layers", f"the name {shown_value(layer.name)}, which no address can hold")

    def preprocess(self) -> Preprocess:
        """Return how images are prepared.

        Raises
        ------
        PluginError
            If it is no Preprocess.
        """
        with self.caller.call("preprocess"):
            found = self.backbone.preprocess
            self.caller.check("preprocess", found, "a Preprocess", isinstance(found, Preprocess))
            kind = "a Preprocess whose fields are of the types that it documents"
            self.caller.check("preprocess", found, kind, self.caller.ours or _is_as_documented(found))
        return found

    def weights_file(self) -> Path | None:
        """Return the file of the weights, or none.

        Raises
        ------
        PluginError
            If it is no path of a file that is there.
        """
        # It may fetch the file, which takes its time.
        with self.caller.call("weights_file()", watched=False):
            found = self.backbone.weights_file()
            if found is None or self.caller.ours:
                return found
            self.caller.check("weights_file()", found, "a path or None", isinstance(found, str | PathLike))
            path = Path(found)
            if path.is_file():
                return path
        raise self.caller.wrong("weights_file()", f"{str(path)!r}, which is no file")

    def attribute(self, name: str) -> Any:
        """Return one of `ATTRIBUTES`.

        Raises
        ------
        PluginError
            If it is not what it has to be.
        """
        if not self.caller.ours:
            check_attributes(self.caller, self.backbone, [each for each in ATTRIBUTES if each.name == name])
        return getattr(self.backbone, name)

    def notes(self) -> list[str]:
        """Return what a user should know of how the network was built, where the backbone tells it.

        Raises
        ------
        PluginError
            If they are no texts.
        """
        with self.caller.call("its attribute notes"):
            found = getattr(self.backbone, "notes", ())
            self.caller.check("its attribute notes", found, "a sequence of texts", are_sentences(found))
            return list(found)

    def facts(self) -> dict[str, Any]:
        """Return what else is remembered of it, as JSON-serialisable data.

        Raises
        ------
        PluginError
            If one of its attributes is not what it has to be.
        """
        if not self.caller.ours:
            check_attributes(self.caller, self.backbone, ATTRIBUTES)
        return {
            "name": self.backbone.name,
            "licence": self.backbone.licence,
            "version": str(self.backbone.version),
            "origin": self.backbone.preprocess_origin,
            "arguments": dict(self.backbone.file_arguments),
            "undeclared": list(self.backbone.undeclared),
            "notes": list(self.backbone.weights_notes),
            "operations": self.backbone.operations,
        }

    def build(self) -> nn.Module:
        """Return the network, in evaluation mode and without gradients.

        Raises
        ------
        PluginError
            If it is no ``torch.nn.Module``, or cannot be put into evaluation mode.
        """
        from torch import nn

        with self.caller.call("build()"):
            network = self.backbone.build()
            # An object may lie about its class.
            if issubclass(type(network), nn.Module):
                network.eval()
                network.requires_grad_(False)
                return network
        raise self.caller.wrong("build()", f"{shown(network)} in place of a torch.nn.Module")

    def modules(self, network: nn.Module) -> dict[str, nn.Module]:
        """Return the modules of a network by path."""
        with self.caller.call("named_modules()"):
            return dict(network.named_modules())

    def tensors(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the parameters and buffers of a network, by which it is stored.

        Raises
        ------
        PluginError
            If it keeps anything else, which no file of tensors holds.
        """
        from torch import Tensor

        with self.caller.call("state_dict()"):
            found = dict(network.state_dict())
        for name, value in found.items():
            if not isinstance(value, Tensor):
                raise self.caller.wrong("state_dict()", f"{shown(value)} in place of a Tensor", repr(name))
        return found

    def column_names(self, module: nn.Module) -> list[str]:
        """Return the names of a module's filters, where it tells them.

        Raises
        ------
        PluginError
            If they are no texts.
        """
        with self.caller.call("column_names"):
            found = getattr(module, "column_names", ())
            self.caller.check(
                "column_names", found, "a sequence of texts", is_sequence(found) and all(map(is_text, found))
            )
            return list(found)

    def prefix_tokens(self, network: nn.Module) -> int:
        """Return how many tokens precede the patch tokens.

        Raises
        ------
        PluginError
            If it is no count.
        """
        with self.caller.call("prefix_tokens()"):
            count = self.backbone.prefix_tokens(network)
        if not issubclass(type(count), int) or not 0 <= count < _MOST_TOKENS:
            raise self.caller.wrong("prefix_tokens()", f"{shown(count)} in place of a count")
        return count


def _is_as_documented(found: Preprocess) -> bool:
    numbers = (*found.mean, *found.std, *([] if found.target_mpp is None else [found.target_mpp]))
    return (
        type(found.size) is int
        and type(found.resize_size) in (int, type(None))
        and all(isinstance(values, tuple) for values in (found.mean, found.std, found.channels, found.transforms))
        and all(isinstance(number, int | float) for number in numbers)
        and all(map(is_text, found.channels))
        and is_json(found.to_json())
        and Preprocess.from_json(found.to_json()).to_json() == found.to_json()
    )


def _is_operations(value: Any) -> bool:
    if value is None:
        return True
    pair = isinstance(value, Sequence) and len(value) == 2
    return pair and all(isinstance(number, int | float) and 0 < number < math.inf for number in value)
