"""Small files of arrays in the formats in which they are published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

COUNTS = {"train": 30, "val": 5, "test": 8}

Save = Callable[..., None]


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def medmnist(file: Path, *channels: int, save: Save = np.savez_compressed, width: int = 1, **changed: Any) -> Path:
    """A file as MedMNIST publishes them: images and labels of three splits, labels of shape (n, 1)."""
    arrays: dict[str, Any] = {}
    for seed, (split, count) in enumerate(COUNTS.items()):
        arrays[f"{split}_images"] = pixels(count, 28, 28, *channels, seed=seed)
        arrays[f"{split}_labels"] = np.random.default_rng(seed).integers(0, 11, (count, width), dtype=np.uint8)
    save(file, **{name: array for name, array in {**arrays, **changed}.items() if array is not None})
    return file


def camelyon(folder: Path) -> Path:
    """Pairs of files as PatchCamelyon publishes them, each with its table."""
    folder.mkdir(exist_ok=True)
    for seed, (split, count) in enumerate({"train": 12, "valid": 4, "test": 6}.items()):
        stem = f"camelyonpatch_level_2_split_{split}"
        with h5py.File(folder / f"{stem}_x.h5", "w") as file:
            file.create_dataset(
                "x", data=pixels(count, 96, 96, 3, seed=seed), chunks=(3, 96, 96, 3), compression="gzip"
            )
        with h5py.File(folder / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(count, dtype=np.uint8) % 2).reshape(count, 1, 1, 1)
        lines = [",coord_x,coord_y,tumor_patch,center_tumor_patch,wsi"]
        lines += [
            f"{i},{100 + i},{7 * i},{i % 3 == 0},{i % 2 == 1},camelyon16_{split}_{i // 4:03d}" for i in range(count)
        ]
        (folder / f"{stem}_meta.csv").write_text("\n".join(lines) + "\n")
    return folder
