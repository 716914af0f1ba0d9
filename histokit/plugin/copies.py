"""Which tensors of a checkpoint are those of a network: training scripts save more, and under other names.

A network's weights are found by their own names: wherever all of them stand under one prefix, there is a copy of the
network, whatever the prefix is. Of several copies the first in this order is taken: the network itself before
``teacher`` before ``student``, and before momentum encoders and averages of weights. Between others, such as ``last``
and ``best``, nobody can choose but the user.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.errors import DataError, some

if TYPE_CHECKING:
    from torch import Tensor

#: What networks are called inside a checkpoint, and what wraps them, in the order of preference.
WORDS = (
    "state_dict",
    "model_state_dict",
    "model",
    "teacher",
    "student",
    "network",
    "net",
    "module",
    "backbone",
    "encoder",
    "encoder_q",
    "base_encoder",
    "online_encoder",
)
#: Parts of names by which a copy that follows the trained one is known, in the order of preference.
FOLLOWERS = (frozenset(("momentum", "target", "key", "k")), frozenset(("ema", "averaged", "swa", "shadow")))
#: First parts of the names that classifier and self-supervision heads, and the pooling before them, go by.
HEADS = (
    *("head", "heads", "head_dist", "fc", "classifier", "classif", "last_linear", "dino_head", "ibot_head"),
    *("AuxLogits", "attn_pool"),
)

#: Words in the first part of a name by which what is trained beside a network is known.
_PARTS = frozenset(
    (
        *("queue", "projector", "projection", "proj", "predictor", "prediction", "prototypes", "prototype", "decoder"),
        *("criterion", "loss", "memory", "ema", "momentum", "teacher", "student", "target", "classifier", "head"),
        *("heads", "aux", "auxiliary", "logit", "mask", "temperature"),
    )
)
#: Last parts of names that hold nothing that was trained.
_COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "relative_position_index", "attn_mask", "n_averaged")
#: What torch puts into the middle of a module's path when it wraps the module.
_INSERTED = frozenset(("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))

_DEEPEST = 6
_SHOWN = 4


@dataclass(frozen=True)
class Copy:
    """The tensors of a network somewhere in a checkpoint.

    Parameters
    ----------
    path : tuple of str
        Keys of the mappings that lead to the tensors.
    prefix : str
        What their names begin with before the network's own names: ``module.encoder_q.``, or empty.
    tensors : mapping
        By the network's own names; others that stand under the prefix keep what follows it.
    beside : tuple of str
        Names of what stands outside the prefix, shortened to where they part from it.
    found : int
        How many names of the network are there.
    """

    path: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]
    beside: tuple[str, ...]
    found: int

    @property
    def place(self) -> str:
        """Where it is, in words; empty for the top of the file."""
        return ".".join(self.parts)

    @property
    def parts(self) -> tuple[str, ...]:
        """Where it is: the keys, and the parts of the prefix."""
        return (*self.path, *_parts(self.prefix))


def state_dicts(document: Any) -> dict[tuple[str, ...], dict[str, Tensor]]:
    """Return all mappings of names to tensors in a checkpoint by the keys that lead to them, the preferred ones first.

    Tensors at the top beside such mappings come last.
    """
    found: dict[tuple[str, ...], dict[str, Tensor]] = {}
    _collect(document, (), found)
    beside = len(found) > 1
    return dict(sorted(found.items(), key=lambda item: (beside and not item[0], order(item[0]))))


def _collect(document: Any, path: tuple[str, ...], found: dict[tuple[str, ...], dict[str, Tensor]]) -> None:
    import torch

    if isinstance(document, (list, tuple)):
        # As (network, optimiser, epoch); tensors in a list have no names.
        held = (list, tuple, Mapping)
        document = {_Place(number): value for number, value in enumerate(document) if isinstance(value, held)}
    if not isinstance(document, Mapping) or len(path) > _DEEPEST:
        return
    own = {_plain(key): value for key, value in document.items() if isinstance(value, torch.Tensor)}
    if own:
        found[path] = own
    for key, value in document.items():
        if isinstance(key, str):
            _collect(value, (*path, key), found)


class _Place(str):
    """The number of something in a list, which Python writes without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _plain(key: Any) -> str:
    return ".".join(part for part in str(key).split(".") if part not in _INSERTED)


def copies(
    states: Mapping[tuple[str, ...], Mapping[str, Tensor]], expected: Collection[str], heads: Sequence[str]
) -> list[Copy]:
    """Return where names of a network stand in a checkpoint: those with all that are needed first, in order.

    Parameters
    ----------
    states : mapping
        As `state_dicts` gives it.
    expected : collection of str
        The network's names.
    heads : sequence of str
        Modules that may be missing.
    """
    needed = {k for k in expected if not under(k, heads) and not k.endswith("num_batches_tracked")} or set(expected)
    found = []
    for path, state in states.items():
        counts: Counter[str] = Counter()
        for key in state:
            for prefix, name in _splits(key):
                if name in needed:
                    counts[prefix] += 1
        for prefix, count in counts.items():
            found.append((count, path, prefix))
    whole = sorted((c for c in found if c[0] == len(needed)), key=lambda c: order((*c[1], *_parts(c[2]))))
    best = whole or sorted(found, key=lambda c: (-c[0], order((*c[1], *_parts(c[2])))))[:1]
    return [_copy(states[path], path, prefix, expected, count) for count, path, prefix in best]


def _splits(key: str) -> Iterable[tuple[str, str]]:
    yield "", key
    for match in re.finditer(r"\.", key):
        yield key[: match.end()], key[match.end() :]


def _copy(state: Mapping[str, Tensor], path: tuple[str, ...], prefix: str, expected: Collection[str], n: int) -> Copy:
    tensors = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    outside = [key for key in state if not key.startswith(prefix)]
    # A head may stand beside the network that it belongs to: backbone.conv.weight, fc.weight.
    around = [prefix[: match.end()] for match in re.finditer(r"\.", prefix)][-2::-1] + [""] * bool(prefix)
    for key in expected:
        for outer in around:
            if key not in tensors and outer + key in state:
                tensors[key] = state[outer + key]
                outside = [other for other in outside if other != outer + key]
    return Copy(path, prefix, tensors, tuple(dict.fromkeys(_apart(key, prefix) for key in outside)), n)


def _apart(key: str, prefix: str) -> str:
    parts, own = key.split("."), _parts(prefix)
    shared = next((i for i, (a, b) in enumerate(zip(parts, own, strict=False)) if a != b), len(own))
    return ".".join(parts[: shared + 1])


def order(parts: Sequence[str]) -> tuple[int, tuple[int, ...]]:
    """Return what puts copies of a network in order, by the names that lead to them."""
    words = [set(re.split(r"[_\W]+", part.lower())) for part in parts]
    follows = max((i + 1 for i, marks in enumerate(FOLLOWERS) for found in words if marks & found), default=0)
    return follows, tuple(WORDS.index(part) if part in WORDS else len(WORDS) for part in parts)


def undecided(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether nothing but their order in the file tells which of two copies is meant, by their places."""
    apart = next((pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]), None)
    return apart is not None and order(one)[0] == order(other)[0] and not set(apart) & set(WORDS)


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Return whether two mappings hold the same tensors under the same names."""
    import torch

    return one.keys() == other.keys() and all(
        value.shape == other[key].shape and value.dtype == other[key].dtype and torch.equal(value, other[key])
        for key, value in one.items()
    )


def alone(path: Sequence[str], prefix: str, origin: str) -> str:
    """Return Python that saves one copy of several by itself."""
    keys = "".join(f"[{key!r}]" for key in path)
    safe = origin.endswith(".safetensors")
    whole = f"safetensors.torch.load_file({origin!r})" if safe else f"torch.load({origin!r}, weights_only=True)"
    chosen = f"{{k: v for k, v in {whole}{keys}.items() if k.startswith({prefix!r})}}" if prefix else whole + keys
    return f"torch.save({chosen}, 'one.pth')"


def require_one(origin: Path, first: Copy, others: Iterable[Copy]) -> None:
    """Raise a `DataError` where nothing tells which of two copies in a file is meant, and they differ."""
    places = [first, *(copy for copy in others if undecided(first.parts, copy.parts))]
    if all(equal(first.tensors, copy.tensors) for copy in places[1:]):
        return
    listed = some([copy.place for copy in places], _SHOWN)
    raise DataError(
        f"{origin} holds {len(places)} sets of weights of the network, and none goes before the others: {listed}.",
        next=f"Save the one that is meant alone, in Python: {alone(first.path, first.prefix, str(origin))}",
    )


def refuse_broken(origin: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise a `DataError` where weights hold NaN or infinity, with which nothing can be computed."""
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    # A sum takes one look at each number; of numbers that are there, it may be too large.
    sums = {name: bool(tensor.float().sum().isfinite()) for name, tensor in floating.items()}
    broken = [name for name, finite in sums.items() if not finite and not floating[name].isfinite().all()]
    if broken:
        raise DataError(
            f"{origin} holds weights that are NaN or infinite: {some(broken, _SHOWN)}.",
            next="Give those of an earlier epoch, or in float32: training failed, or numbers were too large for half.",
        )


def rest(origin: Path, fitting: Sequence[Copy]) -> list[str]:
    """Return what is to be known of a file that has several copies of the network, of which the first was taken."""
    if len(fitting) < 2:
        return []
    others = some([copy.place or "the top" for copy in fitting[1:]], _SHOWN)
    return [f"{origin.name} has weights of the network at {fitting[0].place or 'the top'}, taken, and at {others}"]


def is_counter(key: str) -> bool:
    """Return whether a name is of something that was not trained."""
    return key.rpartition(".")[2] in _COUNTERS


def is_another_part(key: str, heads: Sequence[str]) -> bool:
    """Return whether a name is recognisably of a head, or of something that is trained beside a network."""
    first = key.partition(".")[0]
    words = set(re.split(r"[_\d]+", first.lower()))
    return is_counter(key) or under(key, (*heads, *HEADS)) or bool(words & _PARTS)


def under(key: str, modules: Sequence[str]) -> bool:
    """Return whether a name is of something in one of some modules."""
    return any(key.startswith(f"{module}.") for module in modules)


def _parts(prefix: str) -> tuple[str, ...]:
    return tuple(prefix.removesuffix(".").split(".")) if prefix else ()
