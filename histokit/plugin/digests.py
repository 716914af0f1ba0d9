"""The one place that turns bytes and data into digests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from histokit.files import refuse_odd

DIGEST_BYTES = 16

#: Size and modification time in ns of a file, and a number of its inode and the time of its last change (ctime), which
#: no program sets: by it, a file that another one of the same size and time took the place of is found out.
FileState = tuple[int, int, int]

#: In place of the last of them, where an earlier version did not note it.
UNKNOWN = -1

#: Odd, and of 64 bits; what it gives is cut to what a signed number holds.
_MIXER, _KEPT_BITS = 0x9E3779B97F4A7C15, (1 << 63) - 1

#: Bytes that are read at once; fewer where nothing is expected, for memory of the larger size is cleared by the system.
_BLOCK = 1 << 20
_SMALL_BLOCK = 1 << 16


def state_of(status: os.stat_result) -> FileState:
    """Return the state of a file; another one where it may have been written to, or is another file."""
    return status.st_size, status.st_mtime_ns, (status.st_ctime_ns * _MIXER + status.st_ino) & _KEPT_BITS


def joint_state(path: str | os.PathLike[str], others: Iterable[str | os.PathLike[str]]) -> FileState:
    """Return the state of a file that belongs together with others; of these, any may be missing.

    Raises
    ------
    OSError
        If the file itself is missing.
    """
    state, found = state_of(os.stat(path)), []
    for other in others:
        try:
            found.append(state_of(os.stat(other)))
        except OSError:
            found.append((0, 0, 0))
    if not found:
        return state
    mixed = hashlib.blake2b(repr((state, found)).encode(), digest_size=8).digest()
    return *state[:2], int.from_bytes(mixed, "little") & _KEPT_BITS


def is_same_state(before: FileState, now: FileState) -> bool:
    """Return whether a file has not been touched between two looks at it, as far as is known."""
    return before[:2] == now[:2] and before[2] in (UNKNOWN, now[2])


def digest_bytes(*parts: bytes) -> bytes:
    """Return the 16-byte BLAKE2b digest of several byte strings; their boundaries count."""
    return digest_stream(parts)


def digest_stream(parts: Iterable[bytes]) -> bytes:
    """Return what `digest_bytes` returns, of parts that come one by one."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


def digest_texts(arrays: Iterable[Any]) -> bytes:
    """Return what `digest_stream` returns of the texts of Arrow arrays, none of them missing, without one call each."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for texts in arrays:
        content = texts.cast(pa.binary())
        lengths = np.asarray(pc.binary_length(content)).astype("<i8")
        heads = pa.Array.from_buffers(pa.binary(8), len(texts), [None, pa.py_buffer(lengths)]).cast(pa.binary())
        joined = pc.binary_join_element_wise(heads, content, b"")
        if len(joined):
            state.update(memoryview(joined.buffers()[2])[: int(lengths.sum()) + 8 * len(lengths)])
    return state.digest()


def digest_json(document: Any) -> bytes:
    """Return the 16-byte digest of JSON-serialisable data, independent of key order."""
    return digest_bytes(canonical_json(document).encode())


def canonical_json(document: Any) -> str:
    """Return JSON text with sorted keys and no spaces, so that equal data give equal text."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def as_json(document: Any) -> Any:
    """Return JSON-serialisable data as they are once they were stored: tuples are lists.

    Raises
    ------
    TypeError, ValueError
        If JSON cannot hold them, or would make other keys of those of a mapping: ``{1: 2}`` is ``{"1": 2}`` there.
    """
    _refuse_other_keys(document)
    return json.loads(canonical_json(document))


def _refuse_other_keys(document: Any) -> None:
    if isinstance(document, dict):
        for key, value in document.items():
            if not isinstance(key, str):
                raise TypeError(f"a mapping with the key {key!r}, which JSON makes the text {str(key)!r}: write texts")
            _refuse_other_keys(value)
    elif isinstance(document, list | tuple):
        for value in document:
            _refuse_other_keys(value)


def digest_file(path: Path) -> bytes:
    """Return the 16-byte BLAKE2b digest of a file's bytes, read in blocks.

    Raises
    ------
    DataError
        If it is a pipe or a device, which may never end.
    """
    refuse_odd(path)
    return digest_known_file(path, os.stat(path).st_size)


def digest_known_file(path: str | os.PathLike[str], size: int) -> bytes:
    """Return what `digest_file` does for a path that is known to lead to a file of about so many bytes."""
    return digest_and_content(path, size)[0]


def digest_and_content(path: str | os.PathLike[str], size: int) -> tuple[bytes, bytes | None]:
    """Return what `digest_known_file` does, and all bytes of a file of less than a megabyte."""
    # Without a file object, which costs more than to read a small file.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        content: bytes | None = os.read(descriptor, min(size + 1, _BLOCK))
        state = hashlib.blake2b(content or b"", digest_size=DIGEST_BYTES)
        while block := os.read(descriptor, _BLOCK if size > _BLOCK else _SMALL_BLOCK):
            state.update(block)
            content = None
    finally:
        os.close(descriptor)
    return state.digest(), content
