"""Predictions as GeoJSON that QuPath loads: a closed polygon, a class with its colour and scores for each sample."""

from __future__ import annotations

import colorsys
import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from histokit.errors import UsageError, counted, some, unwritten_output
from histokit.features.spatial import file_stems, rows_by_image, with_parts
from histokit.files import check_folder, check_output, replaced

SUFFIX = ".geojson"

_SCORE = "score:"
#: The columns of predicted numbers.
_NUMBERS = ("true", "predicted", "residual")
_ROWS_AT_ONCE = 4_096

#: Of classes in their order: colours that differ for most eyes (Okabe and Ito 2008); further ones are made up.
_COLOURS = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (240, 228, 66),
    (120, 120, 120),
)
_GOLDEN = 0.6180339887498949


def colours(classes: Sequence[str]) -> dict[str, list[int]]:
    """Return red, green and blue of each class."""
    found = {}
    for number, name in enumerate(classes):
        if number < len(_COLOURS):
            found[name] = list(_COLOURS[number])
        else:
            found[name] = [round(255 * part) for part in colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, 0.85)]
    return found


def is_folder(out: str | Path) -> bool:
    """Whether a path ends as that of a folder, in which each image is to have a file."""
    return str(out).endswith(("/", "\\"))


def check_geojson(out: str | Path) -> Path:
    """Return the path of the folder, or of the file, that GeoJSON is to be written to.

    Raises
    ------
    UsageError
        If it cannot be.
    """
    return check_folder(out) if is_folder(out) else check_output(out, (SUFFIX,))


def write_geojson(predictions: pa.Table, run_id: str, out: str | Path) -> list[Path]:
    """Write predictions as GeoJSON.

    Coordinates are pixels of the image. Each object is a tile with the predicted class, the scores as measurements,
    and id, image, true class and fold as metadata. Of predicted numbers there is no class: true and predicted value
    and the residual are measurements.

    Parameters
    ----------
    predictions : pyarrow.Table
        As `histokit.evaluate.listing.predictions` gives it.
    run_id : str
        From which, with ids of samples, objects have ids that are the same each time.
    out : path
        A ``.geojson`` file for all, or a folder (ending with ``/``), in which each image, or part of a file, has one
        called like it.

    Returns
    -------
    list of Path

    Raises
    ------
    UsageError
        If samples have no box, or a file cannot be written.
    """
    folder, out = is_folder(out), check_geojson(out)
    absent = predictions.filter(pa.compute.is_null(predictions.column("box"))).column("id").to_pylist()
    if absent:
        samples = counted(len(absent), "sample has", "samples have")
        raise UsageError(
            f"{samples} no box, so that it is not known where they lie: {some(absent)}.",
            next="Write the predictions of whole images to a .csv or .parquet file.",
        )
    paths = [str(image) for image in predictions.column("image").to_pylist()]
    images = with_parts(paths, predictions.column("part").to_pylist())
    files = {out: predictions}
    if folder:
        stems = file_stems(images)
        files = {
            out / f"{stems[image]}{SUFFIX}": predictions.take(pa.array(rows))
            for image, rows in rows_by_image(images).items()
        }
    try:
        if folder:
            out.mkdir(parents=True, exist_ok=True)
        for path, rows in files.items():
            with replaced(path) as part, open(part, "w", encoding="utf-8") as file:
                _write(rows, run_id, file)
    except OSError as error:
        raise unwritten_output(out, error) from error
    return list(files)


def _write(predictions: pa.Table, run_id: str, file: TextIO) -> None:
    file.write('{"type": "FeatureCollection", "features": [')
    separator = "\n"
    for feature in _features(predictions, run_id):
        file.write(separator + json.dumps(feature, ensure_ascii=False, allow_nan=False))
        separator = ",\n"
    file.write("\n]}\n")


def _features(predictions: pa.Table, run_id: str) -> Iterator[dict[str, Any]]:
    names = [name for name in predictions.column_names if name.startswith(_SCORE)]
    painted = colours([name.removeprefix(_SCORE) for name in names])
    for batch in predictions.to_batches(_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            scores = {name.removeprefix(_SCORE): row[name] for name in names or _NUMBERS}
            yield _feature(row, scores, painted, run_id)


def _feature(
    row: Mapping[str, Any], scores: Mapping[str, float | None], painted: Mapping[str, list[int]], run_id: str
) -> dict[str, Any]:
    x, y, width, height = map(int, row["box"].split(","))
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]
    known = {name: row[name] for name in ("id", "part", "true", "fold")} | {"image": Path(str(row["image"])).name}
    name = str(row["predicted"])
    classified = {"classification": {"name": name, "color": painted.get(name, [128, 128, 128])}} if painted else {}
    key = f"histokit:{run_id}/{row['repeat']}.{row['fold']}/{row['id']}"
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, key)),
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": {
            "objectType": "tile",
            **classified,
            # JSON has no infinity, and a measurement that is not there is no number.
            "measurements": {label: v for label, v in scores.items() if v is not None and math.isfinite(v)},
            "metadata": {key: str(value) for key, value in known.items() if value is not None},
        },
    }
