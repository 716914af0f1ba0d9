"""The benchmarks of commands, of memory and of the feed run, and measure what they say."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from histokit import cli


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs commands of histokit here, in place of processes."""

    def call(store: Path, *words: str) -> str:
        monkeypatch.setenv("HISTOKIT_STORE", str(store))
        capsys.readouterr()
        assert cli.run(list(words)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return call


def test_cached_commands(tmp_path: Path, run: Any, in_process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import cached

    monkeypatch.setattr(cached, "histokit", in_process)
    monkeypatch.setattr(cached, "imported", lambda _store, words: ["torch"] if words == ["--help"] else [])
    file = tmp_path / "result.json"
    printed = run(cached, "--samples", 5, "--rounds", 2, "--json", file)
    assert "extract, 5 samples × 7 layers, all cached" in printed
    document = json.loads(file.read_text())
    assert [len(timing["seconds"]) for timing in document["timings"]["commands"]] == [2] * 5
    assert document["facts"]["heavy_imports"]["--help"] == ["torch"]


def test_heavy_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cached

    assert cached.imported(tmp_path, ["--help"]) == []
    monkeypatch.setattr(cached, "_HEAVY", ("typer", "torch"))
    assert cached.imported(tmp_path, ["--help"]) == ["typer"]
    with pytest.raises(SystemExit, match=r"list nothing: exit code 2"):
        cached.histokit(tmp_path, "list", "nothing")


def test_memory_tells_the_ratio_of_peaks(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import memory

    def peak(_folder: Path, store: Path, words: list[str]) -> int:
        return 2**20 * (500 if words[0] == "ingest" else 840 if "store-30" in store.name else 800)

    monkeypatch.setattr(memory, "peak", peak)
    printed = run(memory, "--few", 10, "--many", 30, "--json", tmp_path / "result.json")
    assert "1.050" in printed
    assert len(json.loads((tmp_path / "result.json").read_text())["facts"]["peaks"]) == 2


def test_peak_of_a_process_with_the_plugin_of_the_benchmark(tmp_path: Path) -> None:
    import memory

    memory.install(tmp_path)
    ingest = ["ingest", "noise", str(tmp_path), "--name", "noise", "-o", "count=5"]
    # Python with Arrow takes more than 50 MiB, and without torch less than 1 GiB.
    assert 50 * 2**20 < memory.peak(tmp_path, tmp_path / "store", ingest) < 2**30


@pytest.fixture
def noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin of the memory benchmark, installed for this process."""
    import memory

    from histokit.plugin.manager import registry

    memory.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.cache_clear()
    yield importlib.import_module("histokit_benchmark_noise")
    sys.modules.pop("histokit_benchmark_noise")
    monkeypatch.undo()
    registry.cache_clear()


def test_every_sample_of_the_memory_benchmark_goes_through_the_network(store: Any, tmp_path: Path, noise: Any) -> None:
    import histokit
    from histokit.plugin.testing import check_dataset

    check_dataset(noise.Noise, tmp_path, count=5)
    histokit.ingest(store, "noise", tmp_path, name="noise", options={"count": 20})
    result = histokit.extract(store, "noise", "small")
    assert [(table["computed"], table["width"]) for table in result.tables] == [(20, 64), (20, 64), (20, 256)]
    # Equal samples would be pushed through once, and the benchmark would measure nothing.
    assert len(set(store.samples("noise").column("content").to_pylist())) == 20


def test_ingesting_compares_with_reading_and_hashing(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import ingesting

    monkeypatch.setattr(ingesting, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    file = tmp_path / "result.json"
    printed = run(ingesting, "--files", 12, "--rounds", 1, "--json", file)
    assert all(name in printed for name in (ingesting.ONE, ingesting.ALL, ingesting.NEW, ingesting.AGAIN))
    timings = json.loads(file.read_text())["timings"]
    assert {name: [one["items"] for one in each] for name, each in timings.items()} == {
        name: [round(12 * share)] * 4 for name, (_, _, share) in ingesting.FILES.items()
    }
    for name, (one, each, new, again) in timings.items():
        assert one["facts"] == each["facts"]
        assert [fact["files"] for fact in (*new["facts"], *again["facts"])] == [one["items"]] * 2, name


def test_feed_knows_what_starting_takes_from_a_part_of_the_images() -> None:
    import feed
    from common import Timing

    part = [{"part": 100, "part_seconds": 2.0}, {"part": 100, "part_seconds": 1.5}, {"part": 100, "part_seconds": 4.0}]
    timing = Timing("last", 400, seconds=[5.0, 3.5, 3.0], facts=part)
    # 300 images in 3 and 2 seconds; a part that took longer than all tells nothing.
    assert feed.rates_after_start(timing) == [100.0, 150.0, None]
    alone = Timing(feed.ALONE, 400, seconds=[2.0, 4.0, 1.0], facts=[{}] * 3)
    loop = Timing(feed.LOOP, 400, seconds=[10.0, 7.0, 6.0], facts=[{}] * 3)
    # Decoding alone: 200, 100 and 400 a second, so 0.5 and 1.5 of it once started.
    assert feed._row("JPEG", timing, alone, loop) == ["JPEG, last", "114", "0.40", "125", "1.00", "2.00", ""]
    assert feed._row("JPEG", alone, alone, loop)[3:5] == ["", ""]


def test_feed_compares_with_decoding_alone(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import feed

    import histokit

    extracted: list[Any] = []
    extract = histokit.extract

    def seen(*given: Any, **options: Any) -> Any:
        extracted.append(extract(*given, **options))
        return extracted[-1]

    monkeypatch.setattr("histokit.extract", seen)
    monkeypatch.setattr(feed, "loader_loop", lambda images, folder: lambda: (1.0, {}))
    # One process decodes instead of several.
    monkeypatch.setattr(feed, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    printed = run(feed, "--only", "JPEG 224", "--images", 8, "--rounds", 1, "--workers", 0)
    assert all(name in printed for name in (feed.ALONE, feed.TINY, feed.LOOP, "17 layers"))
    done = [[(table["computed"], table["width"]) for table in one.tables] for one in extracted]
    # Each once before it is timed; in its round a quarter of the images before all of them, but for the tiny network.
    assert [len(tables) for tables in done] == [1, 17, 1, 1, 1, 17, 17, 1]
    assert [{count for count, _ in tables} for tables in done] == [{8}] * 3 + [{2}, {8}] * 2 + [{8}]
    assert [width for _, width in done[1]] == feed.WIDTHS["17 layers"]
