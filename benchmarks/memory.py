"""Whether the peak memory of an extraction grows with the number of images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import Table, Timing, arguments, cores, progress, publish, scratch, set_threads

_WANTED_RATIO = 1.10

#: A plugin as an installed one would be: a folder on the path, with an entry point.
_PLUGIN = '''
"""Samples that are drawn in no time, and a network of two convolutions."""

import numpy as np

from histokit.plugin import Backbone, Dataset, Layer, Preprocess, Sample, hookimpl


class Noise(Dataset):
    version = "1"
    columns = {"slide": str}
    group = "slide"

    def __init__(self, root, count: int = 10):
        super().__init__(root)
        self.count = count

    def samples(self):
        for number in range(self.count):
            slide = f"slide{number % 50:02d}"
            yield Sample(f"{slide}/{number:07d}", (), label=str(number % 2), metadata={"slide": slide})

    def pixel_key(self, sample):
        return super().pixel_key(sample) + sample.id.encode()

    def read(self, sample):
        generator = np.random.default_rng(int(sample.id.split("/")[1]))
        return generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)


class Small(Backbone):
    def build(self):
        import torch
        from torch import nn

        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), nn.Conv2d(64, 256, 3), nn.ReLU())


def load(request):
    layers = [Layer("0", "0"), Layer("1", "1"), Layer("3", "3")]
    return Small(request.name, layers, Preprocess(size=16, mean=(0.5,) * 3, std=(0.5,) * 3), "random:0")


@hookimpl
def register_datasets(register):
    register("noise", lambda: Noise)


@hookimpl
def register_backbones(register):
    register("small", load)
'''
_ENTRY_POINT = "[histokit]\nnoise = histokit_benchmark_noise\n"
_METADATA = "Metadata-Version: 2.1\nName: histokit-benchmark-noise\nVersion: 1\n"

_TARGET = "HISTOKIT_BENCHMARK_PEAK"
_PROBE = f"""
import atexit, os
from pathlib import Path

from histokit.cli import main


@atexit.register
def keep():
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    Path(os.environ["{_TARGET}"]).write_text(peak)


main()
"""


def install(folder: Path) -> None:
    """Write the plugin as if it were installed in a folder."""
    (folder / "histokit_benchmark_noise.py").write_text(_PLUGIN)
    facts = folder / "histokit_benchmark_noise-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(_METADATA)
    (facts / "entry_points.txt").write_text(_ENTRY_POINT)


def peak(folder: Path, store: Path, words: list[str]) -> int:
    """Run a command as a process, and return the most bytes that it held."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    target = folder / "peak"
    environment = {**os.environ, "PYTHONPATH": path, "HISTOKIT_STORE": str(store), _TARGET: str(target)}
    done = subprocess.run([sys.executable, "-c", _PROBE, *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"histokit {' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return int(target.read_text()) * 1024


def one_size(folder: Path, count: int, number: int) -> dict[str, Any]:
    """Ingest and extract so many samples into a fresh store."""
    store = folder / f"store-{count}-{number}"
    ingest = ["ingest", "noise", str(folder), "--name", "noise", "-o", f"count={count}"]
    found = {"samples": count, "ingest": peak(folder, store, ingest)}
    found["extract"] = peak(folder, store, ["extract", "noise", "--backbone", "small"])
    progress(f"{count} samples: {json.dumps(found)}")
    return found


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "", rounds=1)
    parser.add_argument("--few", type=int, default=1_000, help="samples (default: %(default)s)")
    parser.add_argument("--many", type=int, default=10_000, help="samples (default: %(default)s)")
    options = parser.parse_args()
    set_threads(cores())
    if not Path("/proc/self/status").exists():
        raise SystemExit("Peak memory is read from /proc, which this system does not have.")
    with scratch() as folder:
        install(folder)
        counts = (options.few, options.many)
        found = [one_size(folder, count, number) for number in range(options.rounds) for count in counts]
    largest = {
        count: {step: max(one[step] for one in found if one["samples"] == count) for step in ("ingest", "extract")}
        for count in counts
    }
    few, many = (largest[count] for count in counts)
    rows = [
        [step, *(f"{peaks[step] / 2**20:.0f}" for peaks in (few, many)), f"{many[step] / few[step]:.3f}"]
        for step in ("extract", "ingest")
    ]
    columns = ["step", f"{options.few} samples, MiB", f"{options.many} samples, MiB", "ratio"]
    notes = [f"VmHWM of the whole process, its libraries included. Wanted of extract: at most {_WANTED_RATIO:.2f}."]
    table = Table("Peak memory", columns, rows, notes)
    timings: dict[str, list[Timing]] = {}
    publish("memory", vars(options), [table], timings, options.json, {"peaks": found})


if __name__ == "__main__":
    main()
