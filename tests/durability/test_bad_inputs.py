"""Whatever lies in a folder of images is read right or put aside with a reason; nothing stops the run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import histokit
from tests.cli.command_line import CommandLine
from tests.durability.oddities import write_bad_images, write_odd_images
from tests.durability.processes import Processes

EXTRACT = ["extract", "d", "--backbone", "tiny"]
ADDRESSES = "tiny/0\ntiny/1\ntiny/3\n"


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    return CommandLine(capsys)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("odd", "plain", "bad"):
        (root / name).mkdir(parents=True)
    return root


@pytest.mark.usefixtures("tiny")
def test_everything_at_once(command: CommandLine, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    expected = write_odd_images(root / "odd")
    for name, pixels in expected.items():
        Image.fromarray(np.array(pixels, dtype=np.uint8)).save(root / "plain" / f"{name}.png")
    reasons = write_bad_images(root / "bad")
    (root / "odd" / "folder.png").mkdir()
    command.ok("ingest", "folder", root, "--name", "d")

    result = command(*EXTRACT)
    assert (result.code, result.out) == (4, ADDRESSES)
    assert f"Samples that could not be used: {len(reasons)} " in result.err
    for name, reason in reasons.items():
        # Each in one line, also where a name has two.
        assert re.search(re.escape(f"bad/{name}".replace("\n", " ")) + f".? {reason}", result.err), name
    machine = command(*EXTRACT, "--json")
    assert machine.code == 4
    assert {problem["id"] for problem in machine.document["problems"]} == {f"bad/{name}" for name in reasons}
    assert {table["missing"] for table in machine.document["tables"]} == {0}

    features = histokit.open_store(root.parent / "store").features("d", "tiny/all", allow_missing=True)
    rows = dict(zip(features.sample_ids, features.X, strict=True))
    assert rows.keys() == {f"odd/{name}" for name in expected} | {f"plain/{name}.png" for name in expected}
    for name in expected:
        # The plain file holds the pixels worked out by hand, so the network must see the same.
        # More than 8 bits are not rounded to grey levels when they are resized.
        within = 2e-3 if "16 bits" in name else 0
        np.testing.assert_allclose(rows[f"odd/{name}"], rows[f"plain/{name}.png"], rtol=0, atol=within, err_msg=name)


def test_files_and_folders_without_permission(forks: Processes, root: Path, tmp_path: Path) -> None:
    for number, path in enumerate(["plain/a.png", "bad/b.png", "closed/c.png"]):
        (root / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (number, 0, 0)).save(root / path)
    (root / "bad/b.png").chmod(0)
    (root / "closed").chmod(0)
    try:
        store = ["--store", tmp_path / "store"]
        ingest = forks.start("ingest", "folder", root, "--name", "d", *store, unprivileged=True)
        assert (ingest.wait(), ingest.out) == (0, "d\n"), ingest.err
        assert "1 folder cannot be opened, for example 'closed/'; what is in there was left out" in ingest.err
        life = forks.start(*EXTRACT, *store, unprivileged=True)
        assert (life.wait(), life.out) == (4, ADDRESSES)
        assert "bad/b.png: bad/b.png cannot be read: Permission denied" in life.err
    finally:
        (root / "closed").chmod(0o700)


def table(root: Path, *paths: str) -> list[object]:
    lines = ["image,label", *(f'"{path}",x' for path in paths)]
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return ["ingest", "table", root, "--name", "d", "-o", "table=table.csv"]


@pytest.mark.usefixtures("tiny")
def test_paths_that_leave_the_root(command: CommandLine, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    inner = [root / "plain" / f"{name}.png" for name in "abc"]
    for path in (*inner, outside / "secret.png", outside / "other.png", root / "secret.png"):
        Image.new("RGB", (16, 16), (len(str(path)), 0, 0)).save(path)
    (root / "door").symlink_to(outside)
    inside = ["plain/a.png", "odd/../plain/b.png", str(root / "plain" / "c.png")]
    refused = {
        "../outside/secret.png": "lies outside the dataset's root",
        "plain/../../outside/other.png": "lies outside the dataset's root",
        str(outside / "secret.png"): "lies outside the dataset's root",
        # The text says root/outside/…, the file system goes up from where the link leads.
        "door/../outside/secret.png": "",
        "door/../images/secret.png": "goes up from where a link leads",
        "plain": "cannot be read: Is a directory",
    }
    (root / "outside").mkdir()
    Image.new("RGB", (16, 16)).save(root / "outside" / "secret.png")
    (root / "images").mkdir()
    Image.new("RGB", (16, 16)).save(root / "images" / "secret.png")
    refused["door/../outside/secret.png"] = "goes up from where a link leads"
    command.ok(*table(root, *inside, *refused))
    result = command(*EXTRACT)
    assert (result.code, result.out) == (4, ADDRESSES)
    for path, reason in refused.items():
        assert f"  {path}: {path} {reason}" in result.err
    kept = histokit.open_store(root.parent / "store").features("d", "tiny/0", allow_missing=True)
    assert kept.sample_ids == inside
    assert (kept.X[0] == kept.X).all()


@pytest.mark.usefixtures("tiny")
def test_links_out_of_the_root_are_followed_and_told(command: CommandLine, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    Image.new("RGB", (16, 16)).save(outside / "a.png")
    (root / "odd" / "door").symlink_to(outside)
    (root / "plain" / "a.png").symlink_to(outside / "a.png")
    result = command.ok("ingest", "folder", root, "--name", "d")
    assert "2 symbolic links lead out of the folder, for example 'odd/door', 'plain/a.png'; they were followed" in (
        result.err
    )
    assert command.ok(*EXTRACT).out == ADDRESSES
    ids = histokit.open_store(root.parent / "store").features("d", "tiny/0").sample_ids
    assert ids == ["odd/door/a.png", "plain/a.png"]
    # Whoever swaps what a link leads to has changed the image.
    Image.new("RGB", (17, 16), (1, 2, 3)).save(outside / "a.png")
    changed = command(*EXTRACT, "--layers", "0", "--preprocess", "size=12")
    assert changed.code == 4
    assert changed.err.count("changed since the dataset was ingested") == 2
