"""The lookup table: a million rows, whose captions hold line ends and quotes, read as a stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from histokit.plugin import DataError

Meaning = TypeVar("Meaning")

IMAGE, SUBSET, SPLIT, MAGNIFICATION = "image_path", "subset", "split", "magnification"
#: Since 2023-10-26.
NOT_HISTOLOGY, SINGLE_WSI = "not_histology", "single_wsi"
#: Parts of the published split.
PARTS = ("train", "val")

#: Several blocks are read ahead: so large that no row is larger, and no larger.
_BLOCK = 2 << 20
_MISSING = ("", "nan", "NaN", "NA", "None", "null", "[]")
#: In small letters, as what is left of a cell once it is parted.
_MISSING_WORDS = frozenset(("", "nan", "na", "n/a", "<na>", "none", "null"))
_FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}

_BRACKETS = {"[": "]", "(": ")", "{": "}"}
#: What a letter follows is an apostrophe.
_QUOTED = re.compile(
    r"""(?<![^\s,\[({'"])(?P<quote>['"])(?P<quoted>.*?)(?<!\\)(?P=quote)(?=[\s,\])}'"]|$)""", re.DOTALL
)
_ITEM = re.compile(rf"""{_QUOTED.pattern}|(?P<bare>[^\s,].*?)(?=\s*,|\s+['"]|\s*$)""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

#: As NumPy and pandas write lists and what is in them, around what Python itself writes.
_CALL = re.compile(
    r"(?:\w+\.)*(?:array|list|tuple|set|frozenset)\((?P<list>[\[({].*[\])}])\s*(?:,\s*\w+=.*)?\)", re.DOTALL
)
_TEXT = re.compile(r"""(?:\w+\.)*str_?\((?P<text>(?P<quote>['"]).*?(?<!\\)(?P=quote))\)""", re.DOTALL)
_BYTES = re.compile(r"""(?<=[\s,\[({])[bu](?=['"])""")
_NO_NUMBER = re.compile(r"\b(?:np|numpy)\.(?:nan|float\d+\(nan\))|\bpd\.NA\b|\bfloat\('nan'\)")
_OTHER_CALL = re.compile(r"""[\w.]+\([\['"{(]""")


class Lookup:
    """The table at a path.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def names(self) -> list[str]:
        """The columns that the table has.

        Raises
        ------
        DataError
            If it is not there, cannot be read, or has two columns of one name.
        """
        names = list(self._open(None).schema.names)
        twice = next((name for name in names if name and names.count(name) > 1), None)
        if twice is not None:
            raise DataError(
                f"The table {str(self.path)!r} has {names.count(twice)} columns {twice!r}.",
                next="Rename all but one of them, or download the table again.",
            )
        return names

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield rows, all cells as texts or none, with the number of those before them.

        Raises
        ------
        DataError
            If a row does not fit.
        """
        done = 0
        try:
            for batch in self._open(columns):
                yield done, batch
                done += len(batch)
        except pa.ArrowException as error:
            raise self._unreadable(error) from error

    def _open(self, columns: Sequence[str] | None) -> Any:
        from pyarrow import csv

        try:
            return csv.open_csv(
                self.path,
                # One thread knows the numbers of rows, and is as fast as what is done with them.
                read_options=csv.ReadOptions(block_size=_BLOCK, use_threads=False),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns or (), pa.string()),
                    null_values=_MISSING,
                    strings_can_be_null=True,
                ),
            )
        except FileNotFoundError:
            raise DataError(
                f"The table {str(self.path)!r} does not exist.",
                next="Put quilt_1M_lookup.csv into the root, or name it with -o table=FILE.",
            ) from None
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> DataError:
        reason = (str(error).splitlines() or [type(error).__name__])[0].removeprefix("CSV parse error: ")
        return DataError(
            f"The table {str(self.path)!r} cannot be read: {reason[:200]}",
            next="Download it again; it has commas between cells, and quotes around captions.",
        )

    def meanings(
        self, batch: pa.RecordBatch, name: str, start: int, meaning: Callable[[str | None], Meaning], expected: str = ""
    ) -> list[Meaning]:
        """Return what the cells of a column mean; each different text is looked at once.

        Parameters
        ----------
        batch : pyarrow.RecordBatch
        name : str
        start : int
            How many rows come before the batch.
        meaning : callable
            Raises a ValueError where a text has none.
        expected : str
            For the message.

        Raises
        ------
        DataError
            Names the row.
        """
        encoded = batch.column(name).dictionary_encode(null_encoding="encode")
        codes, found = encoded.indices.to_pylist(), []
        for code, text in enumerate(encoded.dictionary.to_pylist()):
            try:
                found.append(meaning(text))
            except ValueError:
                raise DataError(
                    f"Row {start + codes.index(code) + 1} of {str(self.path)!r} has {name}={text!r}.",
                    next=f"Expected is {expected}: mend the cell, or download the table again.",
                ) from None
        return [found[code] for code in codes]


def bare_name(path: str | None) -> str | None:
    """Return the name of an image, without folders, be they written as Windows does."""
    return path.replace("\\", "/").rsplit("/", 1)[-1] if path else None


def flag_of(text: str | None) -> bool:
    """Return whether a flag is set; an empty cell is not."""
    word = (text or "").strip().lower()
    if word not in _MISSING_WORDS and word not in _FLAGS:
        raise ValueError(text)
    return _FLAGS.get(word, False)


def part_of(text: str | None) -> str | None:
    """Return the part of the split that a cell names; an empty one names none."""
    word = (text or "").strip().lower()
    if word and word not in PARTS:
        raise ValueError(text)
    return word or None


def labels_of(text: str | None, separators: str) -> tuple[str, ...]:
    """Return the labels in a cell, each once, without those that are missing.

    Parameters
    ----------
    text : str, optional
        A list, set or tuple as Python or NumPy write them, with quotes or without; else separators part it.
    separators : str

    Returns
    -------
    tuple of str

    Raises
    ------
    ValueError
        If it is what another program writes of its own.
    """
    text = (text or "").strip()
    if call := _CALL.fullmatch(text):
        text = call["list"]
    if (inner := _inside_brackets(text)) is not None:
        plain = _NO_NUMBER.sub("nan", _BYTES.sub("", _TEXT.sub(lambda found: found["text"], f" {inner}")))
        if _OTHER_CALL.search(_QUOTED.sub("''", plain)):
            raise ValueError(text)
        parts = [
            _ESCAPED.sub(r"\1", item["quoted"]) if item["quote"] else item["bare"].strip("'\"")
            for item in _ITEM.finditer(plain)
        ]
    elif _OTHER_CALL.match(text):
        raise ValueError(text)
    else:
        cut = re.split(f"[{re.escape(separators)}]", text) if separators else [text]
        parts = [part.strip(" '\"\t\r\n") for part in cut]
    tidied = map(str.strip, parts)
    return tuple(dict.fromkeys(part for part in tidied if part.lower() not in _MISSING_WORDS))


def _inside_brackets(text: str) -> str | None:
    """Return what the bracket that a text begins with holds, if it ends with the text or never; else none."""
    closing = _BRACKETS.get(text[:1])
    if closing is None:
        return None
    # Brackets between quotes belong to a label.
    bare, depth = _QUOTED.sub("", text), 0
    for place, letter in enumerate(bare, 1):
        depth += (letter == text[0]) - (letter == closing)
        if not depth:
            return text[1:-1] if place == len(bare) else None
    return text[1:]
