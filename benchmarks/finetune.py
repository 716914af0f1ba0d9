"""Training: epochs of `histokit finetune` against a bare loop of PyTorch over tensors that are in memory already."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import (
    Contender,
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
from work import NETWORKS, PATTERN, Patches, all_paths, draw_images, scaling

Work = Callable[[], tuple[float, dict[str, Any]]]

BARE = "bare loop"
PLAIN = "histokit"
AUGMENTED = "histokit, flips and turns"
WANTED = 0.9
#: Wanted of an epoch of SqueezeNet over 2,000 images of 128 pixels on two cores.
EPOCH_SECONDS = 120

_CLASSES = 2
_SGD = {"lr": 1e-3, "momentum": 0.9}
_FEW = 64

#: What both do: one stage of everything, no sample kept from training.
_PRESET = """
batch_size = {batch}
choose_epoch = "last"
[augment]
flip = "both"
rotate = true
[[stages]]
train = "all"
epochs = {epochs}
optimiser = "sgd"
lr = {lr}
momentum = {momentum}
schedule = "constant"
augment = {augment}
"""


def _network(name: str) -> Any:
    """The network that histokit trains, by its library's own builder."""
    from torch import nn

    whole = NETWORKS[name].build("")
    if name == "squeezenet":
        return nn.Sequential(whole.features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, _CLASSES))
    whole.reset_classifier(_CLASSES)
    return whole


def bare_loop(images: Path, network: str, batch: int, size: int, epochs: int) -> Work:
    """Forward, backward and step over normalised images in memory, in a new order in each epoch."""
    import torch
    from torch.nn.functional import cross_entropy

    set_threads(cores())
    torch.manual_seed(0)
    paths, prepared = all_paths(images)[1:], scaling(NETWORKS[network])
    patches = Patches(paths, size, prepared["interpolation"], prepared["mean"], prepared["std"])
    x = torch.stack([patches[index] for index in range(len(paths))]).contiguous(memory_format=torch.channels_last)
    y = torch.tensor([int(path.parent.name) for path in paths])
    model = _network(network).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), **_SGD)

    def epoch() -> None:
        for rows in torch.randperm(len(x)).split(batch):
            loss = cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    def work() -> tuple[float, dict[str, Any]]:
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(epochs):
            epoch()
        return time.perf_counter() - wall, {"processor": time.process_time() - processor}

    few, x = x, x[:_FEW]
    epoch()
    x = few
    return work


def training(images: Path, folder: Path, network: str, batch: int, size: int, epochs: int, augment: bool) -> Work:
    """``histokit.finetune`` in a fresh store; the first epoch is warm-up, as is reading the images before it."""
    import histokit

    set_threads(cores())
    numbers: Iterator[int] = iter(range(1_000_000))

    def train(source: Path) -> tuple[float, dict[str, Any]]:
        place = folder / str(next(numbers))
        store = histokit.open_store(place)
        histokit.ingest(store, "folder", source, name="drawn", options={"pattern": PATTERN})
        preset = folder / "both.toml"
        told = {"batch": batch, "epochs": epochs + 1, "augment": str(augment).lower(), **_SGD}
        preset.write_text(_PRESET.format(**told))
        # One sample is tested on, all others are trained on.
        histokit.split(store, "drawn", name="most", test=1e-6)
        ends: list[tuple[float, float]] = []

        def report(_done: int, _total: int, detail: str = "") -> None:
            if detail.startswith("epoch"):
                ends.append((time.perf_counter(), time.process_time()))

        (run,) = histokit.finetune(
            store, "drawn", NETWORKS[network].backbone, preset=str(preset), weights="random", split="most",
            preprocess={"size": size}, device="cpu", keep="final", progress=report,
        )  # fmt: skip
        steps = run.found["final"]["iterations"] // (epochs + 1)
        (wall, processor), (wall_end, processor_end) = ends[steps - 1], ends[steps * (epochs + 1) - 1]
        shutil.rmtree(place, ignore_errors=True)
        facts = {"processor": processor_end - processor, "images": run.folds[0]["train"], "steps": steps}
        return wall_end - wall, facts

    few = folder / "few"
    paths = all_paths(images)
    # An odd step finds both classes.
    for path in paths[:: len(paths) // _FEW | 1]:
        (few / path.parent.relative_to(images)).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, few / path.relative_to(images))
    train(few)
    return lambda: train(images)


def processor_ratio(one: Timing, other: Timing) -> float:
    """Return how many times the processor time of `one` that of `other` is: the median over rounds."""
    pairs = zip(one.facts, other.facts, strict=False)
    return statistics.median(b["processor"] / a["processor"] for a, b in pairs)


def rows(timings: list[Timing], epochs: int) -> list[list[str]]:
    """Return the rows of the table: the first timing is the bare loop."""
    bare = timings[0]
    return [
        [
            timing.name,
            f"{timing.rate:.1f}",
            f"{ratio_of_rounds(timing, bare):.2f}",
            f"{processor_ratio(timing, bare):.2f}",
            f"{timing.median / epochs:.1f}",
            f"{statistics.median(fact['processor'] for fact in timing.facts) / epochs:.1f}",
            timing.remark,
        ]
        for timing in timings
    ]


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "", rounds=3)
    parser.add_argument("--network", choices=NETWORKS, default="squeezenet")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128, help="side of the images and of the input")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1, help="timed in each round, after one that is not")
    options = parser.parse_args()
    # As histokit does: threads that wait in a loop would slow the bare loop down two or three times on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with scratch() as folder:
        draw_images(folder / "images", options.images + 1, options.size)
        shared = {"images": folder / "images", "network": options.network, "batch": options.batch}
        shared |= {"size": options.size, "epochs": options.epochs}
        contenders = [Contender(BARE, bare_loop, shared, options.images * options.epochs)]
        for name, augment in ((PLAIN, False), (AUGMENTED, True)):
            own = {**shared, "folder": folder / name.replace(" ", "-"), "augment": augment}
            wanted = "" if augment else f"wanted {WANTED}"
            contenders.append(Contender(name, training, own, options.images * options.epochs, wanted))
        timings = take_turns(contenders, options.rounds)
    columns = ["contender", "images/s", "to the loop", "by processor time", "epoch, s", "processor, s", "remarks"]
    title = f"{NETWORKS[options.network].backbone}, {options.images} images of {options.size} pixels, float32"
    notes = [f"Wanted of an epoch of SqueezeNet, 2,000 images of 128 pixels, two cores: under {EPOCH_SECONDS} s."]
    table = Table(title, columns, rows(timings, options.epochs), notes)
    publish("finetune", vars(options), [table], {options.network: timings}, options.json)


if __name__ == "__main__":
    main()
