"""Paths that hold what names of files may hold, but few expect: each works, or is refused in a sentence."""

import os
import shutil
import subprocess
import unicodedata

import pytest
from PIL import Image

from histokit.errors import ExitCode
from tests.cli.command_line import run_process

PATTERN = "pattern={patient}/{label}/*.png"
DEEP = "d/" * 550


@pytest.fixture
def deep(tmp_path):
    """A folder 1,100 folders down."""
    os.makedirs(tmp_path / DEEP)
    os.makedirs(tmp_path / DEEP / DEEP)
    yield tmp_path / DEEP / DEEP
    # Python's own way goes down by calls.
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


@pytest.mark.usefixtures("tiny")
def test_stores_and_data_in_deep_folders(histokit, images, deep, tmp_path):
    store = ["--store", deep / "store"]
    shutil.copytree(images, deep / "images")
    histokit.ok("ingest", "folder", deep / "images", "--name", "cells", "-o", PATTERN, *store)
    assert histokit.ok("extract", "cells", "--backbone", "tiny", *store, "--json").document["problems"] == []
    for command in ("verify", "compact", "gc"):
        histokit.ok("store", command, *store)
    # Found from far above.
    made = ["ingest", "folder", tmp_path / "d", "--name", "far", "-o", "pattern=**/{label}/*.png"]
    assert histokit.ok(*made, "--json").document["count"] == 24


@pytest.mark.parametrize("name", ["two\nlines", "tab\t", "\x1b[31mred"])
def test_a_store_that_the_database_cannot_name(histokit, images, tmp_path, name):
    store = ["--store", tmp_path / name]
    for arguments in (["ingest", "folder", images, "--name", "d"], ["list", "datasets"]):
        result = histokit.fails(*arguments, *store, code=ExitCode.STORE)
        assert "holds control characters" in result.err
        assert name not in result.err
    assert not (tmp_path / name).exists()


def test_names_that_are_no_text(ingested, images, tmp_path):
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/b\xffd")
    for arguments in (
        ["list", "datasets", "--store", bad],
        ["ingest", "folder", bad, "--name", "d"],
        ["split", "cells", "--name", "s", "--from", bad],
        ["export", "cells", "--features", "tiny/last", "--out", f"{bad}.csv"],
    ):
        assert f"The argument '{tmp_path}/b\\xffd" in ingested.fails(*arguments, code=ExitCode.USAGE).err
    done = run_process("list", "datasets", "--json", environment={"HISTOKIT_STORE": bad})
    assert (done.returncode, "Traceback" in done.stderr) == (5, False)
    assert "is not valid UTF-8" in done.stderr


def test_weights_in_a_folder_that_is_no_text(ingested, tmp_path, monkeypatch):
    import torch

    folder = os.fsdecode(os.fsencode(tmp_path) + b"/w\xffw")
    os.mkdir(folder)
    torch.save({}, f"{folder}/own.pth")
    asked = ["extract", "cells", "--backbone", "timm:test_resnet"]
    with monkeypatch.context() as inside:
        inside.chdir(folder)
        result = ingested.fails(*asked, "--weights", "own.pth", code=ExitCode.USAGE)
    assert f"The path of the weights, {tmp_path}/w\\xffw/own.pth, is not valid UTF-8." in result.err
    monkeypatch.setenv("HISTOKIT_WEIGHTS", folder)
    for weights in ("pretrained", "random"):
        result = ingested.fails(*asked, "--weights", weights, code=ExitCode.STORE)
        assert f"The path of HISTOKIT_WEIGHTS, {tmp_path}/w\\xffw, is not valid UTF-8." in result.err


def test_paths_that_are_too_long(ingested, images, tmp_path, monkeypatch):
    long = str(tmp_path / "/".join(["x" * 100] * 60))
    for arguments in (
        ["list", "datasets", "--store", long],
        ["ingest", "folder", images, "--name", "d", "--store", long],
        ["extract", "cells", "--backbone", "squeezenet1_1", "--weights", long],
        ["ingest", "table", images, "--name", "d", "-o", f"table={long}"],
        ["study", "plan", long],
    ):
        assert "File name too long" in ingested.fails(*arguments, code=ExitCode.USAGE).err
    ingested.fails("ingest", "folder", long, "--name", "d", code=ExitCode.DATA)
    ingested.fails("split", "cells", "--name", "s", "--from", long, code=ExitCode.DATA)
    monkeypatch.setenv("HISTOKIT_WEIGHTS", long)
    ingested.fails("extract", "cells", "--backbone", "squeezenet1_1", code=ExitCode.USAGE)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    ingested.fails("list", "datasets", "--store", tmp_path / "round", code=ExitCode.STORE)


@pytest.mark.parametrize(
    ("plugin", "options"),
    [("folder", []), ("table", ["-o", "table={table}"]), ("synthetic", []), ("crchistophenotypes", [])],
)
def test_a_root_that_leads_in_a_circle(histokit, tmp_path, plugin, options):
    (tmp_path / "images.csv").write_text("image,label\na.png,x\n", encoding="utf-8")
    (tmp_path / "round").symlink_to(tmp_path / "around")
    (tmp_path / "around").symlink_to(tmp_path / "round")
    options = [option.format(table=tmp_path / "images.csv") for option in options]
    for root in (tmp_path / "round", tmp_path / "round" / "inner"):
        result = histokit.fails("ingest", plugin, root, "--name", "d", *options, code=ExitCode.DATA)
        assert f"{root} is a symbolic link that leads in a circle" in result.err


def test_files_whose_names_differ_in_how_accents_are_written_are_told_apart(histokit, tmp_path):
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    joined, apart = ("a/" + unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    for number, name in enumerate((joined, apart)):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / name)
    if len(list((root / "a").iterdir())) == 1:
        pytest.skip("this file system takes the two names as one")
    told = histokit.fails("ingest", "folder", root, "--name", "d", code=ExitCode.DATA).err
    assert f"The sample id '{joined}' comes twice." in told
    assert r"'a/\xe9.png' and as in 'a/e\u0301.png'; rename one of them." in told
    os.rename(root / apart, root / "a/f.png")
    histokit.ok("ingest", "folder", root, "--name", "d")
