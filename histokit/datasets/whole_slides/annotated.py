"""Regions that were drawn on a slide, and which of them a tile lies in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from histokit.datasets.regions.geojson import read_features
from histokit.datasets.regions.outlines import Polygon, Ring
from histokit.datasets.regions.region import Reading, label_in
from histokit.datasets.walk import Tally
from histokit.datasets.whole_slides.listing import SlideFile, stem_of
from histokit.errors import DataError, UsageError, some

#: Which region a tile is of: the one that holds its centre, or that holds most of it.
RegionRule = Literal["centre", "most"]

#: Types of QuPath's objects that are found in regions and are none.
_OBJECTS = frozenset(("cell", "detection", "tile", "tmaCore", "tma_core", "root"))

_SUFFIXES = (".geojson", ".json", ".geojson.gz")

#: Points along a side of a tile by which it is told which region holds most of it.
_POINTS = 16


class SlideRegion(NamedTuple):
    """A region: its class, its area in pixels, and its polygons, which may overlap."""

    label: str
    area: float
    polygons: Sequence[Polygon]


class SlideRegions:
    """The regions of a slide; where they overlap, the smallest one counts.

    Parameters
    ----------
    regions : sequence of SlideRegion
    """

    def __init__(self, regions: Sequence[SlideRegion]):
        largest_first = sorted(regions, key=lambda region: -region.area)
        self._polygons = [(region.label, polygon) for region in largest_first for polygon in region.polygons]
        self.count = len(regions)
        self.classes = sorted({region.label for region in regions})
        self._spans = np.array([_span(polygon) for _, polygon in self._polygons]).reshape(-1, 2)

    def labels(self, xs: npt.NDArray[np.int64], y: int, width: int, height: int, rule: RegionRule) -> list[str | None]:
        """Return the class of each tile of a row; none where it is outside of all regions.

        With ``most``, that is the class, or the outside, which most of 16 × 16 points of a tile lie in.
        """
        points = 1 if rule == "centre" else _POINTS
        steps = (np.arange(points) + 0.5) / points
        across = (xs[:, None] + steps * width).ravel()
        counts = np.zeros((len(xs), 1 + len(self.classes)), np.int64)
        for down in y + steps * height:
            classes = self._classes_at(across, down).reshape(len(xs), points)
            for number in range(counts.shape[1]):
                counts[:, number] += (classes == number).sum(axis=1)
        names = [None, *self.classes]
        return [names[number] for number in counts.argmax(axis=1).tolist()]

    def _classes_at(self, xs: npt.NDArray[np.float64], y: float) -> npt.NDArray[np.int64]:
        """Return the number of the class at each point of a line, from 1, and 0 outside."""
        found = np.zeros(len(xs), np.int64)
        for place in np.flatnonzero((self._spans[:, 0] <= y) & (y <= self._spans[:, 1])).tolist():
            label, polygon = self._polygons[place]
            # A point is inside where an odd number of edges is left of it, or through it.
            inside = np.searchsorted(_crossings(polygon, y), xs, side="right") % 2 == 1
            found[inside] = 1 + self.classes.index(label)
        return found


def _span(rings: Sequence[Ring]) -> tuple[float, float]:
    return min(float(ring[:, 1].min()) for ring in rings), max(float(ring[:, 1].max()) for ring in rings)


def _crossings(rings: Sequence[Ring], y: float) -> npt.NDArray[np.float64]:
    found = []
    for ring in rings:
        x0, y0 = ring.T
        x1, y1 = np.roll(ring, -1, axis=0).T
        over = (y0 <= y) != (y1 <= y)
        found.append(x0[over] + (y - y0[over]) * (x1[over] - x0[over]) / (y1[over] - y0[over]))
    return np.sort(np.concatenate(found))


def _area(ring: Ring) -> float:
    x, y = (ring - ring[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


class RegionFolder:
    """A folder with a GeoJSON file of regions for each slide.

    Parameters
    ----------
    root : Path
        Of the slides.
    folder : str
        A whole path, or relative to the root or the current folder.

    Notes
    -----
    It is looked for when regions are read: tiles that are in the store need it no more, wherever a command is given.
    """

    def __init__(self, root: Path, folder: str):
        self._root, self._given = root, folder
        self.left_out: dict[str, Tally] = {}
        self._slides_of: dict[Path, list[str]] = {}

    @cached_property
    def folder(self) -> Path:
        """Where the files are.

        Raises
        ------
        UsageError
            If it is not there.
        """
        places = (self._root / self._given, Path.cwd() / self._given)
        found = next((path for path in places if path.is_dir()), None)
        if found is None:
            raise UsageError(
                f"The option regions={self._given} names no folder.",
                next="Give the folder that holds a file SLIDE.geojson for each slide; . stands for that of the slides.",
            )
        return found

    @property
    def remarks(self) -> list[str]:
        """What the user should know of the annotations that were read."""
        return [
            f"Annotations that {reason} were left out: {tally.count}, for example {tally.examples[0]!r}"
            for reason, tally in self.left_out.items()
        ]

    def expect(self, names: Mapping[str, str]) -> None:
        """Learn which slides there are, path → name: a file that is by its name of several of them is of none."""
        self._slides_of.clear()
        for slide, name in names.items():
            if path := self._path(slide, name):
                self._slides_of.setdefault(path, []).append(slide)

    def regions(self, file: SlideFile) -> SlideRegions | None:
        """Return the regions of a slide, or none where there is no file of them.

        Raises
        ------
        DataError
            If the file cannot be read, or may be that of another slide.
        """
        path = self._path(file.path, file.name)
        if path is None:
            return None
        if others := [slide for slide in self._slides_of.get(path, ()) if slide != file.path]:
            own = f"{file.path}{_SUFFIXES[0]}"
            raise DataError(
                f"{path.name} in {self.folder} may be of {some(others)} as well; "
                f"regions of this one alone are called {own}.",
                next=f"Call it {own}.",
            )
        reading = Reading(path, left_out=self.left_out)
        found = []
        for feature in read_features(reading):
            label = label_in(feature.properties, "classification") or label_in(feature.properties, "class")
            if feature.object_type in _OBJECTS:
                reading.leave_out("are cells, detections or tiles", feature.number)
            elif label is None:
                reading.leave_out("have no class", feature.number)
            elif not feature.polygons:
                reading.leave_out("are points", feature.number)
            else:
                area = sum(_area(polygon[0]) - sum(map(_area, polygon[1:])) for polygon in feature.polygons)
                found.append(SlideRegion(label, area, feature.polygons))
        return SlideRegions(found)

    def _path(self, slide: str, name: str) -> Path | None:
        return next((path for path in self._candidates(slide, name) if path.is_file()), None)

    def _candidates(self, slide: str, name: str) -> Iterator[Path]:
        base = slide.rpartition("/")[2]
        for stem in dict.fromkeys((slide, stem_of(slide), base, stem_of(base), name)):
            yield from (self.folder / f"{stem}{suffix}" for suffix in _SUFFIXES)
