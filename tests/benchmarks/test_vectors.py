"""The vectors that benchmarks of selection and training work on are layers of real networks."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest


def test_vectors_are_extracted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import vectors

    monkeypatch.setattr(vectors, "once", lambda function, **given: function(**given))
    options = Namespace(images=8, data=None, weights=None, vectors=tmp_path / "kept")
    folder, notes = vectors.make(tmp_path, options)
    assert notes, "drawn images and random weights are told"
    for columns in vectors.ADDRESSES:
        X, y, groups = vectors.load(folder, columns)
        assert X.shape == (8, columns)
        assert set(y) == {0, 1}
        assert len(groups) == 8

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("extracted again")

    monkeypatch.setattr(vectors, "once", again)
    assert vectors.make(tmp_path, options) == (folder, notes)
