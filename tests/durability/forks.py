"""Runs ``histokit`` with tiny networks and small writes, in processes that a test may kill.

``forks.py LOG ARGUMENT...`` runs one command. Without arguments it imports what takes seconds, then forks one process
for each line of JSON on its standard input, before it has used a thread or the store itself.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from moments import at_moments
from tiny_plugin import TinyPlugin

from histokit.plugin import hookimpl
from histokit.plugin.manager import registry

FLUSH_ROWS = 20
BATCH_SIZE = 4
CHUNK = 8
NETWORKS = ("tiny", "small")
END = "end"

#: Models are written by skops, which looks through all modules that are there when it is imported.
_HEAVY = [
    "skops.io",
    "lance",
    "lancedb",
    "pyarrow.compute",
    "torch",
    "typer",
    "rich.table",
    "rich.progress",
    "PIL.Image",
    "PIL.ImageOps",
    "PIL.PngImagePlugin",
    "histokit.extract.extract",
    "histokit.extract.command",
    "histokit.extract.worker",
    "histokit.store.care",
    "histokit.features",
    "histokit.app",
    "histokit.classifiers.solvers.svm",
    "histokit.select.command",
    "histokit.store.verify",
    "histokit.study.run",
    "timm.optim",
    "timm.scheduler",
    "histokit.classifiers.leaf_frequencies",
    "sklearn.ensemble",
    "sklearn.neighbors",
    "sklearn.svm",
]


class TwoNetworks(TinyPlugin):
    """Registers the networks ``tiny`` and ``small``, which are the same but for their weights."""

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        """Announce them."""
        for name in NETWORKS:
            register(name, self.load)


def run(log: str, arguments: list[str]) -> int:
    """Run a command; every batch of vectors leaves a line in `log` before it is written: network and rows."""
    import torch

    from histokit import cli
    from histokit.extract import writer
    from histokit.plugin.testing import added_plugin
    from histokit.reading import chunks

    torch.set_num_threads(1)
    journal = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    take = writer.Writer.add

    def add(self: Any, network: Any, contents: Any, vectors: Any) -> None:
        os.write(journal, f"{network.plan.backbone.name} {len(contents)}\n".encode())
        take(self, network, contents, vectors)

    writer.Writer.add = add  # type: ignore[method-assign]
    writer.FLUSH_ROWS, writer.LATE, chunks.CHUNK = FLUSH_ROWS, 1, CHUNK
    with added_plugin(TwoNetworks(), "twonetworks"):
        code = cli.run(arguments)
    os.write(journal, f"{END} 0\n".encode())
    return code


def serve() -> None:
    """Fork a process for each line of standard input, and tell its number or how it ended."""
    for module in _HEAVY:
        import_module(module)
    registry()
    # Lance and LanceDB warn of forks whatever went before; here nothing did.
    warnings.filterwarnings("ignore", ".*fork", Warning)
    for line in sys.stdin:
        order = json.loads(line)
        answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]) if "wait" in order else _fork(order)
        print(answer, flush=True)


def _fork(order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        for number, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        if order.get("unprivileged"):
            _heed_permissions()
        if order.get("locks"):
            _without_locks(order["locks"])
        if order.get("moments"):
            at_moments(order["moments"])
        code = run(order["log"], order["arguments"])
        sys.stdout.flush()
    finally:
        os._exit(code)


def _without_locks(kind: str) -> None:
    """Let locks of files be ``refused``, as some file systems do, or ``empty``: granted to everybody at once."""
    import fcntl

    def lock(*_: Any) -> None:
        if kind == "refused":
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = fcntl.lockf = lock


def _heed_permissions() -> None:
    """Give up what lets root read every file, but not the rest, which Python itself may lie behind."""
    if os.geteuid():
        return
    version, every, override, search = 0x20080522, (1 << 32) - 1, 1 << 1, 1 << 2
    header = (ctypes.c_uint32 * 2)(version, 0)
    data = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, data) == 0:
        data[0] &= every ^ override ^ search
        data[1] &= every ^ override ^ search
        if libc.capset(header, data) == 0:
            return
    raise OSError(ctypes.get_errno(), "capabilities cannot be given up")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(run(sys.argv[1], sys.argv[2:]))
    serve()
