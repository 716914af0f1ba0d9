"""The benchmark of elimination compares the same work, and says where it was extrapolated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Vectors of 24 and 32 columns, of which half tell a little."""
    import elimination
    import vectors

    folder = tmp_path / "vectors"
    folder.mkdir()
    (folder / "notes.txt").write_text("Made up.")
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    for columns in (24, 32):
        X = rng.normal(size=(60, columns)).astype(np.float32)
        X[:, ::2] += 0.5 * y[:, None]
        np.savez(folder / f"{columns}.npz", X=X, y=y, groups=(np.arange(60) // 6).astype(str))
    monkeypatch.setattr(elimination, "ADDRESSES", dict.fromkeys((24, 32)))
    monkeypatch.setattr(vectors, "ADDRESSES", dict.fromkeys((24, 32)))
    monkeypatch.setattr(elimination, "_PART", 2)
    monkeypatch.setattr(elimination, "cores", lambda: 1)
    return folder


@pytest.fixture(autouse=True)
def _trees(monkeypatch: pytest.MonkeyPatch) -> None:
    from histokit.protocol import elimination

    monkeypatch.setitem(elimination._TREES, "trees", 100)


def test_sizes_and_scores_are_compared(tmp_path: Path, run: Any, vectors: Path) -> None:
    import elimination

    file = tmp_path / "result.json"
    options = ["--columns", 24, 32, "--exact", 24, "--rounds", 2, "--trees", 2, "--vectors", vectors, "--json", file]
    printed = run(elimination, *options)
    assert "RFECV with step 4, whole" in printed
    assert "Extrapolated: RFECV was timed with step 8, so on every 2th of its sizes." in printed
    assert "Made up." in printed
    document = json.loads(file.read_text())
    exact, part = (document["timings"][f"{columns} columns, seed 0"] for columns in (24, 32))
    curves = [timing["facts"][0]["curve"] for timing in exact]
    assert [size for size, _ in curves[0]] == [24, 20, 16, 12, 8, 4, 1]
    # With so few columns large steps are the small ones, and both curves the same.
    assert np.array(curves[0]) == pytest.approx(np.array(curves[1]))
    (row,) = document["tables"][0]["rows"]
    assert row[5:7] == row[7:9]
    assert row[8] == row[9]
    assert [size for size, _ in part[0]["facts"][0]["curve"]] == [32, 24, 16, 8, 1]
    (row,) = document["tables"][1]["rows"]
    assert float(row[5]) == pytest.approx(2 * part[0]["median_seconds"] / part[1]["median_seconds"], abs=0.06)


def test_vectors_are_extracted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    import vectors

    asked: list[dict[str, Any]] = []

    def extract(function: Any, **given: Any) -> dict[str, Any]:
        asked.append({"function": function.__name__, **given})
        Path(given["out"]).mkdir()
        return {}

    monkeypatch.setattr(vectors, "once", extract)
    options = argparse.Namespace(images=4, data=None, weights=None, vectors=tmp_path / "kept")
    there, notes = vectors.make(tmp_path, options)
    assert there == tmp_path / "kept"
    assert any("Drawn images" in note for note in notes)
    assert vectors.make(tmp_path, options) == (there, notes)
    assert len(asked) == 1
    assert set(asked[0]["weights"]) == {"mobilenetv2", "squeezenet"}
