"""Claims on parts of the work, so that several processes that fill one table push no image through twice.

A claim is a lock on some bytes of one file of the store, which the system itself gives back when a process ends,
however it ends. Claims save work only: what is written twice is kept once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from histokit.plugin.digests import digest_bytes

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

CLAIMS = "claims.lock"

#: Consecutive samples that are claimed together.
UNIT = 128

#: The byte of a claim is the unit, after as many bits of the table's name as an offset in a file has left.
_UNIT_BITS = 28
_TABLE_BITS = 34

#: In place of a unit, for the table as a whole.
_ATTENDING = (1 << _UNIT_BITS) - 1


class Claim:
    """Part of the work of one network, kept until its vectors are in the store.

    Parameters
    ----------
    release : callable
    """

    def __init__(self, release: Callable[[], None]):
        self.release = release
        #: Contents whose vectors are still to come.
        self.left = 0


class Claims:
    """What this process claimed.

    Parameters
    ----------
    folder : Path
        Of the store.
    """

    def __init__(self, folder: Path):
        self.notes: list[str] = []
        self._file: int | None = None
        try:
            if fcntl is None:
                raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
            self._file = os.open(folder / CLAIMS, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            self._give_up(error)

    def claim(self, tables: Iterable[str], unit: int) -> Claim | None:
        """Claim a unit of some tables, or nothing where another process holds one of them."""
        places = [_place(table, unit) for table in tables]
        held: list[int] = []
        for place in places:
            if not self._lock(place):
                self._unlock(held)
                return None
            held.append(place)
        return Claim(lambda: self._unlock(held))

    def attend(self, table: str, alone: bool) -> bool:
        """Say that this process fills a table, until all claims are given back; return whether it may.

        Parameters
        ----------
        table : str
        alone : bool
            Whether no other process may do so meanwhile.
        """
        return self._lock(_place(table, _ATTENDING), shared=not alone)

    def _lock(self, place: int, shared: bool = False) -> bool:
        if (file := self._file) is None:
            return True
        try:
            fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            self._give_up(error)
        return True

    def _unlock(self, places: Sequence[int]) -> None:
        for place in places:
            if (file := self._file) is None:
                return
            try:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, place)
            except OSError as error:
                # Once the file is closed, none of them is held any more.
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.close()
        if self.notes:
            # The thread that gives claims back may find out at the same time.
            return
        what = "The file system of the store takes no locks"
        if error.errno in (errno.EACCES, errno.EPERM):
            what = f"{CLAIMS} of the store is not to be written by this user"
        self.notes.append(f"{what} ({error.strerror}): several processes at once may push the same images through.")

    def close(self) -> None:
        """Give back all claims."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _place(table: str, unit: int) -> int:
    number = int.from_bytes(digest_bytes(table.encode())[:8], "little") % (1 << _TABLE_BITS)
    return (number << _UNIT_BITS) + unit
