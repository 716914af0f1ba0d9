"""The one place that reads files of weights and puts them into networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histokit.errors import StoreError, some
from histokit.plugin.weights import SUFFIXES

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "student", "network")
PREFIXES = ("module.", "backbone.", "model.", "teacher.", "encoder.", "_orig_mod.")
#: First parts of the names that classifier and self-supervision heads go by.
HEADS = ("head", "heads", "head_dist", "fc", "classifier", "classif", "last_linear", "dino_head", "ibot_head")

_SHOWN = 4


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file, without executing pickled code.

    Where a checkpoint wraps them (``state_dict``, ``model``, ``teacher``), they are unwrapped.

    Returns
    -------
    dict of str to Tensor, on the CPU

    Raises
    ------
    StoreError
        If the file cannot be read, holds Python objects besides tensors, or no tensors.
    """
    if path.suffix not in SUFFIXES:
        raise StoreError(
            f"{path} is of no known format for weights.", next=f"Give a file that ends in {', '.join(SUFFIXES)}."
        )
    document = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    state = _tensors(_unwrap(document))
    if not state:
        raise StoreError(
            f"{path} holds no weights.", next="Save the network's state_dict(): torch.save(net.state_dict(), FILE)"
        )
    return state


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _read_pickle(path: Path) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            # Files pickled by a newer protocol than torch's own are read all the same.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise StoreError(
            f"{path} holds Python objects besides tensors, which are not loaded because loading would execute code.",
            next="Save the tensors alone: torch.save(net.state_dict(), FILE)",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> StoreError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return StoreError(f"{path} cannot be read as weights ({reason}).", next="Get the file again; it may be cut short.")


def _unwrap(document: Any) -> Any:
    while isinstance(document, Mapping) and not _tensors(document):
        inner = next((document[key] for key in WRAPPERS if isinstance(document.get(key), Mapping)), None)
        if inner is None:
            return document
        document = inner
    return document


def _tensors(document: Any) -> dict[str, Tensor]:
    import torch

    if not isinstance(document, Mapping):
        return {}
    return {str(key): value for key, value in document.items() if isinstance(value, torch.Tensor)}


def load_state(
    network: nn.Module, state: Mapping[str, Tensor], *, name: str, origin: Path, heads: Iterable[str] = ()
) -> list[str]:
    """Put tensors into a network, strictly; only classifier heads may be missing, of another shape or superfluous.

    A head without weights becomes an identity, so that nothing random remains in the network.
    Half-precision tensors are widened to the network's type.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    state : mapping of str to Tensor
    name : str
        Of the backbone, for messages.
    origin : Path
        The file, for messages.
    heads : iterable of str
        Module paths of classifier heads, auxiliary ones included.

    Returns
    -------
    list of str
        What was left out, in words for the user.

    Raises
    ------
    StoreError
        If the tensors do not fit; names some keys and shapes.
    """
    heads = tuple(heads)
    expected = network.state_dict()
    given = _strip_prefixes(state, expected)
    misfits = [k for k, v in expected.items() if not _fits(k, v, given)]
    headless = [k for k in misfits if _under(k, heads)]
    superfluous = [k for k in given if k not in expected]
    spare = [k for k in superfluous if _under(k, (*heads, *HEADS))]
    if len(headless) < len(misfits) or len(spare) < len(superfluous):
        raise _mismatch(name, origin, expected, given, [k for k in superfluous if k not in spare], misfits, headless)
    for module in dict.fromkeys(key.rpartition(".")[0] for key in headless):
        _make_identity(network, module)
    kept = {k: given.get(k, v) for k, v in network.state_dict().items()}
    network.load_state_dict(kept, strict=True)
    return _notes(origin, headless, spare, given)


def _fits(key: str, value: Tensor, given: Mapping[str, Tensor]) -> bool:
    if key not in given:
        return key.endswith("num_batches_tracked")
    return given[key].shape == value.shape


def _under(key: str, modules: Sequence[str]) -> bool:
    return any(key.startswith(f"{module}.") for module in modules)


def _strip_prefixes(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stripped = dict(state)
    for _ in range(2):
        for prefix in PREFIXES:
            foreign = not any(key.startswith(prefix) for key in expected)
            if foreign and any(key.startswith(prefix) for key in stripped):
                stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
    return stripped


def _make_identity(network: nn.Module, module: str) -> None:
    from torch import nn

    parent, _, child = module.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())


def _notes(origin: Path, headless: list[str], spare: list[str], given: Mapping[str, Tensor]) -> list[str]:
    notes = []
    if headless:
        other = " of this shape" if any(key in given for key in headless) else ""
        notes.append(
            f"{origin.name} has no {some(headless, _SHOWN)}{other}: the network is used without that classifier head"
        )
    if spare:
        notes.append(f"{origin.name} has {some(spare, _SHOWN)}, which the network does not have: left out")
    return notes


def _mismatch(
    name: str,
    origin: Path,
    expected: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    superfluous: list[str],
    misfits: list[str],
    headless: list[str],
) -> StoreError:
    missing = [k for k in misfits if k not in given and k not in headless]
    reshaped = [k for k in misfits if k in given and k not in headless]
    shapes = [f"{k} is {tuple(given[k].shape)}, not {tuple(expected[k].shape)}" for k in reshaped]
    parts = [
        f"{len(keys)} {what}: {some(keys, _SHOWN)}"
        for keys, what in ((missing, "missing"), (superfluous, "superfluous"), (shapes, "of another shape"))
        if keys
    ]
    return StoreError(
        f"{origin} does not fit {name!r}; {'; '.join(parts)}.",
        next=f"Give weights of {name!r}, or name the network and the builder options that these weights are of.",
        details={"missing": missing, "superfluous": superfluous, "reshaped": reshaped},
    )
