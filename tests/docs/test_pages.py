"""Every command and every piece of code on the pages of the documentation is run as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histokit.app import COMMANDS
from histokit.datasets.folder import Folder
from histokit.features import open_store
from histokit.plugin.testing import added_plugin
from tests.docs.pages import DOCS, PAGES, ROOT, between, blocks, environment
from tests.docs.warm import started
from tests.extras import needs


def save_weights(folder: Path) -> None:
    """Weights files as a user would supply them offline; what they hold is of no matter here."""
    import timm
    import torchvision
    from safetensors.torch import save_file

    folder.mkdir()
    save_file(timm.create_model("mobilenetv2_100").state_dict(), folder.parent / "mobilenet.safetensors")
    save_file(timm.create_model("resnet50").state_dict(), folder / "resnet50.safetensors")
    save_file(torchvision.models.squeezenet1_1().state_dict(), folder / "squeezenet1_1.safetensors")


@pytest.fixture
def at_once(tmp_path: Path) -> Iterator[Path]:
    """A folder with a command ``histokit`` that needs no seconds to start; many commands of the pages add up."""
    with started(tmp_path / "bin", environment(tmp_path)) as folder:
        yield folder


def test_every_command_runs(tmp_path: Path, at_once: Path) -> None:
    work = tmp_path / "tutorial"
    work.mkdir()
    (tmp_path / "docs").symlink_to(DOCS)
    save_weights(tmp_path / "weights")
    shutil.copy(tmp_path / "mobilenet.safetensors", work)
    env = environment(tmp_path)
    env["PATH"] = f"{at_once}{os.pathsep}{env['PATH']}"
    for page in PAGES[1:]:
        script = "set -euxo pipefail\n" + "\n".join(blocks("bash", page))
        done = subprocess.run(["bash", "-c", script], cwd=work, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}: {done.stderr[-4000:]}"
        check_shown(page, done.stdout + done.stderr)
    assert (work / "wrong.csv").stat().st_size > 0
    assert (work / "scores.png").stat().st_size > 0
    assert (work / "cellularity.png").stat().st_size > 0
    check_python(work)


@needs("snakemake")
def test_the_workflow_runs_and_is_answered_from_the_store(tmp_path: Path, at_once: Path) -> None:
    (rules,) = blocks("snakemake")
    subprocess.run([sys.executable, str(DOCS / "example_data.py"), str(tmp_path)], check=True)
    (tmp_path / "Snakefile").write_text(rules)
    save_weights(tmp_path / "weights")
    env = environment(tmp_path)
    env["PATH"] = f"{at_once}{os.pathsep}{env['PATH']}"
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "4"], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found.append({path: path.read_text().strip() for path in sorted((tmp_path / "results").rglob("*.run"))})
        assert "error" not in json.loads((tmp_path / "results" / "comparison.json").read_text())
        shutil.rmtree(tmp_path / "results")
    assert found[0] == found[1]
    runs = {run.id: run.address for run in open_store(tmp_path / "workflow-store").runs()}
    assert sorted(runs.values()) == ["squeezenet1_1/features.12"] * 2 + ["texture/joined"] * 2
    assert sorted(found[0].values()) == sorted(runs)


def check_shown(page: Path, printed: str) -> None:
    """Look for every shown line among the printed ones; what the processor decides may vary."""
    shapes = {shape(line) for line in printed.splitlines()}
    for block in blocks("text", page):
        for line in block.splitlines():
            assert line == "…" or shape(line) in shapes, f"{page.name}: {line}"
        if accuracy := re.search(r"^ accuracy +(0\.\d+)", block, flags=re.MULTILINE):
            measured = re.search(r"^ accuracy +(0\.\d+)", printed, flags=re.MULTILINE)
            assert measured is not None
            assert float(measured[1]) == pytest.approx(float(accuracy[1]), abs=0.03), page.name


def shape(line: str) -> str:
    """A line of output without its numbers, ids and widths, and without the mark of an epoch that was chosen."""
    numberless = re.sub(r"[0-9a-f]{12}|-?\d[\d,.]*", "0", line).removesuffix("  yes")
    return re.sub(r"─+", "─", re.sub(r" +", " ", numberless)).strip()


def check_python(folder: Path) -> None:
    """Run the piece of Python that goes on from the commands."""
    (code,) = blocks("python", DOCS / "python.md")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(folder.parent), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.startswith("(480, 174) texture/stain[red_mean] (40, 174)")
    shown, wrong, missing = done.stdout.splitlines()[2:]
    assert shown == "Split(tissue: halves, 1 folds, generated)"
    assert 0 < int(wrong) < 240
    assert missing == "0", "the bash commands have done the study"
    assert (folder / "lbp.parquet").stat().st_size > 0


def install_plugin(folder: Path, module: str, code: str, entries: dict[str, str], version: str = "0.1.0") -> Path:
    """Put a module and the metadata of its distribution into a folder, which is returned."""
    package = folder / "package"
    package.mkdir(exist_ok=True)
    (package / f"{module}.py").write_text(code)
    info = package / f"{module}-{version}.dist-info"
    info.mkdir()
    metadata = {"Metadata-Version": "2.1", "Name": module.replace("_", "-"), "Version": version}
    (info / "METADATA").write_text("".join(f"{k}: {v}\n" for k, v in metadata.items()))
    (info / "entry_points.txt").write_text("[histokit]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()))
    return package


#: Commands are run one after the other until one fails; what each prints ends with a mark.
ALL = """
import json, sys
from histokit import cli
for command in json.loads(sys.argv[1]):
    if code := cli.run(command):
        sys.exit(code)
    print(end="\\0")
"""


def run_all(commands: list[list[str]], folder: Path, package: Path) -> list[str]:
    """Run commands in one process that finds a plugin, on a store of its own; return what each printed."""
    path = f"{package}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    env = {**environment(folder), "PYTHONPATH": path, "HISTOKIT_STORE": str(folder / "store")}
    asked = [sys.executable, "-c", ALL, json.dumps(commands)]
    done = subprocess.run(asked, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("\0")[:-1]


def test_the_plugin_of_the_pages_works_as_it_stands(tmp_path: Path) -> None:
    code = next(block for block in blocks("python") if "class LabCells" in block)
    test = next(block for block in blocks("python") if "def test_contract" in block)
    (project,) = (each for each in map(tomllib.loads, blocks("toml")) if "project" in each)
    assert len(code.splitlines()) <= 30
    (module,) = project["tool"]["setuptools"]["py-modules"]
    entries = project["project"]["entry-points"]["histokit"]
    package = install_plugin(tmp_path, module, code, entries, project["project"]["version"])
    data = tmp_path / "tests" / "data"
    data.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    for slide in ("a", "b"):
        Image.fromarray(pixels).save(data / f"{slide}.png")
        (data / f"{slide}.txt").write_text("10 12 lymphocyte\n39 1 tumour\n")
    (tmp_path / "test_plugin.py").write_text(test)
    ingest = ["ingest", "labcells", str(data), "--name", "cells", "-o", "size=16"]
    run_all([ingest, ["plugins", "check", "labcells", str(data), "-o", "size=16"]], tmp_path, package)
    env = {**environment(tmp_path), "PYTHONPATH": f"{package}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    tested = [sys.executable, "-m", "pytest", "-q", "test_plugin.py"]
    done = subprocess.run(tested, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_read_and_splits_of_the_pages_work_as_they_stand(tmp_path: Path) -> None:
    scans = next(block for block in blocks("python") if "class LabScans" in block)
    cells = next(block for block in blocks("python") if "class LabCells" in block)
    (tmp_path / "histokit_labcells.py").write_text(cells)
    (tmp_path / "labscans.py").write_text(scans)
    data = tmp_path / "data"
    data.mkdir()
    for number, slide in enumerate("ab"):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        np.save(data / f"{slide}.npy", pixels)
        (data / f"{slide}.txt").write_text("10 12 lymphocyte\n30 21 tumour\n")
    code = """
import histokit, numpy as np
from histokit.plugin.testing import check_dataset
from labscans import LabScans
check_dataset(LabScans, "data", size=16)
dataset = LabScans("data", size=16)
first = next(iter(dataset.samples()))
assert (dataset.read(first) == np.load("data/a.npy")[4:20, 2:18]).all()
histokit.ingest("store", dataset, name="scans")
fold, = histokit.open_store("store").split("scans", "paper").folds()
print(fold.train, fold.test)
"""
    env = {**environment(tmp_path), "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("['a/1', 'a/2'] ['b/1', 'b/2']\n", 0), done.stderr[-3000:]


def test_the_backbone_of_the_pages_works_as_it_stands(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    code = next(block for block in blocks("python") if "class LabNet" in block)
    body = [line for line in code.splitlines() if line]
    assert len(body) <= 25
    package = install_plugin(tmp_path, "histokit_labnet", code, {"labnet": "histokit_labnet"})
    generator = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (16, 3, 3, 3), "0.bias": (16,), "2.weight": (32, 16, 3, 3), "2.bias": (32,)}
    state = {name: torch.randn(shape, generator=generator) * 0.1 for name, shape in shapes.items()}
    save_file(state, package / "labnet.safetensors")
    extract = ["extract", "drawn", "--backbone", "labnet"]
    commands = [
        ["plugins", "check", "labnet"],
        ["ingest", "synthetic", ".", "--name", "drawn", "-o", "slides=2", "-o", "per_slide=3", "-o", "size=32"],
        extract,
        [*extract, "--weights", "random:1", "--layers", "late"],
    ]
    *_, both, late = run_all(commands, tmp_path, package)
    assert both.split() == ["labnet/early", "labnet/late"]
    assert late.startswith("labnet")
    tables = open_store(tmp_path / "store").feature_tables("drawn")
    assert sorted((t.address, t.width) for t in tables) == [("labnet/early", 16), *[("labnet/late", 32)] * 2]


def test_a_page_lists_every_command() -> None:
    listed = between("<!-- commands -->", "<!-- /commands -->")
    named = re.findall(r"^\| `histokit ([a-z -]+?)(?: [A-Z\[].*)?` \|", listed, flags=re.MULTILINE)
    assert named == [" ".join(filter(None, (entry[0], entry[1]))) for entry in COMMANDS]


def test_make_targets_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"^make (\w+)", "\n".join(blocks("console")), flags=re.MULTILINE)
    assert {"demo", "test"} <= set(named)
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in [*named, "install"])


def test_a_reader_of_image_files(tmp_path: Path) -> None:
    """The reader of the pages makes files of a new suffix readable."""
    code = next(block for block in blocks("python") if "def read_lab" in block)
    plugin = types.ModuleType("labcamera")
    exec(code, plugin.__dict__)
    (tmp_path / "a.lab").write_bytes(b"3 2\n" + struct.pack("<6H", 0, 1, 2, 3, 4, 4095))
    with added_plugin(plugin, "labcamera"):
        dataset = Folder(tmp_path, pattern="*.lab")
        (sample,) = dataset.samples()
        pixels = dataset.read(sample)
    # 4 of 4095 is 64.01 of 65535.
    assert pixels[1, :, 1].tolist() == [48, 64, 65535]
    assert pixels.shape == (2, 3, 3)


def test_the_front_page_is_short_and_shows_what_other_pages_do() -> None:
    front = ROOT / "README.md"
    assert len(front.read_text().splitlines()) <= 200
    assert set(blocks("python", front)) <= set(blocks("python", DOCS / "dataset-plugin.md"))
    for language in ("bash", "text"):
        shown = {line for block in blocks(language, front) for line in block.splitlines()}
        assert shown <= {line for block in blocks(language, DOCS / "first-steps.md") for line in block.splitlines()}
