"""What the benchmark of GPUs compares: the network alone, a script that feeds it, and histokit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from common import Stopwatch, cores, set_threads
from work import DRAWN, PATTERN, SIZE, Patches, all_paths, draw_images

if TYPE_CHECKING:
    import torch

    from histokit.plugin import Backbone, Layer

WARM_IMAGES = 64
LOADER_BATCH = 128
_WARM_PASSES = 3

Work = Callable[[], tuple[float, dict[str, Any]]]


class Case(NamedTuple):
    """A row of the benchmark.

    Parameters
    ----------
    backbone, precision : str
    layers : str
        ``last``, or ``all`` curated ones.
    form : str
        ``jpg`` or ``png``.
    side : int
        Of the images, in pixels.
    compile : bool
        Through torch's compiler; the script is not.
    """

    backbone: str
    precision: str
    layers: str
    form: str = "jpg"
    side: int = SIZE
    compile: bool = False

    def __str__(self) -> str:
        text = f"{self.backbone}, {self.precision}, {self.layers}, {self.form} {self.side}"
        return text + ", compiled" * self.compile


def _opened(case: Case, weights: str) -> tuple[Backbone, list[Layer]]:
    from histokit.plugin.manager import registry

    known = registry().backbone(case.backbone, weights)
    return known, list(known.layers) if case.layers == "all" else [known.layer("last")]


def _free(place: torch.device) -> None:
    """Leave the memory of the device to the contender whose turn it is."""
    import torch

    if place.type == "cuda":
        torch.cuda.synchronize(place)
        torch.cuda.empty_cache()


def network_alone(case: Case, weights: str, device: str, count: int) -> Work:
    """Push one batch that is on the device already through the network again and again; `count` images."""
    import torch

    from histokit.networks.cut_network import CutNetwork

    set_threads(cores())
    place = torch.device(device)
    known, layers = _opened(case, weights)
    network, side = CutNetwork(known, layers, place, case.precision), known.preprocess.size
    rows = network.batch_size(side, side)
    if case.compile:
        network.compile((rows, 3, side, side))
    passes = max(1, count // rows)
    images = torch.randn(rows, 3, side, side, device=place).to(memory_format=torch.channels_last)

    def push(times: int) -> None:
        for _ in range(times):
            network.forward(images)
        if place.type == "cuda":
            torch.cuda.synchronize(place)

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            push(passes)
        _free(place)
        return watch.seconds * count / (passes * rows), {"batch": rows}

    push(_WARM_PASSES)
    _free(place)
    return work


def scripted_loop(case: Case, weights: str, device: str, images: Path, few: Path, folder: Path) -> Work:
    """A good script: as many loader processes as cores, pinned memory, a network of the precision, hooks, one .npz."""
    import torch
    from torch.utils.data import DataLoader

    from histokit.plugin.pooling import pool

    set_threads(cores())
    folder.mkdir(parents=True, exist_ok=True)
    place, dtype, file = torch.device(device), getattr(torch, case.precision), folder / "loop.npz"
    torch.backends.cudnn.benchmark = True

    def extract(source: Path) -> None:
        known, layers = _opened(case, weights)
        network = known.build().to(place, dtype).to(memory_format=torch.channels_last)
        prefix = known.prefix_tokens(network)
        vectors: dict[str, list[Any]] = {layer.name: [] for layer in layers}
        for layer in layers:
            network.get_submodule(layer.module).register_forward_hook(
                lambda _network, _inputs, output, layer=layer: vectors[layer.name].append(
                    pool(output, layer, prefix).float().cpu().numpy()
                )
            )
        paths, scale = all_paths(source), known.preprocess
        loader: Any = DataLoader(
            Patches(paths, scale.size, scale.interpolation, scale.mean, scale.std),
            batch_size=LOADER_BATCH,
            num_workers=cores(),
            pin_memory=place.type == "cuda",
            multiprocessing_context="fork",  # type: ignore[arg-type]
        )
        with torch.inference_mode():
            for batch in loader:
                network(batch.to(place, dtype, non_blocking=True, memory_format=torch.channels_last))
        ids = [str(path.relative_to(source)) for path in paths]
        np.savez(file, ids=ids, **{name: np.concatenate(found) for name, found in vectors.items()})

    def work() -> tuple[float, dict[str, Any]]:
        with Stopwatch() as watch:
            extract(images)
        _free(place)
        return watch.seconds, {"file": str(file)}

    extract(few)
    _free(place)
    return work


def end_to_end(
    case: Case, weights: str, device: str, images: Path, few: Path, folder: Path, workers: int | None
) -> Work:
    """``histokit extract`` into a store without features: its readers' start, the network's building, writing."""
    import torch

    import histokit

    set_threads(cores())
    numbers = iter(range(1_000_000))

    def extract(source: Path) -> tuple[float, dict[str, Any]]:
        path = folder / f"{case.form}-{next(numbers)}"
        shutil.copytree(_ingested(source, folder, case.form), path)
        with Stopwatch() as watch:
            found = histokit.extract(
                path,
                "drawn",
                case.backbone,
                layers=case.layers,
                weights=weights,
                precision=case.precision,
                device=device,
                compile=case.compile,
                workers=workers,
            )
        shutil.rmtree(path, ignore_errors=True)
        _free(torch.device(device))
        computed: Sequence[int] = [table["computed"] for table in found.tables]
        return watch.seconds, {"computed": min(computed), "tables": len(computed), "notes": list(found.notes)}

    extract(few)
    _ingested(images, folder, case.form)
    return lambda: extract(images)


def _ingested(source: Path, folder: Path, form: str) -> Path:
    """Ingest images once for all rounds and cases."""
    import histokit

    store = folder / f"{source.name}-ingested"
    if not store.exists():
        pattern = PATTERN.replace("png", form)
        histokit.ingest(store, "folder", source, name="drawn", options={"pattern": pattern, "group": "patient"})
    return store


def draw_for(case: Case, count: int, folder: Path) -> dict[str, Path]:
    """Draw the images of a case, and a few to warm up; once for all cases with such images."""
    names = {"images": count, "few": min(WARM_IMAGES, count)}
    places = {name: folder / f"{name}-{case.form}-{case.side}" for name in names}
    for name, path in places.items():
        if not path.exists():
            draw_images(path, names[name], case.side, case.form, distinct=DRAWN)
    return places


def weights_for(backbone: str, folder: Path) -> str:
    """Write random weights, once for all cases: large networks take longer to draw than to read."""
    from safetensors.torch import save_file

    from histokit.plugin.manager import registry

    known = registry().backbone(backbone, "random:0")
    file = folder / f"{re.sub('[^A-Za-z0-9_.-]', '_', backbone)}.safetensors"
    if not file.exists():
        save_file({name: value.clone().contiguous() for name, value in known.build().state_dict().items()}, file)
        scale = known.preprocess.to_json()
        how = {name: scale[name] for name in ("size", "interpolation", "mean", "std")}
        file.with_suffix(".json").write_text(json.dumps(how))
    return str(file)
