"""Standard output and standard error: as wide as they are, in letters that they have, closed or full."""

from __future__ import annotations

import atexit
import codecs
import errno
import os
import sys
import threading
import unicodedata
from typing import Any, NoReturn

from histokit.errors import ExitCode, UsageError

#: What stands for a mark of ours where the stream has only ASCII; letters of names become escapes.
_PLAIN = {"─": "-", "━": "=", "–": "-", "…": "...", "×": "x", "·": "-", "→": "->", "≥": ">=", "≤": "<=", "±": "+-"}

_ANSWER = "histokit-plain"

#: Streams that were closed when the process began.
_CLOSED: set[str] = set()

#: Where the streams of the process lead, under numbers that nothing else closes, and in which encoding.
_SPARE: dict[str, tuple[int, str]] = {}

#: Turn what follows around on the screen.
_BIDI = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)), "\u200e", "\u200f"}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("unicode_escape").decode() for c in text), error.end


codecs.register_error(_ANSWER, _plain)


def guard() -> None:
    """Put a stream that leads nowhere in the place of each one that is closed, and let none fail for a letter.

    Without it, the next file to be opened would take the number of a closed stream, and receive what libraries print.
    """
    _CLOSED.clear()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            _CLOSED.add(name)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        else:
            stream.reconfigure(errors=_ANSWER)


def keep_stdout() -> int:
    """Keep standard output for what the tool prints itself, and return the number of the file that it has from now on.

    What libraries, plugins and processes that they start print to file 1 goes to standard error.
    """
    sys.stdout.flush()
    # Not inherited by other processes.
    _SPARE.update(stdout=(os.dup(1), sys.stdout.encoding), stderr=(os.dup(2), sys.stderr.encoding))
    sys.stdout = _opened("stdout")
    os.dup2(2, 1)
    return _SPARE["stdout"][0]


def _opened(name: str) -> Any:
    number, encoding = _SPARE[name]
    return open(os.dup(number), "w", encoding=encoding, errors=_ANSWER, buffering=1 if name == "stderr" else -1)


def reopened(name: str, stream: Any) -> Any:
    """Return a stream of the process, opened anew where it has been closed and its file is known."""
    return _opened(name) if name in _SPARE and getattr(stream, "closed", False) else stream


def reopen_files() -> None:
    """Let the files 1 and 2 lead to stderr where they have been closed, before another file takes the number."""
    for number in (1, 2) if "stderr" in _SPARE else ():
        try:
            os.fstat(number)
        except OSError:
            os.dup2(_SPARE["stderr"][0], number)


def width(stream: Any) -> int | None:
    """Return how many columns a terminal has, or None where the stream is no terminal."""
    if stream is None or not stream.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def is_screen(stream: Any) -> bool:
    """Return whether lines of a stream can be drawn over."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def printable(text: str, stream: Any) -> str:
    """Return a text in letters that a stream has, with escapes in place of what would steer a terminal."""
    safe = text if text.isprintable() else "".join(_escaped(c) for c in text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return safe if safe.isascii() else safe.encode(encoding, _ANSWER).decode(encoding)


def _escaped(letter: str) -> str:
    steers = unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or letter in _BIDI
    return letter.encode("unicode_escape").decode() if steers else letter


def write(name: str, text: str) -> None:
    """Print on ``stdout`` or ``stderr``; what a closed pipe does not take is not missed.

    Raises
    ------
    UsageError
        If stdout cannot be written for another reason, such as a full disk, or because nobody opened it.
    """
    if name == "stdout" and name in _CLOSED and text:
        raise unwritten(OSError(errno.EBADF, "standard output is closed"))
    stream = reopened(name, getattr(sys, name))
    setattr(sys, name, stream)
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        abandon(stream)
        if name == "stdout" and not isinstance(error, BrokenPipeError):
            raise unwritten(error) from error


def unwritten(error: OSError) -> UsageError:
    """Return what to tell where stdout cannot be written."""
    return UsageError(
        f"What the command prints cannot be written: {error.strerror or error}.",
        next="Send it to a place with room, and run the same command again: what it did is stored.",
    )


def finish(name: str = "stdout") -> OSError | None:
    """Write what is left of a stream, and return why it cannot be, other than for a closed pipe."""
    stream = getattr(sys, name)
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        abandon(stream)
        return None if isinstance(error, BrokenPipeError) else error
    return None


def abandon(stream: Any) -> None:
    """Lead a stream nowhere, so that Python does not complain once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def leave(code: int) -> NoReturn:
    """End the process, without taking apart what the system takes back whole: half a second with torch and lancedb.

    After Ctrl-C a thread that hangs, such as in a plugin's ``read``, is not waited for; others are.
    """
    interrupted = code == ExitCode.INTERRUPTED
    if not interrupted and any(not thread.daemon for thread in threading.enumerate()[1:]):
        sys.exit(code)
    if not interrupted or threading.active_count() == 1:
        atexit._run_exitfuncs()
    # What cannot be written was told when it was printed.
    finish("stdout")
    finish("stderr")
    os._exit(code)
