"""Calls into plugins: what they raise is told as theirs, what they print goes to stderr, what hangs is named."""

from __future__ import annotations

import itertools
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from histokit import interruption, streams
from histokit.errors import ExitCode, HistokitError, PluginError, shortened
from histokit.plugin.digests import canonical_json
from histokit.plugin.kept_streams import go_to, kept_streams, working_folder

T = TypeVar("T")

#: Seconds after which a call is named that has not come back.
PATIENCE = 10.0

#: What a plugin may tell of as histokit does: the user's mistakes.
_OF_USERS = (ExitCode.USAGE, ExitCode.PLUGIN, ExitCode.DATA, ExitCode.STORE, ExitCode.LEAKAGE)

_LONGEST_TEXT = 1_000

#: Packages whose lines are on the way to those of a plugin.
_CALLING = ("histokit", "pluggy", "contextlib")

#: Behind advice, where an error ends the command.
TRACEBACK = "; --debug shows the traceback"


class _Watch:
    """Names calls that do not come back; one thread looks at all of them."""

    def __init__(self) -> None:
        self.calls: dict[int, tuple[float, str]] = {}
        self._started = False

    def begin(self, text: str) -> int:
        if not self._started:
            self._started = True
            threading.Thread(target=self._look, daemon=True, name="plugins").start()
        key = next(_numbers)
        self.calls[key] = (time.monotonic(), text)
        return key

    def _look(self) -> None:
        told: set[int] = set()
        while True:
            time.sleep(min(1.0, PATIENCE / 4))
            for key, (since, text) in list(self.calls.items()):
                if key not in told and time.monotonic() - since > PATIENCE:
                    told.add(key)
                    late = f"{text} has not come back for {PATIENCE:.0f} s"
                    streams.write("stderr", f"warning: {late}; Ctrl-C ends it\n")
            told &= self.calls.keys()


_numbers = itertools.count()
_watch = _Watch()


@contextmanager
def plugin_call(
    owner: str, method: str, about: str = "", *, through: tuple[type[Exception], ...] = (), watched: bool = True
) -> Iterator[None]:
    """Call a method of a plugin.

    Parameters
    ----------
    owner : str
        The plugin and its distribution, as messages name them.
    method : str
    about : str
        What it was called for, such as a sample.
    through : tuple of exception classes
        That the caller tells of itself.
    watched : bool
        Whether a call that takes long is named.

    Raises
    ------
    PluginError
        In place of whatever the plugin raises, `SystemExit` included; errors of histokit that it raises go through,
        and so does Ctrl-C.
    """
    where = _place(method, about)
    key = _watch.begin(f"{where} of {owner[0].lower() + owner[1:]}") if watched else None
    try:
        with kept_streams():
            yield
    except through:
        raise
    except BaseException as error:
        if _is_of_users(error) or is_interruption(error):
            raise
        raise PluginError(
            f"{owner} failed in {where}: {shown_error(error)}{raised_at(error)}.", next=f"Tell its author{TRACEBACK}."
        ) from error
    finally:
        if key is not None:
            del _watch.calls[key]


def _place(method: str, about: str) -> str:
    return f"{method}{f' for {about}' if about else ''}"


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception is Ctrl-C, and not one that a plugin made up."""
    return type(error) is KeyboardInterrupt and interruption.may_have_come()


def _is_of_users(error: BaseException) -> bool:
    """Whether an error is one of histokit's, and can be told as such."""
    if not isinstance(error, HistokitError):
        return False
    try:
        texts = isinstance(error.message, str) and isinstance(error.next, str)
        canonical_json(error.to_json()).encode()
        return texts and any(error.code is code for code in _OF_USERS)
    except BaseException:
        return False


def plugin_items(owner: str, method: str, items: Iterable[T], folder: str | None = None) -> Iterator[T]:
    """Yield what a plugin yields; each step is a call into it, the first in the folder to which it went before."""
    with plugin_call(owner, method):
        iterator = iter(items)
    while True:
        with plugin_call(owner, method):
            # Between two items as well it stays where it went: what it walks over may be named from there.
            go_to(folder)
            try:
                item = next(iterator)
            except StopIteration as end:
                within = end.__traceback__ and end.__traceback__.tb_next
                # The second is that of the pools of multiprocessing.
                if within is None or within.tb_frame.f_code.co_name in ("__next__", "next"):
                    return
                # As within generators: a function of map() that finds nothing by next() is no end of what it maps.
                raise RuntimeError("StopIteration before the end").with_traceback(within) from end
            folder = working_folder()
        yield item


@dataclass(frozen=True)
class Caller:
    """Calls what a plugin defines, and says of what it gives wrongly that it is the plugin's.

    Parameters
    ----------
    owner : str
        The plugin and its distribution, as messages name them.
    ours : bool
        Whether it is one of histokit's own, whose errors stay what they are.
    advice : str
        What to do about what it gives wrongly.
    """

    owner: str
    ours: bool = False
    advice: str = "Tell its author."

    def call(self, method: str, about: str = "", **how: Any) -> AbstractContextManager[None]:
        """Call a method; see `plugin_call`."""
        return nullcontext() if self.ours else plugin_call(self.owner, method, about, **how)

    def items(self, method: str, items: Iterable[T], folder: str | None = None) -> Iterator[T]:
        """Return what a method yields; see `plugin_items`."""
        return iter(items) if self.ours else plugin_items(self.owner, method, items, folder)

    def wrong(self, method: str, what: str, about: str = "") -> PluginError:
        """Return what to tell of what a method gave."""
        return PluginError(f"{self.owner} gave {what} in {_place(method, about)}.", next=self.advice)

    def check(self, method: str, value: Any, kind: str, fits: bool) -> None:
        """Raise where what a method gave is not of the kind that it has to be.

        Raises
        ------
        PluginError
        """
        if not fits:
            raise self.wrong(method, f"{shown(value)} in place of {kind}")


def raised_at(error: BaseException) -> str:
    """Return in which line of a plugin something was raised, in brackets; nothing where that is not known."""
    places = [
        (str(frame.f_globals.get("__name__")).partition(".")[0], Path(frame.f_code.co_filename).name, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    package = next((package for package, _, _ in places if package not in _CALLING), None)
    own = [f" ({file}, line {line})" for of, file, line in places if of == package]
    return plain_text(own[-1]) if package and own else ""


def shown_error(error: BaseException) -> str:
    """Return the class and the text of what a plugin raised."""
    return f"{type(error).__name__}: {error_text(error)}".rstrip(": .")


def error_text(error: BaseException) -> str:
    """Return the text of what a plugin raised, which may fail itself."""
    try:
        return plain_text(str(error))
    except BaseException as failed:
        return f"its text cannot be had ({type(failed).__name__})"


def shown(value: Any) -> str:
    """Return the type of what a plugin gave and the beginning of its representation, which may fail itself."""
    return shortened(f"{type(value).__name__} {shown_value(value)}")


def shown_value(value: Any) -> str:
    """Return the beginning of the representation of what a plugin gave, which may fail itself."""
    try:
        return shortened(plain_text(repr(value)))
    except BaseException as failed:
        return f"(whose representation cannot be had: {type(failed).__name__})"


def plain_text(text: str) -> str:
    """Return a text that can be written and stored, and that is not longer than a page."""
    return shortened(text, _LONGEST_TEXT).encode("utf-8", "backslashreplace").decode()
