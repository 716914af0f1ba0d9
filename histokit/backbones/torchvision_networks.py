"""Networks of torchvision: all of its classification models."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from histokit.backbones.cuts import Step, layer_of, trunk_cuts
from histokit.backbones.library import LibraryBackbone, prefix_tokens, unknown_model
from histokit.errors import PluginError, did_you_mean
from histokit.plugin.backbone import Layer, Pooling
from histokit.plugin.copies import under
from histokit.plugin.lean_imports import library
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.weights import Source

if TYPE_CHECKING:
    from torch import Tensor, nn

    from histokit.plugin.checkpoint import Adapt

#: What torchvision's own loading does for the weights' sake: GoogLeNet and Inception take input in ImageNet's
#: normalisation and re-map it themselves, and in evaluation their auxiliary classifiers do nothing.
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": True},
    "inception_v3": {"transform_input": True, "aux_logits": False, "init_weights": True},
}
HEADS = ("fc", "classifier", "head", "heads", "AuxLogits", "aux1", "aux2")


class TorchvisionBackbone(LibraryBackbone):
    """``torchvision:MODEL`` with the weights published first, or ``torchvision:MODEL.WEIGHTS``, as IMAGENET1K_V2."""

    library = "torchvision"
    size_option = "image_size"

    @cached_property
    def published(self) -> Any:
        """torchvision's description of the weights: an enumeration's member."""
        get_model_weights = library("torchvision.models").get_model_weights

        names, asked = self._known_tags(), self.model.partition(".")[2]
        if asked and asked not in names and self.supplied_file is None:
            raise PluginError(
                f"torchvision has no weights {asked!r} of {self.architecture!r}.",
                next=f"{did_you_mean(asked, names)}It has: {', '.join(names)}.",
            )
        choices = list(get_model_weights(self.architecture))
        return choices[names.index(self.tag)] if self.tag in names else choices[0]

    def _known_tags(self) -> Sequence[str]:
        get_model_weights = library("torchvision.models").get_model_weights

        if self.architecture not in (known := model_names()):
            raise unknown_model("torchvision", self.architecture, known)
        return [choice.name for choice in get_model_weights(self.architecture)]

    def _default_tag(self) -> str | None:
        return self._known_tags()[0]

    @cached_property
    def told_arguments(self) -> dict[str, Any]:
        """As told, without what timm writes of every network with an average in the end."""
        told = super().told_arguments
        return {key: value for key, value in told.items() if (key, value) != ("global_pool", "avg")}

    def _builder(self) -> Callable[..., Any]:
        get_model_builder = library("torchvision.models").get_model_builder

        builder: Callable[..., Any] = get_model_builder(self.architecture)
        return builder

    def _create(self) -> nn.Module:
        get_model = library("torchvision.models").get_model

        known = model_names()
        if self.architecture not in known:
            raise unknown_model("torchvision", self.architecture, known)
        arguments = {**ARGUMENTS.get(self.architecture, {}), **self._built_for, **self.arguments}
        network: nn.Module = get_model(self.architecture, weights=None, **arguments)
        if self.architecture.startswith("densenet"):
            from torch import nn

            # The last one is a function there, so that no module would give the map that is pooled.
            network.get_submodule("features").add_module("relu5", nn.ReLU())
        return network

    @property
    def _built_for(self) -> Mapping[str, Any]:
        """The size that the weights are of, as torchvision has it with them: its Vision Transformers take no other."""
        size = self.request.size or self.published.meta["min_size"][0]
        return {self.size_option: size} if self.architecture.startswith("vit_") else {}

    def _heads(self, network: nn.Module) -> Sequence[str]:
        return HEADS

    def _widths(self, network: nn.Module) -> set[int]:
        modules = [m for name, m in network.named_modules() if name.partition(".")[0] in HEADS[:4]]
        return {width for m in modules if (width := getattr(m, "in_features", getattr(m, "in_channels", None)))}

    def _filters(self, network: nn.Module) -> Sequence[Adapt]:
        return (_renamed,)

    def _prepare(self, network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Leave out what is no number in the heads: some weights are published for their features alone."""
        heads = self._heads(network)
        return {key: value for key, value in state.items() if not (under(key, heads) and value.isnan().any())}

    def _find_layers(self, network: nn.Module, steps: Sequence[Step]) -> Sequence[Layer]:
        by_name = {step.module: step for step in steps}
        pooling = self._token_pooling(network)
        return [layer_of(by_name[cut], None, pooling, network, steps) for cut in trunk_cuts(network, steps)]

    def _token_pooling(self, network: nn.Module) -> Pooling:
        return "cls" if prefix_tokens(network) else "avg"

    def _library_preprocess(self) -> Preprocess:
        transforms = self.published.transforms()
        return Preprocess(
            size=transforms.crop_size[0],
            interpolation=transforms.interpolation.value,
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
        )

    def _library_licence(self) -> str | None:
        own = self.published.meta.get("license")
        return own or "BSD-3-Clause (torchvision); trained on ImageNet, whose images are for research"

    def _library_source(self) -> Source:
        return Source(url=self.published.url)


def _renamed(_network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Give the tensors of the DenseNets and Vision Transformers that are published the names that they have today."""
    changes = (
        (r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2"),
        (r"(\.mlp\.)linear_1\.", r"\g<1>0."),
        (r"(\.mlp\.)linear_2\.", r"\g<1>3."),
    )
    found = dict(state)
    for old, new in changes:
        found = {re.sub(old, new, key): value for key, value in found.items()}
    return found


def model_names() -> list[str]:
    """List torchvision's classification models."""
    torchvision = library("torchvision")

    return list(torchvision.models.list_models(module=torchvision.models))
