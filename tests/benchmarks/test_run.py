"""All benchmarks run by one command, and the README shows what their results say."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_pages_show_the_results_as_they_are(tmp_path: Path) -> None:
    import run

    pages = [FOLDER / "README.md", FOLDER / "peers" / "README.md"]
    copies = [tmp_path / str(number) for number in range(2)]
    for page, copy in zip(pages, copies, strict=True):
        copy.write_text(page.read_text())
    run.update_readmes(*copies, FOLDER / "results")
    for page, copy in zip(pages, copies, strict=True):
        assert copy.read_text() == page.read_text(), "write it with: python benchmarks/run.py --render"


def test_results_are_rendered_between_the_marks(tmp_path: Path) -> None:
    import common
    import run

    table = common.Table("Speeds", ["contender", "images/s"], [["loop", "3.0"]])
    common.publish("cached", {"samples": 5}, [table], {}, tmp_path / "cached.json")
    page = tmp_path / "README.md"
    page.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n")
    run.update_page(page, [tmp_path / "cached.json", tmp_path / "absent.json"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{run.END}\nafter\n")
    assert "old" not in text
    assert "| loop | 3.0 |" in text
    assert "`samples=5`" in text
    assert f"{common.cores()} cores" in text
    run.update_page(page, [tmp_path / "cached.json", tmp_path / "absent.json"])
    assert page.read_text() == text


@pytest.mark.parametrize("size", [0, 1, 2])
def test_every_benchmark_takes_the_options_that_it_is_run_with(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import run

    class Parsed(Exception):  # noqa: N818 (a signal)
        pass

    def stop(*_: Any) -> None:
        raise Parsed

    for name, options in run.BENCHMARKS.items():
        module = importlib.import_module(name)
        with monkeypatch.context() as patched:
            patched.setattr("argparse.ArgumentParser.parse_args", _then(stop))
            patched.setattr(sys, "argv", [name, *options[size], "--json", "result.json"])
            with pytest.raises(Parsed):
                module.main()


def _then(stop: Any) -> Any:
    import argparse

    original = argparse.ArgumentParser.parse_args

    def parse(self: Any, *given: Any) -> Any:
        original(self, *given)
        stop()

    return parse


def test_a_benchmark_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import run

    asked: list[Any] = []
    monkeypatch.setattr(run, "run", lambda name, options, _results: bool(asked.append((name, options))))
    monkeypatch.setattr(sys, "argv", ["run", "--only", "memory", "--full", "--results", str(tmp_path)])
    assert run.main() == 1
    assert asked == [("memory", ["--few", "10000", "--many", "100000"])]
    assert "Failed: memory" in capsys.readouterr().err
