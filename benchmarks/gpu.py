"""Extraction on a GPU, end to end against the network alone: ResNet50 and DenseNet201 at all curated layers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import Contender, Stopwatch, Table, Timing, arguments, cores, publish, scratch, set_threads, take_turns
from work import PATTERN, SIZE, draw_images

BACKBONES = ("resnet50", "densenet201")
_WEIGHTS = "random:0"
_WANTED = 0.85
_WARM_IMAGES = 64
_WARM_PASSES = 3

Work = Callable[[], tuple[float, dict[str, Any]]]


def network_alone(backbone: str, precision: str, device: str, count: int) -> Work:
    """Push batches that are on the device already through the network; about `count` images."""
    import torch

    from histokit.networks.cut_network import CutNetwork
    from histokit.plugin.manager import registry

    set_threads(cores())
    place = torch.device(device)
    known = registry().backbone(backbone, _WEIGHTS)
    network = CutNetwork(known, known.layers, place, precision)
    rows = network.batch_size(SIZE, SIZE)
    passes = max(1, count // rows)
    images = torch.randn(rows, 3, SIZE, SIZE, device=place).to(memory_format=torch.channels_last)

    def push(times: int) -> None:
        for _ in range(times):
            network.forward(images)
        if place.type == "cuda":
            torch.cuda.synchronize()

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            push(passes)
        return watch.seconds * count / (passes * rows), {"batch": rows}

    push(_WARM_PASSES)
    return work


def end_to_end(backbone: str, precision: str, device: str, images: Path, few: Path, folder: Path) -> Work:
    """``histokit extract`` into a fresh store: reading, copying to the device, resizing, the network, writing."""
    import histokit

    set_threads(cores())
    numbers = iter(range(1_000_000))

    def extract(source: Path) -> tuple[float, dict[str, Any]]:
        path = folder / str(next(numbers))
        store = histokit.open_store(path)
        histokit.ingest(store, "folder", source, name="drawn", options={"pattern": PATTERN, "group": "patient"})
        with Stopwatch() as watch:
            histokit.extract(store, "drawn", backbone, weights=_WEIGHTS, precision=precision, device=device)
        shutil.rmtree(path, ignore_errors=True)
        return watch.seconds, {}

    extract(few)
    return lambda: extract(images)


def rows_of(backbone: str, precision: str, timings: Sequence[Timing]) -> list[list[str]]:
    """Return the two rows of a network at a precision."""
    alone, whole = timings
    share = alone.median / whole.median
    return [
        [f"{backbone}, {precision}, network alone", f"{alone.rate:.0f}", "", alone.remark],
        [f"{backbone}, {precision}, end to end", f"{whole.rate:.0f}", f"{share:.0%}", whole.remark],
    ]


def main() -> None:
    """Run what the options say."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--side", type=int, default=SIZE, help="of an image, in pixels (default: %(default)s)")
    parser.add_argument("--backbone", choices=BACKBONES, action="append", help="both where not given")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"], action="append")
    parser.add_argument("--device", default="cuda", help="cpu only to see that this runs (default: %(default)s)")
    options = parser.parse_args()
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        notes = ["This machine has no CUDA device that torch can use: nothing was measured."]
        publish("gpu", vars(options), [Table("GPU", ["contender"], [], notes)], {}, options.json)
        return
    name = torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu"
    rows: list[list[str]] = []
    timings: dict[str, Sequence[Timing]] = {}
    with scratch() as folder:
        draw_images(folder / "images", options.images, options.side)
        draw_images(folder / "few", min(_WARM_IMAGES, options.images), options.side)
        for backbone in options.backbone or BACKBONES:
            for precision in options.precision or ("float32", "bfloat16"):
                shared: dict[str, Any] = {"backbone": backbone, "precision": precision, "device": options.device}
                places = {"images": folder / "images", "few": folder / "few", "folder": folder / "stores"}
                contenders = [
                    Contender("network alone", network_alone, {**shared, "count": options.images}, options.images),
                    Contender("end to end", end_to_end, {**shared, **places}, options.images),
                ]
                taken = timings[f"{backbone}, {precision}"] = take_turns(contenders, options.rounds)
                rows += rows_of(backbone, precision, taken)
    title = f"{name}: all curated layers, {options.images} PNG images of {options.side} pixels, random weights"
    notes = [f"Wanted: end to end at least {_WANTED:.0%} of the network alone."]
    table = Table(title, ["contender", "images/s", "to the network alone", "remarks"], rows, notes)
    publish("gpu", vars(options), [table], timings, options.json, {"device": name})


if __name__ == "__main__":
    main()
