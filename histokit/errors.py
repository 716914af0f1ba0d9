"""Errors that a user can act on, and the exit code of each kind."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from enum import IntEnum
from typing import Any

#: How advice ends.
AGAIN = "then run the same command again."
_SHORTER = "Give a shorter path, or mend its links."

#: What only a path that was given, the disk, or the machine can be the reason of, and what to do about it.
_BY_NUMBER = {
    errno.ENAMETOOLONG: _SHORTER,
    errno.ELOOP: _SHORTER,
    errno.ENOSPC: f"Free some space, {AGAIN}",
    errno.EDQUOT: f"Free some space of what you may use of this disk, {AGAIN}",
    errno.EFBIG: f"Allow larger files with: ulimit -f unlimited; or name another disk; {AGAIN}",
    errno.EROFS: f"Nothing can be written to this disk: name another place, or mount it for writing, {AGAIN}",
    errno.EMFILE: f"Allow more open files with: ulimit -n 1024; or ask for fewer --workers; {AGAIN}",
    errno.ENFILE: f"Close other programs, for the whole machine has too many open files; {AGAIN}",
}
#: What may have other reasons, unless it is known that something was to be written.
_DENIED = dict.fromkeys((errno.EACCES, errno.EPERM), f"Mend the permissions, {AGAIN}")

#: What a library meets that reads with threads of its own.
_NO_THREAD = {errno.EAGAIN: f"End other programs, or allow more threads (ulimit -u), {AGAIN}"}

#: What keeps a file from being read for now, or for this user: nothing is wrong with the file.
_OUT_OF_REACH = {
    *_DENIED,
    *_NO_THREAD,
    *(errno.EINTR, errno.EBUSY),
    # Of file systems in a network, and of those that a program serves.
    *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET, errno.ECONNABORTED, errno.ECONNREFUSED),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
}

#: How libraries in Rust write the number of an error.
_WRITTEN_NUMBER = re.compile(r"\bos error (\d+)|\bOs \{ code: (\d+)")

#: In the messages of what is no `MemoryError`: of torch's processors and devices, pinned memory, cuDNN and cuBLAS, and
#: of libraries that the system cannot load.
_OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "bad_alloc"),
    # A thread takes some memory for its stack.
    "can't start new thread",
    "failed to map segment from shared object",
    # As what libraries of CUDA tell that they got no memory for their own work.
    *("CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_INTERNAL_ERROR"),
    "unable to find an engine",
)


class ExitCode(IntEnum):
    """What the exit status of a command says."""

    #: Done.
    OK = 0
    #: A bug in histokit; printed with its traceback.
    BUG = 1
    #: The command was called wrongly, or asks for more than the machine has.
    USAGE = 2
    #: A plugin is unknown, duplicate or broken.
    PLUGIN = 3
    #: The data are not as they must be: unreadable image, duplicate id, NaN.
    DATA = 4
    #: Something is absent, ambiguous, stale or locked in the store.
    STORE = 5
    #: A sample of the test set would have been seen in training.
    LEAKAGE = 6
    #: Interrupted by the user; the same command resumes.
    INTERRUPTED = 130


class HistokitError(Exception):
    """A mistake that the user can mend.

    Parameters
    ----------
    message : str
        What is wrong, and which thing it is about.
    next : str
        The next thing to type or to do.
    details : mapping, optional
        Facts for programs that read the JSON form of the error.
    """

    code: ExitCode = ExitCode.BUG

    def __init__(self, message: str, *, next: str, details: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.message = message
        self.next = next
        self.details = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message}\n{self.next}"

    @property
    def line(self) -> str:
        """What is wrong and what to do about it, in one line of a list."""
        return one_line(f"{self.message} {self.next}")

    def to_json(self) -> dict[str, Any]:
        """Return the error as a JSON-serialisable mapping."""
        document = {"code": int(self.code), "message": self.message, "next": self.next}
        return {**document, "details": self.details} if self.details else document


class UsageError(HistokitError):
    """The command or function was called wrongly, or asks for more than the machine has."""

    code = ExitCode.USAGE


class PluginError(HistokitError):
    """A plugin is unknown, duplicate or broken."""

    code = ExitCode.PLUGIN


class DataError(HistokitError):
    """The data are not as they must be."""

    code = ExitCode.DATA


class StoreError(HistokitError):
    """Something is absent, ambiguous, stale, locked or too new in the store."""

    code = ExitCode.STORE


class BusyError(StoreError):
    """Another process does the same at this moment: it will be there."""


class UnreachableError(HistokitError):
    """Something of the store cannot be read now, or by this user; nobody knows whether anything is wrong with it."""

    code = ExitCode.STORE


class LeakageError(HistokitError):
    """A test sample would have been seen in training."""

    code = ExitCode.LEAKAGE


def memory_was_short(error: BaseException) -> bool:
    """Return whether an error of any library tells of too little memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    told = isinstance(error, RuntimeError | ImportError) and any(text in str(error) for text in _OUT_OF_MEMORY)
    return told or isinstance(error, MemoryError)


def not_of_histokit(error: BaseException) -> UsageError | None:
    """Return what to tell of an error whose reason is a path, the disk or the machine; none of any other."""
    if memory_was_short(error):
        return UsageError(
            f"This machine has too little memory: {first_line(error)}.",
            next="Ask for less at once, end other programs, or use a machine with more; --debug shows where.",
        )
    number = number_of(error)
    if number in _BY_NUMBER:
        name = getattr(error, "filename", None)
        path = f": {shortened(os.fsdecode(name))}" if name else ""
        return UsageError(f"{os.strerror(number)}{path}", next=_BY_NUMBER[number])
    return None


def number_of(error: BaseException) -> int | None:
    """Return the number that the system has for an error, also where a library only wrote it into its message."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = _WRITTEN_NUMBER.search(str(error))
    return int(found[1] or found[2]) if found else None


def files_were_short(error: BaseException) -> bool:
    """Return whether an error of any library tells of too many open files."""
    return number_of(error) in (errno.EMFILE, errno.ENFILE)


def out_of_reach(error: BaseException, what: str) -> HistokitError | None:
    """Return what to raise where a file could not be read, but is not damaged by what is known; none where it may be.

    Parameters
    ----------
    error : BaseException
        Of any library.
    what : str
        What could not be read, to begin a sentence with.
    """
    if files_were_short(error):
        return UsageError(f"{what} cannot be read: too many files are open.", next=advice_on_writing(error))
    if memory_was_short(error) or number_of(error) == errno.ENOMEM:
        return UsageError(
            f"{what} cannot be read: this machine has too little memory.",
            next="End other programs, or use a machine with more; then run the same command again.",
        )
    number = number_of(error)
    if number not in _OUT_OF_REACH:
        return None
    advice = (_DENIED | _NO_THREAD).get(number, f"Wait until its disk can be read again, {AGAIN}")
    return UnreachableError(f"{what} cannot be read: {os.strerror(number)}.", next=advice)


def advice_on_writing(error: BaseException) -> str:
    """Return what to do where something could not be written, by what the system refused."""
    number = number_of(error) or 0
    return (_BY_NUMBER | _DENIED).get(number, f"Check the disk and the permissions, {AGAIN}")


def advice_on_store(error: BaseException) -> str:
    """Return the same of a store, which may be another one where it is not the disk that is full."""
    advice = advice_on_writing(error)
    refused = number_of(error) in (errno.EROFS, *_DENIED)
    return f"{advice} Or use another store: --store FOLDER." if refused else advice


def unwritten_output(path: object, error: BaseException, other: str = "another --out") -> UsageError:
    """Return what to tell where a file or a folder that an option names could not be written."""
    number = number_of(error) or 0
    reason = os.strerror(number) if number else first_line(error)
    return UsageError(f"{path} cannot be written: {reason}.", next=_BY_NUMBER.get(number, f"Choose {other}."))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without a full stop, or the name of its class where it says nothing."""
    lines = (line.strip().rstrip(".") for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


#: How many words are proposed at most, and how alike two are of which one is the other mistyped.
_CLOSE, _MISTYPED = 3, 0.8


def one_line(text: str) -> str:
    """Return a text in one line: what libraries say may be of several."""
    return " ".join(filter(None, map(str.strip, text.splitlines())))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``"Did you mean 'vgg16'? "``, or ``""`` where nothing is close."""
    spelt: dict[str, str] = {}
    for word in known:
        spelt.setdefault(word.lower(), word)
    lower = name.lower()
    close = [spelt[word] for word in ([lower] if lower in spelt else _near(lower, list(spelt)))]
    return f"Did you mean {' or '.join(repr(c) for c in close)}? " if close else ""


def _near(name: str, known: Sequence[str]) -> list[str]:
    """Return up to three words: mistyped ones, those that are it but for what stands beside ``_``, then others."""
    # One number is no other one mistyped.
    if name.isdigit():
        return []
    longer = [word for word in known if word.endswith(f"_{name}") or word.startswith(f"{name}_")]
    shorter = [word for word in known if name.endswith(f"_{word}") or name.startswith(f"{word}_")]
    # A piece that many words share says none of them.
    pieces = [word for words in (longer, shorter) if len(words) <= _CLOSE for word in words if not word.isdigit()]
    alike = get_close_matches(name, known, n=_CLOSE, cutoff=0.6)
    mistyped = get_close_matches(name, alike, n=_CLOSE, cutoff=_MISTYPED)
    return list(dict.fromkeys([*mistyped, *pieces, *alike]))[:_CLOSE]


def shortened(text: str, limit: int = 80) -> str:
    """Return the beginning of a text that is longer than some letters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def some(values: Sequence[str], limit: int = 5) -> str:
    """Return the first few of some texts, and how many more there are."""
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(values[:limit]) + more


def counted(count: int, one: str, many: str) -> str:
    """Return a number and what there is of it, with the verb that it needs, such as ``1 image lacks``."""
    return f"1 {one}" if count == 1 else f"{count:,} {many}"


def counted_values(count: int, column: str) -> str:
    """Return how many values of a column there are, such as ``3 slides`` or ``3 values of Patient (No)``."""
    if not column.isalpha():
        return counted(count, f"value of {column}", f"values of {column}")
    return counted(count, column, f"{column}s")
