"""Files that could not be written are refused before the work, by every command that writes one."""

import os

import pytest

from tests.cli.test_every_command import LEAVES

#: How each command that writes a file is called otherwise; what it is asked for would take its time.
CALLS = {
    ("evaluate",): ["r"],
    ("predictions",): ["r"],
    ("curves",): ["r"],
    ("show",): ["cells"],
    ("explain",): ["r"],
    ("explain", "filters"): ["r"],
    ("explain", "columns"): ["s"],
    ("neighbours",): ["cells", "--features", "tiny/last"],
    ("scatter",): ["cells", "--features", "tiny/last"],
    ("compare",): ["--all"],
    ("report",): ["r"],
    ("select",): ["cells", "--features", "tiny/last"],
    ("select", "compare"): ["a", "b"],
    ("select", "importances"): ["cells", "--features", "tiny/last"],
    ("export-model",): ["r"],
    ("export",): ["cells", "--features", "tiny/last"],
    ("study", "run"): ["study.toml"],
    ("demo",): [],
}
FOLDERS = [("export-model",), ("study", "run"), ("demo",)]


def words(path):
    return [name for place, name in enumerate(path) if not place or name != path[place - 1]]


def output(path):
    return next(name for p in LEAVES[path].params for name in p.opts if name in ("--figure", "--out"))


def test_no_command_that_writes_a_file_is_left_out():
    written = {path for path in LEAVES for p in LEAVES[path].params if {"--figure", "--out"} & set(p.opts)}
    assert written == set(CALLS)


@pytest.mark.parametrize("path", [path for path in CALLS if path not in FOLDERS], ids=" ".join)
def test_files_are_looked_at_before_the_work(path, histokit, tmp_path):
    (tmp_path / "file").write_text("x")
    suffix = ".html" if path == ("report",) else ".png" if output(path) == "--figure" else ".csv"
    (tmp_path / f"x{suffix}").mkdir()
    ways = {"x.xyz": "its suffix is none of", f"none/x{suffix}": "does not exist", f"x{suffix}": "is a folder"}
    ways |= {f"file/x{suffix}": "is a file", "": "is empty"}
    for name, says in ways.items():
        given = str(tmp_path / name) if name else ""
        result = histokit.fails(*words(path), *CALLS[path], output(path), given, code=2)
        assert says in result.err
        assert "There is no" not in result.err, "it was looked for what is to be drawn"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("path", FOLDERS, ids=" ".join)
def test_folders_are_looked_at_before_the_work(path, histokit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    for name in ("file", "file/inner"):
        assert "file is no folder" in histokit.fails(*words(path), *CALLS[path], "--out", name, code=2).err
    assert os.listdir(tmp_path) == ["file"]


def test_suffixes_in_large_letters_are_suffixes(extracted, tmp_path):
    for suffix in (".CSV", ".PARQUET"):
        extracted.ok("export", "cells", "--features", "tiny/last", "--out", tmp_path / f"x{suffix}")
    run = extracted.ok("train", "cells", "--features", "tiny/last", "--classifier", "knn").out.strip()
    extracted.ok("predictions", run, "--out", tmp_path / "p.CSV")
    extracted.ok("evaluate", run, "--figure", tmp_path / "f.PNG")
    assert (tmp_path / "p.CSV").read_text().startswith('"id"')
    assert (tmp_path / "f.PNG").read_bytes()[1:4] == b"PNG"
