"""CSV files as columns of texts: their encoding, what separates their cells, and what is the matter with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from histokit.datasets.cells import MISSING
from histokit.datasets.walk import IMAGE_SUFFIXES
from histokit.errors import DataError, first_line
from histokit.files import suffix_of
from histokit.plugin.signatures import refuse_stand_in

_SEPARATORS = (",", ";", "\t")
_BEGINNING = 1 << 16
#: What Arrow says of a row that is longer than a block, and of such a header.
_LONGER = re.compile("straddl|Empty CSV file or block")
_BLOCKS = (1 << 20, 1 << 24, 1 << 28, (1 << 31) - 1)
_Read = TypeVar("_Read")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".ods", ".numbers")
_SAVING = "Open it and save the sheet that is meant as CSV in UTF-8 (in Excel 'CSV UTF-8'), then give that file."
#: What files begin with that are no tables of text.
_OTHER_FILES = {
    b"PK\x03\x04": "a workbook of a spreadsheet program or another archive",
    b"PAR1": "a Parquet file",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel",
    b"\x1f\x8b": "packed by gzip, which its name has to say (.csv.gz)",
    b"\x89HDF": "an HDF5 file",
}
_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*)?\{\s*"')
#: What Arrow says of a row of another length; its rows begin with the header.
_LENGTH = re.compile(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+): ?(.*)", re.DOTALL)


def read_csv(path: Path) -> pa.Table:
    """Read a CSV file, every cell as the text that it is and none where it is missing.

    The encoding is UTF-8, or UTF-16 with a byte order mark. In a ``.tsv`` file cells are separated by tabs, elsewhere
    by what comes most often in the line of headers: a comma, a semicolon or a tab.

    Parameters
    ----------
    path : Path

    Returns
    -------
    pyarrow.Table
        Columns of type string, named as in the file; `MISSING` without quotes is null.

    Raises
    ------
    DataError
        If the file is empty, is no text, has no header, rows of different lengths, or a quote that never ends.
    """
    from pyarrow import csv

    encoding, parse = _check_text(path)

    def read_in(size: int, threads: bool) -> pa.Table:
        options = csv.ReadOptions(use_threads=threads, encoding=encoding, block_size=size)
        convert = csv.ConvertOptions(
            column_types=dict.fromkeys(_names(path, parse, options), pa.string()),
            null_values=list(MISSING),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        return csv.read_csv(path, read_options=options, parse_options=parse, convert_options=convert)

    def read(threads: bool) -> pa.Table:
        return _in_blocks(lambda size: read_in(size, threads))

    try:
        try:
            table = read(True)
        except pa.ArrowInvalid as error:
            # One thread knows the number of the row.
            raise (error if "Expected" not in str(error) else _from_one_thread(read) or error) from error
    except (pa.ArrowException, UnicodeError, OSError) as error:
        raise _unreadable(path, error, encoding) from error
    _check_quotes(path, table)
    _check_header(path, table)
    return table


def _check_header(path: Path, table: pa.Table) -> None:
    """Raise where the first line is one like the others, which would be lost: it names an image, as the next one does.

    Raises
    ------
    DataError
    """
    names = [name.strip() for name in table.column_names]
    for place, name in enumerate(names):
        first = str(table.column(place)[0]).strip() if len(table) else ""
        if all(suffix_of(text) in IMAGE_SUFFIXES for text in (name, first)):
            others = iter(["label", *(f"column{number}" for number in range(3, len(names) + 1))])
            above = ",".join("image" if each == place else next(others) for each in range(len(names)))
            raise DataError(
                f"The table {str(path)!r} has no header: its first line names an image, {name!r}.",
                next=f"Write the names of the columns into a line above it, such as: {above}",
            )


def header(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file, as they are written."""
    from pyarrow import csv

    encoding, parse = _check_text(path)
    try:
        # One thread knows the number of a row that is wrong.
        options = {"use_threads": False, "encoding": encoding}
        return _in_blocks(lambda size: _names(path, parse, csv.ReadOptions(block_size=size, **options)))
    except (pa.ArrowException, UnicodeError, OSError) as error:
        raise _unreadable(path, error, encoding) from error


def _in_blocks(read: Callable[[int], _Read]) -> _Read:
    """Read in blocks of a megabyte, or of more where a row or the header is longer, which Arrow refuses."""
    for size in _BLOCKS:
        try:
            return read(size)
        except pa.ArrowInvalid as error:
            if not _LONGER.search(str(error)) or size == _BLOCKS[-1]:
                raise
    raise AssertionError


def _names(path: Path, parse: Any, options: Any) -> list[str]:
    from pyarrow import csv

    with csv.open_csv(path, read_options=options, parse_options=parse) as file:
        return list(file.schema.names)


def _from_one_thread(read: object) -> pa.ArrowInvalid | None:
    try:
        read(False)  # type: ignore[operator]
    except pa.ArrowInvalid as error:
        return error
    return None


def _beginning(path: Path) -> bytes:
    try:
        with pa.input_stream(str(path), compression="detect") as file:
            return bytes(file.read(_BEGINNING))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error, "utf-8") from error


def _check_text(path: Path) -> tuple[str, Any]:
    """Return the encoding of a file, and how its cells are separated; raise where it is no text."""
    from pyarrow import csv

    beginning = _beginning(path)
    encoding = "utf-16" if beginning.startswith(_UTF16) else "utf-8"
    others = {**_OTHER_FILES, **({found[0]: "a JSON document"} if (found := _JSON.match(beginning)) else {})}
    for magic, what in {**others, b"": "a workbook of a spreadsheet program"}.items():
        if beginning[: len(magic)].lower() == magic.lower() and (magic or path.suffix.lower() in _WORKBOOKS):
            raise DataError(
                f"The table {str(path)!r} cannot be read: it is {what}.",
                next=_SAVING if "workbook" in what else "Save it as CSV in UTF-8.",
            )
    refuse_stand_in(path)
    if not beginning.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError(f"The table {str(path)!r} cannot be read: it is empty.", next="Give one with a header line.")
    if encoding == "utf-8" and b"\0" in beginning:
        raise DataError(
            f"The table {str(path)!r} cannot be read: it holds zero bytes, as UTF-16 without its mark does.",
            next="Save it in UTF-8.",
        )
    separator = _separator(path, beginning.decode(encoding, "replace"))
    return encoding, csv.ParseOptions(delimiter=separator, newlines_in_values=True)


def _separator(path: Path, text: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    lines = [line for line in re.split(r"[\r\n]", re.sub(r'"[^"]*"', "", text.lstrip("\ufeff"))) if line.strip()]
    counts = Counter({separator: lines[0].count(separator) if lines else 0 for separator in _SEPARATORS})
    return counts.most_common(1)[0][0]


def _unreadable(path: Path, error: Exception, encoding: str) -> DataError:
    if isinstance(error, UnicodeError) or "UTF8" in str(error):
        return DataError(
            f"The table {str(path)!r} cannot be read: {_where_not_text(path)} is not valid {encoding.upper()}.",
            next="Save it in UTF-8, in Excel as 'CSV UTF-8'.",
        )
    reason = first_line(error).removeprefix("CSV parse error: ")
    hint = "Give a CSV file in UTF-8 with a header line, or a Parquet file."
    if found := _LENGTH.match(reason):
        row = f"row {int(found[1]) - 1:,}" if found[1] else "a row"
        reason = f"{row} has {found[3]} cells, and the header {found[2]}: {found[4][:80]}"
        hint = "Give each row as many cells as the header has, text with separators in quotes, and no lines before it."
    return DataError(f"The table {str(path)!r} cannot be read: {reason}.", next=hint)


def _where_not_text(path: Path) -> str:
    try:
        with pa.input_stream(str(path), compression="detect") as file:
            for number, line in enumerate(bytes(file.read()).splitlines(), start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    told = repr(line[: error.end + 20].decode("utf-8", "backslashreplace")[-60:])
                    # The backslashes of bytes that are no letters stand there once, not twice.
                    told = told.replace(r"\\x", r"\x")
                    return f"line {number}, {told},"
    except (pa.ArrowException, OSError):
        pass
    return "it"


def _ending(path: Path) -> bytes:
    with pa.input_stream(str(path), compression="detect") as file:
        return bytes(file.read())[-_BEGINNING:]


def _check_quotes(path: Path, table: pa.Table) -> None:
    """Raise for a quote that never ends: all that follows it would be one cell."""
    if not len(table) or "\n" not in (table.column(table.num_columns - 1)[-1].as_py() or ""):
        return
    # What ends with a quote is closed; else the cell goes to the end of the file.
    if not _ending(path).rstrip(b"\r\n\0").endswith(b'"'):
        raise DataError(
            f"The table {str(path)!r} cannot be read: row {len(table)} has a quote that never ends.",
            next='Close it, or write quotes inside quotes twice: "".',
        )
