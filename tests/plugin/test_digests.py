from __future__ import annotations

import hashlib

import pytest

from histokit.plugin.digests import digest_bytes, digest_file, digest_json


def test_boundaries_of_byte_strings_count():
    # Each part is led by its length, as eight bytes of which the first is the lowest.
    by_hand = hashlib.blake2b(bytes([2]) + bytes(7) + b"ab" + bytes([1]) + bytes(7) + b"c", digest_size=16).digest()
    assert digest_bytes(b"ab", b"c") == by_hand
    assert len({digest_bytes(*parts) for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abc"], [b"abc", b""])}) == 4


def test_documents():
    text = b'{"a":[1,2],"b":"\xc3\xa9"}'
    assert digest_json({"b": "é", "a": [1, 2]}) == digest_bytes(text)
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_json({"a": float("nan")})


def test_files(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    assert digest_file(path) == hashlib.blake2b(b"x" * 3_000_000, digest_size=16).digest()
