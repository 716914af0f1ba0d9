"""Where the command line begins: what takes time to import is imported once Ctrl-C has its answer."""

from __future__ import annotations

import sys

from histokit.interruption import answer_at_once, answer_in_order, keep, leave, no_more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class _LatePandas:
    """Keeps libraries from loading pandas with themselves: half a second that few commands need; they load it later."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas" and any(map(_is_loading, ("pyarrow.dataset", "sklearn.utils.fixes"))):
            raise ModuleNotFoundError(f"No module named {name!r} yet", name=name)


def _is_loading(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    answer_at_once()
    from histokit import app, streams

    streams.guard()
    keep(streams.keep_stdout())
    sys.meta_path.insert(0, _LatePandas())
    try:
        answer_in_order()
        code = app.run(list(sys.argv[1:] if arguments is None else arguments))
        no_more(code)
    except KeyboardInterrupt:
        leave()
    streams.leave(code)


def run(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    from histokit import app

    return app.run(arguments)
