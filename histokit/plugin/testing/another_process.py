"""A dataset that is opened anew in another process, as where several processes read its images."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histokit.plugin.calls import shown_error
from histokit.plugin.dataset import Dataset, Sample
from histokit.plugin.digests import digest_bytes
from histokit.plugin.interpreter import interpreter_of


def digest_of(pixels: Any) -> bytes:
    """Return a digest of an array, its shape and its type."""
    return digest_bytes(str((pixels.dtype, pixels.shape)).encode(), pixels.tobytes())


def read_elsewhere(
    cls: type[Dataset], root: str | Path, options: Mapping[str, Any], state: Any, samples: Sequence[Sample]
) -> list[bytes] | str | None:
    """Return the digests of the pixels that another process reads, or what it failed in.

    None is returned where the class cannot be imported there, because it is defined inside a function or a script: no
    installed plugin is.
    """
    try:
        asked = pickle.dumps((cls, str(root), dict(options), state, list(samples)))
    except (pickle.PicklingError, AttributeError):
        return None
    done = subprocess.run(interpreter_of(__name__), input=asked, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        return f"it ends with exit code {done.returncode}"
    answer: list[bytes] | str | None = pickle.loads(done.stdout)
    return answer


def main() -> None:
    """Answer one question of `read_elsewhere`."""
    out = os.fdopen(os.dup(1), "wb")
    # What a plugin prints is no answer.
    os.dup2(2, 1)
    with out:
        pickle.dump(_answer(sys.stdin.buffer.read()), out)


def _answer(asked: bytes) -> list[bytes] | str | None:
    try:
        cls, root, options, state, samples = pickle.loads(asked)
    except (ImportError, AttributeError):
        return None
    try:
        dataset = cls(root, **options)
        dataset.state = state
        return [digest_of(dataset.read(sample)) for sample in samples]
    except Exception as error:
        return shown_error(error)
