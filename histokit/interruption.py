"""Ctrl-C: it ends the command at any moment, with one message and at most one document, and never with a traceback."""

from __future__ import annotations

# Little, for until it is imported Ctrl-C ends in a traceback.
import atexit
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

CODE, MESSAGE, NEXT = 130, "Interrupted.", "Run the same command to resume."

_SOON = 0.02
_IMPORTS = "<frozen importlib._bootstrap>"


class _State:
    """What has happened in the command that runs."""

    #: Ctrl-C was pressed.
    came = False
    #: A JSON document was begun on stdout: no other may follow it.
    document = False
    as_json = False
    #: The number of the file that documents go to.
    stdout = 1


state = _State()


def reset(as_json: bool) -> None:
    """Begin with a command."""
    state.came, state.document, state.as_json = False, False, as_json


def keep(stdout: int) -> None:
    """Remember which file documents go to."""
    state.stdout = stdout


def answer_at_once() -> None:
    """Let Ctrl-C end the process quietly; for the first imports, when nothing has been done yet."""
    state.as_json = "--json" in sys.argv
    _replace(signal.default_int_handler, leave)


def answer_in_order() -> None:
    """Let Ctrl-C be a `KeyboardInterrupt` that goes through the command, and the second one end the process.

    In the middle of an import it ends the process as well: libraries that are half imported turn the exception into
    others, or into a crash.
    """
    if _replace(leave, _interrupt):
        sys.unraisablehook = _again
        # At its very end Python would let the signal kill the process.
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def may_have_come() -> bool:
    """Return whether a KeyboardInterrupt may be Ctrl-C: else whoever raised it made it up."""
    return state.came or signal.getsignal(signal.SIGINT) not in (_interrupt, signal.SIG_IGN)


def no_more(code: int) -> None:
    """Let Ctrl-C end the process with its own code: all is done."""
    _replace(_interrupt, lambda *_: os._exit(code))


def _replace(handler: Any, other: Any) -> bool:
    # Whoever started the process may have it ignore the signal.
    if signal.getsignal(signal.SIGINT) is handler:
        try:
            signal.signal(signal.SIGINT, other)
        except ValueError:
            # In another thread than the main one, to which Ctrl-C does not go.
            return False
        return True
    return False


def _interrupt(number: int, frame: Any) -> None:
    if state.came or _is_importing(frame):
        leave()
    state.came = True
    raise KeyboardInterrupt


def _is_importing(frame: Any) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTS:
            return True
        frame = frame.f_back
    return False


def _again(unraisable: Any) -> None:
    """Do not lose a Ctrl-C that came where an exception goes nowhere, such as in a destructor."""
    if unraisable.exc_type is KeyboardInterrupt:
        import threading

        state.came = False
        # Once this hook has returned, for an exception that comes out of it would be lost as well.
        threading.Timer(_SOON, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(unraisable)


def leave(*_: Any) -> NoReturn:
    """End the process, at once and quietly."""
    if state.as_json and not state.document:
        error = f'"code": {CODE}, "message": "{MESSAGE}", "next": "{NEXT}"'
        _write(state.stdout, f'{{"error": {{{error}}}}}\n')
    _write(2, f"error: {MESSAGE}\n{NEXT}\n")
    os._exit(CODE)


def _write(number: int, text: str) -> None:
    try:
        os.write(number, text.encode())
    except OSError:
        # Closed or full: nobody is left to be told.
        return
