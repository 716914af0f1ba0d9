"""Backbones whose networks no library has, with everything else as for those of the libraries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from histokit.backbones import caffe_names
from histokit.backbones.cuts import Step, layer_of, trunk_cuts
from histokit.backbones.library import LibraryBackbone
from histokit.backbones.paper_networks import BUILDERS
from histokit.plugin.backbone import Layer, Pooling
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.weights import Source

if TYPE_CHECKING:
    from torch import Tensor, nn


class PaperBackbone(LibraryBackbone):
    """A network of `paper_networks`, with the row of the curated models that it always has."""

    library = "histokit"

    #: Where its authors used Caffe, images are prepared as Caffe does it whatever file the weights are in.
    _prepared_for_caffe = False

    def _known_tags(self) -> Sequence[str]:
        return ()

    def _default_tag(self) -> str | None:
        return None

    def _builder(self) -> Callable[..., Any]:
        return BUILDERS[self.architecture]

    def _create(self) -> nn.Module:
        network: nn.Module = self._builder()(**self.arguments)
        return network

    def _heads(self, network: nn.Module) -> Sequence[str]:
        return [name for name, _ in network.named_children()][-1:]

    def _from_caffe(self, network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return caffe_names.translated(state, {}, classifier=self._heads(network)[0])

    def _widths(self, network: nn.Module) -> set[int]:
        return {getattr(network.get_submodule(name), "in_features", 0) for name in self._heads(network)}

    def _find_layers(self, network: nn.Module, steps: Sequence[Step]) -> Sequence[Layer]:
        by_name = {step.module: step for step in steps}
        return [layer_of(by_name[cut], None, "avg", network, steps) for cut in trunk_cuts(network, steps)]

    def _token_pooling(self, network: nn.Module) -> Pooling:
        return "avg"

    def _library_preprocess(self) -> Preprocess:
        return Preprocess()

    def _library_licence(self) -> str | None:
        return None

    def _library_source(self) -> Source:
        return Source()
