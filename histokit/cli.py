"""Where the command line begins: what takes time to import is imported once Ctrl-C has its answer."""

from __future__ import annotations

import sys

from histokit.interruption import answer_at_once, answer_in_order, keep, leave, no_more

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    answer_at_once()
    from histokit import app, streams
    from histokit.late_imports import LatePandas

    streams.guard()
    keep(streams.keep_stdout())
    sys.meta_path.insert(0, LatePandas())
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
