"""What backbones of timm and torchvision have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.backbones import caffe_names
from histokit.backbones.builder_options import build_error, check_reserved, check_taken, unexpected
from histokit.backbones.cuts import Step, holds_features, is_cube, layer_of, outline
from histokit.backbones.library_weights import LibraryWeights
from histokit.errors import DataError, PluginError, StoreError, UsageError, did_you_mean
from histokit.plugin.backbone import Layer, Pooling
from histokit.plugin.checkpoint import load_states, read_states
from histokit.plugin.file_kinds import is_caffe
from histokit.plugin.lean_imports import compiler_deferred, uninitialised
from histokit.plugin.pooling import leading_tokens
from histokit.plugin.weights import (
    random_seed,
    seeded,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from histokit.plugin.checkpoint import Adapt, States

#: Pixels, of which a network of usual depth leaves more than one position.
_ROOMY = 64


class LibraryBackbone(LibraryWeights):
    """A network that a library builds; the library is imported when its layers, or the network, are asked for.

    Parameters
    ----------
    request : BackboneRequest
    row : Row, optional
        Of the curated models; sets what the library would have to be asked for.
    """

    # The base class has plain attributes; here they are worked out when first needed.
    @cached_property
    def layers(self) -> Sequence[Layer]:  # type: ignore[override]
        """Cut points in depth order."""
        if self.row and self.row.layers:
            return self.row.layers
        return self._find_layers(*self._outlined)

    @cached_property
    def version(self) -> str:  # type: ignore[override]
        """Raised where the channels of a map of as many channels as rows were once taken to come first."""
        if self.row and self.row.layers:
            return "1"
        cubes = {step.module for step in self._outlined[1] if is_cube(step)}
        return "2" if any(layer.channels_last and layer.module in cubes for layer in self.layers) else "1"

    @cached_property
    def _outlined(self) -> tuple[nn.Module, list[Step]]:
        native = self._native_preprocess
        # Of small images the last map may have one position, as what is pooled has; larger ones tell them apart.
        if native.size < _ROOMY:
            with suppress(AssertionError, NotImplementedError, RuntimeError, ValueError, IndexError):
                return self._outlined_at(_ROOMY)
        try:
            return self._outlined_at(native.size)
        except (AssertionError, NotImplementedError, RuntimeError, ValueError, IndexError) as error:
            raise PluginError(
                f"The cut points of {self.name!r} cannot be found: {type(error).__name__}: {error}.",
                next=f"Mend its builder options, or choose another network of {self.library}.",
            ) from error

    def _outlined_at(self, size: int) -> tuple[nn.Module, list[Step]]:
        with seeded(0), compiler_deferred(), uninitialised():
            return outline(self._checked_create, size, len(self._native_preprocess.mean))

    def layer(self, name: str) -> Layer:
        """Return the cut point of a name: ``last``, a curated name or any module path, with ``:POOL`` or without.

        How a module that is not curated is pooled follows from the shape of its output.

        Raises
        ------
        UsageError
            If the network has no such module, or the pooling is unknown.
        """
        stem = name.partition(":")[0]
        found = super().layer(name)
        if stem == "last" or stem in {layer.name for layer in self.layers}:
            return found
        network, steps = self._outlined
        step = next((step for step in reversed(steps) if step.module == stem), None)
        if step is None:
            known = ["last", "all", *(layer.name for layer in self.layers), *(step.module for step in steps)]
            raise UsageError(
                f"{self.name!r} has no layer or module {stem!r} that gives a tensor.",
                next=f"{did_you_mean(stem, known)}See: histokit list layers {self.name}",
            )
        if not holds_features(step, self.layers, steps, prefix_tokens(network)):
            raise UsageError(
                f"The module {stem!r} of {self.name!r} gives (N, {', '.join(map(str, step.shape[1:]))}), neither a map "
                "of channels nor channels for each token: a mean over it would be of no feature.",
                next=f"Choose what it is part of, such as {stem.rpartition('.')[0] or 'last'}. "
                f"See: histokit list layers {self.name}",
            )
        tokens = self._token_pooling(network)
        if len(step.shape) == 3 and not leading_tokens(step.shape[1], prefix_tokens(network)):
            tokens = "avg"
        own = layer_of(step, None, tokens, network, steps)
        return own if found.name == stem else replace(found, channels_last=own.channels_last)

    @cached_property
    def licence(self) -> str | None:  # type: ignore[override]
        """Licence of the weights."""
        return self.row.licence if self.row else self._library_licence()

    @cached_property
    def operations(self) -> tuple[float, int] | None:  # type: ignore[override]
        """Billions of multiplications and additions for one image, and its side."""
        row = self.row
        return None if row is None or row.operations is None else (row.operations, row.preprocess.size)

    @cached_property
    def info(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Further facts."""
        return {"library": self.library, "model": self.model, **(self.row.info if self.row else {})}

    def weights_file(self) -> Path | None:
        """Return the file of the weights; a mistake in the options is told before weights that cannot be had."""
        try:
            return super().weights_file()
        except StoreError:
            if self.options:
                with suppress(StoreError, PluginError, NotImplementedError):
                    self._checked_without_weights()
            raise

    def _checked_without_weights(self) -> nn.Module:
        with seeded(0), compiler_deferred(), uninitialised():
            return self._checked_create()

    def build(self) -> nn.Module:
        """Return the network with its weights loaded, in evaluation mode, without gradients."""
        file = self.weights_file()
        states = read_states(file) if file else None
        with seeded(random_seed(self.weights)), uninitialised() if states is not None else nullcontext():
            network = self._checked_create()
        if states is not None and file is not None:
            self.notes = self._load(network, states, file)
        return network.eval().requires_grad_(False)

    def prefix_tokens(self, network: nn.Module) -> int:
        """Return how many class and register tokens precede the patch tokens; 0 where there are none."""
        return prefix_tokens(network)

    def _checked_create(self) -> nn.Module:
        check_reserved(self.options, self.base_name)
        told = dict(self._arguments_of_file)
        check_reserved(told, f"{self.base_name} in {self._origin_of_arguments}")
        only_told = {key: value for key, value in told.items() if key not in self.options}
        try:
            network = self._create()
        except NotImplementedError:
            raise
        except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, KeyError) as error:
            if not (only_told or self.options):
                raise
            of_file = bool(only_told) and (not self.options or unexpected(error) in only_told)
            given, origin = (only_told, self._origin_of_arguments) if of_file else (self.options, None)
            raise build_error(error, given, self._builder(), self.library, self.base_name, origin) from error
        check_taken(network, self.options, self._builder(), self.base_name)
        check_taken(network, self.file_arguments, self._builder(), self.base_name, self._origin_of_arguments)
        self._check_width(network)
        return network

    @property
    def _arguments_of_file(self) -> Mapping[str, Any]:
        """Return builder options that stand in a file."""
        return self.told_arguments

    @property
    def _origin_of_arguments(self) -> str | None:
        return ", ".join(str(file) for file, network in self._networks.items() if network["model_args"]) or None

    def _check_width(self, network: nn.Module) -> None:
        for file, told in self._networks.items():
            widths = self._widths(network)
            if told["num_features"] is not None and widths and told["num_features"] not in widths:
                raise DataError(
                    f"{file}: num_features is {told['num_features']}; {self.name!r} has {max(widths)}.",
                    next="Name the network that the weights are of, or mend num_features and model_args in the file.",
                )

    def _load(self, network: nn.Module, states: States, file: Path) -> list[str]:
        of_caffe = is_caffe(file)
        if of_caffe:
            states = {path: self._from_caffe(network, state) for path, state in states.items()}
        try:
            return load_states(
                network,
                states,
                name=self.name,
                origin=file,
                heads=self._heads(network),
                prepare=self._prepare,
                filters=self._filters(network),
            )
        except StoreError as error:
            if not of_caffe:
                raise
            raise caffe_names.unlike(self.architecture, error) from error

    def _from_caffe(self, network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Give tensors the names that the library has for Caffe's layers."""
        layers = caffe_names.LAYERS.get(self.architecture, {})
        return caffe_names.translated(state, layers) if layers else state

    def _prepare(self, network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Change tensors by the network's own names to what its options ask for."""
        return state

    def _filters(self, network: nn.Module) -> Sequence[Adapt]:
        """Return functions that turn published weights into those of the network."""
        return ()

    @abstractmethod
    def _create(self) -> nn.Module:
        """Build the network without weights."""

    @abstractmethod
    def _builder(self) -> Callable[..., Any]:
        """Return the function that builds the network."""

    @abstractmethod
    def _heads(self, network: nn.Module) -> Sequence[str]:
        """Return the names of the classifier modules."""

    @abstractmethod
    def _widths(self, network: nn.Module) -> set[int]:
        """Return the numbers of features that go into the network's head."""

    @abstractmethod
    def _find_layers(self, network: nn.Module, steps: Sequence[Step]) -> Sequence[Layer]:
        """Return the cut points in depth order."""

    @abstractmethod
    def _token_pooling(self, network: nn.Module) -> Pooling:
        """Return how token sequences become a vector."""

    @abstractmethod
    def _library_licence(self) -> str | None:
        """Return the licence that the library tells of the weights."""


def prefix_tokens(network: nn.Module) -> int:
    """Return how many class and register tokens precede the patch tokens of a network; 0 where there are none."""
    known = getattr(network, "num_prefix_tokens", None)
    if known is not None:
        return int(known)
    names = (name for name, _ in network.named_parameters())
    return int(any("cls_token" in name or "class_token" in name for name in names))


def unknown_model(library: str, model: str, known: Sequence[str]) -> PluginError:
    """Return the error for a name that a library does not have."""
    return PluginError(
        f"{library} has no model {model!r}.",
        next=f"{did_you_mean(model, known)}See: histokit list backbones, or {library}'s list of models.",
    )
