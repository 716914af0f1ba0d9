"""Networks of timm: its registry, models on the Hugging Face hub, and local folders with configuration and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.backbones.cuts import Step
from histokit.backbones.library import LibraryBackbone, unknown_model
from histokit.backbones.library_weights import side
from histokit.backbones.timm_cuts import find_layers, token_pooling
from histokit.backbones.timm_weights import filters, head_modules
from histokit.errors import PluginError, StoreError, did_you_mean
from histokit.plugin.backbone import BackboneRequest, Layer, Pooling
from histokit.plugin.backbone_names import join_backbone_name, split_backbone_name
from histokit.plugin.lean_imports import library
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.sidecar import (
    beside_file,
    builder_fields,
    declared,
    library_fields,
    library_preprocess,
    object_of,
    read_object,
)
from histokit.plugin.weights import CONFIGURATION, Source, fetch, local_file

if TYPE_CHECKING:
    from torch import Tensor, nn

    from histokit.backbones.rows import Row
    from histokit.plugin.checkpoint import Adapt

HUB = ("hf-hub:", "hf_hub:")
FOLDER = "local-dir:"


@dataclass(frozen=True)
class Blueprint:
    """How timm builds a network.

    Parameters
    ----------
    architecture : str
        In timm's registry.
    arguments : mapping
        That the configuration sets.
    configuration : mapping
        Of the weights, in timm's terms.
    """

    architecture: str
    arguments: Mapping[str, Any]
    configuration: Mapping[str, Any]


class TimmBackbone(LibraryBackbone):
    """``timm:MODEL[.TAG]``, ``timm:hf-hub:ORGANISATION/MODEL`` or ``timm:/path/of/folder``."""

    library = "timm"

    def __init__(self, request: BackboneRequest, row: Row | None = None):
        super().__init__(request, row)
        self.hub = next((self.model.removeprefix(p) for p in HUB if self.model.startswith(p)), None)
        path = self.model.removeprefix(FOLDER)
        self.folder = Path(path).expanduser() if path != self.model or path.startswith(("/", ".", "~")) else None

    @cached_property
    def blueprint(self) -> Blueprint:
        """How the network is built, and what timm knows of its weights."""
        found = self._own_blueprint
        size = {file: declared(document, str(file)).get("size") for file, document in self._documents.items()}
        told = [size[file] for file, network in self._networks.items() if network["architecture"] and size[file]]
        told += [self.request.size] if self.request.size else []
        if not told or self.arguments.get("dynamic_img_size"):
            return found
        # Networks of a fixed input are built for the size that the weights are of.
        depth = (found.configuration.get("input_size") or (3,))[0]
        return replace(found, configuration={**found.configuration, "input_size": (depth, told[-1], told[-1])})

    @cached_property
    def _own_blueprint(self) -> Blueprint:
        if self.folder is not None or self.hub is not None:
            return self._blueprint_of_file(self._configuration())
        return self._blueprint_of_registry()

    @property
    def _asked_architecture(self) -> str:
        return self.architecture if self._tagged else self._own_blueprint.architecture

    @property
    def building_name(self) -> str:
        """Of a folder, and of the hub, the architecture that the configuration there names."""
        if self._tagged:
            return super().building_name
        _, options = split_backbone_name(self.name)
        return join_backbone_name(f"{self.library}:{self._own_blueprint.architecture}", options)

    @property
    def building_arguments(self) -> Mapping[str, Any]:
        """With what timm takes from a configuration, of a folder and of the hub."""
        if self._tagged:
            return super().building_arguments
        blueprint = self._own_blueprint
        taken = {name: blueprint.configuration.get(name) for name in ("num_classes", "global_pool")}
        taken["in_chans"] = (blueprint.configuration.get("input_size") or (None,))[0]
        stated = {name: value for name, value in taken.items() if value is not None}
        return {**stated, **blueprint.arguments, **super().building_arguments}

    @property
    def building_size(self) -> int | None:
        """Of the input in the configuration, by which timm builds networks of a fixed one."""
        _, *sides = self.blueprint.configuration.get("input_size") or (3,)
        return int(sides[0]) if len(set(sides)) == 1 else None

    def _configuration(self) -> Path:
        own = self.folder / "config.json" if self.folder else self.configuration_file
        if own is not None:
            return own
        supplied = self.supplied_file
        sidecar = beside_file(supplied) if supplied is not None else None
        if sidecar is not None and "architecture" in read_object(sidecar):
            return sidecar
        return fetch(self.base_name, Source(repository=self.hub, filenames=CONFIGURATION))

    def _blueprint_of_file(self, path: Path) -> Blueprint:
        if not path.is_file():
            raise StoreError(f"{path.parent} has no {path.name}.", next="Name a folder with config.json and weights.")
        document = read_object(path)
        architecture = document.get("architecture")
        if not isinstance(architecture, str):
            raise StoreError(
                f"{path} is no configuration of timm: it names no architecture.",
                next="Use a model saved for timm, or name the architecture and its file: timm:MODEL --weights FILE",
            )
        known = model_names()
        if architecture not in known:
            raise unknown_model("timm", architecture, known)
        arguments = dict(object_of(document, "model_args", str(path))) if document.get("model_args") else {}
        arguments = {**builder_fields(document, str(path)), **arguments}
        nested = "pretrained_cfg" in document
        configuration = object_of(document, "pretrained_cfg", str(path)) if nested else document
        library_fields(configuration, str(path))
        return Blueprint(architecture, arguments, _known_fields(configuration))

    def _blueprint_of_registry(self) -> Blueprint:
        timm = library("timm")

        tags, asked = self._known_tags(), self.model.partition(".")[2]
        if asked and asked not in tags and self.supplied_file is None:
            raise PluginError(
                f"timm has no weights {asked!r} of {self.architecture!r}.",
                next=f"{did_you_mean(asked, tags)}It has: {', '.join(tags) or 'none'}.",
            )
        full = f"{self.architecture}.{self.tag}" if self.tag in tags else self.architecture
        configuration = timm.get_pretrained_cfg(full, allow_unregistered=True)
        return Blueprint(self.architecture, {}, configuration.to_dict() if configuration else {})

    @property
    def _tagged(self) -> bool:
        return self.folder is None and self.hub is None

    def _known_tags(self) -> Sequence[str]:
        timm = library("timm")

        if self.architecture not in (known := model_names()):
            raise unknown_model("timm", self.architecture, known)
        return [name.partition(".")[2] for name in timm.list_models(f"{self.architecture}.*", pretrained=True)]

    def _default_tag(self) -> str | None:
        timm = library("timm")

        if self.row:
            # Several curated models share timm's plain architectures.
            return None
        configuration = timm.get_pretrained_cfg(self.architecture, allow_unregistered=True)
        return (configuration.tag or None) if configuration else None

    def _builder(self) -> Callable[..., Any]:
        timm = library("timm")

        builder: Callable[..., Any] = timm.model_entrypoint(self.blueprint.architecture)
        return builder

    @property
    def _arguments_of_file(self) -> Mapping[str, Any]:
        return {**self.blueprint.arguments, **self.told_arguments}

    @property
    def _origin_of_arguments(self) -> str | None:
        return super()._origin_of_arguments or (None if self._tagged else str(self._configuration()))

    def _create(self) -> nn.Module:
        timm = library("timm")

        blueprint = self.blueprint
        arguments = {**blueprint.arguments, **{k: resolve(k, v) for k, v in self.arguments.items()}}
        # As in timm's own factory: what a configuration leaves open is at the builder's default.
        arguments = {k: resolve(k, v) for k, v in arguments.items() if v is not None}
        network: nn.Module = timm.create_model(
            blueprint.architecture, pretrained_cfg=dict(blueprint.configuration) or None, **arguments
        )
        return network

    def _prepare(self, network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Spread the first convolution of three colours over the channels that ``in_chans`` asks for."""
        adapt_input_conv = library("timm.models").adapt_input_conv

        first = f"{getattr(network, 'pretrained_cfg', {}).get('first_conv')}.weight"
        if "in_chans" not in self.options or first not in state or state[first].shape[1] != 3:
            return state
        return {**state, first: adapt_input_conv(int(self.options["in_chans"]), state[first])}

    def _filters(self, network: nn.Module) -> Sequence[Adapt]:
        def adapted(adapt: Adapt) -> Adapt:
            return lambda network, state: adapt(network, self._prepare(network, state))

        return [adapted(adapt) for adapt in filters(network)]

    def _heads(self, network: nn.Module) -> Sequence[str]:
        return head_modules(network)

    def _widths(self, network: nn.Module) -> set[int]:
        # Configurations of earlier timm say the width behind the last convolution of MobileNetV3 and the like.
        found = (getattr(network, name, None) for name in ("num_features", "head_hidden_size"))
        return {width for width in found if width is not None}

    def _find_layers(self, network: nn.Module, steps: Sequence[Step]) -> Sequence[Layer]:
        return find_layers(network, steps)

    def _token_pooling(self, network: nn.Module) -> Pooling:
        return token_pooling(network)

    def _library_preprocess(self) -> Preprocess:
        found = library_preprocess(self.blueprint.configuration, Preprocess())
        return replace(found, size=side(self.blueprint.arguments.get("img_size", found.size)))

    def _library_licence(self) -> str | None:
        address = self.source.address if self.source.repository else None
        return self.blueprint.configuration.get("license") or (f"see {address}" if address else None)

    def _library_source(self) -> Source:
        if self.folder is not None:
            return Source()
        configuration = self.blueprint.configuration
        repository = self.hub or configuration.get("hf_hub_id")
        named = configuration.get("hf_hub_filename")
        if repository:
            return Source(repository=repository, filenames=(named,) if named else Source().filenames)
        return Source(url=configuration.get("url") or None)

    @property
    def configuration_file(self) -> Path | None:
        """``config.json`` with the weights that are asked for, else that of the folder that is the model."""
        own = self.folder / "config.json" if self.folder else None
        return super().configuration_file or (own if own is not None and own.is_file() else None)

    @cached_property
    def supplied_file(self) -> Path | None:
        """The weights file that the user supplied; for a folder with configuration and weights, the file in it."""
        if self.folder is not None and self.weights == "pretrained":
            return local_file(str(self._existing_folder()))
        return super().supplied_file

    def _existing_folder(self) -> Path:
        assert self.folder is not None
        if not self.folder.is_dir():
            siblings = [str(p) for p in self.folder.parent.glob("*") if p.is_dir()]
            raise PluginError(
                f"There is no folder {self.folder}.",
                next=f"{did_you_mean(str(self.folder), siblings)}Name a folder with config.json and weights.",
            )
        return self.folder


def resolve(name: str, value: Any) -> Any:
    """Return the class that a builder's argument wants, where it is written by name."""
    if not isinstance(value, str):
        return value
    if name == "mlp_layer":
        layers = library("timm.layers")

        return {"SwiGLUPacked": layers.SwiGLUPacked, "SwiGLU": layers.SwiGLU, "GluMlp": layers.GluMlp}[value]
    if name == "act_layer":
        from torch import nn

        return {"SiLU": nn.SiLU, "GELU": nn.GELU, "ReLU": nn.ReLU}.get(value, value)
    return value


def _known_fields(configuration: Mapping[str, Any]) -> dict[str, Any]:
    PretrainedCfg = library("timm.models").PretrainedCfg

    # The weights come from the file that was located, whatever address a configuration still carries.
    known = {field.name for field in fields(PretrainedCfg)} - {"url", "file", "hf_hub_id", "source", "state_dict"}
    return {key: value for key, value in configuration.items() if key in known}


def model_names() -> list[str]:
    """List timm's models, without the tags of their weights."""
    timm = library("timm")

    return list(timm.list_models())
