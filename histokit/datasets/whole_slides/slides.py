"""Whole slides, tiled at a physical resolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from histokit.datasets.groups import Groups
from histokit.datasets.labels import LabelTable, asked_classes, require_labels
from histokit.datasets.named_columns import refuse_without_table, require_named
from histokit.datasets.patterns import PathPattern
from histokit.datasets.tables import find_table, refuse_reserved, stored_name
from histokit.datasets.whole_slides.annotated import RegionFolder, RegionRule
from histokit.datasets.whole_slides.digests import files_beside, slide_digest
from histokit.datasets.whole_slides.grid import TileGrid
from histokit.datasets.whole_slides.listing import MPP, SLIDE, SlideFile, SlideListing, listed_columns, no_tile
from histokit.datasets.whole_slides.mask import Method, TissueRule
from histokit.datasets.whole_slides.opened import OpenSlides
from histokit.datasets.whole_slides.tiling import NoTileError, TileRow, Tiling, check_numbers
from histokit.errors import DataError, UsageError
from histokit.plugin.dataset import Dataset, Sample
from histokit.plugin.digests import FileState, joint_state
from histokit.plugin.images import Pixels

#: The columns of the resolution of a slide, and of the share of a tile that is tissue.
SLIDE_MPP, TISSUE = "slide_mpp", "tissue"


class Slides(Dataset):
    """Whole slides, tiled at a physical resolution; tiles are read from the slides when they are needed.

    Parameters
    ----------
    root : path
    mpp : float
        Micrometres per pixel of the tiles.
    size : int
        Side of a tile in pixels.
    overlap : int
        Pixels of a tile that it shares with its neighbour.
    slide_mpp : float, optional
        Micrometres per pixel of slides that do not tell; a column ``mpp`` of the table says it of each.
    pattern : str
        Which files are slides, and what the parts of their paths mean, as of `histokit.datasets.folder.Folder`;
        ``{slide}`` is a slide's name, else its path without suffix.
    labels : str, optional
        A CSV or Parquet table with a row for each slide; its other columns become columns too.
    on : str
        The column of the table that names slides: by name, path or file name, with or without suffix.
    label_column : str
        The column of the table that holds the label.
    group : str
        The column that no fold may cut through.
    regions : str, optional
        A folder with a file ``SLIDE.geojson`` for each slide, whose regions give tiles their labels.
    region_by : str
        Whether a tile is of the region that holds its ``centre``, or ``most`` of it.
    outside : str
        What becomes of tiles outside of all regions: ``drop``, or ``keep`` without a label.
    tissue : str
        How tissue is found: ``otsu``, ``fixed`` or ``none``; see `histokit.datasets.whole_slides.mask.TissueRule`.
    threshold : float
        Saturation, 0 to 1, above which a pixel is tissue; with ``otsu`` the least that it may find.
    min_tissue : float
        Share of a tile that has to be tissue; 0 for any at all.
    pen : bool
        Whether marks of pens count as tissue.
    text, levels, classes, positive, metric
        As of `histokit.datasets.folder.Folder`; levels are the slide and the group where not given, and none where
        regions give labels.

    Raises
    ------
    UsageError
        If options contradict each other or name columns that are not there.
    """

    name = "slides"
    pixel_options: Sequence[str] | None = ("size",)
    # A tile is read alone.
    opens_whole = False

    def __init__(
        self,
        root: str | Path,
        mpp: float = 0.5,
        size: int = 224,
        overlap: int = 0,
        slide_mpp: float | None = None,
        pattern: str = "**",
        labels: str | None = None,
        on: str = SLIDE,
        label_column: str = "label",
        group: str = SLIDE,
        regions: str | None = None,
        region_by: RegionRule = "centre",
        outside: Literal["drop", "keep"] = "drop",
        tissue: Method = "otsu",
        threshold: float = 0.05,
        min_tissue: float = 0.5,
        pen: bool = False,
        text: tuple[str, ...] = (),
        levels: tuple[str, ...] = (),
        classes: tuple[str, ...] = (),
        positive: str | None = None,
        metric: str = "accuracy",
    ):
        super().__init__(root)
        check_numbers(self.options)
        rule = None if tissue == "none" else TissueRule(tissue, threshold, pen)
        drawn = None if regions is None else RegionFolder(self.root, regions)
        self.tiling = Tiling(mpp, size, overlap, rule, min_tissue, drawn, region_by, outside == "keep")
        self.slide_mpp, self.metric = slide_mpp, metric
        self.pattern = PathPattern(pattern)
        self.group = stored_name(group)
        # Tiles of one slide have several labels where regions give them.
        usual = (SLIDE, self.group) if drawn is None else ()
        self.levels = tuple(map(stored_name, levels)) or tuple(dict.fromkeys(usual))
        self.classes, self.positive = asked_classes(classes, positive)
        if drawn is not None and "label" in self.pattern.fields:
            raise UsageError(
                f"Labels come from the regions in {regions!r} and from {{label}} in the pattern as well.",
                next="Name the field in the pattern otherwise, or leave out -o regions.",
            )
        refuse_reserved([name for name in self.pattern.fields if name != "label"], f"The pattern {pattern!r}")
        self.label_table, self._row_columns, self._text = None, (on, label_column), tuple(map(stored_name, text))
        if labels is not None:
            texts = (self.group, *self.levels, *self._text)
            path = find_table(self.root, labels, "labels")
            labelled = "label" not in self.pattern.fields and drawn is None
            self.label_table = LabelTable(path, {on: on}, label_column, texts, apart=(MPP,), needs_label=labelled)
        else:
            self._require_columns([name for name, _ in listed_columns(self.pattern, None)])

    @cached_property
    def columns(self) -> Mapping[str, type]:  # type: ignore[override]
        """The slide's name, columns of the table, fields of the pattern, the resolution, the share of tissue."""
        columns = dict(listed_columns(self.pattern, self.label_table))
        self._require_columns(list(columns))
        self._require_of_table()
        return {**columns, SLIDE_MPP: float, **({} if self.tiling.rule is None else {TISSUE: float})}

    def _require_columns(self, known: Sequence[str]) -> None:
        named = {"group": [self.group], "levels": self.levels}
        require_named(named, known, "Add a table with the column {}: -o labels=FILE.csv".format)

    def _require_of_table(self) -> None:
        """Raise a `UsageError` where options say something of a table, or of a column of it, that is not there."""
        if self.label_table is None:
            on, column = self._row_columns
            refuse_without_table(on=on if on != SLIDE else None, label_column=column if column != "label" else None)
            known, advice = self.pattern.fields, "Add a table with the column {}: -o labels=FILE.csv"
        else:
            known, advice = [*self.pattern.fields, *self.label_table.names], "Name columns of the table."
        require_named({"text": self._text}, list(dict.fromkeys([SLIDE, *known])), advice.format)

    @cached_property
    def _opener(self) -> OpenSlides:
        return OpenSlides()

    @cached_property
    def _marks(self) -> dict[str, bytes]:
        """Slide → what its pyramid calls its mark."""
        return {}

    def samples(self) -> Iterator[Sample]:
        """Yield the tiles of one slide after the other, row by row.

        Raises
        ------
        DataError
            If there is no slide or no tile, or slides do not say their resolution.
        UsageError
            If `positive` or one of `classes` is not a label, or a package is not installed.
        """
        self.warnings.clear()
        listing = SlideListing(self.root, self.pattern, self.label_table, self.slide_mpp)
        columns, groups = dict.fromkeys(self.columns), Groups(self.group)
        labels: set[str] = set()
        empty: list[str] = []
        any_tile = False
        files = listing.slides(self._opener)
        self.tiling.begin(listing.names)
        for file in files:
            try:
                grid, rows = self._tiled(file)
            except DataError as error:
                empty.append(no_tile(file.path, error.line))
                continue
            except NoTileError as error:
                empty.append(no_tile(file.path, str(error)))
                continue
            metadata = {**columns, **file.metadata, SLIDE: file.name, SLIDE_MPP: sum(file.mpp) / 2}
            groups.complete(file.name, metadata)
            labels.update(label for row in rows for label in row.labels or [file.label] if label is not None)
            any_tile = True
            yield from self._tiles(file, metadata, grid, rows)
        remarks = [*listing.remarks, *self.tiling.told(), *empty]
        if not any_tile:
            raise DataError(
                f"No slide in {str(self.root)!r} gives a tile. {'. '.join(remarks[:3])}.",
                next="Check the options: mpp is to be that of the slides or coarser, tissue=none takes all tiles, "
                "min_tissue=0 those with any tissue.",
            )
        require_labels(labels, self.positive, self.classes)
        self.warnings.extend([*remarks, *groups.remarks()])

    def _tiled(self, file: SlideFile) -> tuple[TileGrid, list[TileRow]]:
        self.tiling.check_resolution(file)
        slide = self._opener.open(self.root / file.on_disk)
        self._marks[file.on_disk] = slide.mark
        try:
            return self.tiling.rows(slide, file)
        finally:
            slide.close()

    def _tiles(
        self, file: SlideFile, metadata: dict[str, Any], grid: TileGrid, rows: list[TileRow]
    ) -> Iterator[Sample]:
        image, (width, height) = (file.on_disk,), grid[:2]
        for row in rows:
            shares = [None] * len(row.xs) if row.shares is None else row.shares.round(4).tolist()
            labels = [file.label] * len(row.xs) if row.labels is None else row.labels
            for x, share, label in zip(row.xs.tolist(), shares, labels, strict=True):
                yield Sample(
                    f"{file.path}#xywh={x},{row.y},{width},{height}",
                    image,
                    box=(x, row.y, width, height),
                    label=label,
                    mpp=self.tiling.mpp,
                    metadata=metadata if share is None else {**metadata, TISSUE: share},
                )

    def read(self, sample: Sample) -> Pixels:
        """Return the pixels of a tile, from the nearest level of the slide that is finer.

        Raises
        ------
        DataError
            If the slide cannot be read there.
        """
        if sample.box is None:
            raise TypeError(f"The sample {sample.id!r} is no tile of a slide.")
        path = self.root / sample.image[0]
        slide = self._opener.get(path)
        try:
            return slide.tile(sample.box, self.tiling.size)
        except DataError:
            self._opener.forget(slide)
        # Whether this tile is damaged, or one that another thread was reading: alone, the slide tells.
        with closing(self._opener.open(path)) as alone:
            return alone.tile(sample.box, self.tiling.size)

    def pixel_key(self, sample: Sample) -> bytes:
        """Return bytes that change with the size of tiles, and for slides that are read otherwise than before."""
        path = sample.image[0]
        if path not in self._marks:
            self._marks[path] = self._opener.get(self.root / path).mark
        return self._pixel_key + self._marks[path]

    def file_digest(self, path: Path) -> bytes:
        """Return the digest of a slide, of which large ones are not read whole; see `slide_digest`."""
        key = path, joint_state(path, self.files_beside(path))
        if self._last_digest[0] != key:
            self._last_digest = key, slide_digest(path)
        return self._last_digest[1]

    def files_beside(self, path: Path) -> Sequence[Path]:
        """Return the other files of a slide of several files."""
        return list(files_beside(path))

    @cached_property
    def _last_digest(self) -> tuple[tuple[Path, FileState], bytes]:
        return (Path(), (0, 0, 0)), b""
