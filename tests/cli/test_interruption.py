"""Ctrl-C at any moment: exit code 130 or what the command came to, no traceback, at most one document."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.command_line import run_process

#: Sends itself the signal once some module is imported, or some function is called.
WHEN = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
kind, what, *arguments = sys.argv[1:]

def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)

class Importing:
    def find_spec(self, name, path=None, target=None):
        if name == what:
            sys.meta_path.remove(self)
            ctrl_c()

if kind == "import":
    sys.meta_path.insert(0, Importing())
elif kind == "destructor":
    class Odd:
        def __del__(self):
            ctrl_c()
            list(range(10))
elif kind == "swallowed":
    def swallowed():
        try:
            ctrl_c()
            list(range(10))
        except KeyboardInterrupt as error:
            raise RuntimeError("what a library makes of it") from error

import histokit.cli
if kind not in ("import",):
    from histokit import console, interruption, streams
    from histokit.store import command
    before, write = command.list_datasets, streams.write

    def called(name, text):
        if kind == "before" and name == "stdout":
            ctrl_c()
        if kind == "within" and name == "stdout":
            write(name, text[:20])
            ctrl_c()
            text = text[20:]
        write(name, text)
        if kind in ("after", "error") and name == "stdout":
            ctrl_c()
        if kind == "twice":
            ctrl_c()

    streams.write = console.write = called
    if kind in ("destructor", "swallowed"):
        def existing_store():
            if kind == "swallowed":
                swallowed()
            Odd()
            import time
            time.sleep(20)
        console.existing_store = existing_store
histokit.cli.main(arguments)
"""


@pytest.fixture
def store(histokit, images, tmp_path):
    histokit.ok("ingest", "folder", images, "--name", "cells", "-o", "pattern={patient}/{label}/*.png")
    histokit.ok("extract", "cells", "--backbone", "texture", "--layers", "stain")
    return {"HISTOKIT_STORE": str(tmp_path / "store")}


def check(code, out, err, codes=(130,)):
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    assert code in codes, err
    if code == 130:
        assert err.endswith("error: Interrupted.\nRun the same command to resume.\n")


TRAIN = ["train", "cells", "--features", "texture/stain", "--classifier", "ridge", "--inner-folds", "2", "--json"]
EXTRACT = ["extract", "cells", "--backbone", "squeezenet1_1", "--weights", "random", "--layers", "last", "--json"]


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("typer", ["list", "datasets", "--json"]),
        ("lancedb", ["ingest", "synthetic", ".", "--name", "more", "-o", "slides=1", "--json"]),
        ("pyarrow.compute", ["list", "datasets", "--json"]),
        ("sklearn", TRAIN),
        ("torch", EXTRACT),
    ],
)
def test_in_the_first_imports(store, module, command):
    done = run_process("import", module, *command, code=WHEN, environment=store)
    check(done.returncode, done.stdout, done.stderr)
    assert json.loads(done.stdout)["error"]["code"] == 130


@pytest.mark.parametrize("kind", ["before", "within", "after", "twice"])
def test_while_a_document_is_written(store, kind):
    done = run_process(kind, "", "list", "datasets", "--json", code=WHEN, environment=store)
    check(done.returncode, done.stdout, done.stderr)
    if kind == "before":
        assert done.stdout == "", "nothing follows what may have been begun"
    elif kind == "within":
        assert '"error"' not in done.stdout
    else:
        assert json.loads(done.stdout)["datasets"]


def test_while_an_error_is_written(store):
    done = run_process("error", "", "list", "problems", "nothing", "--json", code=WHEN, environment=store)
    check(done.returncode, done.stdout, done.stderr)
    assert json.loads(done.stdout)["error"]["code"] == 5


@pytest.mark.parametrize("kind", ["destructor", "swallowed"])
def test_where_an_exception_goes_nowhere_or_becomes_another(store, kind):
    start = time.monotonic()
    done = run_process(kind, "", "list", "datasets", "--json", code=WHEN, environment=store)
    check(done.returncode, done.stdout, done.stderr)
    assert json.loads(done.stdout)["error"]["code"] == 130
    assert time.monotonic() - start < 15


def interrupted_after(seconds, arguments, environment):
    """Start the tool, send it the signal some seconds after it has its answer to it; return how it ended."""
    # Python itself, before it runs a line of ours, ends in a traceback of its own.
    code = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from histokit import cli
answer = cli.answer_at_once
def ready():
    answer()
    os.write(2, b"ready\\n")
cli.answer_at_once = ready
cli.main()
"""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HISTOKIT_")}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env={**kept, **environment}, stdout=pipe, stderr=pipe, text=True
    )
    first = process.stderr.readline()
    assert first == "ready\n", first
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def sweep(store, arguments, moments, longest):
    ends = set()
    for number in range(moments):
        code, out, err = interrupted_after(longest * number / moments, arguments, store)
        check(code, out, err, (0, 130))
        # Cut short or not, there is one document or the beginning of one.
        assert out.count("\n{\n") == 0
        json.loads(out)
        ends.add(code)
    return ends


def test_at_ten_moments(store):
    assert 130 in sweep(store, [*TRAIN, "--force"], 10, 2.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "runs", "--json"],
        [*TRAIN, "--force"],
        [*EXTRACT, "--retry"],
        ["store", "verify", "--json"],
        ["store", "compact", "--json"],
        ["select", "cells", "--features", "texture/stain", "--force", "--json"],
    ],
)
def test_at_many_moments(store, arguments):
    assert 130 in sweep(store, arguments, 40, 4.0)
