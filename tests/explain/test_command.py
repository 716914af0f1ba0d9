"""``histokit explain``: what it prints, draws and tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_plugin import TinyPlugin

import histokit
from histokit.errors import ExitCode
from histokit.features import FeatureStore
from tests.cli.command_line import CommandLine
from tests.trained_runs import a_network, a_trained_run


@pytest.fixture
def line(
    store: FeatureStore,
    images: Path,
    tiny: TinyPlugin,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> CommandLine:
    """The command line, on a store with a run fe0123456789."""
    pattern = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    histokit.ingest(store, "folder", images, name="d", options=pattern)
    network, described = a_network()
    a_trained_run(store, "d", {"0.0": (network, described, [])})
    monkeypatch.setenv("HISTOKIT_STORE", str(store.uri))
    return CommandLine(capsys)


def test_what_is_printed_and_drawn(line: CommandLine, tmp_path: Path) -> None:
    figure = tmp_path / "maps.png"
    shown = line.ok("explain", "fe01", "--per-class", "1", "--figure", figure, "--out", tmp_path / "maps")
    assert shown.out.startswith("fe0123456789  d  Grad-CAM of tiny, layer 3\n")
    assert shown.out.count(".png") == 2
    assert f"Drawn: {figure}" in shown.err
    assert f"Written: {tmp_path / 'maps'}" in shown.err
    assert sorted(path.suffix for path in (tmp_path / "maps").iterdir()) == [".csv", ".npz", ".npz", ".png", ".png"]
    document = line.ok("explain", "fe01", "--sample", "p1/dark/0.png", "--class", "bright", "--json").document
    (sample,) = document["samples"]
    with np.load(next((tmp_path / "maps").glob("*dark*.npz"))) as arrays:
        assert np.shape(sample["map"]) == arrays["map"].shape
    assert document["groups"] == 1
    assert (sample["id"], sample["true"], sample["predicted"], sample["explained"]) == (
        "p1/dark/0.png", "dark", "dark", "bright",
    )  # fmt: skip
    assert (document["layer"], document["kind"], document["signed"]) == ("3", "probability", False)


def test_the_same_figure_has_the_same_bytes(line: CommandLine, tmp_path: Path) -> None:
    for suffix in ("svg", "pdf"):
        files = [tmp_path / f"{name}.{suffix}" for name in "ab"]
        for file in files:
            line.ok("explain", "fe01", "--limit", "2", "--figure", file)
        assert files[0].read_bytes() == files[1].read_bytes()


def test_mistakes_end_with_what_to_type(line: CommandLine) -> None:
    for arguments, code, says in (
        (["--class", "brigth"], ExitCode.USAGE, "Did you mean 'bright'?"),
        (["--layer", "4"], ExitCode.USAGE, "Its layers with a map are: 0, 1, 3; or any module path"),
        (["--sample", "x.png"], ExitCode.STORE, "histokit predictions fe0123456789"),
        (["--per-class", "0"], ExitCode.USAGE, "per-class"),
        (
            ["--where", "label = 'x'"],
            ExitCode.DATA,
            "No sample of the run fe0123456789 is left of those that the filter",
        ),
        (["--where", "patent = 'p1'"], ExitCode.USAGE, "patient"),
        (["--where", "label = 'dark'", "--sample", "a"], ExitCode.USAGE, "--where chooses others"),
    ):
        assert says in line.fails("explain", "fe01", *arguments, code=code).err
