"""The benchmark of extraction runs anywhere, and what it compares is the same work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

#: The plain loop forks its loader workers, here in a process that has more than a script would.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning"),
]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs of 64 pixels in place of 224."""
    import contenders
    import work

    monkeypatch.setattr(contenders, "SIZE", 64)
    for name, network in work.NETWORKS.items():
        monkeypatch.setitem(work.NETWORKS, name, replace(network, changes={**network.changes, "size": "64"}))


@pytest.mark.usefixtures("small")
def test_all_contenders_extract_the_same(tmp_path: Path, run: Any) -> None:
    import extraction

    file = tmp_path / "result.json"
    printed = run(extraction, "--images", 12, "--network", "squeezenet", "--rounds", 1, "--json", file)
    for contender in ("plain loop, float32", "batch 64", "histokit, float32", "histokit, bfloat16", "only features.4"):
        assert contender in printed
    assert "Drawn images" in printed
    assert "Random weights" in printed
    facts = json.loads(file.read_text())["facts"]["squeezenet"]
    assert len(facts["quality"]["layers"]) == 8
    for pair in facts["quality"]["layers"].values():
        assert pair["float32_to_loop"][1] > 0.999
        assert pair["bfloat16_to_float32"][0] > 0.99
    assert set(facts["quality"]["accuracy"]) == {"float32", "bfloat16"}
    assert facts["speed"]["plain loop, float32"]["to_loop"] == 1.0
    assert 0 < facts["speed"]["histokit, float32"]["efficiency"] < 2


def test_two_networks_in_one_command_and_in_two(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import contenders
    import work

    material = work.prepare(tmp_path, 3, ["mobilenetv2", "squeezenet"], None, None)
    assert material.count == 3
    asked: list[Any] = []
    monkeypatch.setattr("histokit.extract", lambda _store, _name, names, **options: asked.append((names, options)))
    one = contenders.whole([["mobilenetv2", "squeezenet"]], material.images, dict(material.weights), tmp_path / "one")
    asked.clear()
    one()
    two = contenders.whole([["mobilenetv2"], ["squeezenet"]], material.images, dict(material.weights), tmp_path / "two")
    two()
    both = [work.NETWORKS[name].backbone for name in ("mobilenetv2", "squeezenet")]
    assert [names for names, _ in asked] in ([both, both[:1], both[1:], both[:1], both[1:]],)
    assert asked[0][1]["weights"] == {work.NETWORKS[name].backbone: material.weights[name] for name in material.weights}
    assert f"{both[0]}/mean=0.5,0.5,0.5" in asked[0][1]["preprocess"]


def test_images_are_taken_evenly_from_all_patients(tmp_path: Path) -> None:
    import work

    work.draw_images(tmp_path / "data", 48, 8)
    material = work.prepare(tmp_path, 24, [], tmp_path / "data", None)
    assert material.count == 24
    assert len({path.parent.parent.name for path in material.images.rglob("*.png")}) == 12
    assert material.notes == []
    assert work.prepare(tmp_path / "all", None, [], tmp_path / "data", None).count == 48


def test_cosines_by_hand() -> None:
    import quality

    one = np.array([[1, 0], [3, 4]], dtype=np.float32)
    other = np.array([[2, 0], [4, 3]], dtype=np.float32)
    assert quality.cosines(one, other) == pytest.approx((0.98, 0.96))


def test_time_in_the_writer_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import contenders

    from histokit.extract.writer import Writer

    def flush(self: Any) -> None:
        pass

    def close(self: Any) -> None:
        self.flush()
        self.flush()

    monkeypatch.setattr(Writer, "flush", flush)
    monkeypatch.setattr(Writer, "close", close)
    writer = Writer.__new__(Writer)
    with contenders.writing_seconds() as seconds:
        writer.flush()
        writer.close()
    # Once for the flush, once for the whole of close.
    assert len(seconds) == 2
    assert Writer.flush is flush
