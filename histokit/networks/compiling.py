"""A cut network as one graph of torch's compiler, in which nothing behind the deepest layer is left."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from histokit.errors import UsageError
from histokit.networks.failures import reason_of

#: Least cosine of the vectors of a compiled network to those of the network itself, and of reduced precision.
_ALIKE, _ALIKE_REDUCED = 0.9999, 0.99

Take = Callable[[Any, Any], Tensor]


class NotCompiledError(UsageError):
    """A network that cannot be compiled on this machine, or not to the same vectors."""


class CutVectors(nn.Module):
    """Runs a network as a function from inputs to vectors, in whose graph what gives no vector is left out.

    Parameters
    ----------
    network : nn.Module
    taken : mapping
        Name → path of a module, and what makes vectors of its inputs and output.
    """

    def __init__(self, network: nn.Module, taken: Mapping[str, tuple[str, Take]]):
        super().__init__()
        self.network = network
        self.vectors: dict[str, Tensor] = {}
        self._hooks = [
            network.get_submodule(path).register_forward_hook(self._hook(name, take))
            for name, (path, take) in taken.items()
        ]
        # Of each piece of code, the compiler takes eight networks or numbers of rows, and fails from then on.
        own = CutVectors.forward.__code__.replace()
        self.forward = MethodType(FunctionType(own, globals()), self)  # type: ignore[method-assign]

    def detach(self) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str, take: Take) -> Callable[..., None]:
        def hook(_module: nn.Module, inputs: Any, output: Any) -> None:
            self.vectors[name] = take(inputs, output)

        return hook

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """Return name → vectors."""
        self.vectors = {}
        self.network(batch)
        return dict(self.vectors)


def compiled(vectors: CutVectors, device: torch.device) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return a function from batches to vectors that compiles the network for each number of rows once.

    A whole graph or none: behind a break, the rest of the network would run for nothing.

    Parameters
    ----------
    vectors : CutVectors
        Of a network without hooks of its own.
    device : torch.device
    """
    # Weights that are laid out anew once take twice the memory, which GPUs need for larger batches.
    options: dict[str, Any] = {"freezing": True} if device.type == "cpu" else {}
    with quiet():
        function = torch.compile(vectors, fullgraph=True, dynamic=False, options=options or None)

    def run(batch: Tensor) -> dict[str, Tensor]:
        with quiet():
            found: dict[str, Tensor] = function(batch)
        return found

    return run


def check_alike(name: str, vectors: Mapping[str, Tensor], expected: Mapping[str, Tensor], reduced: bool) -> None:
    """Raise where vectors are not those that the network itself gives, up to rounding.

    Raises
    ------
    NotCompiledError
    """
    for layer, known in expected.items():
        cosine = nn.functional.cosine_similarity(vectors[layer].double(), known.double(), dim=1)
        # Vectors of zeros have no direction.
        worst = float(torch.where(known.abs().amax(1) > 0, cosine, 1.0).min())
        if not worst >= (_ALIKE_REDUCED if reduced else _ALIKE):
            raise not_compiled(name, f"the vectors of {layer} would be others (cosine {worst:.5f})")


def not_compiled(name: str, why: BaseException | str) -> NotCompiledError:
    """Return what is raised of a network that cannot be compiled."""
    reason = why if isinstance(why, str) else reason_of(why)
    return NotCompiledError(f"{name} cannot be compiled here: {reason}.", next="Leave out --compile or --engine.")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep from the user what the compiler says of itself."""
    log = logging.getLogger("torch")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
