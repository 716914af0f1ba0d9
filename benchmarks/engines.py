"""Extraction on processors by OpenVINO and by torch's compiler, end to end, against torch as it is."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
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
from contenders import few_images
from work import PATTERN, Material, prepare

Work = Callable[[], tuple[float, dict[str, Any]]]

#: Engines → what `histokit.extract` is given for them.
ENGINES: dict[str, dict[str, Any]] = {
    "torch": {},
    "OpenVINO": {"engine": "openvino"},
    "torch's compiler": {"compile": True},
}
BACKBONES = (
    "timm:mobilenetv2_100",
    "torchvision:squeezenet1_1",
    "torchvision:resnet50",
    "timm:vit_small_patch16_224",
)
_DATASET = "patches"


def extraction(backbone: str, engine: str, images: Path, folder: Path, reference: Path) -> Work:
    """``histokit extract`` of all curated layers into a fresh store; the ingestion before it is not timed.

    The vectors of the first engine are kept, and those of the others compared with them: ``cosine`` is the least one.
    """
    import histokit

    set_threads(cores())
    stores: Iterator[int] = iter(range(1_000_000))

    def extract(source: Path) -> tuple[float, dict[str, Any]]:
        place = folder / str(next(stores))
        store = histokit.open_store(place)
        histokit.ingest(store, "folder", source, name=_DATASET, options={"pattern": PATTERN, "group": "patient"})
        with Stopwatch() as watch:
            found = histokit.extract(store, _DATASET, backbone, weights="random:0", device="cpu", **ENGINES[engine])
        names = [table["address"] for table in found.tables]
        layers = [store.features(_DATASET, name).X for name in names]
        shutil.rmtree(folder / str(int(place.name) - 1), ignore_errors=True)
        facts = {"notes": list(found.notes), "layers": names}
        return watch.seconds, facts | ({} if source == few else {"cosine": _compared(layers, reference)})

    few = few_images(images, folder)
    extract(few)
    return lambda: extract(images)


def _compared(layers: Sequence[Any], reference: Path) -> float:
    """Keep the vectors of layers where none are kept yet; return the least cosine to those that are."""
    if not reference.exists():
        np.savez(reference, *layers)
    with np.load(reference) as kept:
        pairs = [(mine, kept[name]) for mine, name in zip(layers, kept.files, strict=True)]
    cosines = [
        (mine * theirs).sum(1) / np.maximum(np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1), 1e-12)
        for mine, theirs in pairs
    ]
    return float(min(each.min() for each in cosines))


def measure(backbone: str, material: Material, folder: Path, rounds: int, engines: Sequence[str]) -> list[Timing]:
    """Return the timings of one network."""
    work = folder / backbone.partition(":")[2]
    work.mkdir()
    shared = {"backbone": backbone, "images": material.images, "reference": work / "vectors.npz"}
    contenders = [
        Contender(engine, extraction, {**shared, "engine": engine, "folder": work / f"by-{number}"}, material.count)
        for number, engine in enumerate(engines)
    ]
    return take_turns(contenders, rounds)


def table(backbone: str, timings: Sequence[Timing], material: Material) -> Table:
    """Return the table of one network."""
    rows = []
    for timing in timings:
        told = sorted({note for facts in timing.facts for note in facts["notes"]})
        cosine = min(facts["cosine"] for facts in timing.facts)
        remarks = "; ".join([*([timing.remark] if timing.remark else []), *told])
        rows.append(
            [timing.name, f"{timing.rate:.1f}", f"{ratio_of_rounds(timing, timings[0]):.2f}", f"{cosine:.6f}", remarks]
        )
    layers = len(timings[0].facts[0]["layers"])
    columns = ["engine", "images/s", "to torch", "least cosine to torch", "remarks"]
    return Table(f"{backbone}, {layers} layers, {material.count} images, float32", columns, rows, material.notes)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    found = arguments(__doc__ or "", rounds=3)
    found.add_argument("--images", default="500", help="a number, or all (default: %(default)s)")
    found.add_argument("--backbone", action="append", help="as extract takes it; may be repeated")
    found.add_argument("--engine", action="append", choices=list(ENGINES)[1:], help="beside torch; may be repeated")
    found.add_argument("--data", type=Path, metavar="DIR", help="patches PATIENT/LABEL/NAME.png")
    return found


def main() -> None:
    """Run what the options say."""
    options = parser().parse_args()
    engines = ["torch", *(options.engine or ["OpenVINO"])]
    if "OpenVINO" in engines and find_spec("openvino") is None:
        print("OpenVINO is not installed, so there is nothing to compare: pip install '.[openvino]'")
        return
    tables, timings = [], {}
    with scratch() as folder:
        count = None if options.images == "all" else int(options.images)
        material = prepare(folder, count, [], options.data, None)
        for backbone in options.backbone or BACKBONES:
            timings[backbone] = measure(backbone, material, folder, options.rounds, engines)
            tables.append(table(backbone, timings[backbone], material))
    publish("engines", vars(options), tables, timings, options.json)


if __name__ == "__main__":
    main()
