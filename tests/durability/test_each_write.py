"""Commands that are killed before each write to the store, or meet there, leave what one undisturbed command leaves."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import histokit
from histokit.store.documents import Documents
from histokit.store.results import Results
from histokit.store.verify import verify
from tests.durability.processes import Life, Processes
from tests.durability.stores import tables
from tests.durability.test_study_killed import timeless

DRAWN = ("ingest", "synthetic", ".", "--name", "d", "-o", "slides=4", "-o", "per_slide=6", "-o", "size=32")
SPLIT = ("split", "d", "--name", "s", "--group", "slide", "--folds", "2")
EXTRACT = ("extract", "d", "--backbone", "tiny", "--layers", "all", "--batch-size", "4")
TRAIN = ("train", "d", "--features", "tiny/last", "--classifier", "svm", "--split", "s")
SELECT = ("select", "d", "--features", "tiny/last", "--split", "s", "--step", "0.5")

#: One after the other; RUN stands for the run that was trained.
COMMANDS: dict[str, tuple[str, ...]] = {
    "ingest": DRAWN,
    "split": SPLIT,
    "extract": EXTRACT,
    "select": SELECT,
    "train": TRAIN,
    "train --force": (*TRAIN, "--force"),
    "ingest others": (*DRAWN, "-o", "seed=1", "--replace"),
    "extract others": EXTRACT,
    "predict": ("predict", "RUN", "d"),
    "store compact": ("store", "compact"),
    "store gc": ("store", "gc", "--older-than", "0"),
}


def holds(uri: Path) -> dict[str, Any]:
    """What a store holds, without what differs from time to time."""
    store = histokit.open_store(uri)
    names = store.database.names()
    found: dict[str, Any] = {name: table.to_pylist() for name, table in tables(store).items()}
    found["datasets"] = [timeless(record.to_json()) for record in store.datasets()]
    found["runs"] = [timeless(run.to_json()) for run in store.runs()]
    found["selections"] = [timeless(selection.to_json()) for selection in store.selections()]
    for run in store.runs():
        found[run.id] = sorted(store.predictions(run.id).to_pylist(), key=repr)
        found[f"model {run.id}"] = run.kind == "predict" or store.model(run.id) is not None
    for record in store.datasets():
        found[f"samples {record.name}"] = store.samples(record.name).to_pylist()
        found[f"splits {record.name}"] = [(split.name, split.digest) for split in store.splits(record.name)]
    found["rows"] = {name: store.database.count(name) for name in names if name in ("runs", "predictions", "models")}
    return found


def told(command: Sequence[str], uri: Path) -> list[str]:
    """Arguments of a command on a store."""
    run = next((run.id for run in histokit.open_store(uri).runs() if run.kind == "train"), "")
    return [run if word == "RUN" else word for word in command] + ["--store", str(uri)]


class Stage:
    """A store on which one command is to be run, and what it leaves if nothing disturbs it.

    Parameters
    ----------
    processes : Processes
    folder : Path
        Empty; for copies of the store.
    before : Path
        The store.
    command : sequence of str
    """

    def __init__(self, processes: Processes, folder: Path, before: Path, command: Sequence[str]):
        self.processes, self.folder, self.before, self.command = processes, folder, before, command
        self.number = 0
        self.after, life, self.moments = self._try()
        assert life.wait() == 0, life.err
        self.expected = holds(self.after)
        # Where other images were ingested, their features are not there yet.
        self.findings = verify(histokit.open_store(self.after)).findings

    def copy(self) -> Path:
        """A copy of the store as it was before."""
        self.number += 1
        place = self.folder / str(self.number)
        if self.before.exists():
            shutil.copytree(self.before, place)
        return place

    def start(self, uri: Path, **order: Any) -> Life:
        """Start the command on a store."""
        moments = {"count": f"{uri}.count", **order}
        return self.processes.start(*told(self.command, uri), moments=moments)

    def _try(self, **order: Any) -> tuple[Path, Life, int]:
        uri = self.copy()
        life = self.start(uri, **order)
        life.wait()
        return uri, life, Path(f"{uri}.count").stat().st_size

    def killed_at(self, moment: int) -> None:
        """Kill the command at a moment, look at what is there, and run it again."""
        uri, life, moments = self._try(kill=moment)
        # Where workers write, two writes may be one the next time, so that the last moments do not come.
        assert life.code == -9 or moments < moment, (life.code, life.err)
        if uri.exists():
            # What was there before can be read, whole.
            holds(uri)
        again = self.start(uri)
        assert again.wait() == 0, again.err
        if "--force" not in self.command:
            # What the killed one wrote of a run that it did not come to name is never read, and waits for `store gc`.
            Results(Documents(histokit.open_store(uri).database)).remove_unnamed(dry_run=False)
        self.check(uri, f"killed at {moment} of {self.moments}")

    def together(self, parties: int) -> None:
        """Run the command in several processes, which meet before each write."""
        uri = self.copy()
        meeting = Path(f"{uri}.meeting")
        meeting.mkdir()
        lives = [self.start(uri, meet=str(meeting), parties=parties) for _ in range(parties)]
        # One collects garbage at a time; the others are told.
        ended = [life.wait() == 0 or "Another process is collecting" in life.err for life in lives]
        assert all(ended), [life.err for life in lives]
        assert 0 in [life.code for life in lives]
        self.check(uri, f"{parties} together")

    def check(self, uri: Path, how: str) -> None:
        """Require what the undisturbed command left, once, and as sound."""
        found = holds(uri)
        for name in found.keys() | self.expected.keys():
            assert found.get(name) == self.expected.get(name), (how, self.command, name)
        assert verify(histokit.open_store(uri)).findings == self.findings, (how, self.command)
        shutil.rmtree(uri)


def stages(processes: Processes, folder: Path, commands: int | None = None) -> dict[str, Stage]:
    """Run the first commands one after the other, each on a copy of what the one before left."""
    found: dict[str, Stage] = {}
    before = folder / "none"
    for number, (name, command) in enumerate([*COMMANDS.items()][:commands]):
        place = folder / str(number)
        place.mkdir()
        found[name] = Stage(processes, place, before, command)
        before = found[name].after
    return found


def test_killed_before_a_write_and_held_together_at_each(forks: Processes, tmp_path: Path) -> None:
    made = stages(forks, tmp_path, 7)
    for name in ("train --force", "ingest others"):
        stage = made[name]
        for moment in range(3, stage.moments + 1, 6):
            stage.killed_at(moment)
    made["train"].together(2)


@pytest.mark.slow
def test_killed_before_each_write(forks: Processes, tmp_path: Path) -> None:
    tried = 0
    for stage in stages(forks, tmp_path).values():
        for moment in range(1, stage.moments + 1):
            stage.killed_at(moment)
            tried += 1
    assert tried > 100


@pytest.mark.slow
@pytest.mark.parametrize("parties", [2, 3, 4])
def test_held_together_at_each_write(forks: Processes, tmp_path: Path, parties: int) -> None:
    for stage in stages(forks, tmp_path).values():
        stage.together(parties)
