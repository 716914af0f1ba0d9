"""The one place that finds weights: what ``--weights`` asks for, local files, caches, downloads.

A plugin's backbone normalises its request with `normalise_weights`, asks `locate` for the file whose bytes
identify the weights, builds its network under `seeded`, and fills it with
`histokit.plugin.checkpoint.read_state` and `load_state`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlparse

from histokit.errors import StoreError, UsageError, did_you_mean, shortened
from histokit.files import refuse_circle, refuse_odd, refuse_remote
from histokit.plugin.sidecar import MAIN
from histokit.plugin.weights_folder import SUFFIXES, Stray, in_folder, lying, strays, supply

PRETRAINED = "pretrained"
RANDOM = "random"
#: The prefix of backbones that runs of a store trained.
TRAINED = "run:"
#: Of a network that has no weights.
NONE = "none"
#: What a folder of weights holds, in order of preference.
PREFERRED = MAIN

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
        If the seed is no whole number or too large, or nothing is at the path.
    DataError
        If a pipe or a device is at the path, or links that lead in a circle.
    """
    stem, _, seed = weights.partition(":")
    if weights == PRETRAINED:
        return weights
    if stem == RANDOM:
        text = seed or "0"
        if not text.isdecimal():
            raise UsageError(f"The seed of --weights {weights!r} is no whole number.", next="Write --weights random:0")
        # Python refuses to read numbers of thousands of digits.
        if len(text.lstrip("0")) > len(str(_LARGEST_SEED)) or int(text) > _LARGEST_SEED:
            raise UsageError(
                f"The seed of --weights {shortened(weights)!r} is larger than {_LARGEST_SEED}, the largest there is.",
                next="Write a smaller one, such as --weights random:0",
            )
        return f"{RANDOM}:{int(text)}"
    refuse_remote(weights, "weights")
    path = Path(weights).expanduser()
    refuse_circle(path, next="Mend the link, or give the path of the weights themselves.")
    if path.is_symlink() and not path.exists():
        raise UsageError(
            f"--weights {weights!r} is a symbolic link to {os.readlink(path)!r}, which does not exist.",
            next="Mend the link, or give the path of the weights themselves.",
        )
    if not path.exists():
        siblings = [str(path.parent / p.name) for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(weights, [PRETRAINED, RANDOM, *siblings])
        raise UsageError(
            f"--weights {weights!r}: there is no such file or folder.",
            next=f"{hint}Give pretrained, random:SEED, or the path of a file ({', '.join(SUFFIXES)}) or folder.",
        )
    refuse_odd(path)
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


def locate(
    name: str,
    source: Callable[[], Source],
    aliases: Sequence[str] = (),
    tag: Callable[[], str | None] = lambda: None,
    statistics: Callable[[], str] = lambda: "",
    tags: Callable[[], Sequence[str]] = tuple,
) -> Path:
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
    tag : callable, optional
        Returns the tag of the weights that the name stands for; called only where files have tags.
    statistics : callable, optional
        Returns options that say how images are prepared for the network, for messages.
    tags : callable, optional
        Returns the tags that may be asked for by name, for messages.

    Raises
    ------
    StoreError
        If there is no copy and none can be had.
    """
    for candidate in (name, *aliases):
        found = in_folder(candidate, tag)
        if found is not None:
            return found
    left = strays((name, *aliases))
    if any(":" in stray.name and stray.tag for stray in left):
        known = set(tags())
        left = [stray._replace(published=":" in stray.name and stray.tag in known) for stray in left]
    return fetch(name, source(), left, statistics() if left else "")


def fetch(name: str, source: Source, left: Sequence[Stray] = (), statistics: str = "") -> Path:
    """Return a published file from the cache or the net; see `locate`.

    Parameters
    ----------
    left : sequence of Stray
        Files in ``$HISTOKIT_WEIGHTS`` that were not taken, for messages.
    statistics : str
        Options that say how images are prepared for the network, for messages.
    """
    if not (source.repository or source.url):
        raise StoreError(
            f"No pretrained weights of {name!r} are published.{lying(left)}",
            next=f"Use --weights random, or {supply(name, left, statistics)}.",
        )
    found = in_cache(source)
    if found is not None:
        return found
    try:
        if _OFFLINE.get():
            raise FileNotFoundError("not looked for on the net")
        return _download(source)
    except Exception as error:
        _unavailable(name, source, error, left, statistics)


#: Whether nothing is to be downloaded.
_OFFLINE: ContextVar[bool] = ContextVar("offline", default=False)


@contextmanager
def offline() -> Iterator[None]:
    """Find only what is on this machine inside a ``with`` block; what is not is a `StoreError`."""
    token = _OFFLINE.set(True)
    try:
        yield
    finally:
        _OFFLINE.reset(token)


def in_cache(source: Source) -> Path | None:
    """Return the copy of a published file in the Hugging Face or torch hub cache, or none."""
    return _in_hub_cache(source) if source.repository else _in_torch_cache(source)


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


def _unavailable(name: str, source: Source, error: Exception, left: Sequence[Stray], statistics: str) -> NoReturn:
    what = "configuration" if source.filenames == CONFIGURATION else "pretrained weights"
    reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
    if is_refusal(error):
        raise StoreError(
            f"The hub refuses the {what} of {name!r} ({source.address}): they need an accepted licence. [{reason}]"
            f"{lying(left)}",
            next=f"Accept the licence at {source.address} and set HF_TOKEN, or {supply(name, left, statistics)}.",
        ) from error
    folder = " FILE may be a folder with config.json and weights." if source.filenames == CONFIGURATION else ""
    raise StoreError(
        f"The {what} of {name!r} cannot be had: no copy is on this machine, and {source.address} "
        f"cannot be reached. [{reason}]{lying(left)}",
        next=f"Run it once with a network, or {supply(name, left, statistics)}.{folder}",
    ) from error


def is_refusal(error: BaseException) -> bool:
    """Return whether a hub wants a licence accepted or a token."""
    if any(cls.__name__ in ("GatedRepoError", "RepositoryNotFoundError") for cls in type(error).__mro__):
        return True
    return getattr(getattr(error, "response", None), "status_code", getattr(error, "code", None)) in (401, 403)
