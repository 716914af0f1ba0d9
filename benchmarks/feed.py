"""The feed of images without a network to wait for: extraction of vectors that cost nothing, against decoding alone.

What starting takes is known from a part of the images: the others come in the time by which all take longer.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    Contender,
    Stopwatch,
    Table,
    Timing,
    arguments,
    cores,
    publish,
    ratio_of_rounds,
    scratch,
    set_threads,
    take_turns,
)
from PIL import Image
from work import SIZE, Patches, all_paths, draw_images

Work = Callable[[], tuple[float, dict[str, Any]]]

#: Widths of the vectors: of ResNet50's last layer, and of its 17 curated ones.
WIDTHS = {"last": [2048], "17 layers": [64, *[256] * 3, *[512] * 4, *[1024] * 6, *[2048] * 3]}
#: Format and side of the images.
IMAGES = {"PNG 224": ("png", 224), "JPEG 224": ("jpg", 224), "JPEG 1000": ("jpg", 1000)}
WANTED = {"last": 0.8, "17 layers": 0.6}

ALONE = "decoding alone"
LOOP = "DataLoader loop, tiny network"
TINY = "histokit, tiny network"

_CHUNK = 64
_FEW = 64
#: Of all images, so many parts; one of them is run on its own.
_PARTS = 4


def _decode(paths: Sequence[Path]) -> int:
    total = 0
    for path in paths:
        with Image.open(path) as image:
            total += np.asarray(image.convert("RGB")).nbytes
    return total


def decoding_alone(images: Path) -> Work:
    """Decode all images in as many processes as there are cores, that have started already; nothing comes back."""
    paths = all_paths(images)
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]

    def work() -> tuple[float, dict[str, Any]]:
        with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
            list(pool.map(_decode, [paths[:1]] * cores()))
            with Stopwatch() as watch:
                total = sum(pool.map(_decode, chunks))
        return watch.seconds, {"bytes": total}

    return work


def _tiny() -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 8, 7, stride=8), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=4))


def _free(widths: Sequence[int]) -> Any:
    """A network whose layers give the first numbers of each image: vectors that cost nothing to compute."""
    from torch import Tensor, nn

    class First(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.width = width

        def forward(self, batch: Tensor) -> Tensor:
            return batch.permute(0, 2, 3, 1).flatten(1)[:, : self.width].contiguous()

    class Free(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(First(width) for width in widths)

        def forward(self, batch: Tensor) -> None:
            for layer in self.layers:
                layer(batch)

    return Free()


class Networks:
    """Registers the networks that cost nothing, and a tiny one."""

    def __init__(self) -> None:
        from histokit.plugin import hookimpl

        hookimpl(type(self).register_backbones)

    def register_backbones(self, register: Any) -> None:
        """Announce them."""
        from histokit.plugin import Backbone, Layer, Preprocess

        class Drawn(Backbone):
            def build(self) -> Any:
                return _tiny() if self.name == "tiny" else _free(WIDTHS[self.name.replace("-", " ")])

        def load(request: Any) -> Backbone:
            preprocess = Preprocess(size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
            if request.model == "tiny":
                return Drawn("tiny", [Layer("2", "2")], preprocess, "none")
            count = len(WIDTHS[request.model.replace("-", " ")])
            layers = [Layer(f"layers.{i}", f"layers.{i}", "none") for i in range(count)]
            return Drawn(request.model, layers, preprocess, "none")

        for name in ("tiny", *(name.replace(" ", "-") for name in WIDTHS)):
            register(name, load)


def extraction(images: Path, form: str, network: str, folder: Path, workers: int | None, parted: bool = False) -> Work:
    """``histokit extract`` into a fresh store; the start of its readers is timed as well, but for the first time.

    Where it is parted, some of the images go into another store before; the facts tell how many, and their seconds.
    """
    import histokit
    from histokit.plugin.testing import added_plugin

    set_threads(cores())
    numbers: Iterator[int] = iter(range(1_000_000))

    def extract(source: Path) -> float:
        path = folder / str(next(numbers))
        store = histokit.open_store(path)
        options = {"pattern": f"{{patient}}/{{label}}/*.{form}", "group": "patient"}
        histokit.ingest(store, "folder", source, name="drawn", options=options)
        with added_plugin(Networks()), Stopwatch() as watch:
            histokit.extract(store, "drawn", network, device="cpu", workers=workers)
        shutil.rmtree(path, ignore_errors=True)
        return watch.seconds

    def some(name: str, count: int) -> Path:
        for path in all_paths(images)[:count]:
            copy = folder / name / path.relative_to(images)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return folder / name

    def work() -> tuple[float, dict[str, Any]]:
        facts = {"part": count, "part_seconds": extract(part)} if part else {}
        return extract(images), facts

    extract(some("few", _FEW))
    count = max(1, len(all_paths(images)) // _PARTS)
    part = some("part", count) if parted else None
    return work


def loader_loop(images: Path, folder: Path) -> Work:
    """A script with a DataLoader of as many worker processes as cores, and a tiny network; one ``.npy``."""
    import torch
    from torch.utils.data import DataLoader

    set_threads(cores())
    paths, network = all_paths(images), _tiny().eval()

    def extract(taken: Sequence[Path]) -> None:
        loader: Any = DataLoader(
            Patches(taken, SIZE, "bilinear", [0.5] * 3, [0.5] * 3),
            batch_size=64,
            num_workers=cores(),
            multiprocessing_context="fork",  # type: ignore[arg-type]
        )
        with torch.no_grad():
            vectors = [network(batch).mean((2, 3)) for batch in loader]
        np.save(folder / "loop.npy", torch.cat(vectors).numpy())

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            extract(paths)
        return watch.seconds, {}

    folder.mkdir(parents=True, exist_ok=True)
    extract(paths[:_FEW])
    return work


def rates_after_start(timing: Timing) -> list[float | None]:
    """Return the images per second of each round without what starting takes, None where that cannot be told."""
    found: list[float | None] = []
    for seconds, facts in zip(timing.seconds, timing.facts, strict=True):
        longer = seconds - facts.get("part_seconds", 0.0)
        found.append((timing.items - facts.get("part", 0)) / longer if longer > 0 else None)
    return found


def _row(name: str, timing: Timing, alone: Timing, loop: Timing) -> list[str]:
    rates = rates_after_start(timing)
    pairs = [(rate, timing.items / taken) for rate, taken in zip(rates, alone.seconds, strict=False) if rate]
    started = [""] * 2
    if pairs and timing.name in WIDTHS:
        started = [f"{statistics.median(rate for rate, _ in pairs):.0f}"]
        started.append(f"{statistics.median(rate / other for rate, other in pairs):.2f}")
    return [
        f"{name}, {timing.name}",
        f"{timing.rate:.0f}",
        f"{ratio_of_rounds(timing, alone):.2f}",
        *started,
        f"{ratio_of_rounds(timing, loop):.2f}",
        timing.remark,
    ]


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--only", choices=IMAGES, action="append", help="all where not given")
    parser.add_argument("--workers", type=int, help="reader processes (default: histokit's own choice)")
    options = parser.parse_args()
    rows, timings = [], {}
    with scratch() as folder:
        for name in options.only or IMAGES:
            form, side = IMAGES[name]
            images = folder / name
            draw_images(images, options.images, side, form)
            shared = {"images": images, "form": form, "workers": options.workers}
            contenders = [Contender(ALONE, decoding_alone, {"images": images}, options.images)]
            for layers in WIDTHS:
                own = {
                    **shared,
                    "network": layers.replace(" ", "-"),
                    "folder": folder / f"{name} {layers}",
                    "parted": True,
                }
                contenders.append(
                    Contender(layers, extraction, own, options.images, f"wanted {WANTED[layers]} once started")
                )
            own = {**shared, "network": "tiny", "folder": folder / f"{name} tiny"}
            contenders.append(Contender(TINY, extraction, own, options.images))
            contenders.append(
                Contender(LOOP, loader_loop, {"images": images, "folder": folder / f"{name} loop"}, options.images)
            )
            taken = timings[name] = take_turns(contenders, options.rounds)
            rows += [_row(name, timing, taken[0], taken[-1]) for timing in taken]
    title = f"{options.images} images, {cores()} cores"
    columns = ["contender", "images/s", "to decoding alone", "started: images/s", "to it", "to the loop", "remarks"]
    publish("feed", vars(options), [Table(title, columns, rows)], timings, options.json)


if __name__ == "__main__":
    main()
