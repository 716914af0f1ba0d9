"""Published weights: where they are, which of them a cache on this machine has, and how others are downloaded."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from histokit.plugin.sidecar import MAIN

#: What a folder of weights holds, in order of preference.
PREFERRED = MAIN

#: The beginning of a digest in the name of a file, as torch's hub has it; other numbers, as of epochs, are shorter.
_DIGEST = re.compile(r"-([0-9a-f]{8,})\.")


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


def download(source: Source) -> Path:
    """Return a published file from the net, which its cache keeps.

    Raises
    ------
    Exception
        Whatever keeps it from being had.
    """
    if source.repository:
        return _download_from_hub(source.repository, source.filenames)
    target = _torch_cache_path(source)
    if target is None:
        raise FileNotFoundError("no address is known")
    _require_host(urlparse(str(source.url)).hostname)
    from torch.hub import download_url_to_file

    target.parent.mkdir(parents=True, exist_ok=True)
    digest = _DIGEST.search(target.name)
    download_url_to_file(str(source.url), str(target), hash_prefix=digest and digest[1], progress=False)
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
