"""Maps as files: arrays, pictures and a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histokit.datasets.formulas import guarded
from histokit.errors import UsageError
from histokit.explain.explanation import Explanation
from histokit.features.spatial import file_stems
from histokit.figures.heat_maps import over_image
from histokit.files import check_folder, replaced

#: The table in the folder.
TABLE = "explained.csv"


def check_maps_folder(path: str | Path) -> Path:
    """Return the path of a folder that maps are to be written to.

    Raises
    ------
    UsageError
        If it cannot be.
    """
    return check_folder(path)


def write_maps(explanation: Explanation, folder: str | Path) -> list[str]:
    """Write ``ID.npz`` (map, heat and image) and ``ID.png`` (the map over the image) of each sample, and a table.

    Files of these names are replaced; others in the folder stay.

    Returns
    -------
    list of str
        The names of the files, of the table first.

    Raises
    ------
    UsageError
        If they cannot be written.
    """
    from PIL import Image

    place = Path(folder)
    stems = _stems([sample.id for sample in explanation.samples])
    rows: list[dict[str, Any]] = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        for sample in explanation.samples:
            name = stems[sample.id]
            with replaced(place / f"{name}.npz") as part, part.open("wb") as file:
                np.savez_compressed(file, map=sample.map, heat=sample.heat, image=sample.image)
            with replaced(place / f"{name}.png") as part:
                Image.fromarray(over_image(sample.image, sample.heat, explanation.signed)).save(part)
            rows.append({**sample.to_json(), "arrays": f"{name}.npz", "picture": f"{name}.png"})
        from pyarrow import csv

        with replaced(place / TABLE) as part:
            csv.write_csv(guarded(pa.Table.from_pylist(rows)), part)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written: {error.strerror or error}.", next="Choose another --out."
        ) from error
    return [TABLE, *(str(row[name]) for row in rows for name in ("arrays", "picture"))]


def _stems(ids: Sequence[str]) -> dict[str, str]:
    """Return what the files of each sample are called: its id without slashes, with a number where that is no name."""
    flat = {sample_id: sample_id.replace("/", "_") for sample_id in ids}
    if len(set(flat.values())) < len(flat):
        flat = {sample_id: f"{number}_{name}" for number, (sample_id, name) in enumerate(flat.items(), 1)}
    stems = file_stems(flat.values())
    return {sample_id: stems[name] for sample_id, name in flat.items()}
