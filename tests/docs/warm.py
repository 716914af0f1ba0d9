"""A command ``histokit`` that starts at once, for scripts of many commands.

`serve` imports what takes seconds, and then runs each command in a fork of its own, with the arguments, folder,
environment and streams of the one that asked: the script that `started` puts into a folder.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import histokit

#: skops looks through all modules that are there when it is imported.
HEAVY = (
    "skops.io",
    "imagecodecs",
    "lance",
    "lancedb",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "pyarrow.compute",
    "rich.progress",
    "rich.table",
    "safetensors.torch",
    "skimage.color",
    "skimage.feature",
    "sklearn.ensemble",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.svm",
    "tifffile",
    "timm",
    "torchvision",
    "typer",
)

_CLIENT = """\
#!{python} -IS
import json, os, socket, sys
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    socket.send_fds(server, [b"f"], [0, 1, 2])
    server.sendall(asked)
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16) or 70))
"""


@contextmanager
def started(folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Let a folder, which is made, have a script ``histokit`` that asks a server of some environment; yield it."""
    folder.mkdir()
    path = folder / "socket"
    server = [sys.executable, __file__, str(path)]
    with subprocess.Popen(server, env=environment, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        script = folder / "histokit"
        script.write_text(_CLIENT.format(python=sys.executable, path=str(path)))
        script.chmod(0o755)
        yield folder
        running.terminate()


def serve(path: str) -> None:
    """Answer until the process is ended."""
    ours = (module.name for module in walk_packages(histokit.__path__, "histokit."))
    for module in (*HEAVY, *(name for name in ours if not name.endswith("__main__"))):
        import_module(module)
    # Lance and LanceDB warn of forks whatever went before; here nothing did.
    warnings.filterwarnings("ignore", ".*fork", Warning)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while True:
            asking, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _answer(asking)
            asking.close()


def _answer(asking: socket.socket) -> None:
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, streams, *_ = socket.recv_fds(asking, 1, 3)
        with asking.makefile("rb") as whole:
            arguments, folder, environment = json.load(whole)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, "rw"[number > 0], closefd=False) for number in range(3))
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        from histokit import streams
        from histokit.cli import main

        # The answer is still to be sent.
        streams.leave = sys.exit  # type: ignore[assignment]
        main(arguments)
    except SystemExit as done:
        code = int(done.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        asking.sendall(str(code).encode())
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
