"""The two identities of a feature: the spec of its table, and the content of its row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from histokit.plugin.digests import digest_bytes, digest_json
from histokit.plugin.images import Box

#: Raised when the same spec would give other vectors than before.
EXTRACTION_VERSION = 2

FINGERPRINT_LENGTH = 12
_NAME_LENGTH = 120


def spec_fingerprint(spec: Mapping[str, Any]) -> str:
    """Return the fingerprint of a feature table's spec, as 12 hexadecimal digits."""
    return digest_json(dict(spec)).hex()[:FINGERPRINT_LENGTH]


def content_digest(
    files: Sequence[bytes], part: str | None, box: Box | None, pixel_key: bytes, mpp: float | None = None
) -> bytes:
    """Return the 16-byte digest of all that a sample's pixels depend on, once they are brought to some `mpp`."""
    piece = _whole(part, mpp) if box is None else _piece(part, box, mpp)
    return digest_bytes(b"content", piece, pixel_key, *files)


def _piece(part: str | None, box: Box | None, mpp: float | None) -> bytes:
    scale = [] if mpp is None else [mpp]
    return digest_json([part, list(box) if box is not None else None, *scale])


@lru_cache(maxsize=256, typed=True)
def _whole(part: str | None, mpp: float | None) -> bytes:
    """Remember what samples without a box have in common; 1 and 1.0 are written differently."""
    return _piece(part, None, mpp)


def row_key(sample_id: str, content: bytes) -> bytes:
    """Return the 16-byte key of a feature row."""
    return digest_bytes(sample_id.encode(), content)


def table_name(dataset: str, backbone: str, layer: str, fingerprint: str) -> str:
    """Return a table name for people, of the characters that LanceDB allows."""
    slug = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{backbone}_{layer}")
    stem = f"features.{dataset}."
    return f"{stem}{slug[: _NAME_LENGTH - len(stem) - len(fingerprint) - 1]}.{fingerprint}"


def spec_differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the fields in which two specs differ, such as ``preprocess.size: 224 → 299``."""
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from spec_differences(before, after, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}: {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    return "default" if value is None else str(value)
