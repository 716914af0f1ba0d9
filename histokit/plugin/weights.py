"""The one place that finds weights: what ``--weights`` asks for, local files, caches, downloads.

A plugin's backbone normalises its request with `normalise_weights`, asks `locate` for the file whose bytes
identify the weights, builds its network under `seeded`, and fills it with
`histokit.plugin.checkpoint.read_state` and `load_state`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlparse

from histokit.errors import StoreError, UsageError, did_you_mean

PRETRAINED = "pretrained"
RANDOM = "random"
#: Environment variable that names a folder of weights files.
FOLDER_VARIABLE = "HISTOKIT_WEIGHTS"
#: How files of weights usually end; what they are is read in them.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar")
#: What a folder of weights holds, in order of preference.
PREFERRED = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")

#: The file of a hub repository that says how its network is built.
CONFIGURATION = ("config.json",)

_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Source:
    """Where published weights come from.

    Parameters
    ----------
    repository : str, optional
        On the Hugging Face hub: ``timm/resnet50.tv_in1k``, with ``@REVISION`` or without.
    filenames : sequence of str
        Names of the file in the repository, in order of preference.
    url : str, optional
        Address of the file, where torch's hub keeps it.
    """

    repository: str | None = None
    filenames: Sequence[str] = PREFERRED[:2]
    url: str | None = None

    @property
    def address(self) -> str:
        """The page or file to look at."""
        return f"https://huggingface.co/{self.repository}" if self.repository else str(self.url)


def normalise_weights(weights: str) -> str:
    """Return ``pretrained``, ``random:SEED``, or a path that exists.

    Raises
    ------
    UsageError
        If the seed is no whole number, or nothing is at the path.
    """
    stem, _, seed = weights.partition(":")
    if weights == PRETRAINED:
        return weights
    if stem == RANDOM:
        text = seed or "0"
        if not text.isdecimal() or int(text) > _LARGEST_SEED:
            raise UsageError(f"The seed of --weights {weights!r} is no whole number.", next="Write --weights random:0")
        return f"{RANDOM}:{int(text)}"
    path = Path(weights).expanduser()
    if not path.exists():
        siblings = [str(path.parent / p.name) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(weights, [PRETRAINED, RANDOM, *siblings])
        raise UsageError(
            f"--weights {weights!r}: there is no such file or folder.",
            next=f"{hint}Give pretrained, random:SEED, or the path of a file ({', '.join(SUFFIXES)}) or folder.",
        )
    return str(path)


def random_seed(weights: str) -> int | None:
    """Return the seed of normalised weights, or none where they are not random."""
    stem, _, seed = weights.partition(":")
    return int(seed) if stem == RANDOM and seed.isdecimal() else None


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Build a network inside: reproducible for a seed, and without a trace in torch's own generator."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0 if seed is None else seed)
        yield


def local_file(weights: str) -> Path | None:
    """Return the file of normalised weights that are a path, or none where they are not.

    Raises
    ------
    StoreError
        If a folder holds no weights, or several files none of which has a usual name.
    """
    if weights == PRETRAINED or random_seed(weights) is not None:
        return None
    path = Path(weights)
    if not path.is_dir():
        return path
    for name in PREFERRED:
        if (path / name).is_file():
            return path / name
    found = sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES))
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} weights files ({', '.join(p.name for p in found[:5])})" if found else "no weights file"
    raise StoreError(f"{path} holds {what}.", next=f"Name the file itself, or call it {PREFERRED[0]}.")


def locate(name: str, source: Callable[[], Source], aliases: Sequence[str] = ()) -> Path:
    """Return the file of a network's published weights, downloaded where no copy is here.

    Looks in ``$HISTOKIT_WEIGHTS``, then in the Hugging Face or torch hub cache, then on the net.

    Parameters
    ----------
    name : str
        Of the backbone, without builder options.
    source : callable
        Returns where they are published; called only where ``$HISTOKIT_WEIGHTS`` has no file.
    aliases : sequence of str
        Other names by which a file in ``$HISTOKIT_WEIGHTS`` may be called.

    Raises
    ------
    StoreError
        If there is no copy and none can be had, or several files match.
    """
    for candidate in (name, *aliases):
        found = in_folder(candidate)
        if found is not None:
            return found
    return fetch(name, source())


def fetch(name: str, source: Source) -> Path:
    """Return a published file from the cache or the net; see `locate`."""
    if not (source.repository or source.url):
        raise StoreError(
            f"No pretrained weights of {name!r} are published.", next=f"Use --weights random, or {_supply(name)}."
        )
    found = in_cache(source)
    if found is not None:
        return found
    try:
        return _download(source)
    except Exception as error:
        _unavailable(name, source, error)


def in_cache(source: Source) -> Path | None:
    """Return the copy of a published file in the Hugging Face or torch hub cache, or none."""
    return _in_hub_cache(source) if source.repository else _in_torch_cache(source)


def in_folder(name: str) -> Path | None:
    """Return ``$HISTOKIT_WEIGHTS/NAME[.TAG].safetensors``, where ``:`` and ``/`` of the name are ``.``.

    Raises
    ------
    StoreError
        If files with several tags match, none of which was asked for.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return None
    stem = file_stem(name)
    if not Path(folder).is_dir():
        raise StoreError(f"{FOLDER_VARIABLE}={folder} is not a folder.", next=f"Mend it, or: unset {FOLDER_VARIABLE}")
    exact = Path(folder, f"{stem}.safetensors")
    if exact.is_file():
        return exact
    tagged = [p for p in sorted(Path(folder).glob("*.safetensors")) if p.stem.rpartition(".")[0] == stem]
    if len(tagged) > 1:
        raise StoreError(
            f"Several files in {folder} hold weights of {name!r}: {', '.join(p.name for p in tagged)}.",
            next=f"Choose one: --weights {tagged[0]}",
            details={"candidates": [str(p) for p in tagged]},
        )
    return tagged[0] if tagged else None


def file_stem(name: str) -> str:
    """Return how a file of a network's weights is called, without tag and suffix."""
    return name.partition(",")[0].replace(":", ".").replace("/", ".")


def _in_hub_cache(source: Source) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = str(source.repository).partition("@")
    for filename in source.filenames:
        found = try_to_load_from_cache(repository, filename, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _in_torch_cache(source: Source) -> Path | None:
    path = _torch_cache_path(source)
    return path if path is not None and path.is_file() else None


def _torch_cache_path(source: Source) -> Path | None:
    if not source.url:
        return None
    # The same folder as torch.hub.get_dir(), without importing torch for it.
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))).expanduser()
    return home / "hub" / "checkpoints" / Path(urlparse(source.url).path).name


def _download(source: Source) -> Path:
    if source.repository:
        return _download_from_hub(source.repository, source.filenames)
    target = _torch_cache_path(source)
    if target is None:
        raise FileNotFoundError("no address is known")
    _require_host(urlparse(str(source.url)).hostname)
    from torch.hub import download_url_to_file

    target.parent.mkdir(parents=True, exist_ok=True)
    _, dash, digest = target.stem.rpartition("-")
    download_url_to_file(str(source.url), str(target), hash_prefix=digest if dash else None, progress=False)
    return target


def _download_from_hub(repository: str, filenames: Sequence[str]) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if not constants.HF_HUB_OFFLINE:
        _require_host(urlparse(constants.ENDPOINT).hostname)
    name, _, revision = repository.partition("@")
    for filename in filenames:
        try:
            return Path(hf_hub_download(name, filename, revision=revision or None))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            continue
    raise FileNotFoundError(f"{repository} has none of {', '.join(filenames)}")


def _require_host(host: str | None) -> None:
    # Without a network, the hub's own retries would take half a minute to say so.
    if any(os.environ.get(variable) for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return
    import socket

    socket.getaddrinfo(host, 443)


def _supply(name: str) -> str:
    folder = os.environ.get(FOLDER_VARIABLE)
    filename = f"{file_stem(name)}.safetensors"
    place = Path(folder, filename) if folder else f"${FOLDER_VARIABLE}/{filename}"
    return f"supply a file: --weights FILE, or put it at {place}"


def _unavailable(name: str, source: Source, error: Exception) -> NoReturn:
    what = "configuration" if source.filenames == CONFIGURATION else "pretrained weights"
    reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
    if is_refusal(error):
        raise StoreError(
            f"The hub refuses the {what} of {name!r} ({source.address}): they need an accepted licence. [{reason}]",
            next=f"Accept the licence at {source.address} and set HF_TOKEN, or {_supply(name)}.",
        ) from error
    folder = " FILE may be a folder with config.json and weights." if source.filenames == CONFIGURATION else ""
    raise StoreError(
        f"The {what} of {name!r} cannot be had: no copy is on this machine, and {source.address} "
        f"cannot be reached. [{reason}]",
        next=f"Run it once with a network, or {_supply(name)}.{folder}",
    ) from error


def is_refusal(error: BaseException) -> bool:
    """Return whether a hub wants a licence accepted or a token."""
    if any(cls.__name__ in ("GatedRepoError", "RepositoryNotFoundError") for cls in type(error).__mro__):
        return True
    return getattr(getattr(error, "response", None), "status_code", getattr(error, "code", None)) in (401, 403)
