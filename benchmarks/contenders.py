"""The contenders of the benchmarks of extraction; each runs in a process of its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import Stopwatch, cores, set_threads
from work import NETWORKS, PATTERN, SIZE, Patches, layers, scaling

Work = Callable[[], tuple[float, dict[str, Any]]]

DATASET = "patches"
_WARM_IMAGES = 4
_LOADER_BATCH = 64
_CHUNK = 64


def image_paths(images: Path) -> list[Path]:
    """Return all images in the order in which the plain loop takes them."""
    return sorted(images.rglob("*.png"))


def plain_loop(network: str, images: Path, weights: str, out: Path) -> Work:
    """A straightforward script: loader with two workers, batches of 64, hooks on all curated layers, one .npy each."""
    import torch
    from torch.utils.data import DataLoader

    set_threads(cores())
    paths, modules = image_paths(images), layers(NETWORKS[network])
    out.mkdir(parents=True, exist_ok=True)

    def loader(patches: Patches) -> Any:
        # Workers that are spawned would import torch anew in every round.
        return DataLoader(patches, batch_size=_LOADER_BATCH, num_workers=2, multiprocessing_context="fork")

    def extract(taken: Sequence[Path]) -> None:
        model = NETWORKS[network].build(weights)
        vectors: dict[str, list[Any]] = {module: [] for module in modules}
        for module in modules:
            model.get_submodule(module).register_forward_hook(
                lambda _model, _inputs, output, found=vectors[module]: found.append(output.mean((2, 3)))
            )
        with torch.no_grad():
            for batch in loader(Patches(taken, SIZE, **scaling(NETWORKS[network]))):
                model(batch)
        for module, found in vectors.items():
            np.save(out / f"{module}.npy", torch.cat(found).numpy())

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            extract(paths)
        return watch.seconds, {"out": str(out)}

    extract(paths[:_WARM_IMAGES])
    return work


def plain_forward(network: str, weights: str, batch: int, channels_last: bool, count: int) -> Work:
    """The network of a library without hooks, on one preprocessed batch again and again; `count` images."""
    import torch

    set_threads(cores())
    model, images = NETWORKS[network].build(weights), torch.randn(batch, 3, SIZE, SIZE)
    if channels_last:
        model, images = (item.to(memory_format=torch.channels_last) for item in (model, images))

    def work() -> tuple[float, dict[str, Any]]:
        passes = max(1, count // batch)
        # Given as if exactly `count` images had gone through.
        with Stopwatch() as watch, torch.no_grad():
            for _ in range(passes):
                model(images)
        return watch.seconds * count / (passes * batch), {"batch": batch}

    with torch.no_grad():
        model(images)
    return work


def cut_forward(network: str, weights: str, precision: str, chosen: Sequence[str], count: int) -> Work:
    """histokit's own network on one preprocessed batch again and again, at its own batch size; `count` images."""
    import torch

    from histokit.networks.cut_network import CutNetwork
    from histokit.plugin.manager import registry
    from histokit.store.allocator import kept_memory

    set_threads(cores())
    backbone = registry().backbone(NETWORKS[network].backbone, weights)
    cut = CutNetwork(backbone, [backbone.layer(name) for name in chosen], torch.device("cpu"), precision)
    batch = cut.batch_size(SIZE, SIZE)
    images = torch.randn(batch, 3, SIZE, SIZE).to(memory_format=torch.channels_last)

    def work() -> tuple[float, dict[str, Any]]:
        passes = max(1, count // batch)
        with Stopwatch() as watch, kept_memory():
            for _ in range(passes):
                cut(images)
        return watch.seconds * count / (passes * batch), {"batch": batch}

    cut(images)
    return work


def read_and_resize(network: str, images: Path) -> Work:
    """Reading and resizing alone, as histokit does it; the seconds of all cores, not of the clock."""
    import torch

    from histokit.networks.transform import Transform
    from histokit.plugin import read_image
    from histokit.plugin.manager import registry

    set_threads(cores())
    net, paths = NETWORKS[network], image_paths(images)
    preprocess = registry().backbone(net.backbone, "random").preprocess.override(net.changes)
    transform = Transform(preprocess, ("R", "G", "B"), torch.device("cpu"))

    def work() -> tuple[float, dict[str, Any]]:
        started = time.process_time()
        pixels = [read_image(path) for path in paths]
        read = time.process_time() - started
        by_shape: dict[tuple[int, ...], list[Any]] = {}
        for image in pixels:
            by_shape.setdefault(image.shape, []).append(image)
        for same in by_shape.values():
            for start in range(0, len(same), _CHUNK):
                transform.normalise(transform.resize(same[start : start + _CHUNK], None))
        seconds = time.process_time() - started
        return seconds, {"read": read, "resize": seconds - read}

    work()
    return work


def whole(
    commands: Sequence[Sequence[str]],
    images: Path,
    weights: dict[str, str],
    folder: Path,
    precision: str = "float32",
    chosen: str = "all",
) -> Work:
    """``histokit extract`` end to end into a fresh store; one call for each list of networks in `commands`."""
    import histokit

    set_threads(cores())
    stores = iter(range(1_000_000))

    def extract(source: Path) -> tuple[float, dict[str, Any]]:
        path = folder / str(next(stores))
        with Stopwatch() as ingesting:
            store = histokit.open_store(path)
            options = {"pattern": PATTERN, "group": "patient"}
            histokit.ingest(store, "folder", source, name=DATASET, options=options)
        with Stopwatch() as watch, writing_seconds() as writing:
            for names in commands:
                networks = [NETWORKS[name] for name in names]
                histokit.extract(
                    store,
                    DATASET,
                    [network.backbone for network in networks],
                    layers=chosen.split(","),
                    weights={network.backbone: weights[network.name] for network in networks},
                    preprocess=[change for network in networks for change in network.preprocess()],
                    precision=precision,
                )
        facts = {"ingest": ingesting.seconds, "writing": sum(writing), "store": str(path)}
        shutil.rmtree(folder / str(int(path.name) - 1), ignore_errors=True)
        return watch.seconds, facts

    extract(few_images(images, folder))
    return lambda: extract(images)


def few_images(images: Path, folder: Path) -> Path:
    """Copy some images, on which a contender runs once before it is timed."""
    few = folder / "few"
    for path in image_paths(images)[:_WARM_IMAGES]:
        target = few / path.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return few


@contextmanager
def writing_seconds() -> Iterator[list[float]]:
    """Collect, inside a ``with`` block, the seconds in which a `Writer` puts vectors into the store."""
    from histokit.extract.writer import Writer

    seconds: list[float] = []
    running: list[str] = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            with Stopwatch() as watch:
                running.append(method.__name__)
                try:
                    return method(*given, **options)
                finally:
                    running.pop()
                    # A method inside another one is counted with it.
                    if not running:
                        seconds.append(time.perf_counter() - watch.started)

        return call

    originals = {name: getattr(Writer, name) for name in ("flush", "close")}
    for name, method in originals.items():
        setattr(Writer, name, timed(method))
    try:
        yield seconds
    finally:
        for name, method in originals.items():
            setattr(Writer, name, method)
