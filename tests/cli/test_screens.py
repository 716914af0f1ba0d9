"""What a person sees at 20 to 200 columns: nothing is cut, and nothing steers the terminal."""

from __future__ import annotations

import os
import re
import sys

import pytest
from rich.cells import cell_len

from histokit import app, console
from histokit.features import FeatureStore
from histokit.store import care
from histokit.store.care import Care
from tests.cli.command_line import CommandLine, run_process
from tests.cli.screens import ADDRESS, CLASSES, FEW, MANY, NETWORK, ROOT, make_hard_store, on_a_terminal
from tests.cli.test_every_command import EVERY

WIDTHS = (20, 40, 60, 80, 100, 120, 200)

SELECTIONS = [f"{len(name):012x}" for name in (FEW, MANY)]
COMMANDS = {
    "list datasets": [],
    "list splits": [],
    "list splits many": ["--folds"],
    "list samples": [FEW],
    "list features": [],
    "list selections": [],
    "list runs": [],
    "list problems": [FEW],
    "list backbones": [],
    "list layers": ["resnet50"],
    "list classifiers": [],
    "list plugins": [],
    "evaluate": ["{few}", "--by", "slide"],
    "evaluate many": ["{many}"],
    "predictions": ["{few}", "--wrong"],
    "predictions many": ["{many}"],
    "compare": ["--all", "--bootstrap", "20"],
    "compare one": ["--dataset", MANY, "--bootstrap", "20"],
    "select compare": SELECTIONS,
    "select importances": [FEW, MANY, "--features", f"{NETWORK}/all", "--trees", "5", "--split", "two"],
    "store verify": [],
    "store compact": [],
}


@pytest.fixture(scope="module")
def hard_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hard") / "store"
    make_hard_store(folder)
    return folder


@pytest.fixture
def hard(hard_store, capsys, monkeypatch):
    """The command line on the store of hard names."""
    monkeypatch.setenv("HISTOKIT_STORE", str(hard_store))
    monkeypatch.delenv("COLUMNS", raising=False)
    return CommandLine(capsys)


def arguments(hard, name):
    command = [word for word in name.split() if word not in ("many", "one")]
    listed = hard.ok("list", "runs", "--json").document["runs"]
    runs = {name: [run["run"] for run in listed if run["dataset"] == name] for name in (FEW, MANY)}
    given = [str(word).format(few=runs[FEW][0], many=runs[MANY][0]) for word in COMMANDS[name]]
    return [*command, *given]


def cells(text):
    """The cells of tables as they are printed for a program: apart by two blanks or more."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("─")]
    return {cell for line in lines for cell in re.split(r"  +", line.strip()) if cell}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_word_and_number_is_whole_at_every_width(hard, name, monkeypatch):
    # Merged once, no table would be listed again.
    merged = [Care(table, (12, 1)) for table in FeatureStore(os.environ["HISTOKIT_STORE"]).database.names()]
    monkeypatch.setattr(care, "compact", lambda *given: merged)
    command = arguments(hard, name)
    piped = hard(*command)
    for width in WIDTHS:
        screen = on_a_terminal(width, *command)
        assert screen.code == piped.code
        *_, absent = re.split("Not shown: ", screen.text) if "Not shown: " in screen.text else ("",)
        for cell in cells(piped.out):
            # Heads, sentences and lists go on in the next line; a class or a number does not.
            parts = [cell] if cell in CLASSES else cell.removeprefix("as ").split()
            lost = [part for part in parts if part not in absent and not any(part in line for line in screen.lines)]
            # What no row says anything of has no line below the rows: these vectors have no weights.
            lost = [part for part in lost if part not in ("–", "weights")]
            if name.startswith("predictions") and absent:
                lost = [part for part in lost if part not in piped_columns(piped.out, ("image", "repeat", "fold"))]
                apart = ("P", ROOT, "score:")
                lost = [part for part in lost if part not in ("0.1234", "0", "1") and not part.startswith(apart)]
            if name.startswith("evaluate"):
                lost = [part for part in lost if part not in ("0", "class,", "and", "confusion", "as")]
            assert not lost, f"{lost} of {cell!r} at {width} columns:\n{screen.text}"


def piped_columns(text, names):
    return {word for line in text.splitlines()[:1] for word in line.split() if word in names}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("width", [40, 60, 80])
def test_lines_are_broken_only_where_a_word_has_no_room(hard, name, width):
    for line in on_a_terminal(width, *arguments(hard, name)).lines:
        shown = line.split("\x1b[2K")[-1]
        longest = max(map(cell_len, re.split(r"\s+", shown)))
        command = max((cell_len(found) for found in re.findall(r"histokit [a-z].*", shown)), default=0)
        assert cell_len(shown) <= width or longest > width or command > width, shown


def test_every_list_is_looked_at():
    listed = {f"list {name}" for group, name, *_ in app.COMMANDS if group == "list"}
    assert listed <= set(COMMANDS)


def test_of_predictions_the_first_are_listed_or_written(hard, tmp_path):
    run = hard.ok("list", "runs", "--json").document["runs"][0]["run"]
    whole = hard.ok("predictions", run, "--json").document
    some = hard.ok("predictions", run, "--limit", "3", "--json").document
    assert some == {**whole, "predictions": whole["predictions"][:3]}
    told = f"3 of {whole['count']} predictions are shown"
    result = hard.ok("predictions", run, "--limit", "3")
    assert told in result.err
    assert len(result.out.splitlines()) < len(hard.ok("predictions", run).out.splitlines())
    assert told in hard.ok("predictions", run, "--limit", "3", "--out", tmp_path / "p.csv").err
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 4
    assert "shown" not in hard.ok("predictions", run, "--limit", str(whole["count"])).err
    assert "--limit" in hard.fails("predictions", run, "--limit", "-1", code=2).err


def test_wrong_predictions_say_what_they_are_about(hard):
    (run,) = {r["run"] for r in hard.ok("list", "runs", FEW, "--json").document["runs"] if r["address"] == ADDRESS}
    for width in (60, 80):
        screen = on_a_terminal(width, "predictions", run, "--wrong")
        assert all(name in " ".join(screen.lines[:2]) for name in ("id", "true", "predicted", "score"))
        wrong = r" patient_0/slide-0000/tile_1000_2000\.tiff\s+(0  )?normal +tumour +0\.9000"
        assert re.search(wrong, screen.text)
        assert re.search(r"Not shown: image, .*A\s+wider terminal,\s+or --json", screen.text, re.DOTALL)
    assert "score:normal" in on_a_terminal(300, "predictions", run, "--wrong").text


def test_a_confusion_matrix_turns_where_it_has_no_room(hard):
    (run,) = {r["run"] for r in hard.ok("list", "runs", FEW, "--json").document["runs"] if r["address"] == ADDRESS}
    wide, narrow = (on_a_terminal(width, "evaluate", run) for width in (120, 60))
    assert re.search(r"as normal +as tumour\n.*\n normal .* 3 +1\n tumour .* 1 +3\n", wide.text.replace("\r", ""))
    rows = [line.split() for line in narrow.lines if re.match(r" (normal|tumour) +(normal|tumour) ", line)]
    assert rows == [
        ["normal", "normal", "3"],
        ["normal", "tumour", "1"],
        ["tumour", "normal", "1"],
        ["tumour"] * 2 + ["3"],
    ]
    many = on_a_terminal(80, *arguments(hard, "evaluate many"))
    assert "most frequent confusions of samples" in many.text


def test_what_would_steer_a_terminal_is_shown_as_escapes(hard):
    for name in ("evaluate many", "predictions many", "list datasets"):
        command = arguments(hard, name)
        for text in (hard.ok(*command).out, on_a_terminal(200, *command, streams=("stdout",)).text):
            assert "\x1b" not in text
            assert "\u202e" not in text
            assert "\t" not in text
    text = on_a_terminal(80, *arguments(hard, "evaluate many")).text
    for shown in (r"\x1b[31mred", r"tab\tand\nline", r"\u202eturned", "[red]x[/]", "正常结肠黏膜", "cafe\u0301"):
        assert shown in text
    screen = on_a_terminal(80, "list", "datasets", "--store", "/nowhere/\x1b[31mred")
    assert r"\x1b[31mred" in screen.text
    assert "\x1b" not in screen.text


@pytest.mark.parametrize("command", [("study", "schema"), ("presets", "show", "bayramoglu2016-alexnet", "--toml")])
def test_texts_of_several_lines_are_lines_on_a_terminal_too(hard, command):
    screen = on_a_terminal(80, *command)
    assert screen.text.replace("\r\n", "\n") == hard.ok(*command).out
    assert len(screen.lines) > 3


def test_wide_letters_keep_columns_straight(hard):
    lines = on_a_terminal(120, *arguments(hard, "evaluate many")).lines
    starts = {
        cell_len(line[: line.index(" 1.0000")])
        for line in lines
        if line.startswith((" 正常结肠黏膜", " 腺癌", " 🔬 unclear", " cafe\u0301", " [red]x[/]"))
    }
    assert len(starts) == 1


def test_what_is_piped_is_as_wide_as_it_must_be(hard, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    lines = hard.ok("list", "runs").out.splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert len(lines) == 2 + 6
    assert len(lines[1].strip()) == max(map(len, lines)) - 1
    listed = hard.ok("list", "datasets").out
    assert f"40 classes: {CLASSES[0]}: 2, {CLASSES[1]}: 2, {CLASSES[2]}: 2, …  " in listed
    assert "normal 4, tumour 4" in listed
    labels = {d["name"]: d["labels"] for d in hard.ok("list", "datasets", "--json").document["datasets"]}
    assert list(labels[MANY]) == CLASSES


def test_the_width_is_that_of_columns_where_it_is_set(hard, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert on_a_terminal(40, "list", "runs").lines[0].split()[:2] == ["run", "dataset"]
    monkeypatch.setenv("COLUMNS", "nonsense")
    assert "dataset: " in on_a_terminal(40, "list", "runs").text


def shell(script, hard_store, tmp_path, **environment):
    """Run a line of a shell; returns what it left, and what stderr got."""
    import subprocess

    errors = tmp_path / "errors"
    command = f"exec 9>{errors}; " + script.replace("histokit", f"{sys.executable} -m histokit --store {hard_store}")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env={**os.environ, **environment})
    return done, errors.read_text()


QUIET = ["histokit list runs 2>&9 | true", "histokit --help 2>&9 | true"]
QUIET += ["histokit list runs 2>&-", "histokit list nothing-of-this 2>&-; test $? = 2", "histokit list runs <&- 2>&9"]


@pytest.mark.parametrize("script", QUIET)
def test_closed_streams_are_no_bug(script, hard_store, tmp_path):
    done, errors = shell(f"set -o pipefail; {script}", hard_store, tmp_path)
    assert (done.returncode, done.stderr, errors) == (0, "", "")
    assert ("nothing-of-this" in script or "|" in script) or FEW in done.stdout


@pytest.mark.parametrize("command", ["list runs", "list runs --json", "--help", "evaluate {run}", "predictions {run}"])
def test_where_nobody_opened_standard_output_what_is_not_printed_is_an_error(command, hard_store, hard, tmp_path):
    run = hard.ok("list", "runs", "--json").document["runs"][0]["run"]
    done, errors = shell(f"histokit {command.format(run=run)} >&- 2>&9", hard_store, tmp_path)
    assert done.returncode == 2
    told = "error: What the command prints cannot be written: standard output is closed."
    assert [line for line in errors.splitlines() if line.startswith("error")] == [told]


@pytest.mark.parametrize("command", ["list runs", "list runs --json", "--help", "evaluate {run}"])
def test_a_full_disk_is_one_sentence(command, hard_store, hard, tmp_path):
    run = hard.ok("list", "runs", "--json").document["runs"][0]["run"]
    done, errors = shell(f"histokit {command.format(run=run)} >/dev/full 2>&9", hard_store, tmp_path)
    assert done.returncode == 2
    kept = [line for line in errors.splitlines() if not line.startswith("warning: ")]
    assert kept[0] == "error: What the command prints cannot be written: No space left on device."
    assert len(kept) == 2
    done, errors = shell(f"histokit {command.format(run=run)} 2>/dev/full >&9", hard_store, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_letters_that_a_stream_lacks_are_escapes(hard_store, hard):
    run = next(r["run"] for r in hard.ok("list", "runs", MANY, "--json").document["runs"])
    done = run_process("evaluate", run, environment={"HISTOKIT_STORE": str(hard_store), "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert r" \u817a\u764c " in done.stdout
    assert r"cafe\u0301" in done.stdout
    assert " -------" in done.stdout
    assert "?" not in done.stdout


def test_quiet_keeps_warnings_and_results(hard, monkeypatch):
    command = arguments(hard, "compare")
    assert {line[:9] for line in hard.ok(*command, "-q").err.splitlines()} == {"warning: "}
    assert hard.ok("list", "problems", MANY, "-q").err == ""
    assert hard.ok("list", "problems", MANY).err == f"No problems in {MANY}.\n"


def test_a_bar_has_room_at_every_width(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    from tests.cli.screens import terminal

    detail = "timm:mobilenetv2_100,pad_type=same/blocks.6.0"
    for width in (20, 40, 60, 80, 120):
        with terminal(width) as (file, read), monkeypatch.context() as patch:
            patch.setattr("sys.stderr", file)
            with console.progress("Extracting") as report:
                for done in (0, 12345):
                    report(done, 67890, detail)
                    clock[0] += 100
                console.note("a note in between")
            text = read()
        drawn = [part for part in re.split(r"[\r\n]+(?:\x1b\[2K)?", text) if "67890" in part]
        assert drawn, f"at {width} columns there is no bar"
        assert all(cell_len(line) < width for line in drawn)
        assert all("12345/67890" in line for line in drawn)
        assert any(detail in line for line in drawn) == (width == 120)
        assert "\x1b[2Ka note in between\r\n" in text


@pytest.mark.parametrize("path", [path for path in EVERY if path], ids=" ".join)
def test_help_pages_fit_a_terminal(path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    piped = CommandLine(capsys).ok(*path, "--help").out
    for width in (40, 60, 80):
        screen = on_a_terminal(width, *path, "--help")
        assert screen.code == 0
        # Choices stand on one line, however many they are.
        assert all(cell_len(line) <= width for line in screen.lines if width > 40 or not line.startswith("  --"))
        assert not re.search(r"[a-z ]\.\.\.", screen.text), "nothing is cut"
        assert screen.text.split() == piped.split()
