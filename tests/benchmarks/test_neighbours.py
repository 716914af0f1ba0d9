"""A small run of the benchmark of nearest samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_it_times_queries_and_measures_recall(tmp_path: Path, run: Callable[..., str]) -> None:
    import neighbours

    file = tmp_path / "result.json"
    options = ("--rows", 1_500, "--width", 16, "--clusters", 20, "--queries", 5, "--k", 3, "--json", file)
    printed = run(neighbours, *options)
    assert "Nearest of 1,500 × 16 float32" in printed
    document = json.loads(file.read_text())
    assert len(document["timings"]["query"][0]["seconds"]) == 5
    assert document["facts"]["recall"] >= 0.95
    assert document["facts"]["index_bytes"] > 0
