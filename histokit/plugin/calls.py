"""Calls into plugins: what they raise is told as theirs, what they print goes to stderr, what hangs is named."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from histokit.errors import HistokitError, PluginError

T = TypeVar("T")

#: Seconds after which a call is named that has not come back.
PATIENCE = 10.0

_END = object()


class _Here(threading.local):
    """How many calls into plugins the thread is in."""

    inside = 0


class _Router:
    """A standard output that is standard error inside calls into plugins."""

    def __init__(self, real: Any):
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if _here.inside else self.real, name)


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
                    print(f"warning: {text} has not come back for {PATIENCE:.0f} s; Ctrl-C ends it", file=sys.stderr)
            told &= self.calls.keys()


_here = _Here()
_lock = threading.Lock()
_count = 0
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
    where = f"{method}{f' for {about}' if about else ''}"
    key = _watch.begin(f"{where} of {owner[0].lower() + owner[1:]}") if watched else None
    try:
        with _printing_to_stderr():
            yield
    except (HistokitError, KeyboardInterrupt):
        raise
    except through:
        raise
    except BaseException as error:
        raise PluginError(
            f"{owner} failed in {where}: {shown_error(error)}.", next="Tell its author; --debug shows the traceback."
        ) from error
    finally:
        if key is not None:
            del _watch.calls[key]


def plugin_items(owner: str, method: str, items: Iterable[T]) -> Iterator[T]:
    """Yield what a plugin yields; each step is a call into it."""
    with plugin_call(owner, method):
        iterator = iter(items)
    while True:
        with plugin_call(owner, method):
            item = next(iterator, _END)
        if item is _END:
            return
        yield cast(T, item)


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    global _count
    with _lock:
        _count += 1
        if not isinstance(sys.stdout, _Router):
            sys.stdout = cast(Any, _Router(sys.stdout))
    _here.inside += 1
    try:
        yield
    finally:
        _here.inside -= 1
        with _lock:
            _count -= 1
            if not _count and isinstance(sys.stdout, _Router):
                sys.stdout = sys.stdout.real


def shown_error(error: BaseException) -> str:
    """Return the class and the text of what a plugin raised, whose text may fail itself."""
    try:
        text = str(error)
    except Exception as failed:
        text = f"its text cannot be had ({type(failed).__name__})"
    return f"{type(error).__name__}: {text}".rstrip(": .")


def shown(value: Any) -> str:
    """Return the type of what a plugin gave and the beginning of its representation, which may fail itself."""
    return f"{type(value).__name__} {shown_value(value)}"[:80]


def shown_value(value: Any) -> str:
    """Return the representation of what a plugin gave, which may fail itself."""
    try:
        return repr(value)
    except Exception as failed:
        return f"(whose representation cannot be had: {type(failed).__name__})"
