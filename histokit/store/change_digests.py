"""Digests of what tables hold, by which a change on disk shows: of columns, whatever their pieces, and of records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histokit.plugin.digests import DIGEST_BYTES, digest_bytes
from histokit.store.spilled_rows import SpilledRows

#: What the text of a record begins with; its digest follows.
_BEFORE = '{"histokit.check":"'

_ABSENT = -1


class ColumnDigests:
    """The digest of each column of rows that come piece by piece.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of texts, binaries, numbers, truth values, and lists of them.
    """

    def __init__(self, schema: pa.Schema):
        self._states = {field.name: _Column(field.type) for field in schema}

    def add(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Take the next rows."""
        for name, state in self._states.items():
            state.add(rows.column(name))

    def result(self) -> dict[str, str]:
        """Return column → digest, as hexadecimal text."""
        return {name: state.digest() for name, state in self._states.items()}


def column_digests(rows: pa.Table | SpilledRows) -> dict[str, str]:
    """Return the digest of each column of a table, which depends on its values and type alone."""
    state = ColumnDigests(rows.schema)
    for batch in rows.to_reader():
        state.add(batch)
    return state.result()


def changed_columns(digests: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the columns whose digest is not the known one; none where nothing is known."""
    return [name for name, digest in found.items() if digests and digests.get(name) != digest]


class _Column:
    """Digests of the values of a column without nulls, and of the lengths of what has a length; nulls count as -1."""

    def __init__(self, kind: pa.DataType):
        self._kind = kind
        self._lengths = hashlib.blake2b(str(kind).encode(), digest_size=DIGEST_BYTES)
        self._values = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._inner = _Column(kind.value_type) if pa.types.is_nested(kind) else None

    def add(self, column: pa.Array | pa.ChunkedArray) -> None:
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            if len(chunk):
                self._add(chunk)

    def _add(self, chunk: pa.Array) -> None:
        kind = self._kind
        if self._inner is not None:
            self._lengths.update(_numbers(pc.list_value_length(chunk), pa.int32(), _ABSENT))
            self._inner.add(chunk.flatten())
        elif pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
            self._lengths.update(_numbers(pc.binary_length(chunk), pa.int32(), _ABSENT))
            self._values.update(_bytes(chunk.drop_null().cast(pa.large_binary())))
        else:
            self._lengths.update(_numbers(chunk.is_valid().cast(pa.int8()), pa.int8(), 0))
            self._values.update(_fixed(chunk.drop_null()))

    def digest(self) -> str:
        inner = b"" if self._inner is None else self._inner.digest().encode()
        return digest_bytes(self._lengths.digest(), self._values.digest(), inner).hex()


def _numbers(values: pa.Array, kind: pa.DataType, absent: int) -> bytes:
    filled = values.cast(kind).fill_null(absent)
    return bytes(filled.to_numpy(zero_copy_only=False).tobytes())


def _bytes(values: pa.Array) -> bytes:
    """Return all texts behind each other."""
    if not len(values):
        return b""
    offsets = np.frombuffer(values.buffers()[1], np.int64)
    first, last = offsets[values.offset], offsets[values.offset + len(values)]
    return bytes(memoryview(values.buffers()[2] or b"")[first:last])


def _fixed(values: pa.Array) -> bytes:
    if pa.types.is_fixed_size_binary(values.type):
        width = values.type.byte_width
        start = values.offset * width
        return bytes(memoryview(values.buffers()[1])[start : start + len(values) * width]) if len(values) else b""
    return bytes(values.to_numpy(zero_copy_only=False).tobytes())


def sealed(keys: Mapping[str, str], text: str) -> str:
    """Return the JSON text of a record with a digest of it, and of the keys that it is found by, as its first entry."""
    return f'{_BEFORE}{_seal(keys, text)}",{text[1:]}'


def unsealed(keys: Mapping[str, str], text: str) -> str:
    """Return the text that was sealed; one that an earlier version wrote has no digest.

    Raises
    ------
    ValueError
        If text or keys are not those that were written.
    """
    half = len(_BEFORE) // 2
    # One half of the mark shows it where a bit of the other one changed.
    if text[:half] != _BEFORE[:half] and text[half : len(_BEFORE)] != _BEFORE[half:]:
        return text
    start = len(_BEFORE) + 2 * DIGEST_BYTES
    seal, plain = text[len(_BEFORE) : start], "{" + text[start + 2 :]
    if text != f'{_BEFORE}{seal}",{plain[1:]}' or seal != _seal(keys, plain):
        raise ValueError("it is not what was written")
    return plain


def _seal(keys: Mapping[str, str], text: str) -> str:
    named = (part.encode() for name in sorted(keys) for part in (name, keys[name]))
    return digest_bytes(*named, text.encode()).hex()
