"""Images, stores and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

import histokit
from histokit.features import FeatureStore
from histokit.store import Store


def many_images(root: Path, count: int) -> Path:
    """Write `count` images of 16 × 16 pixels, no two alike."""
    generator = np.random.default_rng(1)
    for number in range(count):
        path = root / f"p{number % 5}" / ("dark" if number % 2 else "bright") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return root


def ingested(uri: Path, root: Path) -> FeatureStore:
    """A new store that knows the images as the dataset ``d``."""
    store = histokit.open_store(uri)
    options = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    histokit.ingest(store, "folder", root, name="d", options=options)
    return store


def tables(store: Store) -> dict[str, pa.Table]:
    """Return every feature table of a store, sorted by key."""
    names = [table.name for table in store.feature_tables()]
    return {name: store.database.read(name).sort_by("key").combine_chunks() for name in names}


def rows(store: Store) -> dict[str, int]:
    """Return the number of rows of each feature address."""
    return {table.address: store.database.count(table.name) for table in store.feature_tables()}


def check_same(found: Mapping[str, pa.Table], expected: Mapping[str, pa.Table]) -> None:
    """Require that two stores hold the same feature tables, bit for bit, with the same description."""
    assert found.keys() == expected.keys()
    for name, table in found.items():
        assert table.equals(expected[name], check_metadata=True), name
