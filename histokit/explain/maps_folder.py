"""Maps and pictures of filters as files, with a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.datasets.formulas import guarded
from histokit.errors import unwritten_output
from histokit.explain.explanation import Explanation
from histokit.features.spatial import file_stems
from histokit.figures.heat_maps import over_image
from histokit.files import replaced

#: The tables in folders.
TABLE, FILTERS = "explained.csv", "filters.csv"


def write_maps(explanation: Explanation, folder: str | Path) -> None:
    """Write ``ID.npz`` (map, heat and image) and ``ID.png`` (the map over the image) of each sample, and a table.

    Files of these names are replaced; others in the folder stay.

    Raises
    ------
    UsageError
        If they cannot be written.
    """
    stems = _stems([sample.id for sample in explanation.samples])
    rows = []
    with _writing(folder) as place:
        for sample in explanation.samples:
            name = stems[sample.id]
            with replaced(place / f"{name}.npz") as part, part.open("wb") as file:
                np.savez_compressed(file, map=sample.map, heat=sample.heat, image=sample.image)
            _write_picture(over_image(sample.image, sample.heat, explanation.signed), place / f"{name}.png")
            rows.append({**sample.to_json(), "arrays": f"{name}.npz", "picture": f"{name}.png"})
        _write_table(rows, place / TABLE)


def write_filters(found: Any, folder: str | Path) -> None:
    """Write ``LAYER_FILTER_WHEN.png`` of each picture of `histokit.explain.filter_images`, and a table.

    Raises
    ------
    UsageError
        If they cannot be written.
    """
    rows = []
    with _writing(folder) as place:
        for image in found.images:
            name = f"{image.layer}_{image.filter}_{image.when}.png".replace("/", "_").replace(":", "_")
            _write_picture(image.image, place / name)
            rows.append({**image.to_json(), "picture": name})
        _write_table(rows, place / FILTERS)


@contextmanager
def _writing(folder: str | Path) -> Iterator[Path]:
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        yield place
    except OSError as error:
        raise unwritten_output(folder, error) from error


def _write_picture(pixels: NDArray[np.uint8], path: Path) -> None:
    from PIL import Image

    with replaced(path) as part:
        Image.fromarray(pixels).save(part)


def _write_table(rows: list[dict[str, Any]], path: Path) -> None:
    from pyarrow import csv

    with replaced(path) as part:
        csv.write_csv(guarded(pa.Table.from_pylist(rows)), part)


def _stems(ids: Sequence[str]) -> dict[str, str]:
    """Return what the files of each sample are called: its id without slashes, with a number where that is no name."""
    flat = {sample_id: sample_id.replace("/", "_") for sample_id in ids}
    if len(set(flat.values())) < len(flat):
        flat = {sample_id: f"{number}_{name}" for number, (sample_id, name) in enumerate(flat.items(), 1)}
    stems = file_stems(flat.values())
    return {sample_id: stems[name] for sample_id, name in flat.items()}
