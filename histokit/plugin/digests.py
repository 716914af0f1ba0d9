"""The one place that turns bytes and data into digests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from histokit.files import refuse_odd

DIGEST_BYTES = 16

_BLOCK = 1 << 20


def digest_bytes(*parts: bytes) -> bytes:
    """Return the 16-byte BLAKE2b digest of several byte strings; their boundaries count."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


def digest_json(document: Any) -> bytes:
    """Return the 16-byte digest of JSON-serialisable data, independent of key order."""
    return digest_bytes(canonical_json(document).encode())


def canonical_json(document: Any) -> str:
    """Return JSON text with sorted keys and no spaces, so that equal data give equal text."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_file(path: Path) -> bytes:
    """Return the 16-byte BLAKE2b digest of a file's bytes, read in blocks.

    Raises
    ------
    DataError
        If it is a pipe or a device, which may never end.
    """
    refuse_odd(path)
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    # Without a buffer of its own, which costs more than to read a small file.
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            state.update(block)
    return state.digest()
