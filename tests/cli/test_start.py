"""What starting costs: time and imports."""

import json
import os
import subprocess
import sys

import pytest

from tests.cli.command_line import run_process
from tests.toy import make_samples, make_store

HEAVY = ("torch", "torchvision", "timm", "sklearn", "skimage", "scipy", "matplotlib")
DATA = ("lancedb", "lance", "pyarrow", "numpy", "pandas", "PIL", "rich")

IMPORTED = """
import json, sys
from histokit import cli
names, commands = map(json.loads, sys.argv[1:])
codes = [cli.run(command) for command in commands]
print("\\n" + json.dumps([codes, [name for name in names if name in sys.modules]]))
"""


def imported(names, *commands, **environment):
    """Which of some modules are imported after some commands in one process."""
    done = run_process(json.dumps(names), json.dumps(commands), code=IMPORTED, environment=environment)
    codes, found = json.loads(done.stdout.splitlines()[-1])
    assert max(codes) == (2 if commands == (["list"],) else 0), done.stderr
    return found


def seconds_of(*arguments, **options):
    """Processor time of a process, which what else runs on the machine does not change as it does the clock."""
    before = os.times()
    run_process(*arguments, **options)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_help_is_there_at_once():
    # In turns, the fastest of each: the first ones compile modules.
    bare, seconds = zip(*((seconds_of(code="import typer"), seconds_of("--help")) for _ in range(4)), strict=True)
    assert min(seconds) < max(0.3, 2.5 * min(bare))


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["list"]])
def test_help_imports_nothing_heavy(arguments):
    assert imported([*HEAVY, *DATA], arguments) == []


STUDY = """
datasets = ["drawn"]
backbones = ["texture"]
strategies = ["last layer"]
classifiers = ["knn"]
split = "two"
"""


def test_listing_planning_and_a_cached_extract_import_no_network_and_no_classifier(tmp_path, histokit):
    store = {"HISTOKIT_STORE": str(tmp_path / "store")}
    # texture needs no weights, and so no file and no download.
    extract = ["extract", "drawn", "--backbone", "texture", "--layers", "stain"]
    ingest = ["ingest", "synthetic", ".", "--name", "drawn", "-o", "slides=2", "-o", "per_slide=2"]
    for command in (ingest, extract, ["split", "drawn", "--name", "two", "--folds", "2"]):
        histokit.ok(*command)
    whats = ("datasets", "splits", "features", "selections", "runs", "backbones", "classifiers", "plugins")
    more = ["layers resnet50", "layers texture", "layers virchow2", "problems drawn", "samples drawn"]
    (tmp_path / "study.toml").write_text(STUDY)
    steps = [extract, ["study", "plan", str(tmp_path / "study.toml")]]
    assert imported(HEAVY, *steps, *(["list", *what.split()] for what in [*whats, *more]), **store) == []


#: The compiler, what it computes symbols with, and the clients of servers: no network needs them, trained or not.
NEEDLESS = ("torch._dynamo", "torch._inductor", "sympy", "lance_namespace_urllib3_client.api")


def test_extracting_and_training_import_nothing_that_no_network_uses(tmp_path):
    store = {"HISTOKIT_STORE": str(tmp_path / "store")}
    ingest = ["ingest", "synthetic", ".", "--name", "drawn", "-o", "slides=2", "-o", "per_slide=2", "-o", "size=64"]
    split = ["split", "drawn", "--name", "two", "--folds", "2"]
    extract = ["extract", "drawn", "--weights", "random", "--layers", "last", "--backbone"]
    # Outlined and folded; curated; outlined and not folded.
    networks = ["timm:test_resnet", "torchvision:squeezenet1_1", "timm:test_vit"]
    train = ["finetune", "drawn", "--from-scratch", "--split", "two", "--backbone", networks[0], "--workers", "0"]
    train += ["--set=epochs=1", "--set=patience=0"]
    commands = [ingest, split, *([*extract, name] for name in networks), train]
    assert imported([*NEEDLESS, "lancedb"], *commands, **store) == ["lancedb"]


CLIENTS = """
from histokit.store import database
lancedb = database._lancedb()
import sys
assert "lance_namespace_urllib3_client.api" not in sys.modules
from lance_namespace_urllib3_client.models import CreateTableRequest
import lance_namespace, lance_namespace_urllib3_client as clients
assert lance_namespace.CreateTableRequest is CreateTableRequest is clients.CreateTableRequest
print(clients.TableApi.__name__, clients.ApiClient.__name__, hasattr(clients, "nothing"))
"""


def test_the_clients_of_lancedb_are_there_for_whoever_asks(tmp_path):
    assert run_process(code=CLIENTS).stdout.split() == ["TableApi", "ApiClient", "False"]


def test_the_process_ends_with_the_code_of_the_command(tmp_path):
    environment = {"HISTOKIT_STORE": str(tmp_path / "store")}
    done = run_process("list", "splits", "nothing", "--json", environment=environment)
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["code"] == 5
    assert done.stderr.startswith(f"error: There is no store {tmp_path / 'store'}.")
    assert run_process("--version", environment=environment).returncode == 0
    assert not (tmp_path / "store").exists(), "looking makes no store"


def test_letters_that_a_terminal_cannot_show_do_no_harm(tmp_path):
    environment = {"HISTOKIT_STORE": str(tmp_path / "größe"), "PYTHONIOENCODING": "ascii"}
    make_store(tmp_path / "größe", make_samples()[0], {})
    done = run_process("list", "splits", environment=environment)
    assert done.returncode == 0
    assert "dataset" in done.stdout
    failed = run_process("list", "splits", "nothing", "--json", environment=environment)
    assert "größe" in json.loads(failed.stdout)["error"]["message"]


@pytest.mark.parametrize(("told", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_do_not_wait_in_a_loop_unless_told_so(told: dict[str, str], expected: str) -> None:
    code = "import histokit, os; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | told
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
