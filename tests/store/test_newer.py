"""What a newer version wrote is told by every command, and overwritten by none."""

from __future__ import annotations

import json
from pathlib import Path

import lance
import pytest

from histokit import cli
from histokit.features import FeatureStore
from histokit.store import Split
from histokit.store.commits import LEDGER
from histokit.store.database import FORMAT_KEY
from histokit.store.split_records import split_rows
from tests.store.made import a_run
from tests.toy import make_samples, make_store

FEATURES = ("--features", "net/last", "--classifier", "knn", "--grid", "k=1", "--force")
COMMANDS = {
    "ingest": ("ingest", "folder", "images", "--name", "toy", "-o", "pattern={patient}/{label}/*.png", "--replace"),
    "split": ("split", "toy", "--name", "s", "--folds", "3"),
    "extract": ("extract", "toy", "--backbone", "texture"),
    "train": ("train", "toy", *FEATURES),
    "select": ("select", "toy", "--features", "net/last", "--step", "0.7", "--force"),
    "import-features": ("import-features", "toy", "vectors.csv", "--name", "mine", "--version", "1"),
    "verify": ("store", "verify"),
    "repair": ("store", "repair"),
    "compact": ("store", "compact"),
    "gc": ("store", "gc", "--older-than", "0", "--stale-rows"),
}


@pytest.fixture
def toy(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """A store, and a table of vectors beside it."""
    samples, X = make_samples()
    store = make_store(tmp_path / "store", samples, {"last": X})
    store.save_split(Split("toy", "s", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])))
    store.save_run(*a_run("abcd1234"), b"model")
    lines = ["id,a", *(f"{name},{i}" for i, name in enumerate(samples["id"]))]
    (tmp_path / "vectors.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    return store


def contents(uri: Path) -> dict[str, bytes]:
    """What is in the files of a store that are written to."""
    files = (path for path in uri.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("what", ["tables", LEDGER])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_writes_to_a_store_of_a_newer_version(
    toy: FeatureStore, capsys: pytest.CaptureFixture[str], what: str, name: str
) -> None:
    if what == LEDGER:
        document = json.loads((toy.uri / LEDGER).read_text())
        (toy.uri / LEDGER).write_text(json.dumps({**document, "format": 2, "more": []}))
    else:
        for table in toy.database.names():
            lance.dataset(str(toy.uri / f"{table}.lance")).update_schema_metadata({FORMAT_KEY.decode(): "2"})
    before = contents(toy.uri)
    assert cli.run([*COMMANDS[name], "--store", str(toy.uri)]) == 5
    printed = capsys.readouterr()
    assert "Update histokit." in printed.out + printed.err
    assert "Traceback" not in printed.err
    assert contents(toy.uri) == before
