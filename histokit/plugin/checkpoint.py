"""The one place that reads files of weights and puts them into networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.errors import DataError, StoreError, first_line, some
from histokit.plugin import inert_pickle
from histokit.plugin.caffe_files import read_caffemodel
from histokit.plugin.copies import Copy, copies, is_another_part, refuse_broken, require_one, rest, state_dicts, under
from histokit.plugin.file_kinds import CAFFE, SAFETENSORS, TORCH, recognise

if TYPE_CHECKING:
    from torch import Tensor, nn

    #: The mappings of names to tensors in a file, by the keys that lead to them.
    States = Mapping[tuple[str, ...], Mapping[str, Tensor]]
    #: Changes tensors, by the network's own names, to what the network takes.
    Adapt = Callable[[nn.Module, Mapping[str, Tensor]], Mapping[str, Tensor]]

_SHOWN = 4
_CLEAN = "Save the tensors alone: torch.save(net.state_dict(), FILE)"


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file as `torch.save`, safetensors or Caffe write it, without executing pickled code.

    Where a checkpoint wraps them (``state_dict``, ``model``, ``teacher``), they are unwrapped; of several sets of
    tensors, the first in the order of `histokit.plugin.copies` is returned.

    Returns
    -------
    dict of str to Tensor, on the CPU

    Raises
    ------
    DataError
        If the file is something else, cannot be read, or holds no tensors, or several sets of them of which none
        goes before the others.
    """
    first, *others = [Copy(keys, "", state, (), 0) for keys, state in read_states(path).items()]
    shapes = {key: value.shape for key, value in first.tensors.items()}
    require_one(path, first, [copy for copy in others if {k: v.shape for k, v in copy.tensors.items()} == shapes])
    return dict(first.tensors)


def read_states(path: Path) -> dict[tuple[str, ...], dict[str, Tensor]]:
    """Read all mappings of names to tensors in a file, by the keys that lead to them, the preferred ones first.

    Raises
    ------
    DataError
        If the file is something else, cannot be read, or holds no tensors.
    """
    found = _READERS[recognise(path)](path)
    if not found:
        raise DataError(f"{path} holds no weights.", next=f"It must hold a state_dict. {_CLEAN}")
    return found


def _read_safetensors(path: Path) -> dict[tuple[str, ...], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return state_dicts(load_file(path, device="cpu"))
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _read_torch(path: Path) -> dict[tuple[str, ...], dict[str, Tensor]]:
    import pickle
    import warnings

    import torch

    try:
        # By a file and not by its path, for torch goes by what a file is called.
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return state_dicts(torch.load(file, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError:
        return _read_beside_objects(path)
    except _FAILURES as error:
        raise _unreadable(path, error) from error


def _read_beside_objects(path: Path) -> dict[tuple[str, ...], dict[str, Tensor]]:
    """Read tensors beside Python objects, or in a newer pickle protocol; nothing that the file names is imported."""
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.filterwarnings("ignore", category=torch.serialization.SourceChangeWarning)
            document = torch.load(file, map_location="cpu", weights_only=False, pickle_module=inert_pickle)
    except (pickle.UnpicklingError, *_FAILURES) as error:
        raise _unreadable(path, error) from error
    found = state_dicts(document)
    if not found:
        raise DataError(
            f"{path} holds Python objects besides tensors, which are not loaded because loading would execute code.",
            next=_CLEAN,
        )
    return found


_READERS: Mapping[str, Callable[[Path], dict[tuple[str, ...], dict[str, Any]]]] = {
    SAFETENSORS: _read_safetensors,
    TORCH: _read_torch,
    CAFFE: lambda path: state_dicts(read_caffemodel(path)),
}
_FAILURES = (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError)


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = first_line(error)
    return DataError(f"{path} cannot be read as weights ({reason}).", next="Get the file again; it may be cut short.")


def load_state(
    network: nn.Module, state: Mapping[str, Tensor], *, name: str, origin: Path, heads: Iterable[str] = ()
) -> list[str]:
    """Put tensors into a network, strictly; only classifier heads may be missing, of another shape or superfluous.

    As `load_states`, for one mapping of names to tensors.
    """
    return load_states(network, {(): state}, name=name, origin=origin, heads=heads)


def load_states(
    network: nn.Module,
    states: States,
    *,
    name: str,
    origin: Path,
    heads: Iterable[str] = (),
    prepare: Adapt | None = None,
    filters: Sequence[Adapt] = (),
) -> list[str]:
    """Put the tensors of a checkpoint into a network, strictly.

    The network's names are looked for under any prefix. A classifier head may be missing or of another shape: it
    becomes an identity, so that nothing random remains in the network. What is recognisably of another part (heads,
    queues, projectors, a second copy of the network) is left out. Half-precision tensors are widened to the network's
    type.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    states : mapping
        As `read_states` gives it.
    name : str
        Of the backbone, for messages.
    origin : Path
        The file, for messages.
    heads : iterable of str
        Module paths of classifier heads, auxiliary ones included.
    prepare : callable, optional
        Changes the tensors of the network before they are compared with it.
    filters : sequence of callable
        Change tensors with other names to those of the network, tried in turn where none fit as they are.

    Returns
    -------
    list of str
        What was left out, in words for the user.

    Raises
    ------
    StoreError
        If the tensors do not fit; names some keys and shapes.
    DataError
        If several sets of tensors fit, of which none goes before the others, or the weights hold NaN or infinity.
    """
    heads, expected = tuple(heads), network.state_dict()
    found = copies(states, expected, heads)
    fitting = [fit for copy in found if not (fit := _Fit(network, copy, heads, prepare)).wrong]
    if not fitting:
        fitting = _filtered(network, states, heads, filters)
    if not fitting:
        best = found[0] if found else Copy((), "", next(iter(states.values())), (), 0)
        raise _Fit(network, best, heads, prepare).error(name, origin)
    chosen = fitting[0]
    require_one(origin, chosen.copy, [fit.copy for fit in fitting[1:]])
    refuse_broken(origin, chosen.used)
    chosen.fill()
    return [*chosen.notes(origin), *rest(origin, [fit.copy for fit in fitting])]


def fill_network(network: nn.Module, tensors: Mapping[str, Tensor], *, strict: bool = True) -> None:
    """Put tensors of a network's own names into it, as `torch.nn.Module.load_state_dict` does.

    Some modules refuse tensors that do not say for which version of their class they are (torchvision's MNASNet): they
    are told to be for the one that is here.
    """
    state = network.state_dict()
    state.clear()
    state.update(tensors)
    network.load_state_dict(state, strict=strict)


def _filtered(network: nn.Module, states: States, heads: Sequence[str], filters: Sequence[Adapt]) -> list[_Fit]:
    found = []
    for path, state in states.items():
        for adapt in filters:
            try:
                adapted = adapt(network, dict(state))
            except Exception:
                # Written for other names than these.
                continue
            there = copies({path: adapted}, network.state_dict(), heads)
            fitting = [fit for copy in there if not (fit := _Fit(network, copy, heads, None)).wrong]
            if fitting:
                found += fitting
                break
    return found


class _Fit:
    """How the tensors of a copy fit a network."""

    def __init__(self, network: nn.Module, copy: Copy, heads: Sequence[str], prepare: Adapt | None):
        self.network, self.copy = network, copy
        self.expected = network.state_dict()
        self.given = prepare(network, copy.tensors) if prepare else copy.tensors
        misfits = [key for key, value in self.expected.items() if not self._fits(key, value)]
        self.headless = [key for key in misfits if under(key, heads)]
        self.misfits = [key for key in misfits if not under(key, heads)]
        foreign = [key for key in self.given if key not in self.expected]
        self.spare = [key for key in foreign if is_another_part(key, heads)]
        self.superfluous = [key for key in foreign if key not in self.spare]
        #: Whether it must not be loaded.
        self.wrong = bool(self.misfits or self.superfluous)

    def _fits(self, key: str, value: Tensor) -> bool:
        if key not in self.given:
            return key.endswith("num_batches_tracked")
        return self.given[key].shape == value.shape and not self._strange(key)

    def _strange(self, key: str) -> str | None:
        """Return what a tensor is that cannot stand for one of floating-point numbers."""
        tensor, wanted = self.given[key], self.expected[key]
        if tensor.is_meta or tensor.layout != wanted.layout:
            return "empty" if tensor.is_meta else "sparse"
        if wanted.is_floating_point() and tensor.dtype not in _numbers():
            return str(tensor.dtype).removeprefix("torch.")
        return None

    @property
    def used(self) -> dict[str, Tensor]:
        """The tensors that the network takes."""
        return {key: self.given[key] for key in self.expected if key in self.given and key not in self.headless}

    def fill(self) -> None:
        """Put the tensors into the network."""
        for module in dict.fromkeys(key.rpartition(".")[0] for key in self.headless):
            _make_identity(self.network, module)
        kept = {key: self.given.get(key, value) for key, value in self.network.state_dict().items()}
        fill_network(self.network, kept)

    def notes(self, origin: Path) -> list[str]:
        """What was left out."""
        notes = []
        if self.headless:
            other = " of this shape" if any(key in self.given for key in self.headless) else ""
            notes.append(
                f"{origin.name} has no {some(self.headless, _SHOWN)}{other}: the network is used without that "
                "classifier head"
            )
        spare = [self.copy.prefix + key for key in self.spare if not key.endswith("num_batches_tracked")]
        spare += self.copy.beside
        if spare:
            notes.append(f"{origin.name} has {some(spare, _SHOWN)}, which the network does not have: left out")
        return notes

    def error(self, name: str, origin: Path) -> StoreError:
        """Return the error that says what does not fit."""
        missing = [key for key in self.misfits if key not in self.given]
        reshaped = [key for key in self.misfits if key in self.given]
        strange = [f"{k} is {what}" for k in reshaped if (what := self._strange(k))]
        reshaped = [k for k in reshaped if self.given[k].shape != self.expected[k].shape]
        shapes = [f"{k} is {tuple(self.given[k].shape)}, not {tuple(self.expected[k].shape)}" for k in reshaped]
        parts = [
            f"{len(keys)} {what}: {some(keys, _SHOWN)}"
            for keys, what in (
                (missing, "missing"),
                (self.superfluous, "superfluous"),
                (shapes, "of another shape"),
                (strange, "of another kind of numbers"),
            )
            if keys
        ]
        return StoreError(
            f"{origin} does not fit {name!r}; {'; '.join(parts)}.",
            next=f"Give weights of {name!r}, or name the network and the builder options that these weights are of.",
            details={"missing": missing, "superfluous": self.superfluous, "reshaped": reshaped},
        )


def _numbers() -> tuple[Any, ...]:
    import torch

    return torch.float16, torch.bfloat16, torch.float32, torch.float64


def _make_identity(network: nn.Module, module: str) -> None:
    from torch import nn

    parent, _, child = module.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
