"""Images listed in a CSV or Parquet table."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from histokit.datasets.labels import Groups, require_labels
from histokit.datasets.own_splits import own_split, role_of
from histokit.datasets.tables import (
    TidyTable,
    find_table,
    python_types,
    read_table,
    refuse_reserved,
    require_columns,
    stored_name,
)
from histokit.datasets.walk import Tally, absence, on_disk
from histokit.errors import DataError, UsageError
from histokit.plugin.dataset import RESERVED_COLUMNS, Dataset, PublishedSplit, Role, Sample
from histokit.plugin.images import check_bits


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
        The column of micrometres per pixel; ``mpp`` where the table has it.
    box : tuple of str
        The four columns of x, y, width and height in pixels.
    split : str, optional
        A column of ``train``, ``val`` and ``test``, which becomes the split ``table``.
    columns : tuple of str
        The columns that become metadata; all that mean nothing else where not given.
    text : tuple of str
        Columns that are text whatever they look like.
    levels, classes, positive, metric, bits
        As of `histokit.datasets.folder.Folder`.

    Raises
    ------
    UsageError
        If `box` does not name four columns.
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
    ):
        super().__init__(root)
        self.bits = check_bits(bits)
        self.file, self.metric, self.image_column = table, metric, stored_name(image)
        named = (name and stored_name(name) for name in (label, id, mpp, group, split))
        self.label_column, self.id_column, self.mpp_column, self.group, self.split_column = named
        listed = (tuple(map(stored_name, names)) for names in (levels, box, columns, text))
        self.levels, self.box_columns, self.wanted, self.text = listed
        self.classes, self.positive = tuple(classes) or None, positive
        if len(self.box_columns) not in (0, 4):
            raise UsageError(
                f"The option box={','.join(self.box_columns)} names {len(self.box_columns)} columns instead of four.",
                next="Name the columns of x, y, width and height: -o box=x,y,w,h.",
            )
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
        keys = _given(self.id_column or "id", self.image_column, self.split_column)
        roles = {*texts, *keys, *_given(self.mpp_column or "mpp"), *self.box_columns}
        only = {*roles, *self.wanted, "label", "id"} if self.wanted else None
        sheet = read_table(self.path, texts, keys, only)
        named = (self.image_column, self.label_column, self.id_column, self.group, self.mpp_column, self.split_column)
        everything = (*(name for name in named if name), *self.box_columns, *self.levels, *self.wanted)
        require_columns(sheet, everything, self.path)
        present = set(sheet.table.column_names)
        self.label_column = self.label_column or ("label" if "label" in present else None)
        self.id_column = self.id_column or ("id" if "id" in present else None)
        self.mpp_column = self.mpp_column or ("mpp" if "mpp" in present else None)
        return sheet

    @property
    def _table(self) -> pa.Table:
        return self._sheet.table

    @cached_property
    def columns(self) -> Mapping[str, type]:  # type: ignore[override]
        """The columns of the table that become metadata."""
        types = python_types(self._table)
        if self.wanted:
            names = dict.fromkeys((*self.wanted, *self._group(), *self.levels))
        else:
            taken = {self.image_column, self.label_column, self.id_column, self.mpp_column, self.split_column}
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
            if first.setdefault(sample.id, row) != row:
                twice.add(f"{sample.id} (rows {first[sample.id]} and {row})")
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
        table, columns = self._table, self.columns
        row = 0
        for batch in table.to_batches():
            for values in batch.to_pylist():
                row += 1
                path = values[self.image_column]
                there = path and on_disk(self.root, path)
                if not there:
                    missing.add(path or f"row {row} without a path")
                    continue
                role = values[self.split_column] if self.split_column else None
                yield row, self._sample(row, path, there, values, columns, groups), role

    def _sample(
        self, row: int, path: str, there: str, values: Mapping[str, Any], columns: Mapping[str, type], groups: Groups
    ) -> Sample:
        box = self._box(row, values)
        name = values[self.id_column] if self.id_column else None
        if self.id_column and name is None:
            raise DataError(
                f"Row {row} of the table {str(self.path)!r} has no id.", next=f"Fill the column {self.id_column}."
            )
        mpp = values[self.mpp_column] if self.mpp_column else None
        if mpp is not None and not (isinstance(mpp, (int, float)) and 0 < mpp < math.inf):
            raise self._not_a_number(row, str(self.mpp_column), mpp)
        sample_id = name or path + (f"#xywh={','.join(map(str, box))}" if box else "")
        metadata = {column: values[column] for column in columns}
        groups.complete(sample_id, metadata)
        return Sample(
            sample_id,
            (there,),
            box=box,
            label=values[self.label_column] if self.label_column else None,
            mpp=None if mpp is None else float(mpp),
            metadata=metadata,
        )

    def _box(self, row: int, values: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
        if not self.box_columns:
            return None
        numbers = []
        for name in self.box_columns:
            value = values[name]
            if not isinstance(value, (int, float)) or not float(value).is_integer() or abs(value) >= 1 << 31:
                raise self._not_a_number(row, name, value)
            numbers.append(int(value))
        x, y, width, height = numbers
        if width < 1 or height < 1:
            raise self._not_a_number(row, ",".join(self.box_columns[2:]), f"{width},{height}")
        return x, y, width, height

    def _not_a_number(self, row: int, column: str, value: Any) -> DataError:
        return DataError(
            f"Row {row} of the table {str(self.path)!r} has {column}={value!r}, which does not fit.",
            next="A box is four whole numbers of pixels, its width and height at least 1; mpp is above 0, or empty.",
        )

    def _require_sound(self, missing: Tally, twice: Tally, count: int) -> None:
        if twice:
            raise DataError(
                f"{twice.count} ids in the table {str(self.path)!r} come twice: {', '.join(twice.examples)}.",
                next="Remove the rows, or name a column of unique ids: -o id=COLUMN.",
            )
        if not count:
            reason = f"; {missing.count} paths do not exist, for example {missing}" if missing else ": it has no rows"
            raise DataError(
                f"The table {str(self.path)!r} gives no sample{reason}.",
                next=f"Give the folder that the paths are relative to; now it is {str(self.root)!r}.",
            )

    def _remarks(self, missing: Tally, unlabelled: Tally) -> Iterator[str]:
        if missing:
            yield f"{missing.count} rows were left out because their image is missing, for example {missing}"
        if unlabelled and self.label_column:
            yield f"{unlabelled.count} rows have no label, for example {unlabelled}"
        used = {self.image_column, self.label_column, self.id_column, self.mpp_column, *self.box_columns}
        for name in self._table.column_names:
            if name in RESERVED_COLUMNS and name not in used:
                yield f"The column {name!r} was left out: the name is taken by a field that every sample has"

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return the split ``table``, where `split` names its column.

        Raises
        ------
        DataError
            If the column holds something else than train, val and test.
        """
        if self.split_column is None:
            return {}
        return {"table": own_split(self._roles(), self.group)}

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
