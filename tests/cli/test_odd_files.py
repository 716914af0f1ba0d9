"""Pipes, sockets, devices and folders in the place of a file are refused at once, whichever option names them."""

import os
import signal
import socket

import pytest
from PIL import Image

from histokit.errors import ExitCode

LABELS = ["-o", "pattern={patient}/**", "-o", "on=patient"]


def _late(*_):
    raise TimeoutError("it waits for a pipe, or reads a device")


@pytest.fixture(autouse=True)
def alarm():
    before = signal.signal(signal.SIGALRM, _late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """Makes a pipe, or what leads to a device, of some name; whoever opens the pipe would wait for ever."""
    folder = tmp_path / "odd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def make(kind, suffix):
        path = folder / f"{kind}{suffix}"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            server = socket.socket(socket.AF_UNIX)
            server.bind(path.name)
            server.close()
        return path

    return make


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_tables(ingested, images, odd, kind):
    path = odd(kind, ".csv")
    says = f"{path} is a {kind}, no file"
    for arguments in (
        ["split", "cells", "--name", "s", "--from", path],
        ["ingest", "table", images, "--name", "t", "-o", f"table={path}"],
        ["ingest", "table", images, "--name", "t", "-o", f"table={path.name}"],
        ["ingest", "folder", images, "--name", "t", "-o", f"labels={path}", *LABELS],
        ["ingest", "folder", images, "--name", "t", "-o", f"labels={path.name}", *LABELS],
        ["import-features", "new", path, "--name", "x", "--version", "1", "--create"],
    ):
        assert says in ingested.fails(*arguments, code=ExitCode.DATA).err
    for suffix in (".npz", ".parquet", ".h5ad"):
        path = odd(kind, suffix)
        arguments = ["import-features", "new", path, "--name", "x", "--version", "1", "--create"]
        assert f"{path} is a {kind}, no file" in ingested.fails(*arguments, code=ExitCode.DATA).err


def test_a_folder_for_a_table(ingested, images):
    for what, arguments in (
        ("table", ["split", "cells", "--name", "s", "--from", images]),
        ("table", ["ingest", "table", images, "--name", "t", "-o", "table=p1"]),
    ):
        assert f"The {what} '{images}" in ingested.fails(*arguments, code=ExitCode.DATA).err


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_weights_and_what_lies_beside_them(ingested, odd, kind):
    extract = ["extract", "cells", "--backbone"]
    path = odd(kind, ".pth")
    for weights in (path, path.parent):
        result = ingested.fails(*extract, "squeezenet1_1", "--weights", weights, code=ExitCode.DATA)
        assert f"{path} is a {kind}, no file" in result.err
    result = ingested.fails(*extract, "timm:resnet18", "--weights", path, code=ExitCode.DATA)
    assert f"{path} is a {kind}, no file" in result.err
    beside = odd(kind, ".json")
    path.unlink()
    path.write_bytes(b"weights")
    result = ingested.fails(*extract, "squeezenet1_1", "--weights", path, code=ExitCode.DATA)
    assert f"{beside} is a {kind}, no file" in result.err


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_study_files(histokit, odd, kind):
    path = odd(kind, ".toml")
    for command in ("plan", "run"):
        assert f"{path} is a {kind}, no file" in histokit.fails("study", command, path, code=ExitCode.USAGE).err


def test_study_files_that_are_nested_deeply(histokit, tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text("datasets = " + "[" * 5_000 + "]" * 5_000, encoding="utf-8")
    for command in ("plan", "run"):
        assert "nested too deeply" in histokit.fails("study", command, path, code=ExitCode.USAGE).err


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_to_be_written(extracted, odd, kind):
    run = extracted.ok("train", "cells", "--features", "tiny/last", "--classifier", "ridge").out.strip()
    table, figure = odd(kind, ".csv"), odd(kind, ".png")
    for path, arguments in (
        (table, ["export", "cells", "--features", "tiny/last", "--out", table]),
        (table, ["predictions", run, "--out", table]),
        (figure, ["evaluate", run, "--figure", figure]),
    ):
        assert f"{path} is a {kind}, no file" in extracted.fails(*arguments, code=ExitCode.USAGE).err
    assert not table.is_file()


def test_images_that_became_pipes(ingested, images, tiny):
    for path in ("p1/dark/0.png", "p2/dark/1.png"):
        (images / path).unlink()
        os.mkfifo(images / path)
    result = ingested("extract", "cells", "--backbone", "tiny")
    assert result.code == ExitCode.DATA
    assert result.err.count("is a pipe, no image") == 2


@pytest.mark.usefixtures("tiny")
def test_boxes_far_larger_than_their_image(histokit, images, tmp_path):
    boxes = {"whole": (0, 0, 16, 16), "border": (-8, -8, 32, 32), "huge": (0, 0, 40_000, 40_000)}
    boxes |= {"wide": (-5, 0, 150_000_000, 1), "far": (-2_000_000_000, 0, 2_000_000_010, 5)}
    rows = [f"{name},p1/dark/0.png,x,{','.join(map(str, box))}" for name, box in boxes.items()]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["id,image,label,x,y,w,h", *rows]) + "\n")
    histokit.ok("ingest", "table", images, "--name", "d", "-o", f"table={table}", "-o", "box=x,y,w,h")
    result = histokit("extract", "d", "--backbone", "tiny", "--layers", "last", "--json")
    assert result.code == ExitCode.DATA
    reasons = {problem["id"]: problem["reason"] for problem in result.document["problems"]}
    assert reasons.keys() == {"huge", "wide", "far"}
    assert "The box (0, 0, 40000, 40000) is too large for an image of 16 × 16 pixels" in reasons["huge"]
    assert result.document["tables"][0]["computed"] == 2
    table.write_text("\n".join(["id,image,label,x,y,w,h", "a,p1/dark/0.png,x,0,0,99999999999,1"]) + "\n")
    made = ["ingest", "table", images, "--name", "e", "-o", f"table={table}", "-o", "box=x,y,w,h"]
    assert "x,y,w,h='0,0,99999999999,1', which does not fit" in histokit.fails(*made, code=ExitCode.DATA).err


@pytest.mark.usefixtures("tiny")
def test_inputs_of_networks_that_would_be_huge(histokit, tmp_path):
    root = tmp_path / "images"
    (root / "x").mkdir(parents=True)
    Image.new("RGB", (60_000, 1)).save(root / "x/sliver.png")
    Image.new("RGB", (20, 16)).save(root / "x/plain.png")
    histokit.ok("ingest", "folder", root, "--name", "d", "-o", "mpp=0.5")
    extract = ["extract", "d", "--backbone", "tiny", "--layers", "last"]
    for size in ("8193", "1000000", "99999999999999999999"):
        result = histokit.fails(*extract, "--preprocess", f"size={size}", code=ExitCode.USAGE)
        assert "Give a size of 1 to 8,192 pixels" in result.err
    result = histokit(*extract, "--preprocess", "resize=shortest-crop", "--preprocess", "size=224")
    assert result.code == ExitCode.DATA
    assert "x/sliver.png: resizing would make an image of 60,000 × 1 pixels one of 13,440,000 × 224" in result.err
    assert "x/plain.png" not in result.err
    result = histokit(*extract, "--preprocess", "target_mpp=1e-300")
    assert result.code == ExitCode.DATA
    assert result.err.count("resizing would make") == 2
    # Other preprocessing takes both, and no --retry is needed.
    assert histokit.ok(*extract, "--json").document["tables"][0]["computed"] == 2
