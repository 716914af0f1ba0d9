"""What describes the images of an array: labels, and columns of metadata, from arrays and files beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from histokit.datasets.containers.container import NO_LABELS, label_text
from histokit.datasets.containers.numpy_files import open_npy
from histokit.datasets.containers.stack import Array, Stack, listed, numbers_or_texts
from histokit.datasets.containers.stack_names import beside, image_place, is_of_labels, partner, partners
from histokit.datasets.tables import TidyTable, find_table, plain, read_table, stored_name
from histokit.datasets.tables import taken as name_taken
from histokit.errors import DataError, UsageError, counted, did_you_mean, shortened
from histokit.plugin.dataset import RESERVED_COLUMNS

if TYPE_CHECKING:
    from histokit.datasets.containers.stack_container import StackContainer

_TABLES = (".csv", ".tsv", ".parquet", ".pq")

#: Names under which files keep those of their classes.
_CLASS_NAMES = ("class_names", "classes", "label_names", "names")

#: The column of a table that says which image a row is of.
_INDEX = "index"

#: What the name of a table beside images ends in, as in PatchCamelyon.
_META = "meta"


class Described(NamedTuple):
    """The labels of images, and the columns of metadata, row by row; and the file of labels, where it is another.

    What tables hold beside these columns, and arrays of labels, are known by their names.
    """

    labels: Sequence[str | None] | None
    names: Sequence[str]
    table: pa.Table
    notes: list[str]
    file: Path | None
    known: Sequence[str]


def describe(container: StackContainer, name: str, number: int) -> Described:
    """Return what describes the images of an array.

    Parameters
    ----------
    container : StackContainer
    name : str
        Of the array.
    number : int
        Its place among the arrays of images.

    Raises
    ------
    DataError
        If something is not as long as there are images, or labels are no classes.
    UsageError
        If an option names what is not there.
    """
    count = container.images[name].shape[0]
    labels, file, tables = None, None, []
    notes: list[str] = []
    names: Sequence[str] = container.options.names
    sources = list(_sources(container, name, number))
    taken = {source for source in sources if isinstance(source, str)}
    asked = bool(container.options.labels) and container.options.labels != NO_LABELS
    for source in sources:
        if isinstance(source, str):
            stack, where = container.stacks[source], f"The array {source!r} of {str(container.file)!r}"
            names = names or _class_names(container, stack)
            labels = _labels(container, stack, count, names, where)
            here = f"{source!r} of {container.path}"
            notes += unwritten_notes(stack, f"label {here}", f"labels {here}")
        elif source.suffix.lower() in _TABLES:
            sheet = _table(container, source, name, count)
            if asked and labels is None:
                file = source
                labels, sheet = _split_labels(container, source, sheet)
            tables.append(sheet)
        else:
            file = source
            stack, where = _labels_of(container, source)
            names = names or _class_names(container, stack)
            labels = _labels(container, stack, count, names, where)
            notes += unwritten_notes(stack, f"label of {source.name}", f"labels of {source.name}")
    tables.append(_arrays_beside(container, name, count, taken))
    columns: dict[str, pa.ChunkedArray] = {}
    for sheet in tables:
        notes += sheet.notes
        columns.update(zip(sheet.table.column_names, sheet.table.columns, strict=True))
    for reserved in [name for name in RESERVED_COLUMNS if name in columns]:
        del columns[reserved]
        notes.append(name_taken(reserved))
    known = [name for sheet in tables for name in sheet.names] + sorted(taken)
    return Described(labels, names, pa.table(columns), notes, file, known)


def _sources(container: StackContainer, name: str, number: int) -> Iterator[str | Path]:
    """Yield where labels, and a table of metadata, are: names of arrays, or files."""
    asked, stacks = container.options.labels, container.stacks
    stem = container.file.stem
    if asked == NO_LABELS:
        pass
    elif asked:
        if len(asked) not in (1, len(container.images)):
            raise UsageError(
                f"The option labels names {len(asked)} places for {len(container.images)} arrays of images: "
                f"{', '.join(container.images)}.",
                next="Name one for each, in the same order.",
            )
        source = asked[number if len(asked) > 1 else 0]
        yield source if source in stacks else _file(container, source)
    elif (found := partner(name, stacks)) is not None:
        yield found
    else:
        files = (container.file.with_name(other + container.file.suffix) for other in partners(stem))
        yield from [file for file in files if file.is_file()][:1]
    place = image_place(stem)
    if place is not None:
        meta = container.file.with_name(f"{place.before}{_META}.csv")
        if meta.is_file():
            yield meta


def _file(container: StackContainer, name: str) -> Path:
    written = name.replace("{name}", container.file.stem)
    file = find_table(container.root, written, "labels")
    if not file.is_file():
        file = container.file.parent / written
    if not file.is_file():
        raise UsageError(
            f"The option labels={name} is neither an array of {str(container.file)!r} nor a file.",
            next=f"{did_you_mean(name, container.stacks)}Its arrays are: {listed(container.stacks)}; a file is given "
            "whole, or relative to the root or the folder of the images.",
        )
    return file


def _labels_of(container: StackContainer, file: Path) -> tuple[Stack, str]:
    """Return the labels in a file of arrays, and what to call them."""
    stacks = open_npy(file) if file.suffix.lower() == ".npy" else container.read_arrays(file)
    named = [name for name in stacks if is_of_labels(name)]
    names = list(stacks) if len(stacks) == 1 else named
    if len(names) != 1:
        raise DataError(
            f"The file {str(file)!r} does not hold one array of labels; its arrays are: {listed(stacks)}.",
            next="Save the labels alone, as 'labels' or 'y', or name another file: -o labels=FILE.",
        )
    where = f"The array {names[0]!r} of {str(file)!r}" if names[0] else f"The array {str(file)!r}"
    return stacks[names[0]], where


def _labels(
    container: StackContainer, stack: Stack, count: int, names: Sequence[str], where: str
) -> Sequence[str | None]:
    shape = stack.shape
    _require_count(shape[0] if shape else 0, count, where, shape)
    numbers = stack.whole().reshape(count, -1)
    column = container.options.label_column
    if numbers.shape[1] == 1 and column not in (None, "0"):
        raise UsageError(
            f"{where} holds one label for each image, and no column {column!r}.",
            next="Leave out -o label_column, or give a table that has it as well: -o labels=FILE.csv.",
        )
    if numbers.shape[1] != 1:
        width = numbers.shape[1]
        if column is None or not column.isdecimal() or int(column) >= width:
            raise DataError(
                f"{where} holds {width} numbers for each image: several labels, where one is needed.",
                next=f"Name one of them by its number: -o label_column=0, up to {width - 1}.",
            )
        numbers = numbers[:, int(column)]
    known: dict[Any, str | None] = {}
    found = []
    for row, value in enumerate(numbers_or_texts(numbers.reshape(-1))):
        if value not in known:
            known[value] = label_text(value, names, f"Row {row} of {where[0].lower() + where[1:]}")
        found.append(known[value])
    return found


def unwritten_notes(stack: Stack, one: str, many: str) -> Iterator[str]:
    """Yield what is to be known of rows of a zarr array in chunks that are not there.

    Parameters
    ----------
    stack : Stack
    one, many : str
        What a row is, and rows are.
    """
    whole, partly = stack.unwritten()
    for count, where in ((whole, "in chunks that are"), (partly, "partly in chunks that are")):
        if count:
            rows = counted(count, f"{one} lies", f"{many} lie")
            yield f"{rows} {where} not there, which zarr takes for its fill value"


def _class_names(container: StackContainer, labels: Stack) -> Sequence[str]:
    for key in _CLASS_NAMES:
        if key in labels.attributes:
            return [str(name) for name in numbers_or_texts(np.asarray(labels.attributes[key]).reshape(-1))]
        stack = container.stacks.get(key)
        if stack is not None and len(stack.shape) == 1 and stack.dtype.kind in "US":
            return [str(name) for name in numbers_or_texts(stack.whole())]
    return ()


def _table(container: StackContainer, file: Path, name: str, count: int) -> TidyTable:
    column = stored_name(container.options.label_column or "label")
    sheet = read_table(file, {column, *container.options.texts})
    if (rows := len(sheet.table)) != count:
        ends = [", ".join(f"{key}={value!r}" for key, value in row.items()) for row in _ends(sheet.table)]
        told = f": {' to '.join(map(shortened, ends))}" if ends else ""
        images = " to ".join(repr(f"{name}/{row}" if name else str(row)) for row in dict.fromkeys((0, count - 1)))
        raise DataError(
            f"The table {str(file)!r} has {counted(rows, 'row', 'rows')}{told}; {str(container.file)!r} has "
            f"{counted(count, 'image', 'images')}: {images}.",
            next="Give one row for each image, in the order of the images.",
        )
    return _in_order_of_index(sheet, file)


def _ends(table: pa.Table) -> list[dict[str, Any]]:
    """Return the first row and the last one, as far as there are two."""
    return [table.slice(row, 1).to_pylist()[0] for row in dict.fromkeys((0, len(table) - 1)) if len(table)]


def _in_order_of_index(sheet: TidyTable, file: Path) -> TidyTable:
    """Return the rows of a table in the order of their numbers, where a column holds these, from 0 or 1 on."""
    if _INDEX not in sheet.table.column_names or not pa.types.is_integer(sheet.table.column(_INDEX).type):
        return sheet
    numbers = sheet.table.column(_INDEX).to_numpy(zero_copy_only=False)
    order = np.argsort(numbers, kind="stable")
    counted_from = [first for first in (0, 1) if (numbers[order] == np.arange(first, first + len(numbers))).all()]
    if not counted_from or (order == np.arange(len(numbers))).all():
        return sheet
    note = f"The rows of {file.name} were taken in the order of its column {_INDEX!r}, which numbers the images"
    return TidyTable(sheet.table.take(order), sheet.names, [*sheet.notes, note])


def _split_labels(container: StackContainer, file: Path, sheet: TidyTable) -> tuple[Sequence[str | None], TidyTable]:
    """Return the labels of a table, and its other columns."""
    column = stored_name(container.options.label_column or "label")
    if column not in sheet.table.column_names:
        raise UsageError(
            f"The table {str(file)!r} has no column {column!r}.",
            next=f"{did_you_mean(column, sheet.names)}Name the one that holds labels: -o label_column=COLUMN; it has "
            f"{', '.join(sheet.names)}.",
        )
    names = container.options.names
    texts = sheet.table.column(column).to_pylist()
    labels = [label_text(text, names, f"Row {row} of {str(file)!r}") for row, text in enumerate(texts, start=1)]
    return labels, TidyTable(sheet.table.drop_columns([column]), sheet.names, sheet.notes)


def _arrays_beside(container: StackContainer, name: str, count: int, taken: set[str]) -> TidyTable:
    """Return the arrays that have one number or text for each image."""
    columns: dict[str, pa.ChunkedArray] = {}
    notes: list[str] = []
    for other, stack in container.stacks.items():
        column = beside(name, other)
        if column is None or other in taken or is_of_labels(other) or other in container.images:
            continue
        if stack.shape not in ((count,), (count, 1)) or stack.dtype.kind not in "buifUSO":
            continue
        if stored_name(column) in RESERVED_COLUMNS:
            notes.append(f"The array {other!r} was left out: the name is taken by a field that every sample has")
            continue
        here = f"{other!r} in {container.path}"
        notes += unwritten_notes(stack, f"value of {here}", f"values of {here}")
        columns[column] = plain(pa.chunked_array([_arrow(stack.whole())]))
    sheet = read_table(container.file, container.options.texts, found=pa.table(columns))
    return TidyTable(sheet.table, sheet.names, [*notes, *sheet.notes])


def _arrow(values: Array) -> pa.Array:
    values = values.reshape(-1)
    if values.dtype.kind in "USO":
        return pa.array([str(value) for value in numbers_or_texts(values)], pa.string())
    return pa.array(values.astype(values.dtype.newbyteorder("=")))


def _require_count(found: int, count: int, where: str, shape: tuple[int, ...]) -> None:
    if found != count:
        raise DataError(
            f"{where} is of shape {shape}, but there are {count} images.", next="Give one label for each image."
        )
