"""Tables as they come in, through whichever door: one meaning of names, cells and types."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import compute as pc

from histokit.datasets import cells
from histokit.datasets.csv_file import read_csv
from histokit.datasets.parquet_file import read_parquet
from histokit.datasets.walk import on_disk
from histokit.errors import DataError, UsageError, did_you_mean, first_line
from histokit.files import oddity, refuse_remote, require_file
from histokit.plugin.dataset import RESERVED_COLUMNS
from histokit.plugin.names import stored_name as stored_name
from histokit.plugin.options import typed_option

PARQUET = (".parquet", ".pq")

#: Headers of the numbers of rows, as pandas and R write them.
_INDEX = re.compile(r"|__index_level_\d+__|Unnamed: \d+(\.\d+)*(_level_\d+)?")


@dataclass(frozen=True)
class TidyTable:
    """The columns of a table, and what the user should know of them.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of type int64, float64, bool or string.
    names : list of str
        Of all columns of the file.
    notes : list of str
    """

    table: pa.Table
    names: list[str]
    notes: list[str]


def read_cells(
    path: Path, convert: Callable[[str, pa.ChunkedArray], pa.ChunkedArray] = lambda _, column: plain(column)
) -> pa.Table:
    """Read a CSV or Parquet file with tidy names and cells.

    Parameters
    ----------
    path : Path
    convert : callable
        What makes cells tidy, given the name of their column and what the file holds.

    Returns
    -------
    pyarrow.Table
        Of a CSV file, columns of texts; of a Parquet file, columns of type int64, float64, bool or string, and
        nested ones as they are.

    Raises
    ------
    DataError
        If the file is absent, no file, cannot be read, has no header or two columns of one name.
    """
    require_file(path, "table", next="Give its path, whole or relative to the root.")
    table = read_parquet(path) if path.suffix.lower() in PARQUET else read_csv(path)
    names = tidy_names(table.column_names, path)
    columns = []
    for name, column in zip(names, table.columns, strict=True):
        try:
            columns.append(convert(name, column))
        except pa.ArrowException as error:
            raise DataError(
                f"The column {name!r} of the table {str(path)!r} cannot be read: {first_line(error)}.",
                next="Save texts in UTF-8, and leave out columns of bytes, such as pictures.",
            ) from error
    return pa.table(columns, names=names)


def tidy_names(names: Sequence[str], path: Path) -> list[str]:
    """Return names of columns without blanks at their ends, in Unicode's form NFC.

    Raises
    ------
    DataError
        If two are the same.
    """
    tidied = [cells.tidy_text(name) for name in names]
    twice = sorted({name for name in tidied if name and tidied.count(name) > 1})
    if twice:
        raise DataError(
            f"The table {str(path)!r} has several columns named {twice[0]!r}.", next="Rename or remove all but one."
        )
    return tidied


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as int64, float64, bool or tidy texts; a nested one as it is."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain(pc.cast(column, kind.value_type))
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        return column
    if pa.types.is_decimal(kind):
        return plain(pc.cast(column, pa.string() if kind.scale <= 0 else pa.float64()))
    if pa.types.is_integer(kind):
        try:
            return pc.cast(column, pa.int64())
        except pa.ArrowInvalid:
            return pc.cast(column, pa.string())
    if pa.types.is_float32(kind):
        # By its shortest decimal: 0.1 stays 0.1, also where it is looked for.
        column = pc.cast(column, pa.string())
    if pa.types.is_floating(kind):
        return cells.whole(pc.cast(column, pa.float64()))
    if pa.types.is_timestamp(kind):
        return cells.times(column)
    return cells.tidy(pc.cast(column, pa.string()))


def is_index(name: str) -> bool:
    """Whether a name is one that programs give to the numbers of rows."""
    return _INDEX.fullmatch(name) is not None


def read_table(
    path: Path,
    texts: Collection[str] = (),
    keys: Collection[str] = (),
    only: Collection[str] | None = None,
    found: pa.Table | None = None,
) -> TidyTable:
    """Read the columns that describe samples, under the names that the store takes.

    Parameters
    ----------
    path : Path
        ``.parquet``, ``.csv`` or ``.tsv``.
    texts : collection of str
        Columns that are text whatever they look like, written as `histokit.datasets.cells.as_text` does.
    keys : collection of str
        Columns that are text as it is written, such as ids and paths.
    only : collection of str, optional
        The columns that are of interest; all where not given.
    found : pyarrow.Table, optional
        What `plain` made of columns that know their types, where they were read otherwise.

    Raises
    ------
    DataError
        If the file cannot be read, two columns have one name, or a column of numbers holds a cell that is none.
    """
    typed = found is not None or path.suffix.lower() in PARQUET
    found = read_cells(path) if found is None else found
    notes: list[str] = []
    columns: dict[str, pa.ChunkedArray] = {}
    for original, column in zip(found.column_names, found.columns, strict=True):
        name = original and stored_name(original)
        if only is not None and name not in only:
            continue
        if is_index(original) and name not in {*texts, *keys}:
            notes.append(passed_over(original))
        elif pa.types.is_nested(column.type):
            notes.append(f"The column {original!r} was left out: it holds lists or records")
        else:
            _require_new(name, original, columns, path)
            if name != original:
                notes.append(renamed(original, name))
            columns[name] = _converted(column, name, path, typed, texts, keys, notes)
    names = [stored_name(name) for name in found.column_names if name]
    return TidyTable(pa.table(columns) if columns else found.select([]), names, notes)


def _require_new(name: str, original: str, columns: Collection[str], path: Path) -> None:
    if name in columns:
        raise DataError(
            f"The table {str(path)!r} has several columns that the store calls {name!r}, such as {original!r}.",
            next="Rename or remove all but one.",
        )


def _converted(
    column: pa.ChunkedArray,
    name: str,
    path: Path,
    typed: bool,
    texts: Collection[str],
    keys: Collection[str],
    notes: list[str],
) -> pa.ChunkedArray:
    if name in keys:
        return cells.as_text(column)
    if typed:
        return cells.as_text(column) if name in texts else finite(column, name, path)
    if name in texts:
        return cells.as_text(cells.typed(column))
    return described(
        column,
        name,
        path,
        notes,
        f"leave it empty where there is no number; or add {typed_option('text', [name])} where it is meant as text",
    )


def described(column: pa.ChunkedArray, name: str, path: Path, notes: list[str], otherwise: str) -> pa.ChunkedArray:
    """Return a column of texts as what it is; a note says where one cell alone keeps it from being of numbers.

    Parameters
    ----------
    otherwise : str
        What else to do where the cell is an error.

    Raises
    ------
    DataError
        If the cell stands for a number that is not there, or is written so that it cannot be read.
    """
    odd = cells.odd_cell(column)
    if odd is None:
        return cells.typed(column)
    if odd.certain:
        raise bad_cell(path, name, odd, otherwise)
    notes.append(f"The column {name!r} is text, not numbers, because row {odd.row} has {odd.text!r}")
    return column


def bad_cell(path: Path, name: str, odd: cells.OddCell, otherwise: str, written: bool = True) -> DataError:
    """Return the error on a cell that is no number in a column of numbers, or that is a number stored as text."""
    what = "but that column holds numbers" if written else "a text, but that column seems to hold numbers"
    return DataError(
        f"Row {odd.row} of the table {str(path)!r} has {name}={odd.text!r}, {what}.",
        next=f"{odd.hint if written else 'Store it as numbers'}; {otherwise}.",
    )


def finite(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    """Return a column of a Parquet file; raise a `DataError` where a number is infinite."""
    if pa.types.is_floating(column.type):
        infinite = pc.fill_null(pc.is_inf(column), False)
        if pc.any(infinite).as_py():
            row = pc.index(infinite, True).as_py()
            odd = cells.OddCell(row + 1, str(column[row].as_py()), True)
            raise bad_cell(path, name, odd, "or leave the column out")
    return column


def renamed(original: str, name: str) -> str:
    """Return the sentence on a column that the store cannot call as the table does."""
    return f"The column {original!r} is called {name!r}: the store takes no . and ` in names, and no _ before them"


def taken(name: str) -> str:
    """Return the sentence on a column that is called as a field of every sample is."""
    return f"The column {name!r} was left out: the name is taken by a field that every sample has"


def passed_over(name: str) -> str:
    """Return the sentence on a column that numbers the rows."""
    which = f"The column {name!r}" if name else "A column without a name"
    return f"{which} was passed over: programs write the numbers of rows so; rename it where it is more"


def require_columns(sheet: TidyTable, names: Iterable[str], path: Path, option: str = "") -> None:
    """Raise a `UsageError` that names the first column which the table does not have, and the option that says it."""
    for name in names:
        if name not in sheet.table.column_names:
            raise UsageError(
                f"The table {str(path)!r} has no column {name!r}.",
                next=f"{did_you_mean(name, sheet.names)}Its columns are: {', '.join(sheet.names)}."
                + (f" Name the right one with -o {option}=COLUMN." if option else ""),
            )


def refuse_reserved(names: Iterable[str], where: str) -> None:
    """Raise a `UsageError` where a metadata column would have the name of a sample's own field."""
    for name in names:
        if name != stored_name(name):
            raise UsageError(
                f"{where} has {name!r}, which no column can be called.",
                next=f"Rename it, such as to {stored_name(name)}.",
            )
        if name in RESERVED_COLUMNS:
            raise UsageError(
                f"{where} has {name!r}, which is the name of a field that every sample has.",
                next=f"Rename it, for instance to {name}_id; taken are: {', '.join(RESERVED_COLUMNS)}.",
            )


def find_table(root: Path, name: str, option: str) -> Path:
    """Return where a table lies that is given whole, relative to the root, or to the current folder.

    Raises
    ------
    UsageError
        If there are two that differ.
    """
    refuse_remote(name, "tables")
    inside, here = (folder / (on_disk(folder, name) or name) for folder in (root, Path.cwd()))
    if not here.is_file() or not inside.is_file():
        return here if here.is_file() or (oddity(here) and not inside.is_file()) else inside
    if here.samefile(inside) or here.read_bytes() == inside.read_bytes():
        return inside
    raise UsageError(
        f"The option {option}={name} may be {str(inside)!r} or {str(here)!r}, which differ.",
        next=f"Give the whole path of the one that is meant: {typed_option(option, str(inside))}",
    )


def python_types(table: pa.Table) -> dict[str, type]:
    """Return the Python type of each column of a table read by `read_table`."""
    types = {pa.bool_(): bool, pa.int64(): int, pa.float64(): float}
    return {column.name: types.get(column.type, str) for column in table.schema}
