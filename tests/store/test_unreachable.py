"""What cannot be read for now, or by this user, is no damage: nothing is put aside, and what to mend is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from histokit.errors import ExitCode, HistokitError, UsageError
from histokit.features import FeatureStore
from histokit.plugin import digests
from histokit.store.additions import DAMAGED
from histokit.store.commits import LEDGER
from histokit.store.networks import Networks
from histokit.store.repair import repair
from histokit.store.split_records import Split, split_rows
from histokit.store.verify import verify
from tests.cli.command_line import CommandLine
from tests.store.made import a_run
from tests.toy import make_samples, make_store

#: As Lance and pyarrow tell of them, what is told of them here, and the exit code.
REASONS = {
    "denied": (OSError("LanceError(IO): Permission denied (os error 13)"), "Permission denied", 5),
    "stale": (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), os.strerror(errno.ESTALE), 5),
    "threads": (RuntimeError("spawn failed: Os { code: 11, kind: WouldBlock }"), os.strerror(errno.EAGAIN), 5),
    "memory": (pa.ArrowMemoryError("malloc of size 64 failed"), "this machine has too little memory", 2),
    "files": (OSError("LanceError(IO): Too many open files (os error 24)"), "too many files are open", 2),
}


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    samples, X = make_samples()
    store = make_store(tmp_path / "store", samples, {"last": X})
    store.save_run(*a_run("abcd1234"), b"model")
    assert verify(store).ok
    return store


def refuse(monkeypatch: pytest.MonkeyPatch, table: str, error: Exception) -> None:
    opened = lance.dataset

    def dataset(uri: str, **how: Any) -> Any:
        if Path(uri).stem.startswith(table):
            raise error
        return opened(uri, **how)

    monkeypatch.setattr(lance, "dataset", dataset)


def check_nothing_is_done(store: FeatureStore, told: str, code: int) -> None:
    before = sorted(path.name for path in store.uri.iterdir())
    for look in (verify, repair):
        with pytest.raises(HistokitError, match=f"cannot be read: {told}") as error:
            look(store)
        assert error.value.code == ExitCode(code)
    assert sorted(path.name for path in store.uri.iterdir()) == before
    assert not (store.uri / DAMAGED).exists()


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("table", ["datasets", "samples.toy", "features.toy", "runs", "predictions", "models"])
def test_a_table(toy: FeatureStore, monkeypatch: pytest.MonkeyPatch, table: str, reason: str) -> None:
    error, told, code = REASONS[reason]
    with monkeypatch.context() as patch:
        refuse(patch, table, error)
        check_nothing_is_done(toy, told, code)
    assert verify(toy).ok


def test_the_list_of_tables(toy: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == LEDGER:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    again = FeatureStore(toy.uri)
    check_nothing_is_done(again, "Permission denied", 5)
    with pytest.raises(HistokitError, match=r"list of tables .* cannot be read: Permission denied") as told:
        again.runs()
    assert told.value.next == "Mend the permissions, then run the same command again."


def test_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "networks" / "abcd1234" / "0.0.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"tensors")
    entry = {"part": "0.0", "file": "abcd1234/0.0.safetensors", "digest": digests.digest_file(file).hex()}
    assert Networks(tmp_path).damage(entry) is None

    def refused(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("histokit.store.networks.digest_file", refused)
    with pytest.raises(HistokitError, match=r"0\.0\.safetensors cannot be read: Permission denied"):
        Networks(tmp_path).damage(entry)


def test_what_is_no_damage_while_rows_are_looked_at(toy: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no room for a copy of what was read."""

    def refused(*_: Any) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr("histokit.store.feature_checks.as_matrix", refused)
    check_nothing_is_done(toy, "this machine has too little memory", 2)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EACCES])
def test_the_state_of_the_list_of_tables(toy: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What is not seen of the list would be written over by the next write."""
    before = (toy.uri / LEDGER).read_bytes()
    stat = Path.stat

    def refused(path: Path, **how: Any) -> os.stat_result:
        if path.name == LEDGER:
            raise OSError(number, os.strerror(number), str(path))
        return stat(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refused)
        again = FeatureStore(toy.uri)
        check_nothing_is_done(again, os.strerror(number), 5)
        with pytest.raises(HistokitError, match=os.strerror(number)):
            again.save_run(*a_run("bbbb1234"), b"model")
    assert (toy.uri / LEDGER).read_bytes() == before


def test_the_folder_of_a_table(toy: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir

    def refused(path: Any = ".") -> list[str]:
        if "predictions.lance" in str(path):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return listed(path)

    monkeypatch.setattr(os, "listdir", refused)
    check_nothing_is_done(toy, os.strerror(errno.ESTALE), 5)


LISTS = {
    "features": ("features.toy.net_first", "net/last"),
    "splits": ("splits.toy", "other"),
    "datasets": ("samples.toy", "other"),
    "runs": ("predictions", "abcd1234"),
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_show_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    table, rest = LISTS[what]
    samples, X = make_samples()
    store = make_store(tmp_path / "store", samples, {"last": X, "first": X})
    store.save_run(*a_run("abcd1234"), b"model")
    make_store(store.uri, samples, {}, name="other")
    for dataset in ("toy", "other"):
        store.save_split(Split(dataset, "mine", split_rows([(0, 0, "s0", "train"), (0, 0, "s1", "test")])))
    refuse(monkeypatch, table, REASONS["denied"][0])
    shown = CommandLine(capsys)("list", what, "--store", store.uri)
    assert shown.code == 5
    assert rest in shown.out
    assert table in shown.err
    assert "cannot be read: Permission denied" in shown.err


def test_runs_are_stored_where_there_is_no_room_to_merge_their_pieces(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def merge(*_: Any) -> None:
        raise UsageError("The table 'runs' cannot be read: this machine has too little memory.", next="Wait.")

    monkeypatch.setattr("histokit.store.database.all_but_small", merge)
    toy.save_run(*a_run("bbbb1234"), b"model")
    assert {run.id for run in toy.runs()} == {"abcd1234", "bbbb1234"}
