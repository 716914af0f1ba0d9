"""Cut points of any network, found by running it once: on numbers if it is light, otherwise on shapes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from histokit.plugin.backbone import Layer, Pooling

if TYPE_CHECKING:
    from torch import nn

#: First parts of module names that come after the map which the network pools.
HEADS = (
    "head",
    "heads",
    "head_dist",
    "head_drop",
    "aux_head",
    "fc",
    "fc_norm",
    "classifier",
    "classif",
    "last_linear",
    "pre_logits",
    "avgpool",
    "global_pool",
    "pool",
    "attn_pool",
    "AuxLogits",
    "aux1",
    "aux2",
)

#: A network with more blocks than this is cut at every quarter of its depth.
FEW_BLOCKS = 8

#: A network with more parameters than this is looked at without memory for them.
LIGHT = 30_000_000

#: Functions of torch by which modules get their parameters.
_MAKES = frozenset(("empty", "zeros", "ones", "full", "rand", "randn"))

#: Images in the batch that a network is traced with.
BATCH = 2


@dataclass(frozen=True)
class Step:
    """A module whose output has a shape.

    Parameters
    ----------
    module : str
        Dotted path.
    shape : tuple of int
    tensor : int
        Identity of the output, equal where a module hands its input on.
    """

    module: str
    shape: tuple[int, ...]
    tensor: int

    @property
    def is_map(self) -> bool:
        """Whether the output is a map of more than one position, or a sequence of tokens."""
        if self.shape[0] != BATCH:
            return False
        return len(self.shape) == 3 or (len(self.shape) == 4 and min(self.shape[2:]) > 1)


def outline(build: Callable[[], nn.Module], size: int, channels: int = 3) -> tuple[nn.Module, list[Step]]:
    """Build a network and trace it, without memory for its weights if they are many and the network allows that.

    A light network is run on numbers: torch works out shapes alone in Python, by a library of symbols whose import
    takes longer than the run. Parameters need no values for either.

    Parameters
    ----------
    build : callable
        Returns the network; called up to four times.
    size : int
        Pixels, the side of a square image.
    channels : int
    """
    import torch

    # Memory that cannot be had is a RuntimeError; what is really wrong comes again below.
    with suppress(_HeavyError, NotImplementedError, RuntimeError):
        with _light():
            network = build()
        steps = trace(network, size, channels, device="cpu")
        return network.to("meta"), steps
    try:
        with torch.device("meta"):
            network = build()
    except (NotImplementedError, RuntimeError):
        network = build().to("meta")
    try:
        return network, trace(network, size, channels)
    except (NotImplementedError, RuntimeError):
        network = build()
        return network, trace(network, size, channels, device="cpu")


class _HeavyError(Exception):
    """A network has more numbers than it should be given memory for just to look at it."""


@contextmanager
def _light() -> Iterator[None]:
    """Stop what is built inside as soon as it has more than LIGHT numbers."""
    from torch.overrides import TorchFunctionMode

    class Counting(TorchFunctionMode):
        numbers = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func.__name__ in _MAKES:
                self.numbers += result.numel()
                if self.numbers > LIGHT:
                    raise _HeavyError
            return result

    with Counting():
        yield


def trace(network: nn.Module, size: int, channels: int = 3, device: str = "meta") -> list[Step]:
    """Run a network on shapes alone and list what each module gives, in order of completion."""
    import torch

    steps: list[Step] = []
    alive = []

    def record(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            while isinstance(output, (tuple, list)) and output:
                output = output[0]
            if isinstance(output, torch.Tensor):
                alive.append(output)
                steps.append(Step(name, tuple(output.shape), id(output)))

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(BATCH, channels, size, size, device=device))
    finally:
        for handle in handles:
            handle.remove()
    return steps


def pooled_map(steps: Sequence[Step], cuts: Iterable[str], heads: Sequence[str] = HEADS) -> Step | None:
    """Return the last map before the head, by its outermost module that contains no other cut point."""
    cuts = tuple(cuts)
    maps = [s for s in steps if s.is_map and (s.module in cuts or not _inside(s.module, heads))]
    if not maps:
        return None
    chain = [s for s in maps if s.tensor == maps[-1].tensor]
    known = [s for s in chain if s.module in cuts]
    free = [s for s in chain if not any(cut.startswith(f"{s.module}.") for cut in cuts)]
    return known[-1] if known else free[-1] if free else chain[0]


def trunk_cuts(network: nn.Module, steps: Sequence[Step]) -> list[str]:
    """Return the cut points of a network that has no list of its own: the blocks of its trunk, in depth order."""
    children = [c for c in _blocks(network, "") if not _inside(c, HEADS)]
    last = pooled_map(steps, children)
    if last is None:
        return []
    order = {s.module: i for i, s in enumerate(steps) if s.is_map}
    once = {module for module, times in Counter(s.module for s in steps).items() if times == 1}
    within = [c for c in children if c in order and c in once and order[c] < order[last.module]]
    kept = [c for c in within if _is_block(network.get_submodule(c))] or _pools(network, within)
    return [*spread([c for c in kept if not last.module.startswith(f"{c}.")], steps), last.module]


def spread(modules: Sequence[str], steps: Sequence[Step]) -> list[str]:
    """Return all cut points if they are few or differ in shape; of many alike, those at the quarters of the depth."""
    shapes = {s.module: s.shape for s in steps}
    alike = len({shapes[m] for m in modules}) == 1
    if len(modules) <= FEW_BLOCKS or not alike:
        return list(modules)
    return [modules[round(len(modules) * quarter / 4) - 1] for quarter in (1, 2, 3, 4)]


def layer_of(
    step: Step, width: int | None, tokens: Pooling, network: nn.Module | None = None, steps: Sequence[Step] = ()
) -> Layer:
    """Return the layer of a step: how its output is pooled follows from its shape.

    Parameters
    ----------
    step : Step
    width : int, optional
        How many features the module is known to have, which tells (N, H, W, C) from (N, C, H, W).
    tokens : str
        Pooling of sequences.
    network : nn.Module, optional
    steps : sequence of Step
        Of the network: of a map with as many channels as rows, other modules of its class tell where these are.
    """
    if len(step.shape) == 2:
        return Layer(step.module, step.module, "none")
    if len(step.shape) == 3:
        return Layer(step.module, step.module, tokens)
    others = network if is_cube(step) else None
    last = _is_last(step, width) if others is None else _is_last_in_others(step, others, steps)
    return Layer(step.module, step.module, "avg", channels_last=last)


def holds_features(step: Step, layers: Iterable[Layer], steps: Iterable[Step], prefix_tokens: int) -> bool:
    """Return whether a step gives what can be averaged over positions: a map of a square image, or (N, T, C) tokens.

    Attention inside of a transformer is of heads × tokens × a part of the channels, and what mixes tokens is turned:
    where all cut points are sequences of as many tokens, (N, C, T) of their width or number of tokens tells that.

    Parameters
    ----------
    step : Step
    layers : iterable of Layer
        The network's cut points.
    steps : iterable of Step
        Of the network.
    prefix_tokens : int
    """
    if len(step.shape) == 4:
        first, second, third = step.shape[1:]
        return first == second or second == third or min(second, third) == 1
    shapes = {each.module: each.shape for each in steps}
    known = [shapes[layer.module] for layer in layers if layer.module in shapes]
    counts = {shape[1] for shape in known}
    if len(step.shape) != 3 or len(counts) != 1 or any(len(shape) != 3 for shape in known):
        return True
    (count,) = counts
    tokens = {count - prefix_tokens, count, count + prefix_tokens}
    _, rows, columns = step.shape
    if rows == 1 or rows in tokens:
        return True
    # Stages before it have 4, 16 or 64 times as many tokens, and maybe as many channels as it has tokens.
    finer = {times * (count - prefix_tokens) for times in (4, 16, 64)}
    fewer = columns not in tokens or not finer.isdisjoint({rows, rows - prefix_tokens})
    return fewer and rows not in {shape[2] for shape in known}


def is_cube(step: Step) -> bool:
    """Return whether a step gives a map with as many channels as rows and columns."""
    return len(step.shape) == 4 and len(set(step.shape[1:])) == 1


def _is_last(step: Step, width: int | None = None) -> bool:
    known = width is not None and step.shape[1] != width
    return step.shape[3] == width if known else step.shape[1] == step.shape[2] != step.shape[3]


def _is_last_in_others(step: Step, network: nn.Module, steps: Sequence[Step]) -> bool:
    # With those that gave it the map, such as the normalisation at its end.
    kinds = {type(network.get_submodule(each.module)) for each in steps if each.tensor == step.tensor}
    others = [each for each in steps if len(each.shape) == 4 and not is_cube(each)]
    told = [_is_last(each) for each in others if type(network.get_submodule(each.module)) in kinds]
    return 2 * sum(told) > len(told)


def _inside(module: str, roots: Sequence[str]) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def _blocks(network: nn.Module, prefix: str) -> list[str]:
    """Return the children of the trunk: a child that holds nearly all parameters is opened."""
    children = [(f"{prefix}{name}", child) for name, child in network.named_children()]
    sizes = {name: sum(p.numel() for p in child.parameters()) for name, child in children if not _inside(name, HEADS)}
    whole = sum(sizes.values())
    opened: list[str] = []
    for name, child in children:
        container = len(list(child.children())) > 1 and name in sizes
        if container and sizes[name] > 0.9 * whole:
            opened += _blocks(child, f"{name}.")
        else:
            opened.append(name)
    return opened


def _is_block(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _pools(network: nn.Module, modules: Sequence[str]) -> list[str]:
    pools = [m for m in modules if "Pool" in type(network.get_submodule(m)).__name__]
    return pools or list(modules)
