"""Images as files hold them, inside other files."""

from __future__ import annotations

import io

from histokit.plugin.digests import digest_bytes
from histokit.plugin.tiff import tiff_layout

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def encoded_digest(data: bytes) -> bytes:
    """Return the digest of an image file, which changes where the file is read otherwise than it once was."""
    layout = tiff_layout(io.BytesIO(data)) if data[:4] in _TIFF else None
    return digest_bytes(data, layout.mark if layout else b"")
