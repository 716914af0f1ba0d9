"""Contenders take turns in processes of their own; tables and JSON say what was timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import workers

    return workers


def test_contenders_take_turns_in_their_own_processes(tmp_path: Path, workers: Any) -> None:
    import common

    file = tmp_path / "order"
    contenders = [
        common.Contender(letter, workers.writer, {"letter": letter, "file": str(file), "seconds": seconds}, items=10)
        for letter, seconds in (("a", 2.0), ("b", 61.0), ("c", 4.0))
    ]
    said: list[str] = []
    first, long, last = common.take_turns(contenders, 3, said.append)
    # b took more than a minute, so that it is not asked again.
    assert file.read_text() == "abcacac"
    assert [len(timing.seconds) for timing in (first, long, last)] == [3, 1, 3]
    processes = [timing.facts[0]["process"] for timing in (first, long, last)]
    assert len({*processes, os.getpid()}) == 4
    assert {fact["process"] for fact in first.facts} == {processes[0]}
    assert first.facts[0]["threads"] == str(common.cores())
    assert first.rate == 5.0
    assert "one round" in long.remark
    assert "one round" not in first.remark
    assert said[-1].startswith("round 3 of 3  c")


def test_a_contender_that_fails_is_named_with_its_traceback(workers: Any) -> None:
    import common

    with pytest.raises(RuntimeError, match=r"(?s)faulty.*no such network"):
        common.take_turns([common.Contender("faulty", workers.broken, {})], 1)


def test_ratios_compare_neighbours() -> None:
    import common

    # The machine was ten times slower in the second round, and four times in the third.
    one = common.Timing("one", 100, seconds=[1.0, 10.0, 4.0])
    other = common.Timing("other", 100, seconds=[3.0, 30.0, 12.0])
    assert common.ratio_of_rounds(one, other) == pytest.approx(3.0)
    assert common.ratio_of_rounds(one, common.Timing("long", 50, seconds=[100.0])) == pytest.approx(25 / 0.5)


def test_results_hold_every_round_and_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import common

    timing = common.Timing("loop", 6, seconds=[3.0, 1.0, 2.0], facts=[{}, {}, {}])
    table = common.Table("Speeds", ["contender", "images/s"], [["loop", "3.0"]], ["a note"])
    common.publish("extraction", {"data": tmp_path}, [table], {"squeezenet": [timing]}, tmp_path / "new" / "r.json")
    printed = capsys.readouterr().out
    assert "Speeds" in printed
    assert "a note" in printed
    document = json.loads((tmp_path / "new" / "r.json").read_text())
    assert document["timings"]["squeezenet"][0]["seconds"] == [3.0, 1.0, 2.0]
    assert document["timings"]["squeezenet"][0]["rate"] == 3.0
    assert document["machine"]["cores"] == common.cores()
    assert {"torch", "timm", "histokit", "lancedb"} <= document["machine"]["versions"].keys()
    assert isinstance(document["machine"]["native_bfloat16"], bool)
    assert table.markdown().splitlines()[2:5] == ["| contender | images/s |", "|---|--:|", "| loop | 3.0 |"]


def test_a_checkout_in_which_nothing_is_installed_will_do(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import common, importlib.util; "
        "print(importlib.util.find_spec('histokit').origin)"
    )
    # Without what is installed.
    command = [sys.executable, "-E", "-S", "-c", code, str(folder)]
    found = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert Path(found.strip()) == folder.parent / "histokit" / "__init__.py"
