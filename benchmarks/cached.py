"""Commands that compute nothing, as processes: a fully cached extraction, ``--help`` and ``list``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import Contender, Stopwatch, Table, arguments, cores, progress, publish, scratch, set_threads, take_turns
from work import NETWORKS, PATTERN, draw_images, random_weights

NETWORK = NETWORKS["squeezenet"]
#: Seven of its layers.
LAYERS = ("features.3", "features.4", "features.6", "features.7", "features.9", "features.10", "features.12")
_SIDE = 8
_INPUT = 32
_WANTED_SECONDS = 2.0
_HEAVY = ("torch", "torchvision", "timm", "sklearn")


def histokit(store: Path, *words: str) -> str:
    """Run a command as a process of its own, and return what it printed on stdout."""
    environment = {**os.environ, "HISTOKIT_STORE": str(store)}
    done = subprocess.run([sys.executable, "-m", "histokit", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"histokit {' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def extract_words(weights: Path) -> list[str]:
    """Return the command that is repeated."""
    words = ["extract", "many", "--backbone", NETWORK.backbone, "--layers", ",".join(LAYERS)]
    return [*words, "--weights", str(weights), "--preprocess", f"size={_INPUT}"]


def fill(folder: Path, count: int) -> tuple[Path, Path]:
    """Make a store in which nothing is missing, and the weights file."""
    store, images = folder / "store", folder / "images"
    progress(f"draw and extract {count} samples of {_SIDE} × {_SIDE} pixels")
    draw_images(images, count, _SIDE)
    weights = random_weights(NETWORK, folder)
    histokit(
        store, "ingest", "folder", str(images), "--name", "many", "-o", f"pattern={PATTERN}", "-o", "group=patient"
    )
    histokit(store, *extract_words(weights))
    return store, weights


def command(store: Path, words: list[str]) -> Any:
    """Return the rounds of a command."""

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            histokit(store, *words)
        return watch.seconds, {}

    work()
    return work


def imported(store: Path, words: list[str]) -> list[str]:
    """Return which heavy libraries a command imports."""
    script = (
        "import sys, json, atexit; atexit.register(lambda: print(json.dumps([m for m in %r if m in sys.modules]))); "
    )
    script = script % (_HEAVY,) + "from histokit.cli import main; main()"
    environment = {**os.environ, "HISTOKIT_STORE": str(store)}
    done = subprocess.run([sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--samples", type=int, default=10_000)
    options = parser.parse_args()
    set_threads(cores())
    with scratch() as folder:
        store, weights = fill(folder, options.samples)
        words = extract_words(weights)
        commands = {
            f"extract, {options.samples} samples × {len(LAYERS)} layers, all cached": words,
            "extract --dry-run, the same": [*words, "--dry-run"],
            "list features": ["list", "features"],
            "list datasets": ["list", "datasets"],
            "--help": ["--help"],
        }
        contenders = [Contender(name, command, {"store": store, "words": given}) for name, given in commands.items()]
        timings = take_turns(contenders, options.rounds)
        heavy = {name: imported(store, given) for name, given in commands.items()}
        state = json.loads(histokit(store, *words, "--json"))["tables"]
    assert all(table["cached"] == options.samples and not table["computed"] for table in state)
    rows = [[t.name, f"{t.median:.2f}", f"{max(t.seconds):.2f}", ", ".join(heavy[t.name]) or "none"] for t in timings]
    columns = ["command", "seconds", "slowest round", "heavy imports"]
    notes = [
        f"Whole processes, start of Python included. Wanted: the cached extraction in under {_WANTED_SECONDS:g} s."
    ]
    table = Table("Commands with nothing to compute", columns, rows, notes)
    publish("cached", vars(options), [table], {"commands": timings}, options.json, {"heavy_imports": heavy})


if __name__ == "__main__":
    main()
