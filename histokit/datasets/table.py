"""Images listed in a CSV or Parquet table."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from histokit.datasets.channels import Channels, are_columns
from histokit.datasets.groups import Groups
from histokit.datasets.image_options import Intensities, samples_of_planes
from histokit.datasets.labels import asked_classes, require_labels
from histokit.datasets.number_columns import resolution_in, with_numbers
from histokit.datasets.own_splits import own_splits, role_of
from histokit.datasets.table_boxes import BoxColumns, image_by_image
from histokit.datasets.table_paths import plain_path, written_path
from histokit.datasets.tables import (
    TidyTable,
    find_table,
    python_types,
    read_table,
    refuse_reserved,
    require_columns,
    stored_name,
    taken,
)
from histokit.datasets.walk import Tally, absence
from histokit.errors import DataError, counted
from histokit.plugin.dataset import RESERVED_COLUMNS, Dataset, PublishedSplit, Role, Sample


class Table(Dataset):
    """Images listed in a table, one sample a row.

    Parameters
    ----------
    root : path
        The folder that the paths in the table are relative to.
    table : str
        A ``.csv``, ``.tsv`` or ``.parquet`` file: a whole path, or relative to the root or the current folder.
    image : str
        The column of image paths.
    label : str, optional
        The column of labels; ``label`` where the table has it.
    id : str, optional
        The column of ids; ``id`` where the table has it, else the image's path and box.
    group : str, optional
        The column that no fold may cut through.
    mpp : str, optional
        The column of micrometres per pixel, or a number for all; ``mpp`` where the table has it.
    box : tuple of str
        The four columns of x, y, width and height in pixels; fractions are rounded outwards.
    split : str, optional
        A column of ``train``, ``val`` and ``test``, which becomes the split ``table``.
    columns : tuple of str
        The columns that become metadata; all that mean nothing else where not given.
    text : tuple of str
        Columns that are text whatever they look like.
    levels, classes, positive, metric, bits
        As of `histokit.datasets.folder.Folder`.
    centre : tuple of str
        In place of `box`, the columns of x and y of a box's middle, in pixels.
    size : tuple of str
        Its side: pixels, micrometres (``32um``), or the column, or two columns, that say the pixels.
    channels : tuple of str
        Names of the channels, each with the column of its files, or its name or number from 1 in a file that holds
        all of them: ``DAPI:dapi_path,Tubulin:tubulin_path``. Red, green and blue where not given.
    planes, scale, scale_over
        As of `histokit.datasets.folder.Folder`.

    Raises
    ------
    UsageError
        If `box`, `centre` and `size` do not go together.
    """

    name = "table"
    pixel_options: Sequence[str] | None = ()

    def __init__(
        self,
        root: str | Path,
        table: str,
        image: str = "image",
        label: str | None = None,
        id: str | None = None,
        group: str | None = None,
        mpp: str | None = None,
        box: tuple[str, ...] = (),
        split: str | None = None,
        columns: tuple[str, ...] = (),
        levels: tuple[str, ...] = (),
        classes: tuple[str, ...] = (),
        positive: str | None = None,
        metric: str = "accuracy",
        text: tuple[str, ...] = (),
        bits: int | None = None,
        centre: tuple[str, ...] = (),
        size: tuple[str, ...] = (),
        channels: tuple[str, ...] = (),
        planes: str | None = None,
        scale: str = "full",
        scale_over: Literal["image", "crop", "dataset"] = "image",
    ):
        super().__init__(root)
        self.bits, self.scale, self.scale_over = Intensities.checked(bits, scale, scale_over)
        self.file, self.metric, self.image_column = table, metric, stored_name(image)
        names, self.file_channels = Channels.parsed(channels)
        self.channels, self.planes = names or self.channels, planes
        self._paths: tuple[str, ...] = (self.image_column,)
        self.mpp = resolution_in(mpp)
        named = (name and stored_name(name) for name in (label, id, None if self.mpp else mpp, group, split))
        self.label_column, self.id_column, self.mpp_column, self.group, self.split_column = named
        listed = (tuple(map(stored_name, names)) for names in (levels, columns, text))
        self.levels, self.wanted, self.text = listed
        self.classes, self.positive = asked_classes(classes, positive)
        self.boxes = BoxColumns(box, centre, size)
        refuse_reserved((*self.wanted, *self.levels, *self._group()), "The option columns, group or levels")

    def _group(self) -> tuple[str, ...]:
        return (self.group,) if self.group else ()

    @cached_property
    def path(self) -> Path:
        """Where the table lies."""
        return find_table(self.root, self.file, "table")

    @cached_property
    def _sheet(self) -> TidyTable:
        texts = _given(self.label_column or "label", self.group, *self.levels, *self.text)
        of_channels = tuple(map(stored_name, self.file_channels))
        keys = _given(self.id_column or "id", self.image_column, *of_channels, self.split_column)
        roles = {*texts, *keys, *_given(self.mpp_column or "mpp"), *self.boxes.names}
        only = {*roles, *self.wanted, "label", "id"} if self.wanted else None
        sheet = read_table(self.path, texts, keys, only)
        if are_columns(of_channels, sheet.table.column_names, self.image_column):
            self._paths = of_channels
        named = {
            "image": () if of_channels == self._paths else self._paths,
            "label": _given(self.label_column),
            "id": _given(self.id_column),
            "group": _given(self.group),
            "mpp": _given(self.mpp_column),
            "split": _given(self.split_column),
            "text": self.text,
            "": (*self._paths, *self.boxes.names, *self.levels, *self.wanted),
        }
        for option, names in named.items():
            require_columns(sheet, names, self.path, option)
        present = set(sheet.table.column_names)
        self.label_column = self.label_column or ("label" if "label" in present else None)
        self.id_column = self.id_column or ("id" if "id" in present else None)
        if self.mpp is None:
            self.mpp_column = self.mpp_column or ("mpp" if "mpp" in present else None)
        sheet = with_numbers(sheet, _given(*self.boxes.names, self.mpp_column), self.path)
        self.boxes.require_pixels(sheet.table, self.path)
        return sheet

    @cached_property
    def columns(self) -> Mapping[str, type]:  # type: ignore[override]
        """The columns of the table that become metadata."""
        types = python_types(self._sheet.table)
        if self.wanted:
            names = dict.fromkeys((*self.wanted, *self._group(), *self.levels))
        else:
            taken = {*self._paths, self.label_column, self.id_column, self.mpp_column, self.split_column}
            names = dict.fromkeys(n for n in types if n not in taken - {self.group} and n not in RESERVED_COLUMNS)
        return {name: types[name] for name in names}

    def samples(self) -> Iterator[Sample]:
        """Yield the rows whose image exists, in the order of the table.

        Raises
        ------
        DataError
            If the table cannot be read, an id comes twice, or no row has an image that exists.
        UsageError
            If an option names a column that the table does not have.
        """
        self.warnings.clear()
        if not os.path.isdir(self.root):
            raise DataError(
                f"The folder {str(self.root)!r} {absence(self.root)}.",
                next="Give the folder that paths are relative to.",
            )
        missing, unlabelled, twice = Tally(), Tally(), Tally()
        first: dict[str, int] = {}
        labels: set[str] = set()
        groups = Groups(self.group)
        for row, sample, _ in self._rows(missing, groups):
            key = sample.id if self.id_column else plain_path(sample.id)
            if first.setdefault(key, row) != row:
                twice.add(f"{sample.id} (rows {first[key]} and {row})")
                continue
            if sample.label is None:
                unlabelled.add(sample.id)
            else:
                labels.add(sample.label)
            yield sample
        self._require_sound(missing, twice, len(first))
        require_labels(labels, self.positive, self.classes)
        self.warnings.extend([*self._sheet.notes, *self._remarks(missing, unlabelled), *groups.remarks()])

    def _rows(self, missing: Tally, groups: Groups) -> Iterator[tuple[int, Sample, str | None]]:
        table, columns = self._sheet.table, self.columns
        numbers: Iterable[int] = range(1, len(table) + 1)
        if self.boxes.names:
            table, numbers = image_by_image(table, self._paths[0])
        rows = iter(numbers)
        for batch in table.to_batches():
            for values, row in zip(batch.to_pylist(), rows, strict=False):
                paths, there = zip(*(written_path(self.root, values[name]) for name in self._paths), strict=True)
                if not all(there):
                    path = paths[next(place for place, file in enumerate(there) if not file)]
                    missing.add(path or f"row {row} without a path")
                    continue
                role = values[self.split_column] if self.split_column else None
                sample = self._sample(row, paths[0], tuple(map(str, there)), values, columns, groups)
                for each in samples_of_planes(sample, self.root, self.planes, sample.mpp):
                    yield row, each, role

    def _sample(
        self,
        row: int,
        path: str,
        there: tuple[str, ...],
        values: Mapping[str, Any],
        columns: Mapping[str, type],
        groups: Groups,
    ) -> Sample:
        name = values[self.id_column] if self.id_column else None
        if self.id_column and name is None:
            raise DataError(
                f"Row {row} of the table {str(self.path)!r} has no id.", next=f"Fill the column {self.id_column}."
            )
        mpp = values[self.mpp_column] if self.mpp_column else self.mpp
        if mpp is not None and not (isinstance(mpp, (int, float)) and 0 < mpp < math.inf):
            raise self._not_a_number(row, str(self.mpp_column), mpp)
        box = self.boxes.box(
            values, mpp, f"Row {row} of the table {str(self.path)!r}", partial(self._not_a_number, row)
        )
        sample_id = name or path + (f"#xywh={','.join(map(str, box))}" if box else "")
        metadata = {column: values[column] for column in columns}
        groups.complete(sample_id, metadata)
        return Sample(
            sample_id,
            there,
            box=box,
            label=values[self.label_column] if self.label_column else None,
            mpp=None if mpp is None else float(mpp),
            metadata=metadata,
        )

    def _not_a_number(self, row: int, column: str, value: Any) -> DataError:
        return DataError(
            f"Row {row} of the table {str(self.path)!r} has {column}={value!r}, which does not fit.",
            next="Boxes are x, y, width and height, or centre and size, in pixels; sides are above 0, and so is mpp.",
        )

    def _require_sound(self, missing: Tally, twice: Tally, count: int) -> None:
        if twice:
            ids, boxes = counted(twice.count, "id comes", "ids come"), self.boxes.unused(self._sheet.table.column_names)
            unique = "name a column of unique ids: -o id=COLUMN."
            raise DataError(
                f"{ids} twice in the table {str(self.path)!r}: {', '.join(twice.examples)}.",
                next=f"Name the columns of boxes: {boxes}. Or {unique}" if boxes else f"Remove the rows, or {unique}",
            )
        if not count:
            reason = f"; {counted(missing.count, 'path does', 'paths do')} not exist, for example {missing}"
            reason = reason if missing else ": it has no rows"
            raise DataError(
                f"The table {str(self.path)!r} gives no sample{reason}.",
                next=f"Give the folder that the paths are relative to; now it is {str(self.root)!r}.",
            )

    def _remarks(self, missing: Tally, unlabelled: Tally) -> Iterator[str]:
        if missing:
            rows = counted(missing.count, "row was left out because its", "rows were left out because their")
            yield f"{rows} image is missing, for example {missing}"
        if unlabelled and self.label_column:
            yield f"{counted(unlabelled.count, 'row has', 'rows have')} no label, for example {unlabelled}"
        if (boxes := self.boxes.unused(self._sheet.table.column_names)) and not self.wanted:
            yield f"Samples are whole images; to take the boxes that the table seems to hold: {boxes}"
        used = {*self._paths, self.label_column, self.id_column, self.mpp_column, *self.boxes.names}
        for name in self._sheet.table.column_names:
            if name in RESERVED_COLUMNS and name not in used:
                yield taken(name)

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return the split ``table``, where `split` names its column.

        Raises
        ------
        DataError
            If the column holds something else than train, val and test.
        """
        if self.split_column is None:
            return {}
        return own_splits("table", self._roles(), self.group, self.warnings)

    def _roles(self) -> Iterator[tuple[Sample, Role]]:
        for row, sample, text in self._rows(Tally(), Groups(self.group)):
            if text is None:
                continue
            role = role_of(text)
            if role is None:
                raise DataError(
                    f"Row {row} of the table {str(self.path)!r} has {self.split_column}={text!r}.",
                    next="Write train, val or test, or nothing for a sample outside the split.",
                )
            yield sample, role


def _given(*names: str | None) -> set[str]:
    return {name for name in names if name}
