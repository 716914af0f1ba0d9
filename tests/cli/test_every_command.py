"""What all commands share, asked of each."""

import ast
import inspect
import subprocess
import sys
import textwrap

import pytest
import typer

from histokit import app

ROOT = typer.main.get_command(app.build_app())


def walk(command, path=()):
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        # A group that is a command itself holds it under its own name.
        yield from walk(child, path if path[-1:] == (name,) else (*path, name))


EVERY = dict(walk(ROOT))
LEAVES = {path: command for path, command in EVERY.items() if not hasattr(command, "commands")}


def shown_help(path):
    command = EVERY[path]
    with command.make_context("histokit " + " ".join(path), [], resilient_parsing=True) as context:
        return command.get_help(context)


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_help_is_whole(path):
    text = shown_help(path)
    assert "..." not in text.replace("...\n", "").replace("[ARGS]...", ""), "nothing is cut"
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_is_documented_and_has_the_common_options(path):
    command = LEAVES[path]
    assert inspect.getdoc(command.callback)
    assert command.help
    assert len(command.get_short_help_str(60)) <= 60
    assert not command.get_short_help_str(60).endswith("...")
    options = {name for parameter in command.params for name in parameter.opts}
    assert {"--store", "--json", "--quiet", "-q", "--debug"} <= options
    for parameter in command.params:
        assert parameter.help, f"{parameter.name} is not documented"
        assert parameter.metavar or getattr(parameter, "is_flag", False), f"{parameter.name} does not say what it takes"


@pytest.mark.parametrize("entry", app.COMMANDS, ids=lambda entry: f"{entry.group} {entry.name}".strip())
def test_no_option_is_taken_and_then_ignored(entry):
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(entry.function))).body
    used = {node.id for line in function.body for node in ast.walk(line) if isinstance(node, ast.Name)}
    if "locals" not in used:
        assert set(inspect.signature(entry.function).parameters) <= used


def test_the_commands_of_the_design_are_there():
    names = {" ".join(path) for path in LEAVES}
    steps = {"ingest", "split", "extract", "select", "train", "evaluate", "predict", "predictions", "compare"}
    listed = {"datasets", "splits", "features", "selections", "runs", "backbones", "layers", "plugins"}
    assert steps | {f"list {what}" for what in listed} | {"plugins check", "doctor", "demo"} <= names


def test_usage_lines_say_what_to_put_where():
    assert "Usage: histokit train [OPTIONS] DATASET\n" in shown_help(("train",))
    assert "Usage: histokit evaluate [OPTIONS] RUN...\n" in shown_help(("evaluate",))
    assert "Usage: histokit predict [OPTIONS] RUN|FOLDER DATASET\n" in shown_help(("predict",))
    assert "Usage: histokit select [OPTIONS] DATASET\n" in shown_help(("select",))
    assert "Usage: histokit select compare [OPTIONS] SELECTION...\n" in shown_help(("select", "compare"))


def test_a_command_that_is_a_group_lists_the_commands_beside_it(histokit):
    text = histokit.ok("select", "--help").out
    assert "Usage: histokit select [OPTIONS] DATASET" in text
    assert text.count("  histokit select compare ") == text.count("  histokit select importances ") == 1
    assert "Usage: histokit select compare" in histokit.ok("select", "compare", "--help").out
    listed = [
        line.split()[0]
        for line in histokit.ok("--help").out.splitlines()
        if line.startswith("  ") and line[2:3].isalpha()
    ]
    assert listed.index("extract") + 1 == listed.index("select") == listed.index("train") - 1


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_usage_errors_are_one_document(path, histokit):
    result = histokit.fails(*path, "--no-such-option", code=2)
    assert f"See: histokit {' '.join(path)} --help" in result.err


def test_the_script_histokit_is_this_command_line():
    script = sys.executable.replace("python", "histokit")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    from histokit import __version__

    assert done.stdout == f"{__version__}\n"
