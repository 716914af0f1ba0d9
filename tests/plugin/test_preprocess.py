"""Preprocessing is data: as texts, as JSON, and as what decides whether vectors are the same."""

from __future__ import annotations

from typing import Any

import pytest

from histokit.errors import DataError, UsageError
from histokit.plugin import Preprocess
from histokit.plugin.preprocess import LARGEST_SIZE
from histokit.plugin.sidecar import preprocess_from


def test_only_what_differs_is_in_fingerprints() -> None:
    assert Preprocess().fingerprint_fields() == {}
    fields = Preprocess(size=299, resize="shortest-crop").fingerprint_fields()
    assert fields == {"size": 299, "resize": "shortest-crop"}
    assert Preprocess(resize_size=256).fingerprint_fields() == {"resize_size": 256}
    # What was stored before there was such a field.
    old = {k: v for k, v in Preprocess(size=64).to_json().items() if k != "resize_size"}
    assert Preprocess.from_json(old) == Preprocess(size=64)


def test_fields_go_into_texts_and_back() -> None:
    assert "resize_size" not in Preprocess().to_texts()
    known = Preprocess(resize="shortest-crop", resize_size=256)
    assert known.to_texts()["resize_size"] == "256"
    assert Preprocess().override(known.to_texts()) == known
    assert Preprocess.from_json(known.to_json()) == known
    assert known.override({"resize_size": "none", "size": "299"}) == Preprocess(resize="shortest-crop", size=299)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize_size": "200"}, r"resize_size=200 is impossible: size=224 is cut out of it"),
        ({"resize_size": "0"}, r"resize_size=0 is impossible"),
        ({"resize_size": "256", "resize": "none"}, r"resize_size=256 is impossible with resize=none"),
        ({"resize_size": "large"}, r"resize_size='large' is not a whole number or none"),
        ({"resize_sise": "256"}, r"no field 'resize_sise'"),
    ],
)
def test_what_cannot_be_cut_out_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocess().override(changes)


def test_a_side_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(UsageError, match=f"resize_size={LARGEST_SIZE + 1} is too large"):
        Preprocess(resize_size=LARGEST_SIZE + 1).check_scale("Preprocessing")
    Preprocess(resize_size=LARGEST_SIZE).check_scale("Preprocessing")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"resize_size": 100}, "size=160 is cut out"),
        ({"resize_size": "256"}, 'resize_size is "256", not a whole number of 1 to 8,192, or null'),
        ({"resize_size": 0}, "resize_size is 0, not a whole number"),
    ],
)
def test_a_file_beside_weights_is_checked(document: dict[str, Any], message: str) -> None:
    base = Preprocess(size=160)
    assert preprocess_from({"resize_size": 256}, base, "net.json") == Preprocess(size=160, resize_size=256)
    assert preprocess_from({"resize_size": None}, base, "net.json") == base
    with pytest.raises(DataError, match=message):
        preprocess_from(document, base, "net.json")
