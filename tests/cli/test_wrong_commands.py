"""Commands that are wrong in ways drawn at random end with a sentence and the code of a user's mistake."""

import json
import random

import pytest
import typer

from histokit import app

ROOT = typer.main.get_command(app.build_app())
ODD = (
    *("", " ", "--", "é\u0301\U0001f600", "a" * 300, "../..", "/", "nan", "-1", "1e400", "9" * 40, "'; DROP"),
    *("a\nb", "\x1b[31m", "%s", "{x}", "*", "a=b", "=", ",,", "/nonexistent/x", "cells", "tiny/last", "tiny/nope"),
    *("nope/last", "ffffffffffff", "/dev/null"),
)
CONTENTS = {"empty": b"", "binary": bytes(range(256)) * 9, "twice": b"id,x,x\n1,2,3\n", "odd": b"id,role\nx,y\n"}
SUFFIXES = (".csv", ".parquet", ".npz", ".h5ad", ".toml", ".pth", ".safetensors")


def leaves(command, path=()):
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [leaf for name, inner in command.commands.items() for leaf in leaves(inner, (*path, name))]


LEAVES = [leaf for leaf in leaves(ROOT) if leaf[0] != ("demo",)]


def drawn(draw, values):
    path, command = draw.choice(LEAVES)
    arguments = [name for place, name in enumerate(path) if not place or name != path[place - 1]]
    for option in command.params:
        if option.name in ("help", "debug_", "quiet_", "json_"):
            continue
        if draw.random() > (0.9 if option.required else 0.3):
            continue
        if option.opts[0].startswith("-"):
            arguments.append(option.opts[0])
        if not getattr(option, "is_flag", False):
            known = option.name in ("dataset", "root") and draw.random() < 0.5
            arguments.append("cells" if known else draw.choice(values))
    return arguments


@pytest.mark.parametrize("seed", range(4))
def test_no_traceback(extracted, images, tmp_path, monkeypatch, seed):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name, content in CONTENTS.items():
        for suffix in SUFFIXES:
            (folder / f"{name}{suffix}").write_bytes(content)
    values = [*ODD, str(images), str(tmp_path / "store"), *sorted(map(str, folder.iterdir()))]
    draw = random.Random(seed)
    failed = 0
    for _ in range(10):
        arguments = drawn(draw, values)
        for command in (arguments, [*arguments, "--json"]):
            result = extracted(*command)
            assert "Traceback" not in result.err, command
            assert result.code in (0, 2, 3, 4, 5, 6), command
            if command is not arguments:
                assert isinstance(json.loads(result.out), dict), command
            if result.code:
                failed += 1
                assert result.err, command
    assert failed >= 8
