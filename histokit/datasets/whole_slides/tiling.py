"""Which tiles of a slide are taken: those that hold enough tissue, and lie in a region where regions are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.datasets.told_once import told_once
from histokit.datasets.whole_slides.annotated import RegionFolder, RegionRule
from histokit.datasets.whole_slides.grid import COARSER, TileGrid, tile_grid
from histokit.datasets.whole_slides.listing import SlideFile
from histokit.datasets.whole_slides.mask import TissueRule, find_tissue
from histokit.datasets.whole_slides.pyramid import Pyramid
from histokit.errors import UsageError, counted

#: What a share is at least where any tissue will do.
_ANY = 1e-9

_UNUSED = "The labels of slides in the table are not used, for regions give those of tiles"


class NoTileError(Exception):
    """A slide gives no tile, and why."""


class TileRow(NamedTuple):
    """Tiles of one row of the grid: where they are, how much of each is tissue, and their classes by regions."""

    y: int
    xs: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64] | None
    labels: list[str | None] | None = None


@dataclass(frozen=True)
class Tiling:
    """How slides are tiled.

    Parameters
    ----------
    mpp : float
        Micrometres per pixel of tiles.
    size, overlap : int
        Side of a tile, and what neighbours share of it, in pixels of the tile.
    rule : TissueRule, optional
        All is taken where not given.
    min_tissue : float
        Share of a tile that has to be tissue.
    regions : RegionFolder, optional
        That give tiles their classes.
    region_by : str
        Which region counts for a tile.
    keep_outside : bool
        Whether tiles outside of all regions are taken too.
    """

    mpp: float
    size: int
    overlap: int
    rule: TissueRule | None
    min_tissue: float
    regions: RegionFolder | None
    region_by: RegionRule
    keep_outside: bool
    remarks: list[str] = field(default_factory=list)
    unmarked: list[tuple[str, str]] = field(default_factory=list)

    def check_resolution(self, file: SlideFile) -> None:
        """Raise a `NoTileError` where a slide is coarser than its tiles are to be."""
        coarse = max(file.mpp)
        if coarse > self.mpp * COARSER:
            raise NoTileError(f"it has {coarse:g} µm per pixel, coarser than the {self.mpp:g} that were asked for")

    def rows(self, slide: Pyramid, file: SlideFile) -> tuple[TileGrid, list[TileRow]]:
        """Return the tiles of a slide that are taken.

        Raises
        ------
        DataError
            If the slide, or its file of regions, cannot be read.
        NoTileError
            If there are none.
        """
        grid = tile_grid(slide.size, file.mpp, self.mpp, self.size, self.overlap)
        if not len(grid.xs) or not len(grid.ys):
            size = " × ".join(map(str, slide.size))
            raise NoTileError(f"its {size} pixels are fewer than those of a tile, {grid.width} × {grid.height}")
        rows = [TileRow(y, grid.xs, None) for y in grid.ys.tolist()]
        if self.regions is not None:
            rows = self._in_regions(self.regions, file, grid, rows)
        return grid, rows if self.rule is None else self._of_tissue(self.rule, slide, grid, rows)

    def begin(self, names: Mapping[str, str]) -> None:
        """Learn which slides there are, path → name, and forget what is to be told of those that were tiled before."""
        self.remarks.clear()
        self.unmarked.clear()
        if self.regions is not None:
            self.regions.left_out.clear()
            self.regions.expect(names)

    def told(self) -> list[str]:
        """Return what the user should know of the slides that were tiled."""
        unmarked = told_once(self.unmarked, "slide", "slides")
        return [*self.remarks, *unmarked, *(self.regions.remarks if self.regions is not None else ())]

    def _in_regions(self, folder: RegionFolder, file: SlideFile, grid: TileGrid, rows: list[TileRow]) -> list[TileRow]:
        regions = folder.regions(file)
        if file.label is not None and _UNUSED not in self.remarks:
            self.remarks.append(_UNUSED)
        if regions is None and not self.keep_outside:
            raise NoTileError(f"there is no file of its regions in {folder.folder}")
        if regions is None:
            note = f"There is no file of regions of the slide {file.path}: its tiles have no label"
            self.unmarked.append((file.path, note))
            return [row._replace(labels=[None] * len(row.xs)) for row in rows]
        labelled = []
        for row in rows:
            labels = regions.labels(row.xs, row.y, grid.width, grid.height, self.region_by)
            keep = np.array([self.keep_outside or label is not None for label in labels])
            if keep.any():
                kept = [label for label, stays in zip(labels, keep.tolist(), strict=True) if stays]
                labelled.append(row._replace(xs=row.xs[keep], labels=kept))
        if not labelled:
            regions_ = counted(regions.count, "region that has", "regions that have")
            raise NoTileError(f"no tile lies in its {regions_} a class")
        return labelled

    def _of_tissue(self, rule: TissueRule, slide: Pyramid, grid: TileGrid, rows: list[TileRow]) -> list[TileRow]:
        mask = find_tissue(slide, min(grid.width, grid.height), rule)
        found, most = [], 0.0
        for row in rows:
            shares = mask.shares(row.xs, row.y, grid.width, grid.height)
            keep = shares >= max(self.min_tissue, _ANY)
            most = max(most, float(shares.max()))
            if keep.any():
                labels = row.labels and [label for label, stays in zip(row.labels, keep, strict=True) if stays]
                found.append(TileRow(row.y, row.xs[keep], shares[keep], labels))
        if not found:
            where = "" if self.regions is None else " in its regions"
            raise NoTileError(
                f"no tile{where} is tissue by {self.min_tissue:.0%} (at most by {most:.1%}; {mask.share:.1%} of the "
                f"slide is, at a saturation above {mask.threshold:.2f})"
            )
        return found


def check_numbers(options: Mapping[str, Any]) -> None:
    """Raise a `UsageError` where an option of the plugin is a number that means nothing."""
    size = options["size"]
    wrong = {
        "mpp": (not 0 < options["mpp"] < np.inf, "Give micrometres per pixel of the tiles, such as 0.5."),
        "size": (not 1 <= size <= 8192, "Give the side of a tile in pixels, up to 8192."),
        "overlap": (not 0 <= options["overlap"] < size, f"Give pixels of a tile, from 0 to {size - 1}."),
        "slide_mpp": (
            options["slide_mpp"] is not None and not 0 < options["slide_mpp"] < np.inf,
            "Give micrometres per pixel of the slides, such as 0.25.",
        ),
        "threshold": (not 0 <= options["threshold"] < 1, "Give a saturation of 0 to 1, such as 0.05."),
        "min_tissue": (not 0 <= options["min_tissue"] <= 1, "Give a share of 0 to 1, such as 0.5."),
    }
    for name, (bad, next) in wrong.items():
        if bad:
            raise UsageError(f"The option {name}={options[name]} means nothing.", next=next)
