"""A study runs its networks as its file says, on tables of their own, and by what the command says of the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import histokit
from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.networks import requests
from histokit.store import RunRecord
from histokit.study import extractions
from histokit.study.plan import plan_study
from histokit.study.run import StudyResult, run_study
from histokit.study.study_reader import read_study
from tests.cli.command_line import CommandLine
from tests.extras import needs
from tests.study.small_study import write_study

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
HEAD = """\
classifiers = ["knn"]
strategies = ["last layer", "merged layers"]
inner_folds = 2
split = { test = 0.25 }
"""
DATA = """
[datasets.cells]
plugin = "folder"
root = "cells"
options = { pattern = "{patient}/{label}/*.png", group = "patient" }
[classifier.knn.grid]
k = 1
"""


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that takes its time elsewhere."""
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)


def engines(store: FeatureStore, run: RunRecord) -> set[str]:
    """What made the features of a run."""
    made = {table.name: str(table.spec.get("engine", "torch")) for table in store.feature_tables()}
    return {made[str(part["table"])] for part in run.features}


def trained(result: StudyResult) -> dict[str, set[str]]:
    store = result.plan.study.store
    runs = [store.run(name) for name in result.runs]
    return {run.address: engines(store, run) for run in runs}


@pytest.mark.usefixtures("as_it_is")
def test_each_network_is_compiled_or_not_and_its_runs_are_on_those_vectors(file: Path, tmp_path: Path) -> None:
    store = histokit.open_store(tmp_path / "histokit-store")
    histokit.ingest(store, "folder", tmp_path / "cells", name="cells", options=OPTIONS)
    # Tables of another kind are there already, and are not what is asked for.
    histokit.extract(store, "cells", "tiny")
    text = f'{HEAD}{DATA}[backbones.tiny]\ncompile = true\n[backbones.small]\nweights = "random:5"\n'
    write_study(tmp_path, text)
    assert sum(piece.kind == "extract" for piece in plan_study(file).missing) == 2
    found = trained(run_study(file))
    assert len(found) == 4
    assert {address.partition("/")[0]: made for address, made in found.items()} == {
        "tiny": {"inductor"},
        "small": {"torch"},
    }
    assert plan_study(file).missing == []
    assert len(store.feature_tables("cells")) == 3 * 3
    # For all of them at the top, and one of them otherwise.
    write_study(tmp_path, f"compile = true\n{text.replace('compile = true', 'compile = false')}")
    assert {address.partition("/")[0]: made for address, made in trained(run_study(file)).items()} == {
        "tiny": {"torch"},
        "small": {"inductor"},
    }
    assert len(store.feature_tables("cells")) == 4 * 3


@pytest.mark.usefixtures("two_networks")
def test_what_cannot_be_compiled_is_told_and_trained_on_as_it_is(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", broken)
    write_study(tmp_path, f"compile = true\n{HEAD}{DATA}[backbones.tiny]\n")
    result = run_study(file)
    assert [note for note in result.notes if note.startswith("tiny cannot be compiled here: No working C++ compiler")]
    assert set(map(str, trained(result).values())) == {"{'torch'}"}
    assert run_study(file).runs == result.runs


@pytest.mark.usefixtures("two_networks")
@pytest.mark.parametrize("above", [True, False])
@needs("openvino")
def test_openvino_makes_the_vectors_of_a_study_that_asks_for_it(file: Path, tmp_path: Path, above: bool) -> None:
    engine = 'engine = "openvino"\n'
    text = f"{engine * above}{HEAD}{DATA}[backbones.tiny]\n{engine * (not above)}[backbones.small]\nengine = 'torch'\n"
    write_study(tmp_path, text)
    result = run_study(file, device="cpu")
    assert not result.failed
    assert {address.partition("/")[0]: made for address, made in trained(result).items()} == {
        "tiny": {"openvino"},
        "small": {"torch"},
    }
    assert plan_study(file).missing == []


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO, as far as anyone looks whether it is installed."""
    monkeypatch.setattr(requests, "find_spec", lambda _: object())


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize(
    ("above", "own", "told"),
    [
        ('engine = "openvno"\n', "", "line 1, engine: There is no engine 'openvno' for networks.\nDid you mean 'openv"),
        (
            "",
            'engine = "torhc"\n',
            "[backbones.tiny] engine: There is no engine 'torhc' for networks.\nDid you mean 't",
        ),
        ('egine = "openvino"\n', "", "line 1, egine: There is no key 'egine' here.\nDid you mean 'engine'?"),
        (
            "",
            "compiled = true\n",
            "[backbones.tiny] compiled: There is no key 'compiled' here.\nDid you mean 'compile'?",
        ),
        ('compile = "yes"\n', "", "line 1, compile: 'yes' is not true or false.\nWrite compile = true or false"),
        ('precision = "float8"\n', "", "line 1, precision: The precision 'float8' is unknown"),
        ('store_dtype = "float8"\n', "", "line 1, store_dtype: Vectors cannot be stored as 'float8'"),
        (
            'engine = "openvino"\n',
            "compile = true\n",
            "[backbones.tiny] compile: The engine openvino runs networks on processors at float32: it does not go with "
            'compile = true.\nLeave out compile = true, or engine = "openvino".',
        ),
        (
            'precision = "bfloat16"\n',
            'engine = "openvino"\n',
            'does not go with precision = "bfloat16".\nLeave out prec',
        ),
        (
            'engine = "openvino"\ndevice = "cuda"\n',
            "",
            'does not go with device = "cuda".\nLeave out device = "cuda", or',
        ),
        (
            "workers = 2\n",
            "",
            "line 1, workers: There is no key 'workers' here.\nIt is a matter of the machine: histokit",
        ),
        ("", "workers = 2\n", "histokit study run FILE --workers N"),
        ("batch_size = 2\n", "", "histokit study run FILE --batch-size N"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(file: Path, tmp_path: Path, above: str, own: str, told: str) -> None:
    write_study(tmp_path, f"{above}{HEAD}{DATA}[backbones.small]\n[backbones.tiny]\n{own}")
    with pytest.raises(UsageError) as caught:
        read_study(file)
    assert told in f"{caught.value.message}\n{caught.value.next}"
    assert len(caught.value.details["mistakes"]) == 1


def test_an_engine_that_is_not_installed_is_told_before_any_work(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(requests, "find_spec", lambda _: None)
    write_study(tmp_path, f'engine = "openvino"\n{HEAD}{DATA}[backbones.tiny]\n')
    for command in ("plan", "run"):
        failed = CommandLine(capsys).fails("study", command, file, code=2)
        assert "line 1, engine: The engine openvino is not installed." in failed.err
    assert not (tmp_path / "histokit-store").exists()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is asked of each extraction."""
    options: list[dict[str, Any]] = []
    real = extractions.extract

    def extract(*given: Any, **named: Any) -> Any:
        options.append(named)
        return real(*given, **named)

    monkeypatch.setattr(extractions, "extract", extract)
    return options


def test_the_command_says_what_is_a_matter_of_the_machine(
    file: Path, tmp_path: Path, asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    text = f'device = "cuda:0"\n{HEAD}{DATA}[backbones.tiny]\nbatch_size = 4\n[backbones.small]\n'
    write_study(tmp_path, text)
    command = CommandLine(capsys)
    own = ["--device", "cpu", "--batch-size", "3", "--workers", "0"]
    result = command.ok("study", "run", file, *own, "--json")
    assert {(one["device"], one["batch_size"], one["workers"]) for one in asked} == {("cpu", 3, 0)}
    asked.clear()
    assert command.ok("study", "plan", file).err == "All 8 pieces are done.\n"
    assert {(one["device"], one.get("batch_size"), one.get("workers")) for one in asked} == {
        ("cuda:0", 4, None),
        ("cuda:0", None, None),
    }
    assert command.ok("study", "plan", file, *own).err == "All 8 pieces are done.\n"
    # The vectors are the same, so that the runs are.
    assert command.ok("study", "run", file, "--json").document["runs"] == result.document["runs"]


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device", "tpu"], "There is no device 'tpu' for networks"),
        (["--workers", "-1"], "Invalid value for '--workers'"),
        (["--device", "cuda"], 'does not go with --device cuda.\nLeave out --device cuda, or engine = "openvino".'),
    ],
)
def test_what_a_command_cannot_ask_for_is_told(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    write_study(tmp_path, f'engine = "openvino"\n{HEAD}{DATA}[backbones.tiny]\n')
    for command in ("plan", "run"):
        assert told in CommandLine(capsys).fails("study", command, file, *options, code=2).err


@pytest.mark.usefixtures("as_it_is")
def test_a_plan_knows_how_fast_a_compiled_network_was(file: Path, tmp_path: Path) -> None:
    text = f"compile = true\n{HEAD}{DATA}[backbones.tiny]\n"
    write_study(tmp_path, text)
    run_study(file)
    text += DATA.partition("[classifier")[0].replace("cells", "more")
    for changed, source in ((text, "measured"), (text.replace("compile = true", "compile = false"), None)):
        write_study(tmp_path, changed)
        (new,) = [piece for piece in plan_study(file).pieces if (piece.kind, piece.data.name) == ("extract", "more")]
        assert new.estimate == source
        assert (new.seconds is not None) == (source is not None)


@pytest.mark.usefixtures("two_networks")
def test_what_was_to_be_known_of_several_networks_at_once_is_told(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, f"{HEAD}{DATA}[backbones.tiny]\n[backbones.small]\n")
    from histokit.extract import computation

    real = computation.run_workers
    monkeypatch.setattr(computation, "run_workers", lambda *given: [*real(*given), "a reader was killed"])
    assert run_study(file).notes.count("a reader was killed") == 1
