"""Which slides there are, what they are called, and what is known of each before it is tiled."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from histokit.datasets.cells import tidy_text
from histokit.datasets.labels import LabelTable
from histokit.datasets.patterns import PathPattern
from histokit.datasets.told_once import told_once
from histokit.datasets.walk import Tally, Walk
from histokit.datasets.whole_slides.dicom import finest_levels
from histokit.datasets.whole_slides.kinds import SLIDE_SUFFIXES, is_dicom
from histokit.datasets.whole_slides.opened import OpenSlides
from histokit.errors import DataError, counted, some
from histokit.files import suffix_of

#: The field of a pattern that names slides, and the column of their names.
SLIDE = "slide"

#: The column of a table that says the resolution of slides.
MPP = "mpp"

#: Resolutions that differ by more are told.
_DIFFERENT = 0.01


#: The path of a file, the same as it is spelt on disk, and what the pattern says of it.
_Listed = tuple[str, str, dict[str, Any]]


class SlideFile(NamedTuple):
    """A slide that can be opened: where it is, its name, what the pattern and the table say of it, its resolution."""

    path: str
    on_disk: str
    name: str
    label: str | None
    metadata: dict[str, Any]
    mpp: tuple[float, float]


@dataclass
class SlideListing:
    """Finds the slides in a folder.

    Parameters
    ----------
    root : Path
    pattern : PathPattern
    table : LabelTable, optional
    slide_mpp : float, optional
        Micrometres per pixel of slides that do not tell.
    """

    root: Path
    pattern: PathPattern
    table: LabelTable | None
    slide_mpp: float | None
    remarks: list[str] = field(default_factory=list)
    #: The name of each slide by its path, of those that cannot be opened as well.
    names: dict[str, str] = field(default_factory=dict)
    #: Slides of which the table says another resolution than they do, and the sentence on each.
    _otherwise: list[tuple[str, str]] = field(default_factory=list)
    #: Rows of the table that are of several slides.
    _shared: Tally = field(default_factory=Tally)
    #: The series of each slide in DICOM, by its path.
    _series: dict[str, str] = field(default_factory=dict)

    def slides(self, opener: OpenSlides) -> list[SlideFile]:
        """Return the slides in the order of their paths; one that cannot be opened is told in `remarks`, and left out.

        Raises
        ------
        DataError
            If there is none, none has a row in the table, or some do not say their resolution and nobody else does.
        """
        self.remarks.clear()
        self._otherwise.clear()
        self._shared = Tally()
        paths = self._paths()
        silent, unlisted, found = Tally(), Tally(), []
        names = self._names([path for path, _, _ in paths])
        names |= {path: fields.pop(SLIDE) or names[path] for path, _, fields in paths if SLIDE in fields}
        self.names = names
        rows = self._rows(names)
        for path, on_disk, fields in paths:
            try:
                slide = opener.open(self.root / on_disk)
            except DataError as error:
                self.remarks.append(no_tile(path, error.line))
                # The rows of what is there, and cannot be read, are none without an image.
                if self.table is not None:
                    list(map(self.table.row, rows[path]))
                continue
            told = slide.mpp
            slide.close()
            label, metadata = self._row(path, rows[path], unlisted)
            mpp = self._resolution(path, told, metadata.pop(MPP, None))
            if mpp is None:
                silent.add(path)
                continue
            label = fields.pop("label", None) or label
            found.append(SlideFile(path, on_disk, names[path], label, {**metadata, **fields}, mpp))
        if self.table is not None:
            self.table.require_met()
        if silent:
            raise _silence(silent)
        self.remarks.extend(self._told(unlisted))
        return found

    def _told(self, unlisted: Tally) -> Iterator[str]:
        table = self.table
        if table is not None and unlisted:
            slides = counted(unlisted.count, "slide has", "slides have")
            yield f"{slides} no row in the table {table.path.name}, for example {unlisted}"
        yield from told_once(self._otherwise, "slide", "slides")
        if table is not None and self._shared:
            rows = counted(self._shared.count, "row stands", "rows stand")
            yield (
                f"{rows} for several slides in the table {table.path.name}, such as {self._shared.examples[0]}: "
                "where these are not one slide, name each by its path"
            )
        if table is not None:
            yield from table.remarks()

    def _paths(self) -> list[_Listed]:
        walk, others, beside = Walk(self.root), Tally(), 0
        found = []
        for on_disk in walk.files():
            path = unicodedata.normalize("NFC", on_disk)
            if not self.pattern.names_suffix and suffix_of(path) not in SLIDE_SUFFIXES:
                beside += 1
                continue
            fields = self.pattern.match(path)
            if fields is None:
                others.add(path)
            else:
                found.append((path, on_disk, {name: tidy_text(text) or None for name, text in fields.items()}))
        self.remarks.extend(walk.warnings())
        listed, found = found, self._once(found)
        beside += len(listed) - len(found)
        if not found:
            slides = counted(others.count, "slide that does", "slides that do")
            files = f"{slides} not match the pattern {self.pattern.text!r}, such as {others}"
            what = files if others else f"no slide ({counted(beside, 'other file', 'other files')})"
            raise DataError(
                ". ".join([f"The folder {str(self.root)!r} holds {what}", *self.remarks]) + ".",
                next=f"Give the folder of the slides; read are {', '.join(sorted(SLIDE_SUFFIXES))}, "
                "and others whose suffix a pattern names.",
            )
        if others:
            hint = self.pattern.suffix_hint(others.examples, SLIDE_SUFFIXES)
            self.remarks.append(f"Slides that do not match the pattern: {others.count}, for example {others}{hint}")
        return found

    def _once(self, files: list[_Listed]) -> list[_Listed]:
        """Return the files, of those of a slide in DICOM that of its finest level alone."""
        paths = {file: path for path, on_disk, _ in files if is_dicom(file := self.root / on_disk)}
        slides, others = finest_levels(paths)
        self._series = {paths[file]: series for file, series in slides.items()}
        if others:
            what = counted(len(others), "file is", "files are")
            self.remarks.append(f"DICOM: {what} not of a slide, or damaged, for example {paths[others[0]]!r}")
        folders = Counter(self._series.values())
        parted = {series: path for path, series in self._series.items() if series and folders[series] > 1}
        if parted:
            what, some_of = counted(len(parted), "series lies", "series lie"), next(iter(parted))
            examples = some(sorted(path for path, series in self._series.items() if series == some_of))
            self.remarks.append(
                f"DICOM: {what} in several folders, each of which is taken for a slide, for example {examples}: "
                "where these are parts or copies of one slide, leave one folder with all of its files"
            )
        left_out = set(paths.values()).difference(self._series)
        return [file for file in files if file[0] not in left_out]

    def _names(self, paths: list[str]) -> dict[str, str]:
        """Return the name of each slide: its path without suffix, or with it where two would have the same.

        A slide in DICOM that has a folder of its own is called as that.
        """
        short = {path: stem_of(path) for path in paths}
        folders = Counter(path.rpartition("/")[0] for path in paths)
        own = ((path, path.rpartition("/")[0]) for path in self._series)
        short |= {path: folder for path, folder in own if folder and folders[folder] == 1}
        count = Counter(short.values())
        return {path: name if count[name] == 1 else path for path, name in short.items()}

    def _rows(self, names: dict[str, str]) -> dict[str, list[str]]:
        """Return the keys of the rows of each slide; of those that are of several slides, only where it has no other.

        A row names a slide by its name, its path or the end of that, with or without suffix; one in DICOM by its
        series, too.
        """
        table = self.table
        if table is None:
            return {path: [] for path in names}
        found = {path: [key for key in self._keys(path) if key in table] for path in names}
        slides = Counter(key for keys in found.values() for key in keys)
        fewest = {path: min((slides[key] for key in keys), default=0) for path, keys in found.items()}
        rows = {path: [key for key in keys if slides[key] == fewest[path]] for path, keys in found.items()}
        named: dict[str, list[str]] = {}
        for path, keys in rows.items():
            for key in keys:
                named.setdefault(key, []).append(path)
        for key, several in named.items():
            if len(several) > 1:
                self._shared.add(f"{key!r} for {some(several)}")
        return rows

    def _keys(self, path: str) -> Iterable[str]:
        """Return what a table may call a slide."""
        name, base = self.names[path], path.rpartition("/")[2]
        keys = [name, path, stem_of(path), base, stem_of(base)]
        if path in self._series:
            keys += [name.rpartition("/")[2], self._series[path]]
        return dict.fromkeys(keys)

    def _row(self, path: str, keys: list[str], unlisted: Tally) -> tuple[str | None, dict[str, Any]]:
        if self.table is None:
            return None, {}
        if not keys:
            unlisted.add(path)
            return self.table.row(self.names[path])
        (label, row), *others = map(self.table.row, keys)
        for key, other in zip(keys[1:], others, strict=True):
            if other != (label, row):
                raise DataError(
                    f"The table {str(self.table.path)!r} has rows that contradict each other for the slide {path!r}: "
                    f"those of {keys[0]!r} and {key!r}.",
                    next="Keep one row for each slide.",
                )
        return label, dict(row)

    def _resolution(self, path: str, told: tuple[float, float] | None, row: Any) -> tuple[float, float] | None:
        if row is None:
            return told or (None if self.slide_mpp is None else (self.slide_mpp, self.slide_mpp))
        if isinstance(row, (str, bool)) or not 0 < row < float("inf"):
            raise DataError(
                f"The table {str(self.table.path) if self.table else ''!r} has mpp={row!r} for the slide {path!r}.",
                next="Give micrometres per pixel, a number above 0, or leave it empty.",
            )
        if told and max(abs(here / row - 1) for here in told) > _DIFFERENT:
            self._otherwise.append(
                (path, f"The slide {path} says {told[0]:g} µm per pixel, and the table {row:g}: the table's is taken")
            )
        return float(row), float(row)


def no_tile(path: str, reason: str) -> str:
    """Return the sentence on a slide that gives no tile."""
    return f"The slide {path} gives no tile: {reason.rstrip('.')}"


def _silence(silent: Tally) -> DataError:
    slides = counted(silent.count, "slide does", "slides do")
    return DataError(
        f"{slides} not say the resolution, for example {silent}.",
        next="Give micrometres per pixel: for all of them with -o slide_mpp=0.25, or for each in a column mpp of the "
        "table of labels (-o labels=FILE.csv).",
    )


def stem_of(path: str) -> str:
    """Return a path without its suffix, or without ``.ome.tif``."""
    stem = path.removesuffix(path[len(path) - len(suffix_of(path)) :]) if suffix_of(path) else path
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem


def listed_columns(pattern: PathPattern, table: LabelTable | None) -> Iterator[tuple[str, type]]:
    """Yield the columns of slides and their types."""
    yield SLIDE, str
    if table is not None:
        yield from table.columns().items()
    yield from ((name, str) for name in pattern.fields if name not in ("label", SLIDE))
