"""What cannot be read for now, or by this user, is no damage: nothing is put aside, and what to mend is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from histokit.errors import ExitCode, HistokitError
from histokit.features import FeatureStore
from histokit.plugin import digests
from histokit.store.additions import DAMAGED
from histokit.store.commits import LEDGER
from histokit.store.networks import Networks
from histokit.store.repair import repair
from histokit.store.verify import verify
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
