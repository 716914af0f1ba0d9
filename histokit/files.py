"""What lies at a path that is given: a file, or something that a command would wait for, such as a pipe."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from histokit.errors import DataError, HistokitError, StoreError, UsageError, advice_on_store, did_you_mean

if TYPE_CHECKING:
    from filelock import FileLock

#: Of one letter it would be a drive of Windows.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)

_ODD = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

#: What file systems without locks say, such as Lustre without ``flock``, and what those may not write who only read.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
#: Where all processes of a machine have their temporary files: ``TMPDIR`` is of one job on many clusters.
_OF_ALL = ("/tmp", "/var/tmp")


def suffix_of(path: str) -> str:
    """Return what a path ends in, in small letters, such as ``.png``; faster than `os.path.splitext`."""
    dot = path.rfind(".")
    return path[dot:].lower() if dot > 0 and path[dot - 1] != "/" else ""


def oddity(path: str | os.PathLike[str]) -> str | None:
    """Return what a path leads to that is neither a file nor a folder, such as ``a pipe``.

    None for files and folders, and where nothing can be found.
    """
    try:
        return oddity_of(os.stat(path))
    except (OSError, ValueError):
        return None


def oddity_of(status: os.stat_result) -> str | None:
    """Return what something is that is neither a file nor a folder."""
    return _ODD.get(stat.S_IFMT(status.st_mode))


def refuse_odd(path: str | os.PathLike[str], error: type[HistokitError] = DataError, *, next: str = "") -> None:
    """Raise where a path leads to a pipe, a socket or a device: opening it may wait, and reading it never end.

    Parameters
    ----------
    path : path
    error : type
        Of the error.
    next : str, optional
        What to do; to save what comes through a pipe where not given.
    """
    odd = oddity(path)
    if odd is not None:
        raise error(
            f"{os.fspath(path)} is {odd}, no file.",
            next=next or "Give a file; what comes through a pipe, such as <(…), has to be saved to one first.",
        )


def require_file(path: str | os.PathLike[str], what: str, *, next: str) -> None:
    """Raise a `DataError` unless a path leads to a file.

    Parameters
    ----------
    path : path
    what : str
        Such as ``table``.
    next : str
        What to do where nothing is there.
    """
    refuse_remote(path, f"{what}s")
    refuse_odd(path)
    if os.path.isdir(path):
        raise DataError(f"The {what} {os.fspath(path)!r} is a folder.", next="Give the path of a file.")
    if not os.path.isfile(path):
        raise DataError(f"The {what} {os.fspath(path)!r} does not exist.", next=next)


def check_output(path: str | os.PathLike[str], suffixes: Collection[str] = ()) -> Path:
    """Return the path of a file to be written, as far as can be said before the work is done.

    Parameters
    ----------
    path : path
    suffixes : collection of str, optional
        One of which it has to have, in small letters or large ones.

    Raises
    ------
    UsageError
        If it has none of them, its folder is not there, or nothing can be written there that is whole or not there.
    """
    place = Path(path)
    refuse_remote(path, "files")
    refuse_odd(path, UsageError, next="Give the name of a file.")
    if place.is_dir():
        raise UsageError(f"{path} is a folder.", next="Give the name of a file.")
    if suffixes and place.suffix.lower() not in suffixes:
        listed = ", ".join(suffixes)
        raise UsageError(
            f"{path} cannot be written: its suffix is none of {listed}.",
            next=f"{did_you_mean(place.suffix, suffixes)}Choose a path ending in one of {listed}.",
        )
    if not place.parent.is_dir():
        what = "is a file" if place.parent.exists() else "does not exist"
        raise UsageError(
            f"{path} cannot be written: {place.parent} {what}.", next="Choose a path in a folder that exists."
        )
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: {place.parent} is read-only.", next="Choose another folder.")
    return place


def check_folder(path: str | os.PathLike[str]) -> Path:
    """Return the path of a folder to be written to, which is made later where it is not there.

    Raises
    ------
    UsageError
        If it is no folder, or cannot be made.
    """
    refuse_remote(path, "folders")
    place = Path(path)
    there = next(part for part in (place, *place.absolute().parents) if os.path.lexists(part))
    if not there.is_dir():
        raise UsageError(f"{path} cannot be written to: {there} is no folder.", next="Choose another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written to: {there} is read-only.", next="Choose another folder.")
    return place


def refuse_remote(path: str | os.PathLike[str], what: str) -> None:
    """Raise a `UsageError` where an address such as ``s3://bucket/x`` stands for a path, or what Path made of it.

    Parameters
    ----------
    path : path
    what : str
        That is meant, such as ``stores``.
    """
    found = _ADDRESS.match(text := os.fspath(path))
    if found and not os.path.lexists(text):
        raise UsageError(
            f"{found[1]}://{found[2]} is an address: {what} that are not on this machine are not supported yet.",
            next="Give the path of a local folder or file; copy what lies elsewhere to one first.",
        )


def refuse_undecoded(
    path: str | os.PathLike[str], what: str, error: type[HistokitError] = UsageError, *, next: str
) -> None:
    """Raise where a path is not valid UTF-8, so that it can be stored and shown nowhere.

    Parameters
    ----------
    path : path
    what : str
        What it is of, such as ``the weights``.
    error : class
        What is raised.
    next : str
    """
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError as wrong:
        shown = os.fsencode(text).decode("utf-8", "backslashreplace")
        raise error(f"The path of {what}, {shown}, is not valid UTF-8.", next=next) from wrong


def refuse_circle(path: str | os.PathLike[str], *, next: str) -> None:
    """Raise a `DataError` where a path leads to symbolic links that lead to each other.

    Parameters
    ----------
    path : path
    next : str
        What to do.
    """
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{os.fspath(path)} is a symbolic link that leads in a circle.", next=next) from error
    except ValueError:
        # Whoever opens it tells of it.
        return


class PathLock:
    """A lock by the file of a path, which its process gives back however it ends.

    Where the file system takes no locks, a file among the machine's temporary ones is locked in its place: processes of
    one machine wait for each other there as well.

    Parameters
    ----------
    path : Path
        In a store.
    patience : float
        Seconds to wait for another process that holds it; without end where negative.
    """

    def __init__(self, path: Path, patience: float = -1.0):
        from filelock import FileLock

        name = hashlib.blake2b(os.fsencode(os.path.realpath(path)), digest_size=16).hexdigest()
        self._folder = path.parent
        # A file that stands for a lock as long as it is there would outlive its process, or be the one that locks need.
        self._locks = [FileLock(path, timeout=patience, fallback_to_soft=False)]
        # On a full disk there is no folder for temporary files, and the lock of the path can still be taken.
        with suppress(OSError):
            folder = next((place for place in _OF_ALL if os.access(place, os.W_OK | os.X_OK)), None) or gettempdir()
            other = Path(folder) / f"histokit-{name}.lock"
            # Others who share the store have to open it, whatever the mask of whoever made it.
            self._locks.append(FileLock(other, timeout=patience, mode=0o666, fallback_to_soft=False))

    @contextmanager
    def held(self, busy: HistokitError | None = None) -> Iterator[None]:
        """Hold the lock while a block runs; who may not write to its folder, or finds no locks at all, goes on without.

        Parameters
        ----------
        busy : HistokitError, optional
            What is raised where another process holds it for longer than this one waits.

        Raises
        ------
        StoreError
            If its file cannot be opened, which says nothing of whether it could be locked.
        """
        taken = self._taken(busy)
        try:
            yield
        finally:
            if taken is not None:
                taken.release()

    def _taken(self, busy: HistokitError | None) -> FileLock | None:
        from filelock import Timeout

        for lock in self._locks:
            try:
                lock.acquire()
            except Timeout as error:
                raise (busy or error) from error
            except NotImplementedError:
                continue
            except OSError as error:
                if error.errno in _NOT_OURS and not os.access(self._folder, os.W_OK | os.X_OK):
                    return None
                if error.errno not in _NO_LOCKS:
                    raise StoreError(
                        f"The lock {lock.lock_file} cannot be opened: {error.strerror or error}.",
                        next=advice_on_store(error),
                    ) from error
            else:
                return lock
        return None


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield the name of a file to be written, which takes the place of another in one step once it is whole."""
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
