"""All benchmarks in order; their last results are kept as JSON in `results` and shown in the README."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from common import RESULTS, Table, cores, set_threads

HERE = Path(__file__).parent
README = HERE / "README.md"
PEERS_README = HERE / "peers" / "README.md"
BEGIN, END = "<!-- results: written by run.py -->", "<!-- /results -->"

#: What runs, and with which options: shortly, fully, and only to see that it runs.
BENCHMARKS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "extraction": (
        ["--images", "500"],
        ["--images", "all"],
        ["--images", "8", "--rounds", "1", "--network", "squeezenet", "--no-svm"],
    ),
    "cached": ([], [], ["--samples", "8", "--rounds", "1"]),
    "memory": ([], ["--few", "10000", "--many", "100000"], ["--few", "10", "--many", "20"]),
    "svm": (
        ["--columns", "1280"],
        ["--columns", "1280", "4328", "drawn"],
        ["--columns", "320", "--images", "24", "--rounds", "1"],
    ),
    "elimination": (
        [],
        ["--exact", "1280", "--seeds", "3"],
        ["--columns", "320", "--images", "24", "--rounds", "1", "--trees", "2"],
    ),
    "classifiers": (
        ["--rounds", "1", "--no-library", "--epochs", "20,50,100,200"],
        ["--rounds", "1"],
        [
            *("--columns", "320", "--images", "24", "--rounds", "1", "--epochs", "1,2", "--folds", "2"),
            *("--shape", "60,8,2,2", "--base", "60,8,2,2", "--no-library"),
        ],
    ),
    "store_speed": ([], [], ["--rows", "50", "--width", "8", "--rounds", "1"]),
    "neighbours": (
        ["--rows", "100000", "--width", "512"],
        [],
        ["--rows", "2000", "--width", "16", "--queries", "3", "--clusters", "20", "--k", "3"],
    ),
    "ingesting": (["--files", "20000"], [], ["--files", "8", "--rounds", "1"]),
    "feed": (["--images", "2048"], [], ["--images", "8", "--rounds", "1", "--only", "JPEG 224"]),
    "finetune": (
        ["--images", "512"],
        [],
        ["--images", "8", "--rounds", "1", "--size", "32", "--batch", "4"],
    ),
    "engines": (
        [],
        ["--images", "all"],
        ["--images", "8", "--rounds", "1", "--backbone", "torchvision:squeezenet1_1"],
    ),
    "gpu": (["--images", "8192"], [], ["--images", "8", "--rounds", "1"]),
}


def run(name: str, options: Iterable[str], results: Path) -> bool:
    """Run one benchmark as a process; return whether it ended well."""
    print(f"\n== {name} {' '.join(options)}", flush=True)
    words = [sys.executable, str(HERE / f"{name}.py"), *options, "--json", str(results / f"{name}.json")]
    return subprocess.run(words, env=os.environ).returncode == 0


def tables(document: dict[str, Any]) -> list[Table]:
    """Return the tables of a result."""
    names = [field.name for field in fields(Table)]
    return [Table(**{key: value for key, value in table.items() if key in names}) for table in document["tables"]]


def machine_line(document: dict[str, Any]) -> str:
    """Return the machine and the versions of a result in one line."""
    machine = document["machine"]
    bfloat16 = "native bfloat16" if machine["native_bfloat16"] else "no native bfloat16"
    versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items() if value)
    processor = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {bfloat16}"
    return (
        f"{machine['date']}; {processor}; load before {machine['load_before']}; Python {machine['python']}, {versions}."
    )


def render(paths: Iterable[Path]) -> str:
    """Return results as markdown, those that are there."""
    parts = []
    for path in paths:
        if not path.exists():
            continue
        document = json.loads(path.read_text())
        given = {key: value for key, value in document["options"].items() if value is not None and key != "json"}
        options = " ".join(f"{key}={value}" for key, value in given.items())
        parts += [f"### {document['benchmark']}", f"`{options}`", machine_line(document)]
        parts += [table.markdown() for table in tables(document)]
    return "\n\n".join(parts)


def update_page(page: Path, paths: Iterable[Path]) -> None:
    """Put results between the marks of a page."""
    text = page.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    rendered = render(paths) or "None yet."
    page.write_text(f"{before}{BEGIN}\n\n{rendered}\n\n{END}{after}")


def update_readmes(readme: Path, peers: Path, results: Path) -> None:
    """Put the last results into both pages: our own benchmarks, and other tools."""
    own = (path for name in BENCHMARKS for path in sorted(results.glob(f"{name}*.json")))
    update_page(readme, own)
    update_page(peers, sorted(results.glob("peer-*.json")))


def main() -> int:
    """Run what the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="all images, and the large numbers of samples")
    size.add_argument("--tiny", action="store_true", help="only to see that everything runs")
    parser.add_argument("--only", choices=list(BENCHMARKS), action="append", help="run these")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--render", action="store_true", help="run nothing, only write the pages anew")
    options = parser.parse_args()
    set_threads(cores())
    failed = []
    for name in [] if options.render else options.only or BENCHMARKS:
        chosen = BENCHMARKS[name][1 if options.full else 2 if options.tiny else 0]
        if not run(name, chosen, options.results):
            failed.append(name)
    if options.results == RESULTS:
        update_readmes(README, PEERS_README, RESULTS)
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
