"""histokit against another tool, in turns; the tool lives in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from common import (  # noqa: E402
    RESULTS,
    Contender,
    Table,
    arguments,
    publish,
    ratio_of_rounds,
    scratch,
    take_turns,
)
from contenders import whole  # noqa: E402
from work import NETWORKS, layers, prepare, scaling  # noqa: E402

PEERS = ("thingsvision", "slide2vec", "kaiko_eva")

#: They give one vector for each image.
ONE_LAYER = ("slide2vec", "kaiko_eva")


def peer(python: str, script: str, words: list[str]) -> Callable[[], tuple[float, dict[str, Any]]]:
    """Start a tool's process; each round asks it once."""
    process = subprocess.Popen(
        [python, script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE
    )

    def answer() -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{script} ended with exit code {process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def work() -> tuple[float, dict[str, Any]]:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        found = answer()
        return found["seconds"], found["facts"]

    answer()
    return work


def words_of(network: str, images: Path, weights: str, chosen: list[str], out: Path) -> list[str]:
    """Return the options of a peer's script."""
    known = scaling(NETWORKS[network])
    words = ["--images", str(images), "--network", network, "--weights", weights, "--layers", ",".join(chosen)]
    words += ["--mean", ",".join(map(str, known["mean"])), "--std", ",".join(map(str, known["std"]))]
    return [*words, "--interpolation", known["interpolation"], "--out", str(out)]


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--python", required=True, help="of the tool's environment")
    parser.add_argument("--network", choices=list(NETWORKS), default="squeezenet")
    parser.add_argument("--layers", default="all", help="all, last, or names (default: %(default)s)")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    with scratch() as folder:
        name = options.network
        material = prepare(folder, options.images, [name], options.data, options.weights)
        every = layers(NETWORKS[name])
        chosen = {"all": every, "last": every[-1:]}.get(options.layers) or options.layers.split(",")
        if options.peer in ONE_LAYER and len(chosen) != 1:
            parser.error(f"{options.peer} gives one vector for each image: add --layers last")
        words = words_of(name, material.images, material.weights[name], chosen, folder / "peer")
        shared: dict[str, Any] = {"commands": [[name]], "images": material.images, "weights": dict(material.weights)}
        shared |= {"chosen": ",".join(chosen)}
        script = str(HERE / f"{options.peer}_peer.py")
        contenders = [
            Contender(options.peer, peer, {"python": options.python, "script": script, "words": words}, material.count),
            Contender("histokit, float32", whole, {**shared, "folder": folder / "histokit"}, material.count),
        ]
        timings = take_turns(contenders, options.rounds)
    rows = [[t.name, f"{t.rate:.1f}", f"{ratio_of_rounds(t, timings[0]):.2f}", t.remark] for t in timings]
    title = f"{options.peer}: {NETWORKS[name].backbone}, {len(chosen)} layers, {material.count} images"
    table = Table(title, ["tool", "images/s", f"to {options.peer}", "remarks"], rows, material.notes)
    file = options.json or RESULTS / f"peer-{options.peer}-{name}.json"
    publish(f"peer {options.peer}", {**vars(options), "python": "…"}, [table], {"tools": timings}, file)


if __name__ == "__main__":
    main()
