"""Datasets, runs and selections are removed with all that is theirs, and nothing goes that others rest on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

import histokit as package
from histokit import cli
from histokit.errors import ExitCode, StoreError
from histokit.features import open_store
from histokit.protocol import named_split, splits
from histokit.protocol.splits import make_split
from histokit.store import additions
from histokit.store.commits import Commits, _Ledger
from histokit.store.database import Database
from histokit.store.removal import remove
from histokit.store.tables import Tables
from histokit.train import predict
from tests.cli.command_line import CommandLine
from tests.cli.conftest import PATTERN
from tests.evaluate.made_up import save

RIDGE = ("--features", "tiny/last", "--classifier", "ridge", "--grid", "alpha=1")
TUNED = ("--backbone", "tiny", "--set", "epochs=1", "--split", "one", "--precision", "float32")


@pytest.fixture
def two(extracted: CommandLine, images: Path) -> CommandLine:
    """The command line, on a store with the datasets ``cells`` and ``others``, and features of both."""
    turned = images.with_name("turned")
    for path in images.rglob("*.png"):
        there = turned / path.relative_to(images)
        there.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(there)
    extracted.ok("ingest", "folder", turned, "--name", "others", "-o", PATTERN, "-o", "group=patient")
    extracted.ok("extract", "others", "--backbone", "tiny")
    return extracted


def names(command: CommandLine, what: str, key: str) -> list[str]:
    return [each[key] for each in command.ok("--json", "list", what).document[what]]


def tables(command: CommandLine, tmp_path: Path) -> set[str]:
    return {path.name.removesuffix(".lance") for path in (tmp_path / "store").glob("*.lance")}


def test_nothing_goes_before_it_was_said_to(two, tmp_path):
    run = two.ok("train", "cells", *RIDGE).out.strip()
    more = two.ok("train", "cells", *RIDGE[:-1], "alpha=2").out.strip()
    selection = two.ok("select", "cells", "--features", "tiny/last").out.strip()
    said = two.ok("store", "remove", "cells")
    (row,) = (line.split() for line in said.out.splitlines() if "cells" in line)
    assert row == ["dataset", "cells", "cells", "24", "1", "1", "2"]
    assert "Nothing was removed yet: histokit store remove cells --yes" in said.err
    assert names(two, "datasets", "name") == ["cells", "others"]
    assert {*names(two, "runs", "run")} == {run, more}
    assert names(two, "selections", "selection") == [selection]
    document = two.ok("--json", "store", "remove", run[:8], selection, run).document
    assert document["dry_run"] is True
    assert [(each["kind"], each["name"], each["dataset"]) for each in document["removed"]] == [
        ("run", run, "cells"),
        ("selection", selection, "cells"),
    ]


def test_a_dataset_goes_with_all_that_is_of_it_and_the_others_stay(two, tmp_path):
    two.ok("split", "cells", "--name", "mine", "--folds", "2")
    of_cells, of_others = (two.ok("train", name, *RIDGE).out.strip() for name in ("cells", "others"))
    two.ok("select", "cells", "--features", "tiny/last")
    kept = two.ok("predictions", of_others, "--json").out
    two.ok("store", "remove", "cells", "--yes")
    assert names(two, "datasets", "name") == ["others"]
    assert (names(two, "runs", "run"), names(two, "selections", "selection")) == ([of_others], [])
    assert {split["dataset"] for split in two.ok("--json", "list", "splits").document["splits"]} == {"others"}
    assert "There is no run" in two.fails("evaluate", of_cells, code=5).err
    left = {name for name in tables(two, tmp_path) if ".cells" in name}
    assert len(left) == 3
    assert all(name.startswith("features.cells.tiny_") for name in left)
    two.ok("store", "gc", "--orphans", "--older-than", "0")
    assert not [name for name in tables(two, tmp_path) if ".cells" in name]
    assert "nothing is damaged" in two.ok("store", "verify").err
    assert two.ok("predictions", of_others, "--json").out == kept


def test_vectors_count_again_where_the_same_data_come_back(two, images):
    two.ok("store", "remove", "cells", "--yes")
    two.ok("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient")
    found = two.ok("--json", "extract", "cells", "--backbone", "tiny").document
    assert {(table["cached"], table["computed"]) for table in found["tables"]} == {(24, 0)}


def test_nothing_goes_that_what_stays_rests_on(two):
    run = two.ok("train", "cells", *RIDGE).out.strip()
    selection = two.ok("select", "cells", "--features", "tiny/last").out.strip()
    on_it = two.ok("train", "cells", *RIDGE, "--selection", selection).out.strip()
    elsewhere = two.ok("predict", on_it, "others").out.strip()
    two.ok("predict", run, "others")
    told = two.fails("store", "remove", selection, "--yes", code=5).err
    assert f"2 things rest on it, the run {on_it} has the columns of the selection {selection}, the run" in told
    assert elsewhere in told
    advice = told.splitlines()[-1].partition("histokit ")[2]
    assert advice.split() == ["store", "remove", selection, on_it, elsewhere]
    assert "2 things rest on it" in two.fails("store", "remove", "cells", "--yes", code=5).err
    assert len(names(two, "runs", "run")) == 4
    two.ok(*advice.split(), "--yes")
    assert len(names(two, "runs", "run")) == 2
    assert names(two, "selections", "selection") == []
    two.ok("store", "remove", "others", "cells", "--yes")
    assert "No runs" in two.ok("list", "runs").err


def test_a_trained_network_goes_with_its_features_and_what_was_made_of_them(two, tmp_path):
    two.ok("split", "cells", "--name", "one", "--test", "0.5")
    network = two.ok("finetune", "cells", *TUNED).out.strip()
    two.ok("extract", "others", "--backbone", f"run:{network}", "--layers", "last")
    features = ("--features", f"tiny/last+run:{network}/last")
    selection = two.ok("select", "others", *features).out.strip()
    run = two.ok("train", "others", *features, "--classifier", "ridge", "--grid", "alpha=1").out.strip()
    told = two.fails("store", "remove", network, "--yes", code=5).err
    assert f"the selection {selection} has features of the network of {network}" in told
    assert f"the run {run} has features of the network of {network}" in told
    assert f"store remove {network} {selection} {run}" in told
    two.ok("store", "remove", network, selection, run, "--yes")
    assert any(network in name for name in tables(two, tmp_path))
    assert list((tmp_path / "store" / "networks").rglob("*.safetensors"))
    two.ok("store", "gc", "--orphans", "--older-than", "0")
    assert not any(network in name for name in tables(two, tmp_path))
    assert not list((tmp_path / "store" / "networks").rglob("*.safetensors"))
    assert {table["address"] for table in two.ok("--json", "list", "features").document["features"]} == {
        "tiny/0",
        "tiny/1",
        "tiny/3",
    }
    assert "nothing is damaged" in two.ok("store", "verify").err


def test_a_run_that_chose_rests_on_each_network_it_chose_among(two):
    two.ok("split", "cells", "--name", "one", "--test", "0.5")
    network = two.ok("finetune", "cells", *TUNED).out.strip()
    two.ok("extract", "others", "--backbone", f"run:{network}", "--layers", "last")
    asked = ("--features", f"run:{network}/last", "--classifier", "ridge", "--grid", "alpha=1,2", "--choose", "inner")
    (chosen,) = two.ok("train", "others", "--features", "tiny/last", *asked).out.split()
    told = two.fails("store", "remove", network, "--yes", code=5).err
    assert "2 things rest on it" in told
    assert f"the run {chosen} has features of the network of {network}" in told


def test_what_rests_on_what_rests_on_it_is_told_too(two, tmp_path):
    store = package.open_store(tmp_path / "store")
    first = save(store, "others", 20)
    # Each names the one before it, and nothing that is older.
    second = save(store, "others", 19, address=f"run:{first}/last")
    third = save(store, "others", 18, address=f"run:{second}/last")
    told = two.fails("store", "remove", first, "--yes", code=5).err
    assert "Nothing was removed: 2 things rest on it" in told
    assert f"the run {third} has features of the network of {second}" in told
    assert told.rstrip().endswith(f"histokit store remove {first} {second} {third}")


def test_what_could_not_be_read_goes_with_its_dataset(two, images):
    (images / "p1" / "dark" / "0.png").write_bytes(b"no image")
    asked = ("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient")
    two.ok(*asked)
    assert two("extract", "cells", "--backbone", "tiny").code == ExitCode.DATA
    assert len(two.ok("--json", "list", "problems", "cells").document["problems"]) == 1
    two.ok("store", "remove", "cells", "--yes")
    two.ok(*asked)
    assert two.ok("--json", "list", "problems", "cells").document["problems"] == []


def test_a_part_of_an_id_that_does_not_begin_it_names_nothing(two, tmp_path):
    run = save(package.open_store(tmp_path / "store"), "cells", 20)
    for part in (run[1:], run[:-1] + "x"):
        assert f"no dataset, run or selection '{part}'" in two.fails("store", "remove", part, "--yes", code=5).err
    assert names(two, "runs", "run") == [run]


def test_what_is_not_there_or_not_clear_is_told(two, tmp_path):
    told = two.fails("store", "remove", "cell", "--yes", code=5).err
    assert "There is no dataset, run or selection 'cell'" in told
    assert "Did you mean 'cells'?" in told
    two.fails("store", "remove", "others", "cell", "--yes", code=5)
    assert names(two, "datasets", "name") == ["cells", "others"]
    two.fails("store", "remove", code=2)
    with pytest.raises(StoreError, match="There is no store"):
        remove(package.open_store(tmp_path / "none"), ["cells"])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("method", "at"), [("delete", 0), ("delete", 1), ("drop", 0), ("drop", 1), ("drop", 2)])
def test_what_was_interrupted_can_be_run_again_or_is_garbage(two, monkeypatch, method, at):
    two.ok("train", "cells", *RIDGE)
    do, calls = getattr(Database, method), []

    def stopped(database: Database, *given: str) -> None:
        if len(calls) == at:
            raise KeyboardInterrupt
        calls.append(given)
        do(database, *given)

    monkeypatch.setattr(Database, method, stopped)
    assert two("store", "remove", "cells", "--yes").code == 130
    monkeypatch.setattr(Database, method, do)
    if method == "delete":
        assert names(two, "datasets", "name") == ["cells", "others"]
        two.ok("store", "remove", "cells", "--yes")
    two.ok("store", "gc", "--orphans", "--older-than", "0")
    assert names(two, "datasets", "name") == ["others"]
    assert "nothing is damaged" in two.ok("store", "verify").err


REMOVAL, COLLECTION = ("store", "remove", "cells", "--yes"), ("store", "gc", "--orphans", "--older-than", "0")


@pytest.mark.parametrize("done", [REMOVAL, COLLECTION])
@pytest.mark.parametrize("moment", ["files", "note"])
def test_a_table_that_was_being_dropped_is_not_missed(two, tmp_path, images, monkeypatch, done, moment):
    if done == COLLECTION:
        two.ok(*REMOVAL)

    def in_files(path: Path, **_: object) -> None:
        # The newest version goes first, and the others are left.
        max((path / "_versions").iterdir(), key=lambda version: version.stat().st_mtime).unlink()
        raise KeyboardInterrupt

    write = Commits._write

    def at_the_note(commits: Commits, ledger: _Ledger) -> None:
        if "samples.cells" not in ledger.tables and (done == REMOVAL or len(ledger.features) < 6):
            raise KeyboardInterrupt
        write(commits, ledger)

    with monkeypatch.context() as patched:
        if moment == "files":
            patched.setattr(additions, "rmtree", in_files)
        else:
            patched.setattr(Commits, "_write", at_the_note)
        assert two(*done).code == 130
    findings = two("--json", "store", "verify").document["findings"]
    assert {finding["kind"] for finding in findings} == {"orphan"}
    two.ok("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient")
    assert len(two.ok("--json", "extract", "cells", "--backbone", "tiny").document["tables"]) == 3
    assert "nothing is damaged" in two.ok("store", "verify").err
    two.ok("store", "gc", "--older-than", "0")
    assert not list((tmp_path / "store").glob("making-*"))


def test_what_may_be_a_run_or_a_selection_is_neither(two, tmp_path, monkeypatch):
    two.ok("train", "cells", *RIDGE)
    two.ok("select", "cells", "--features", "tiny/last")
    # All ids begin with no digit at all; two that begin with the same four are hard to come by.
    monkeypatch.setattr("histokit.store.removal.ID_PREFIX", 0)
    with pytest.raises(StoreError, match="Both a run and a selection have an id that begins with ''"):
        remove(package.open_store(tmp_path / "store"), [""])


@pytest.mark.parametrize("asked", [("split", "cells", "--name", "mine", "--folds", "2"), ("train", "cells", *RIDGE)])
def test_no_split_is_stored_of_a_dataset_that_went_meanwhile(two, tmp_path, monkeypatch, asked):
    def made(*given: object, **how: object) -> object:
        remove(package.open_store(tmp_path / "store"), ["cells"])
        return make_split(*given, **how)

    with monkeypatch.context() as patched:
        for module in (splits, named_split):
            patched.setattr(module, "make_split", made)
        assert "There is no dataset 'cells'" in two.fails(*asked, code=5).err
    two.ok("store", "gc", "--orphans", "--older-than", "0")
    assert "nothing is damaged" in two.ok("store", "verify").err


@pytest.mark.parametrize("damage", ["gone", "cut", "without versions"])
def test_a_dataset_goes_although_a_table_of_it_is_damaged(two, tmp_path, images, damage):
    two.ok("split", "cells", "--name", "mine", "--folds", "2")
    for name in ("splits.cells", "samples.cells"):
        folder = tmp_path / "store" / f"{name}.lance"
        if damage == "cut":
            for path in (folder / "data").iterdir():
                path.write_bytes(path.read_bytes()[:40])
        else:
            shutil.rmtree(folder if damage == "gone" else folder / "_versions")
    two.ok("store", "remove", "cells", "--yes")
    assert names(two, "datasets", "name") == ["others"]
    assert not {"splits.cells", "samples.cells", "files.cells"} & tables(two, tmp_path)
    two.ok("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient")
    assert "nothing is damaged" in two.ok("store", "verify").err


def test_what_is_stored_after_its_dataset_went_is_found_and_can_be_removed(two, tmp_path):
    run = two.ok("train", "cells", *RIDGE).out.strip()
    selection = two.ok("select", "cells", "--features", "tiny/last").out.strip()
    # As a training does that was under way.
    database = package.open_store(tmp_path / "store").database
    database.delete("splits", "dataset = 'cells'")
    database.delete("datasets", "name = 'cells'")
    found = two("--json", "store", "verify").document["findings"]
    told = {each["what"]: each["next"] for each in found if each["table"] in ("runs", "selections")}
    for kind, name in (("run", run), ("selection", selection)):
        advice = told.pop(f"the {kind} {name} is of the dataset 'cells', which is not there")
        assert advice == f"Ingest the dataset again, or run: histokit store remove {name} --yes"
        two.ok("store", "remove", name, "--yes")
    assert not told
    two.ok("store", "gc", "--orphans", "--older-than", "0")
    assert "nothing is damaged" in two.ok("store", "verify").err


def test_a_dataset_that_is_removed_under_a_command_is_told_as_such(ingested, monkeypatch):
    opened = Tables._open

    def removed(self, name, *how):
        table = opened(self, name, *how)
        if name == "samples.cells":
            monkeypatch.undo()
            monkeypatch.setenv("HISTOKIT_STORE", str(self.uri))
            cli.run(["store", "remove", "cells", "--yes", "--quiet"])
        return table

    monkeypatch.setattr(Tables, "_open", removed)
    told = ingested("list", "samples", "cells")
    assert told.code == ExitCode.STORE
    assert "The table 'samples.cells' of the store" in told.err
    assert "was removed by another process meanwhile.\nSee what is left: histokit list datasets" in told.err


def test_a_table_that_is_lost_under_a_command_is_not_told_as_removed(ingested, monkeypatch):
    opened = Tables._open

    def lost(self, name, *how):
        table = opened(self, name, *how)
        if name == "samples.cells":
            shutil.rmtree(self.uri / "samples.cells.lance")
        return table

    monkeypatch.setattr(Tables, "_open", lost)
    told = ingested("list", "samples", "cells")
    assert told.code == ExitCode.STORE
    assert "cannot be read" in told.err


def test_many_runs_are_looked_up_together(two, tmp_path, monkeypatch):
    store = package.open_store(tmp_path / "store")
    runs = [save(store, "made", right, seed=right) for right in range(12)]
    looks = []
    read = Tables.read
    monkeypatch.setattr(Tables, "read", lambda self, name, *given: looks.append(name) or read(self, name, *given))
    removed = two.ok("store", "remove", *runs, runs[0][:6], "--yes", "--json").document["removed"]
    assert [each["name"] for each in removed] == runs
    assert looks.count("runs") <= 2
    assert not {run.id for run in store.runs()} & set(runs)


@pytest.mark.parametrize("step", ["train", "select", "finetune", "predict"])
def test_what_was_made_of_a_dataset_that_is_removed_meanwhile_is_told_and_stays(two, tmp_path, monkeypatch, step):
    store = open_store(tmp_path / "store")
    package.split(store, "cells", "two", folds=2)
    done = []

    def meanwhile(*_):
        if not done:
            done.append(remove(store, ["others" if step == "predict" else "cells"]))

    def scored(*given):
        meanwhile()
        return scores(*given)

    if step == "predict":
        (run,) = package.train(store, "cells", "tiny/last", "ridge", grid={"alpha": 1})
        scores = predict.model_scores
        monkeypatch.setattr(predict, "model_scores", scored)
    how = {"split": "two", "progress": meanwhile}
    steps = {
        "train": lambda: package.train(store, "cells", "tiny/last", "ridge", **how),
        "select": lambda: package.select(store, "cells", "tiny/last", step=0.5, **how),
        "finetune": lambda: package.finetune(store, "cells", "tiny", settings={"epochs": 1}, workers=0, **how),
        "predict": lambda: package.predict(store, run.id, "others"),
    }
    with pytest.raises(
        StoreError, match=r"^The dataset '\w+' was removed from the store while the .* of it was"
    ) as told:
        steps[step]()
    what = "selection" if step == "select" else "run"
    (made,) = [each for each in names(two, f"{what}s", what) if step != "predict" or each != run.id]
    assert f"the {what} {made} of it was made, which is stored" in told.value.message
    assert "Bring it back: histokit ingest folder" in told.value.next
    assert told.value.next.endswith(f"histokit store remove {made} --yes")
    two.ok("store", "remove", made, "--yes")
    assert made not in names(two, f"{what}s", what)
