"""Features of tiles written as one HDF5 file for each slide, as TRIDENT and STAMP keep them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.errors import DataError, UsageError, did_you_mean, unwritten_output
from histokit.features.feature_set import FeatureSet
from histokit.features.spatial import box_corners, file_stems, images_of, rows_by_image
from histokit.files import check_folder, replaced

#: Micrometres per pixel up to which a magnification is taken: 0.25 is 40-fold, 0.5 is 20-fold.
_MAGNIFICATIONS = ((0.16, 80), (0.2, 60), (0.3, 40), (0.6, 20), (1.2, 10), (2.4, 5))

#: The version of STAMP's format from which on sides of tiles are called so; later ones read it.
_STAMP_VERSION = "2.1.0"

#: Sides of boxes differ by so many pixels at most where they are of one grid.
_ROUNDING = 1


class SlideTiles(NamedTuple):
    """The tiles of one slide.

    Parameters
    ----------
    name : str
        Of the slide.
    folder : Path
        That is written to.
    features : (n, d) float32 array
    corners : (n, 2) int64 array
        x and y of the upper left corners, in pixels of the slide's finest level.
    side : int
        Of a tile, in such pixels.
    size : int
        Of a tile as a network got it, in pixels.
    overlap : int
        Of neighbours, in pixels of `size`.
    mpp, slide_mpp : float
        Micrometres per pixel of a tile, and of the slide.
    extractor, fingerprint : str
        The address of the features, and the fingerprint of their table.
    """

    name: str
    folder: Path
    features: npt.NDArray[np.float32]
    corners: npt.NDArray[np.int64]
    side: int
    size: int
    overlap: int
    mpp: float
    slide_mpp: float
    extractor: str
    fingerprint: str


def export_slides(features: FeatureSet, folder: str | Path, layout: str) -> list[Path]:
    """Write the features of tiles as a file ``SLIDE.h5`` for each slide.

    ``trident``: ``features`` (n × d float32) and ``coords`` (n × 2 int64, upper left corners in pixels of the finest
    level), with the attributes of TRIDENT that hold sizes, magnifications (40 at 0.25 µm per pixel), overlap and
    name. ``stamp``: ``feats`` (n × d float32) and ``coords`` (n × 2 float32, upper left corners in µm), with the
    attributes of STAMP 2.1 and later.

    Parameters
    ----------
    features : FeatureSet
    folder : path
        Made where it is not there; files in it are replaced one by one.
    layout : str
        ``trident`` or ``stamp``.

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        If a sample has no box or no resolution, or tiles of a slide differ in size.
    UsageError
        If the layout is unknown, the package h5py is not installed, or a file cannot be written.
    """
    write = check_layout(layout)
    place = check_folder(folder)
    images = images_of(features.samples)
    stems = file_stems(images)
    written = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        for image, rows in rows_by_image(images).items():
            path = place / f"{stems[image]}.h5"
            tiles = _tiles_of(features.take(rows), image, stems[image], place)
            with replaced(path) as part:
                write(tiles, part)
            written.append(path)
    except OSError as error:
        raise unwritten_output(place, error) from error
    return written


def check_layout(layout: str) -> Callable[[SlideTiles, Path], None]:
    """Return what writes a file of a layout.

    Raises
    ------
    UsageError
        If nothing does.
    """
    if layout not in LAYOUTS:
        raise UsageError(
            f"The layout {layout!r} is unknown.",
            next=f"{did_you_mean(layout, LAYOUTS)}The layouts are: {', '.join(LAYOUTS)}.",
        )
    _h5py()
    return LAYOUTS[layout]


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise UsageError("This needs the package h5py.", next="Install it with: pip install 'histokit[hdf5]'") from None
    return h5py


def _tiles_of(features: FeatureSet, image: str, name: str, folder: Path) -> SlideTiles:
    corners = box_corners(features.samples)
    if np.isnan(corners).any():
        raise DataError(
            f"Samples of {image!r} have no box, so that it is not known where they lie.",
            next="Export features of tiles, such as those of: histokit ingest slides",
        )
    sides = corners[:, 2:]
    if np.ptp(sides) > _ROUNDING:
        raise DataError(
            f"The tiles of {image!r} are of {sides.min():.0f} to {sides.max():.0f} pixels, and files of slides hold "
            "tiles of one size.",
            next="Export them to a .parquet or .h5ad file.",
        )
    side = int(np.median(sides))
    options: Mapping[str, Any] = features.record.options if features.record.plugin == "slides" else {}
    size = int(options.get("size", side))
    mpp = _resolution(features, image)
    told = features.samples.column("slide_mpp")[0].as_py() if "slide_mpp" in features.samples.column_names else None
    return SlideTiles(
        name,
        folder,
        np.ascontiguousarray(features.X),
        corners[:, :2].astype(np.int64),
        side,
        size,
        int(options.get("overlap", 0)),
        mpp,
        told or mpp * size / side,
        features.address,
        "+".join(dict.fromkeys(part.fingerprint for part in features.parts)),
    )


def _resolution(features: FeatureSet, image: str) -> float:
    found = set(features.samples.column("mpp").to_pylist())
    if None in found or len(found) > 1:
        what = "no resolution" if None in found else f"{len(found)} resolutions"
        raise DataError(
            f"The tiles of {image!r} have {what}.", next="Ingest them with one: -o mpp=MICROMETRES for each pixel."
        )
    return float(found.pop())


def _magnification(mpp: float) -> int:
    return next((times for most, times in _MAGNIFICATIONS if mpp < most), 1)


def _write_trident(tiles: SlideTiles, path: Path) -> None:
    with _h5py().File(path, "w") as file:
        features = _growing(file, "features", tiles.features)
        features.attrs.update({"name": tiles.name, "savetodir": str(tiles.folder)})
        coords = _growing(file, "coords", tiles.corners)
        coords.attrs.update(
            {
                "patch_size": tiles.size,
                "patch_size_level0": tiles.side,
                "level0_magnification": _magnification(tiles.slide_mpp),
                "target_magnification": _magnification(tiles.mpp),
                "overlap": tiles.overlap,
                "name": tiles.name,
                "savetodir": str(tiles.folder),
            }
        )


def _growing(file: Any, name: str, values: npt.NDArray[Any]) -> Any:
    """Add a dataset to which TRIDENT can append rows."""
    return file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=True)


def _write_stamp(tiles: SlideTiles, path: Path) -> None:
    with _h5py().File(path, "w") as file:
        file["coords"] = (tiles.corners * tiles.slide_mpp).astype(np.float32)
        file["feats"] = tiles.features
        file.attrs.update(
            {
                "stamp_version": _STAMP_VERSION,
                "extractor": tiles.extractor,
                "unit": "um",
                "tile_size_um": tiles.size * tiles.mpp,
                "tile_size_px": tiles.size,
                "code_hash": tiles.fingerprint[:8],
                "feat_type": "tile",
            }
        )


#: What can be written, by name.
LAYOUTS: dict[str, Callable[[SlideTiles, Path], None]] = {"trident": _write_trident, "stamp": _write_stamp}
