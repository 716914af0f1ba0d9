from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.command_line import CommandLine
from tests.study.small_study import FILE, write_study
from tests.toy import make_samples

#: Last layers only, one network: quickly done.
SHORT = 'strategies = ["last layer"]\n' + FILE.split("[backbones.small]")[0]


@pytest.fixture
def histokit(file: Path, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command line, with the short study beside."""
    write_study(file.parent, SHORT)
    return CommandLine(capsys)


def test_plan_run_and_what_they_print(histokit: CommandLine, file: Path, tmp_path: Path) -> None:
    planned = histokit.ok("study", "plan", file)
    assert [line.split()[:2] for line in planned.out.splitlines()[2:4]] == [["ingest", "cells"], ["ingest", "more"]]
    assert planned.err.startswith("10 of 10 pieces are missing; they will take about ")
    assert "not counting 2 of which that is not known yet" in planned.err
    document = histokit.ok("study", "plan", file, "--json").document
    assert (document["missing"], document["done"], document["not_estimated"]) == (10, 0, 2)
    assert document["pieces"][-1] | {"seconds": None} == {
        "kind": "train",
        "dataset": "more",
        "what": "tiny/last",
        "strategy": "last layer",
        "classifier": "knn",
        "run": None,
        "selection": None,
        "seconds": None,
        "estimate": "typical",
        "state": "missing",
        "trouble": None,
    }
    assert not (tmp_path / "histokit-store").exists()
    done = histokit.ok("study", "run", file, "--out", tmp_path / "report")
    assert done.out.startswith("scores: (1) best, (2) second best; ranks: 2 is the highest\n method ")
    assert [line for line in done.err.splitlines() if line.startswith(("0 of", " 5/10", "10/10"))] == [
        "0 of 10 pieces are done already",
        *[line for line in done.err.splitlines() if line.startswith(" 5/10  extract cells tiny/3: 24 images (")],
        *[line for line in done.err.splitlines() if line.startswith("10/10  train more tiny/last knn (last layer): ")],
    ]
    check_report(tmp_path / "report")
    again = histokit.ok("study", "run", file, "--json")
    assert {piece["state"] for piece in again.document["pieces"]} == {"cached"}
    assert again.document["comparison"] == json.loads((tmp_path / "report" / "study.json").read_text())["comparison"]
    assert histokit.ok("study", "plan", file).err == "All 10 pieces are done.\n"
    runs = histokit.ok("list", "runs", "--store", tmp_path / "histokit-store", "--json").document["runs"]
    assert sorted(run["run"] for run in runs) == sorted(again.document["runs"])
    trained = {piece["run"] for piece in again.document["pieces"] if piece["kind"] == "train"}
    assert trained == set(again.document["runs"])
    assert {piece["selection"] for piece in again.document["pieces"]} == {None}


def check_report(folder: Path) -> None:
    with (folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = json.loads((folder / "study.json").read_text())["comparison"]
    cells = {(m["method"], name): cell for m in found["methods"] for name, cell in m["cells"].items()}
    assert {(row["method"], row["dataset"]): float(row["score"]) for row in rows} == {
        place: cell["score"] for place, cell in cells.items()
    }
    assert len(rows) == 4
    assert (folder / "tables.md").read_text().startswith("**scores: (1) best")
    assert (folder / "ranks.png").read_bytes().startswith(b"\x89PNG")


def test_the_code_is_that_of_the_first_failure(histokit: CommandLine, file: Path, tmp_path: Path) -> None:
    (tmp_path / "more" / "b" / "dark" / "1.png").write_bytes(b"no image")
    result = histokit("study", "run", file)
    assert result.code == 4
    assert "warning: extract more tiny/3 failed: 1 sample of 'more' could not be used" in result.err
    assert "warning: left out because of what failed: 2 pieces" in result.err
    assert "cells, study, accuracy" in result.out
    machine = histokit("study", "run", file, "--json")
    assert (machine.code, machine.document["failed"]) == (4, 1)
    failed = [piece for piece in machine.document["pieces"] if piece["state"] == "failed"]
    assert [piece["error"]["code"] for piece in failed] == [4]
    planned = histokit.ok("study", "plan", file)
    assert "warning: extract more tiny/3: 1 sample of 'more' could not be used" in planned.err


def test_a_mistake_in_the_file_is_an_error_before_any_work(histokit: CommandLine, file: Path) -> None:
    write_study(file.parent, SHORT.replace('"knn"', '"nnk"'))
    for command in ("plan", "run"):
        result = histokit.fails("study", command, file, code=2)
        assert f"error: {file}, line 2, classifiers: There is no classifier 'nnk'" in result.err
    write_study(file.parent, SHORT.replace('"knn"', '"nnk"').replace("inner_folds", "inner_fold"))
    result = histokit("study", "run", file, "--json")
    assert result.code == 2
    assert [mistake["line"] for mistake in result.document["error"]["details"]["mistakes"]] == [2, 3]
    assert not (file.parent / "histokit-store").exists()


def test_an_interruption_says_how_to_resume(histokit: CommandLine, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from histokit.study import selections_and_runs

    real = selections_and_runs.train
    done = []

    def train(*arguments: object, **options: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(selections_and_runs, "train", train)
    stopped = histokit.fails("study", "run", file, code=130)
    assert stopped.err.endswith("error: Interrupted.\nRun the same command to resume.\n")
    monkeypatch.setattr(selections_and_runs, "train", real)
    assert "8 of 10 pieces are done already" in histokit.ok("study", "run", file).err


def test_a_single_piece_that_is_missing_is_told_as_one(histokit: CommandLine, file: Path) -> None:
    histokit.ok("study", "run", file)
    runs = histokit.ok("list", "runs", "--store", file.parent / "histokit-store", "--json").document["runs"]
    histokit.ok("store", "remove", runs[0]["run"], "--yes", "--store", file.parent / "histokit-store")
    assert histokit.ok("study", "plan", file).err.startswith("1 of 10 pieces is missing; it will take about ")


def test_a_study_without_a_comparison_leaves_no_earlier_one_beside_it(
    histokit: CommandLine, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    monkeypatch.setattr("histokit.compare.sheets._PAIRS", 0)
    histokit.ok("study", "run", file, "--out", folder)
    hidden = "- 2 paired differences within datasets are not shown: study.json"
    assert hidden in (folder / "tables.md").read_text().splitlines()
    (folder / "mine.md").write_text("mine")
    first, _, second = SHORT.partition("[datasets.more]")
    write_study(file.parent, first.replace('"svm", "knn"', '"knn"') + "[backbones" + second.partition("[backbones")[2])
    one = histokit.ok("study", "run", file, "--out", folder)
    assert "fewer than two runs are there" in one.err
    assert sorted(path.name for path in folder.iterdir()) == ["mine.md", "study.json"]
    # Tables in a folder that no study wrote to are somebody's own.
    (folder / "study.json").unlink()
    (folder / "tables.md").write_text("mine")
    histokit.ok("study", "run", file, "--out", folder)
    assert (folder / "tables.md").read_text() == "mine"


def test_what_is_so_of_many_pieces_is_told_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    samples, X = make_samples()
    line = CommandLine(capsys)
    for name, factor in (("one", 500), ("two", 3000), ("three", 900)):
        rows = [
            f"{each},{label},{slide},{','.join(map(str, vector))}"
            for each, label, slide, vector in zip(
                *samples.values(), (X[:, :4] * [1, 1, 1, factor]).tolist(), strict=True
            )
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,label,slide,a,b,c,d", *rows]))
        how = ("--name", "net", "--version", "1", "--create", "--label", "label", "--group", "slide")
        line.ok("--store", tmp_path / "store", "import-features", name, tmp_path / f"{name}.csv", *how)
    (tmp_path / "wide.toml").write_text(
        'datasets = ["one", "two", "three"]\nbackbones = ["net"]\nstrategies = ["last layer"]\n'
        'classifiers = ["svm"]\nsplit = "holdout"\n[classifier.svm.grid]\nC = 1\n'
    )
    result = line.ok("--store", tmp_path / "store", "study", "run", tmp_path / "wide.toml")
    (told,) = [line for line in result.err.splitlines() if "the spread of" in line]
    assert told.endswith("--scale standardises all (likewise, with other numbers, for 2 other notes)")
