"""Trained networks in the store: whole or not there, never damaged in silence, and gone once nothing names them."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tiny_plugin import TinyPlugin
from torch import nn

import histokit
from histokit import cli
from histokit.errors import StoreError
from histokit.features import FeatureStore, open_store
from histokit.networks.trained_runs import network_of
from histokit.store import RunRecord
from histokit.store.care import collect_garbage
from histokit.store.networks import CONTENTS, Networks
from histokit.store.repair import repair
from histokit.store.unfinished import Unfinished
from histokit.store.verify import verify
from tests.trained_runs import a_network, a_trained_run, tensors_of

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
SEEN = [bytes([i] * 16) for i in (3, 1, 2, 3)]


@pytest.fixture
def run(store: FeatureStore, images: Path, tiny: TinyPlugin) -> RunRecord:
    """Of two folds' networks and the final one."""
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    ids = store.samples("d").column("id").to_pylist()
    parts = {"0.0": ids[:12], "0.1": ids[12:], "final": ids}
    trained = {part: (*a_network(seed=number), seen) for number, (part, seen) in enumerate(parts.items())}
    return a_trained_run(store, "d", trained)


def test_a_network_comes_back(tmp_path: Path) -> None:
    networks = Networks(tmp_path)
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    tied = {"a": network.weight, "b": network.weight, "half": network.weight[:2], "n": torch.tensor(7)}
    tied |= {"c": network.bias, "d": network.bias}
    entry = networks.save("abc", "0.1", tied, {"histokit": '{"x": 1}'}, SEEN)
    assert entry.keys() == {"part", "file", "digest", "bytes", "samples", "contents"}
    assert (entry["part"], entry["samples"]) == ("0.1", 3)
    assert [path.name for path in (tmp_path / "networks" / "abc").iterdir()] == [Path(entry["file"]).name]
    assert networks.path(entry).stat().st_size == entry["bytes"]
    assert networks.path(entry).stat().st_mode & 0o777 == (tmp_path / "networks" / "abc").stat().st_mode & 0o666
    with safetensors.safe_open(networks.path(entry), "numpy") as file:
        assert file.get_tensor(CONTENTS).tolist() == [[i] * 16 for i in (1, 2, 3)]
    record = _record(entry)
    found = networks.read(record, entry)
    assert found.document == {"x": 1}
    assert found.tensors.keys() == tied.keys()
    assert all(torch.equal(found.tensors[name], tied[name]) for name in tied)
    assert networks.contents(record, entry) == set(SEEN)
    assert networks.contents(record, networks.save("abc", "final", {}, {})) == set()


def _record(entry: dict[str, Any], run_id: str = "abc") -> RunRecord:
    return RunRecord(
        run_id, "d", "finetune", "tiny/3", "fine-tuning", "cv", "0", ("a",), "accuracy", {}, [], [], {}, 1.0, "2026",
        found={"networks": [entry]},
    )  # fmt: skip


def test_equal_networks_have_equal_bytes(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = network.state_dict()
    entries = [
        Networks(tmp_path / str(number)).save("abc", "final", dict(order), {"histokit": "{}"}, used)
        for number, (order, used) in enumerate(
            [(state.items(), SEEN), (list(state.items())[::-1], SEEN[::-1]), (state.items(), SEEN[:1])]
        )
    ]
    assert entries[0] == entries[1]
    assert entries[0]["digest"] != entries[2]["digest"]


def test_a_network_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = Networks(tmp_path)
    kept = networks.save("abc", "final", {"x": torch.zeros(3)}, {})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for run_id in ("abc", "new"):
        with pytest.raises(StoreError, match="cannot be written: No space left on device"):
            networks.save(run_id, "final", {"x": torch.ones(3)}, {})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [networks.path(kept)]
    assert not (tmp_path / "networks" / "new").exists()
    monkeypatch.undo()
    message = "Error while serializing: I/O error: whatever (os error 28)"

    def refused(_tensors: Any, path: Path, _metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise safetensors.SafetensorError(message)

    monkeypatch.setattr(safetensors.torch, "save_file", refused)
    with pytest.raises(StoreError, match="cannot be written: No space left on device"):
        networks.save("abc", "final", {"x": torch.ones(3)}, {})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == files


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_verify_tells_of_a_damaged_network(
    store: FeatureStore, run: RunRecord, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(store).findings == ()
    entry = network_of(run, "0.1")
    path = store.networks.path(entry)
    if how == "flipped":
        flip(path)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    for call in (store.networks.read, store.networks.require):
        with pytest.raises(StoreError, match=r"network '0\.1' of the run fe0123456789 is damaged"):
            call(run, entry)
    (finding,) = verify(store).findings
    assert (finding.table, finding.kind) == ("networks", "run" if how == "gone" else "changed")
    assert "'0.1' of the run fe0123456789" in finding.what
    assert "histokit finetune d --backbone tiny --split cv --force" in finding.next
    assert cli.run(["store", "verify", "--store", str(store.uri)]) == 5
    assert "finetune" in capsys.readouterr().out
    assert not repair(store).ok
    assert verify(open_store(store.uri)).findings == ()
    assert not store.runs()
    assert [p.name[:3] for p in (store.uri / "damaged").rglob("*.safetensors") if p.name.startswith("fin")] == ["fin"]


def test_digests_of_samples_that_changed_are_noticed(store: FeatureStore, run: RunRecord) -> None:
    entry = network_of(run, "final")
    assert store.networks.contents(run, entry) == set(store.samples("d").column("content").to_pylist())
    path = store.networks.path(entry)
    content = store.samples("d").column("content")[0].as_py()
    flip(path, path.read_bytes().index(content))
    with pytest.raises(StoreError, match="is damaged"):
        store.networks.contents(run, entry)
    path.unlink()
    with pytest.raises(StoreError, match="is gone"):
        store.networks.contents(run, entry)


def test_parts_that_are_not_there_are_named(store: FeatureStore, run: RunRecord) -> None:
    with pytest.raises(StoreError, match=r"has no network '0\.2'") as raised:
        network_of(run, "0.2")
    assert raised.value.next.endswith("It has: 0.0, 0.1, final.")


def _old(path: Path, age: timedelta) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(b"123")
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))
    return path


def test_gc_removes_what_no_run_names(store: FeatureStore, run: RunRecord) -> None:
    hour, folder = timedelta(hours=2), store.uri / "networks"
    named = [_old(store.networks.path(entry), hour) for entry in run.found["networks"]]
    network, described = a_network(seed=9)
    again = store.networks.save(run.id, "final", tensors_of(network), described.metadata())
    superfluous = [
        _old(store.networks.path(again), hour),
        _old(folder / "unfinished" / run.id / "checkpoint.safetensors", hour),
        _old(folder / "0ther1234567" / ".0.0.17.part", hour),
        _old(folder / "unfinished" / "f0rg0tten000" / "checkpoint.safetensors", timedelta(days=31)),
    ]
    young = store.networks.save("y0ung", "final", tensors_of(network), described.metadata())
    kept = [
        store.networks.path(young),
        # A training of many folds that was interrupted days ago.
        _old(folder / "unfinished" / "g0ing0n00000" / "0.3" / "checkpoint.safetensors", timedelta(days=5)),
        _old(folder / "g0ing0n00000" / "0.2.0123.safetensors", timedelta(days=9)),
    ]
    (told,) = (care for care in collect_garbage(store, dry_run=True) if care.table == "networks")
    assert (told.rows, told.freed) == (4, sum(path.stat().st_size for path in superfluous))
    assert all(path.exists() for path in superfluous)
    collect_garbage(store)
    assert [path for path in superfluous if path.exists()] == []
    assert all(path.exists() for path in [*named, *kept])
    assert verify(store).findings == ()
    store.networks.forget("g0ing0n00000")
    assert not (folder / "g0ing0n00000").exists()
    assert not store.networks.unfinished("g0ing0n00000").exists()


def test_a_network_of_a_run_that_ends_while_gc_looks_at_the_runs_stays(
    store: FeatureStore, run: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = replace(run, id="end1ng000000", found={"networks": []})
    network, described = a_network(seed=7)
    entry = store.networks.save(ending.id, "0.0", tensors_of(network), described.metadata())
    _old(store.networks.path(entry), timedelta(hours=2))
    parts = Unfinished(store.database)
    parts.save(ending.id, "a", {"x": 1})
    looked = FeatureStore.runs

    def runs(self: FeatureStore, dataset: str | None = None) -> list[RunRecord]:
        found = looked(self, dataset)
        if not store.has_run(ending.id):
            ended = replace(ending, found={"networks": [entry]})
            store.save_run(ended, store.predictions(run.id), None)
            parts.forget(ending.id)
        return found

    monkeypatch.setattr(FeatureStore, "runs", runs)
    collect_garbage(store)
    assert store.has_run(ending.id)
    assert store.networks.path(entry).exists()


def test_gc_goes_on_where_a_training_replaces_what_it_keeps(store: FeatureStore, run: RunRecord) -> None:
    folder = store.networks.unfinished("g0ing0n00000") / "0.0"
    enough = threading.Event()

    def train() -> None:
        number = 0
        while not enough.is_set():
            folder.mkdir(parents=True, exist_ok=True)
            for _ in range(20):
                number += 1
                (folder / f"{number}.part").write_bytes(b"tensors")
                (folder / f"{number}.part").replace(folder / f"{number}.safetensors")
                (folder / f"{number - 1}.safetensors").unlink(missing_ok=True)
            shutil.rmtree(folder)

    training = threading.Thread(target=train)
    training.start()
    try:
        for _ in range(30):
            store.networks.collect(dict, list, datetime.now(UTC), dry_run=True)
    finally:
        enough.set()
        training.join()


def test_what_is_kept_of_work_that_is_done_again_stays_for_a_while(store: FeatureStore, run: RunRecord) -> None:
    Unfinished(store.database).save(run.id, "a", {"x": 1})
    collect_garbage(store)
    assert Unfinished(store.database).read(run.id) == {"a": {"x": 1}}
    collect_garbage(store, older_than=0)
    assert Unfinished(store.database).read(run.id) == {}


def test_what_nobody_asks_for_in_a_month_goes_with_the_next_work_that_ends(store: FeatureStore) -> None:
    kept, now = Unfinished(store.database), datetime.now(UTC).replace(microsecond=0)
    for owner, key, days in (("old", "a", 31), ("new", "a", 5), ("new", "b", 29)):
        keys = {"owner": owner, "key": key, "created": (now - timedelta(days=days)).isoformat(timespec="seconds")}
        kept.documents.save("unfinished", keys, {"x": days}, on=["owner", "key"])
    # The last part is the one that came last, wherever it stands.
    assert kept.last() == {"old": now - timedelta(days=31), "new": now - timedelta(days=5)}
    kept.save("ended", "a", {"x": 0})
    kept.forget("ended")
    assert [kept.read(owner) for owner in ("ended", "old", "new")] == [{}, {}, {"a": {"x": 5}, "b": {"x": 29}}]
