"""Everything that CONTRIBUTING.md adds is added as it says, each to one room, and its commands are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import test_house
from tests.docs.warm import started

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
PREFACE, *SECTIONS = re.split(r"^### ", PAGE, flags=re.MULTILINE)
EXAMPLES = {text.splitlines()[0]: text for text in SECTIONS}
#: What of each example is to be seen in what its commands print.
SEEN = {
    "A classifier": [],
    "A metric": ["jaccard_macro"],
    "A curated network": ["layer4", "resnet18/layer4"],
    "A figure": ["Drawn: recalls.png"],
    "A command": ["balanced_accuracy", "metrics"],
    "A dataset plugin": ["listed"],
    "A container of images": ["4 samples (0: 2, 1: 2)", "images.idx"],
}


def blocks(text: str, *languages: str) -> list[str]:
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def additions(text: str) -> list[tuple[str, str, str]]:
    """Each block of an example: the file that it goes to, the place there, and its lines."""
    found = []
    for block in blocks(text, "python", "toml"):
        first, _, rest = block.partition("\n")
        place = re.fullmatch(r"# (\S+?)(?:, (at the end|at the end of \w+|above \w+|among the imports))?", first)
        assert place is not None, first
        found.append((place[1], place[2] or "", rest))
    return found


def add(root: Path, file: str, place: str, lines: str) -> None:
    path = root / file
    if not place:
        assert not path.exists(), file
        path.write_text(lines)
        return
    text = path.read_text()
    if place == "at the end":
        path.write_text(text + lines)
        return
    if place == "among the imports":
        imports = [line for line in text.splitlines(keepends=True) if line.startswith("from histokit")]
        path.write_text(text.replace("".join(imports), "".join(sorted([*imports, lines]))))
        return
    name = place.split()[-1]
    table = re.search(rf"(?:^#:[^\n]*\n)*^{name}\b.*?=.*?^[)}}]$", text, flags=re.DOTALL | re.MULTILINE)
    assert table is not None, place
    if place.startswith("above"):
        path.write_text(f"{text[: table.start()]}{lines}\n\n{text[table.start() :]}")
    else:
        path.write_text(f"{text[: table.end() - 1]}{lines}{text[table.end() - 1 :]}")


def environment(root: Path, folder: Path) -> dict[str, str]:
    """What the copy's `histokit` is run with, which `shell` finds first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HISTOKIT_")}
    path = f"{folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PYTHONPATH": str(root), "PATH": path, "HISTOKIT_STORE": str(folder / "store")}


def shell(commands: str, root: Path, folder: Path) -> str:
    """Run lines of a shell with the copy's `histokit`; return what they print."""
    env = environment(root, folder)
    done = subprocess.run(["bash", "-euc", commands], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with all that the page adds."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "histokit", root / "histokit", ignore=shutil.ignore_patterns("__pycache__"))
    for text in EXAMPLES.values():
        for addition in additions(text):
            add(root, *addition)
    return root


@pytest.fixture(scope="module")
def folder(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the data of the examples, where the copy's `histokit` needs no seconds to start."""
    folder = tmp_path_factory.mktemp("work")
    drawn = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    for number, pixels in enumerate(drawn):
        (folder / "lists" / f"s{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "lists" / f"s{number % 2}" / f"{number}.png")
    listed = [f"s{number % 2}/{number}.png {'ab'[number // 2]}" for number in range(4)]
    (folder / "lists" / "images.txt").write_text("\n".join(listed))
    (folder / "digits").mkdir()
    for name, values in (("images", drawn[..., 0]), ("labels", np.arange(4, dtype=np.uint8) % 2)):
        head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
        (folder / "digits" / f"{name}.idx").write_bytes(head + values.tobytes())
    (data,) = (block for block in blocks(PREFACE, "sh") if "ingest" in block)
    with started(folder / "bin", environment(house, folder)):
        shell(data, house, folder)
        yield folder


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_touches_one_room(name: str) -> None:
    rooms = {Path(file).parts[1] for file, *_ in additions(EXAMPLES[name])}
    assert len(rooms) == 1


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_works_as_it_stands(house: Path, folder: Path, name: str) -> None:
    (commands,) = blocks(EXAMPLES[name], "sh")
    printed = shell(commands, house, folder)
    assert all(word in printed for word in SEEN[name]), printed


def test_what_is_added_keeps_the_house(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_house, "PACKAGE", house / "histokit")
    monkeypatch.setattr(test_house, "FILES", sorted((house / "histokit").rglob("*.py")))
    rules = [rule for name, rule in vars(test_house).items() if name.startswith("test_")]
    assert len(rules) > 10
    for rule in rules:
        rule()


def test_what_is_added_is_formatted(house: Path) -> None:
    for command in (("format", "--check"), ("check",)):
        asked = ["ruff", *command, "--config", str(ROOT / "pyproject.toml"), "histokit"]
        done = subprocess.run([sys.executable, "-m", *asked], cwd=house, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_is_in_the_drawing() -> None:
    drawing = next(block for block in blocks(PREFACE, "text"))
    named = defaultdict(int, dict.fromkeys(re.findall(r"[a-z_]+", drawing), 1))
    rooms = {path.name for path in (ROOT / "histokit").iterdir() if (path / "__init__.py").exists()}
    assert not [room for room in rooms if not named[room]]
