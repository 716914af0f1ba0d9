"""One writer at a time, and what it left: so that tables which were lost, or went back to an earlier version, show."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from histokit.errors import StoreError
from histokit.plugin.digests import digest_json

LEDGER = "tables.json"
LOCK = "write.lock"

#: Seconds that a process waits for another one, which holds the lock for a write of some megabytes.
_PATIENCE = 600.0


class Known(NamedTuple):
    """What a table was when it was last written: its version, and its number of rows then."""

    version: int
    rows: int


class Commits:
    """The lock that a store's writers hold, and the ledger of its tables.

    Feature tables are in neither: they are only ever added to, and a row that is lost is computed again.

    Parameters
    ----------
    folder : Path
        Of the store.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        #: Whether `known` tells what the ledger says; a check of all tables goes on without one that is damaged.
        self.trusted = True
        self._lock: object | None = None
        self._read: tuple[tuple[int, int, int] | None, dict[str, Known]] = (None, {})

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one process at a time write; what it writes in between becomes visible in the order of its writes.

        Raises
        ------
        StoreError
            If another process held the lock for ten minutes.
        """
        from filelock import FileLock, Timeout

        if self._lock is None:
            self._lock = FileLock(self.folder / LOCK, timeout=_PATIENCE)
        lock: FileLock = self._lock  # type: ignore[assignment]
        try:
            lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"Another process has been writing to the store {self.folder} for {_PATIENCE / 60:.0f} minutes.",
                next=f"Wait for it, or end it; it holds {self.folder / LOCK}.",
            ) from error
        except (OSError, NotImplementedError):
            # The file system takes no locks: then two processes must not write in the same instant.
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def known(self) -> dict[str, Known]:
        """Return what the tables were when they were last written, by name; empty for stores of earlier versions.

        Raises
        ------
        StoreError
            If the ledger is damaged.
        """
        path = self.folder / LEDGER
        try:
            status = path.stat()
        except OSError:
            return {}
        if not self.trusted:
            return {}
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._read[0] != state:
            self._read = (state, _read(path))
        return self._read[1]

    @property
    def is_lost(self) -> bool:
        """Whether tables were written under the lock, and their list is not there."""
        return (self.folder / LOCK).exists() and not (self.folder / LEDGER).exists()

    def forget(self) -> None:
        """Forget what all tables were; only while the lock is held."""
        (self.folder / LEDGER).unlink(missing_ok=True)
        self._read = (None, {})

    def note(self, name: str, known: Known | None) -> None:
        """Write down what a table is now, or that it was dropped; only while the lock is held."""
        before = self.known()
        if before.get(name) == known:
            return
        tables = {**before, name: known}
        kept = {key: list(tables[key]) for key in sorted(tables) if tables[key] is not None}  # type: ignore[arg-type]
        path = self.folder / LEDGER
        # Never seen half written. The name differs between processes, where the file system takes no locks.
        new = path.with_name(f"{LEDGER}.{socket.gethostname()}.{os.getpid()}")
        try:
            new.write_text(json.dumps({"check": digest_json(kept).hex(), "tables": kept}), encoding="utf-8")
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Known]:
    try:
        document = json.loads(path.read_bytes())
        if digest_json(document["tables"]).hex() != document["check"]:
            raise ValueError("it is not what was written")
        return {name: Known(*map(int, entry)) for name, entry in document["tables"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"The list of tables {path} is damaged: {error}.",
            next="Check the store with: histokit store verify; then mend it with: histokit store repair",
        ) from error
