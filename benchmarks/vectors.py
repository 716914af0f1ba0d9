"""The vectors that the benchmarks of selection and training work on: layers of two networks, merged or alone."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import once, progress
from work import NETWORKS, PATTERN, prepare

#: Columns → networks and layers, of 2,061 patches from 64 patients.
ADDRESSES = {
    320: [("mobilenetv2", "blocks.6")],
    1280: [("mobilenetv2", "last")],
    4328: [("mobilenetv2", "all"), ("squeezenet", "all")],
}
_NAMES = ("mobilenetv2", "squeezenet")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says where vectors come from."""
    parser.add_argument("--images", type=int, help="how many images, evenly from all patients (default: all)")
    parser.add_argument("--data", type=Path, help="folder of PATIENT/LABEL/NAME.png")
    parser.add_argument("--weights", type=Path, help="folder of weights files")
    parser.add_argument("--vectors", type=Path, help="folder that keeps the vectors for the next time")


def make(folder: Path, options: argparse.Namespace) -> tuple[Path, list[str]]:
    """Extract the vectors, or find them where an earlier benchmark put them; return their folder, and notes."""
    there = options.vectors or folder / "vectors"
    notes = there / "notes.txt"
    if not notes.exists():
        progress("extract the vectors")
        material = prepare(folder, options.images, _NAMES, options.data, options.weights)
        given = {"images": str(material.images), "weights": dict(material.weights), "store": str(folder / "store")}
        once(extract, **given, out=str(there))
        shutil.rmtree(folder / "store", ignore_errors=True)
        notes.write_text("\n".join(material.notes))
    return there, notes.read_text().splitlines()


def extract(images: str, weights: dict[str, str], store: str, out: str) -> dict[str, Any]:
    """Extract all layers of both networks, and write one file for each number of columns."""
    import histokit

    opened = histokit.open_store(store)
    histokit.ingest(opened, "folder", images, name="patches", options={"pattern": PATTERN, "group": "patient"})
    backbones = {name: NETWORKS[name].backbone for name in _NAMES}
    changes = [change for name in _NAMES for change in NETWORKS[name].preprocess()]
    files = {backbones[name]: weights[name] for name in _NAMES}
    histokit.extract(opened, "patches", list(backbones.values()), layers="all", weights=files, preprocess=changes)
    Path(out).mkdir(parents=True, exist_ok=True)
    for columns, parts in ADDRESSES.items():
        features = opened.features("patches", "+".join(f"{backbones[name]}/{layer}" for name, layer in parts))
        labels = np.unique(features.y, return_inverse=True)[1]
        groups = np.asarray(features.groups()).astype(str)
        np.savez(Path(out, f"{columns}.npz"), X=features.X, y=labels, groups=groups)
    return {}


def load(folder: Path, columns: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], npt.NDArray[np.str_]]:
    """Return vectors, labels and groups."""
    with np.load(folder / f"{columns}.npz") as file:
        return file["X"], file["y"], file["groups"]
