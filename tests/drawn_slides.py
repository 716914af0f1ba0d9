"""Pyramidal slides, drawn and written as scanners and converters write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

GLASS, PINK = (244, 243, 245), (205, 120, 170)


def draw(width: int, height: int, *tissue: tuple[int, int, int, int], colour: tuple[int, int, int] = PINK):
    """White glass with rectangles (x, y, width, height) of tissue, each pixel of which is its own."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = GLASS
    for x, y, across, down in tissue:
        rows, columns = np.mgrid[y : y + down, x : x + across]
        shade = np.stack([rows % 16, columns % 16, (rows // 16 + columns // 16) % 16], axis=2)
        pixels[y : y + down, x : x + across] = np.array(colour) + shade
    return pixels


def halved(pixels: np.ndarray) -> np.ndarray:
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    four = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).astype(np.uint16)
    return ((four.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)


def pyramid(pixels: np.ndarray, levels: int = 3) -> list[np.ndarray]:
    found = [pixels]
    while len(found) < levels:
        found.append(halved(found[-1]))
    return found


def write_subifds(path: Path, pixels: np.ndarray, mpp: float | None = 0.5, *, levels: int = 3, **how: object) -> Path:
    """As OME-TIFF (by the name) and plain BigTIFF with lower levels in SubIFDs."""
    first, *others = pyramid(pixels, levels)
    ome = path.name.endswith((".ome.tif", ".ome.tiff"))
    told = {"metadata": {"axes": "YXS", **({"PhysicalSizeX": mpp, "PhysicalSizeY": mpp} if mpp else {})}} if ome else {}
    if mpp and not ome:
        told = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER", "metadata": None}
    how = {"tile": (64, 64), "photometric": "rgb", **how}
    with tifffile.TiffWriter(path, bigtiff=True, ome=ome) as file:
        file.write(first, subifds=len(others), **told, **how)
        for level in others:
            file.write(level, subfiletype=1, **how)
    return path


def write_pages(path: Path, pixels: np.ndarray, mpp: float | None = 0.5, *, levels: int = 3, **how: object) -> Path:
    """As libvips does: one page for each level."""
    resolution = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"} if mpp else {}
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(pyramid(pixels, levels)):
            reduced = {"subfiletype": 1} if number else {}
            file.write(level, tile=(64, 64), photometric="rgb", metadata=None, **resolution, **reduced, **how)
    return path


def write_aperio(path: Path, pixels: np.ndarray, mpp: float | None = 0.5, *, levels: int = 3, **how: object) -> Path:
    """As Aperio's scanners do: the slide, a thumbnail in strips, then the other levels, each with a description."""
    height, width = pixels.shape[:2]
    head = f"Aperio Image Library v11.2.1 \r\n{width}x{height}"
    told = f"{head} [0,0 {width}x{height}] (64x64) RGB|AppMag = 20" + (f"|MPP = {mpp}" if mpp else "")
    first, *others = pyramid(pixels, levels)
    with tifffile.TiffWriter(path) as file:
        how = {"photometric": "rgb", "metadata": None, **how}
        file.write(first, tile=(64, 64), description=told, **how)
        small = pixels[::8, ::8]
        file.write(small, description=f"{head} -> {small.shape[1]}x{small.shape[0]} - |AppMag = 20", **how)
        for level in others:
            shape = f"-> {level.shape[1]}x{level.shape[0]}"
            file.write(level, tile=(64, 64), description=f"{head} (64x64) {shape} RGB", **how)
    return path


def write_dicom(path: Path, pixels: np.ndarray, mpp: float | None = 0.5, *, levels: int = 3, **how: object) -> Path:
    """As a series of DICOM files: the slide, `path`, and beside it the other levels, which its name comes before."""
    series = how.get("series", generate_uid())
    for number, level in enumerate(pyramid(pixels, levels)):
        file = path.with_stem(f"{path.stem}-{number}") if number else path
        write_dicom_level(file, level, mpp and mpp * 2**number, series=series)
    return path


def write_dicom_level(path: Path, pixels: np.ndarray, mpp: float | None, *, series: str, kind: str = "VOLUME") -> None:
    """One file of a series: tiles of 64 × 64 that are not compressed, row by row."""
    height, width = pixels.shape[:2]
    rows, columns = -(-height // 64), -(-width // 64)
    tiles = np.full((rows * 64, columns * 64, 3), 255, np.uint8)
    tiles[:height, :width] = pixels
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.SOPClassUID, file.SOPInstanceUID, file.SeriesInstanceUID = WHOLE_SLIDE, generate_uid(), series
    file.ImageType = ["ORIGINAL", "PRIMARY", kind, "NONE"]
    file.Rows = file.Columns = 64
    file.TotalPixelMatrixColumns, file.TotalPixelMatrixRows, file.NumberOfFrames = width, height, rows * columns
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PlanarConfiguration = 3, "RGB", 0
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.DimensionOrganizationType, file.TotalPixelMatrixFocalPlanes, file.NumberOfOpticalPaths = "TILED_FULL", 1, 1
    measures, shared = Dataset(), Dataset()
    if mpp:
        measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    shared.PixelMeasuresSequence, file.SharedFunctionalGroupsSequence = [measures], [shared]
    file.PixelData = tiles.reshape(rows, 64, columns, 64, 3).swapaxes(1, 2).tobytes()
    file["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)


#: VL Whole Slide Microscopy Image Storage.
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"

WRITERS = {
    "plain.tif": write_subifds,
    "vips.tif": write_pages,
    "image.ome.tiff": write_subifds,
    "scan.svs": write_aperio,
    "tiled.dcm": write_dicom,
}
