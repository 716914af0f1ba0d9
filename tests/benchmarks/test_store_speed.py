"""A small run of the store's benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def test_store_speed_times_both_ways_and_weighs_the_disk(tmp_path: Path, run: Callable[..., str]) -> None:
    import store_speed

    file = tmp_path / "result.json"
    printed = run(store_speed, "--rows", 1_200, "--width", 64, "--rounds", 2, "--json", file)
    for title in ("Reading 1,200 × 64 float32", "Writing 1,200 × 64 float32", "Disk, after"):
        assert title in printed
    document = json.loads(file.read_text())
    for name, baseline in (("read", "numpy.load"), ("write", "numpy.save")):
        timings = document["timings"][name]
        assert [t["name"] for t in timings] == [baseline, "histokit, float32", "histokit, float16"]
        assert [len(t["seconds"]) for t in timings] == [2, 2, 2]
        assert min(t["rate"] for t in timings) > 0
    ratios = document["facts"]["disk_ratio"]
    assert 1 < ratios["float32"] < 1.6
    assert 0.5 < ratios["float16"] < ratios["float32"] - 0.4
