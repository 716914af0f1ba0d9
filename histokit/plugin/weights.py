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
from pathlib import Path
from typing import NoReturn

from histokit.errors import StoreError, UsageError, did_you_mean, shortened
from histokit.files import refuse_circle, refuse_odd, refuse_remote
from histokit.plugin.published_weights import PREFERRED as PREFERRED
from histokit.plugin.published_weights import Source as Source
from histokit.plugin.published_weights import download, in_cache
from histokit.plugin.weights_folder import SUFFIXES, Stray, in_folder, lying, strays, supply

PRETRAINED = "pretrained"
RANDOM = "random"
#: The prefix of backbones that runs of a store trained.
TRAINED = "run:"
#: Of a network that has no weights.
NONE = "none"
#: The file of a hub repository that says how its network is built.
CONFIGURATION = ("config.json",)

_LARGEST_SEED = 2**63 - 1


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
        return download(source)
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
