"""What backbones of timm and torchvision have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.backbones.cuts import Step, layer_of, outline
from histokit.backbones.rows import Row
from histokit.errors import PluginError, UsageError, did_you_mean
from histokit.plugin.backbone import Backbone, BackboneRequest, Layer, Pooling, Preprocess
from histokit.plugin.checkpoint import load_states, read_states
from histokit.plugin.sidecar import beside, preprocess_from, read_object
from histokit.plugin.weights import (
    PRETRAINED,
    Source,
    in_folder,
    local_file,
    locate,
    normalise_weights,
    random_seed,
    seeded,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from histokit.plugin.checkpoint import Adapt, States

#: Builder arguments that histokit sets itself.
RESERVED = ("pretrained", "pretrained_cfg", "checkpoint_path", "features_only", "weights", "progress", "cache_dir")

_WORDS = {"true": True, "false": False, "none": None}


class LibraryBackbone(Backbone, ABC):
    """A network that a library builds; the library is imported when its layers, or the network, are asked for.

    Parameters
    ----------
    request : BackboneRequest
    row : Row, optional
        Of the curated models; sets what the library would have to be asked for.
    """

    #: Name of the library, and of its prefix.
    library = ""

    def __init__(self, request: BackboneRequest, row: Row | None = None):
        self.name = request.name
        self.weights = normalise_weights(request.weights)
        self.row = row
        self.model = row.model if row else request.model
        self.options = parse_options(request)
        #: What was left out of the weights when the network was built.
        self.notes: list[str] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, weights={self.weights!r})"

    @property
    def base_name(self) -> str:
        """The name without builder options."""
        return self.name.partition(",")[0]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the library's builder is called with."""
        return {**(self.row.arguments if self.row else {}), **self.options}

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names by which a file in ``$HISTOKIT_WEIGHTS`` may be called."""
        return self.row.aliases if self.row else ()

    # The base class has plain attributes; here they are worked out when first needed.
    @cached_property
    def layers(self) -> Sequence[Layer]:  # type: ignore[override]
        """Cut points in depth order."""
        if self.row and self.row.layers:
            return self.row.layers
        return self._find_layers(*self._outlined)

    @cached_property
    def _outlined(self) -> tuple[nn.Module, list[Step]]:
        native = self._native_preprocess
        try:
            with seeded(0):
                return outline(self._checked_create, native.size, len(native.mean))
        except (NotImplementedError, RuntimeError, ValueError, IndexError) as error:
            raise PluginError(
                f"The cut points of {self.name!r} cannot be found: {type(error).__name__}: {error}.",
                next=f"Mend its builder options, or choose another network of {self.library}.",
            ) from error

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
        own = layer_of(step, None, self._token_pooling(network))
        return own if found.name == stem else replace(found, channels_last=own.channels_last)

    @cached_property
    def preprocess(self) -> Preprocess:  # type: ignore[override]
        """What the weights' configuration says, and a JSON file beside them."""
        found = self._native_preprocess
        if self.configuration_file is not None:
            found = preprocess_from(read_object(self.configuration_file), found, str(self.configuration_file))
        supplied = self.supplied_file
        if supplied is not None:
            found = preprocess_from(beside(supplied), found, f"The JSON file beside {supplied}")
        return found

    @cached_property
    def _native_preprocess(self) -> Preprocess:
        found = self.row.preprocess if self.row else self._library_preprocess()
        count = self.options.get("in_chans", len(found.mean))
        if not isinstance(count, int) or count < 1:
            raise UsageError(f"{self.name!r} asks for in_chans={count}.", next="Give a number of channels, such as 1.")
        if count != len(found.mean):
            # Channels other than the three colours have no statistics of their own.
            found = replace(found, mean=(sum(found.mean) / 3,) * count, std=(sum(found.std) / 3,) * count)
        return replace(found, size=int(self.options.get("img_size", found.size)))

    @cached_property
    def licence(self) -> str | None:  # type: ignore[override]
        """Licence of the weights."""
        return self.row.licence if self.row else self._library_licence()

    @cached_property
    def info(self) -> Mapping[str, Any]:  # type: ignore[override]
        """Further facts."""
        return {"library": self.library, "model": self.model, **(self.row.info if self.row else {})}

    @property
    def source(self) -> Source:
        """Where the weights are published."""
        return self.row.source if self.row else self._library_source()

    @cached_property
    def supplied_file(self) -> Path | None:
        """The weights file that the user supplied, by ``--weights`` or in ``$HISTOKIT_WEIGHTS``, or none."""
        if self.weights != PRETRAINED:
            return local_file(self.weights)
        found = (in_folder(name) for name in (self.base_name, *self.aliases))
        return next((file for file in found if file is not None), None)

    @property
    def configuration_file(self) -> Path | None:
        """``config.json`` in the folder that ``--weights`` names, where it is one of timm's."""
        file = Path(self.weights, "config.json")
        return file if file.is_file() and "architecture" in read_object(file) else None

    def weights_file(self) -> Path | None:
        """Return the file whose bytes identify the weights, fetched if it must be; none for random weights."""
        if random_seed(self.weights) is not None:
            return None
        return self.supplied_file or self._published_file

    @cached_property
    def _published_file(self) -> Path:
        return locate(self.base_name, lambda: self.source, self.aliases)

    def build(self) -> nn.Module:
        """Return the network with its weights loaded, in evaluation mode, without gradients."""
        file = self.weights_file()
        states = read_states(file) if file else None
        with seeded(random_seed(self.weights)):
            network = self._checked_create()
        if states is not None and file is not None:
            self.notes = self._load(network, states, file)
        return network.eval().requires_grad_(False)

    def prefix_tokens(self, network: nn.Module) -> int:
        """Return how many class and register tokens precede the patch tokens; 0 where there are none."""
        return prefix_tokens(network)

    def _checked_create(self) -> nn.Module:
        for key in self.options:
            if key in RESERVED:
                raise UsageError(f"{key!r} is no builder option of {self.base_name!r}.", next="Leave it out.")
        try:
            return self._create()
        except NotImplementedError:
            raise
        except (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, KeyError) as error:
            if not self.options:
                raise
            given = ", ".join(f"{k}={v}" for k, v in self.options.items())
            raise UsageError(
                f"{self.library} cannot build {self.model!r} with the options {given}: {error}.",
                next=f"Mend or leave out the options: {self.base_name}",
            ) from error

    def _load(self, network: nn.Module, states: States, file: Path) -> list[str]:
        return load_states(
            network,
            states,
            name=self.name,
            origin=file,
            heads=self._heads(network),
            prepare=self._prepare,
            filters=self._filters(network),
        )

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
    def _heads(self, network: nn.Module) -> Sequence[str]:
        """Return the names of the classifier modules."""

    @abstractmethod
    def _find_layers(self, network: nn.Module, steps: Sequence[Step]) -> Sequence[Layer]:
        """Return the cut points in depth order."""

    @abstractmethod
    def _token_pooling(self, network: nn.Module) -> Pooling:
        """Return how token sequences become a vector."""

    @abstractmethod
    def _library_preprocess(self) -> Preprocess:
        """Return the preprocessing that the library gives with the weights."""

    @abstractmethod
    def _library_licence(self) -> str | None:
        """Return the licence that the library tells of the weights."""

    @abstractmethod
    def _library_source(self) -> Source:
        """Return where the library has the weights."""


def prefix_tokens(network: nn.Module) -> int:
    """Return how many class and register tokens precede the patch tokens of a network; 0 where there are none."""
    known = getattr(network, "num_prefix_tokens", None)
    if known is not None:
        return int(known)
    names = (name for name, _ in network.named_parameters())
    return int(any("cls_token" in name or "class_token" in name for name in names))


def parse_options(request: BackboneRequest) -> dict[str, Any]:
    """Return builder options as whole numbers, numbers, truth values, none or texts, whichever they look like."""
    return {key: parse_value(text) for key, text in request.options.items()}


def parse_value(text: str) -> Any:
    """Return ``3`` as int, ``0.5`` as float, ``true``, ``false`` and ``none`` as such, and all else as text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def unknown_model(library: str, model: str, known: Sequence[str]) -> PluginError:
    """Return the error for a name that a library does not have."""
    return PluginError(
        f"{library} has no model {model!r}.",
        next=f"{did_you_mean(model, known)}See: histokit list backbones, or {library}'s list of models.",
    )
