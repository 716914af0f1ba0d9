"""The columns of a table that say where in an image a sample lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from histokit.datasets.regions.boxes import (
    IN_PIXELS,
    POINTS_IN_PIXELS,
    Extent,
    Length,
    around,
    enclosing,
    in_shares,
    parse_length,
    point_in_shares,
    side,
)
from histokit.datasets.tables import stored_name
from histokit.errors import DataError, UsageError
from histokit.plugin.images import Box

#: How columns end that hold lengths, as QuPath's measurements do: ``Centroid X µm``, ``x_um``, ``X (mm)``.
_LENGTH = re.compile(r".*[\s_(\[](µm|μm|um|microns?|nm|mm|cm)[)\]]?", re.IGNORECASE)

#: What columns of boxes are called as a rule.
_USUAL = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))


class BoxColumns:
    """Where a row's box is told: four columns, or two of its centre and a size.

    Parameters
    ----------
    box : sequence of str
        The columns of x, y, width and height.
    centre : sequence of str
        Those of x and y.
    size : sequence of str
        A length such as ``64`` or ``32um``, or a column of pixels; of width and height where there are two.

    Raises
    ------
    UsageError
        If they contradict each other, or columns hold micrometres by their names.
    """

    def __init__(self, box: Sequence[str], centre: Sequence[str], size: Sequence[str]):
        _check_number("box", box, (4,), "x, y, width and height: -o box=x,y,w,h")
        _check_number("centre", centre, (2,), "the centre: -o centre=x,y -o size=64")
        _check_number("size", size, (1, 2), "the size: -o size=64, -o size=32um, or the columns of width and height")
        if box and (centre or size):
            raise UsageError("The option box says what centre and size say.", next="Give box, or centre and size.")
        if bool(centre) != bool(size):
            raise UsageError(
                f"The option {'centre' if centre else 'size'} needs {'size' if centre else 'centre'} as well.",
                next="Name the columns of the centre, and say how large boxes are: -o centre=x,y -o size=64.",
            )
        self._box, self._centre = tuple(map(stored_name, box)), tuple(map(stored_name, centre))
        lengths = [parse_length(each) or stored_name(each) for each in size]
        self._size: list[Length | str] = lengths * 2 if len(lengths) == 1 else lengths
        _refuse_lengths(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the table that are needed."""
        return (*self._box, *self._centre, *dict.fromkeys(each for each in self._size if isinstance(each, str)))

    def unused(self, columns: Sequence[str]) -> str | None:
        """Return the option that makes boxes of columns which are called as such, where none is given."""
        names = {name.lower(): name for name in columns}
        found = next((usual for usual in _USUAL if names.keys() >= set(usual)), None)
        return f"-o box={','.join(names[name] for name in found)}" if found and not self.names else None

    def require_pixels(self, table: pa.Table, path: Path) -> None:
        """Raise where all centres of a table lie inside the first pixel, as they do in shares of an image.

        Raises
        ------
        DataError
        """
        if not self._centre or not len(table):
            return
        x, y = (table.column(name).to_pylist() for name in self._centre)
        if all(None not in point and point_in_shares(*point) for point in zip(x, y, strict=True)):
            raise DataError(
                f"All centres ({', '.join(self._centre)}) in the table {str(path)!r} lie inside the first pixel: "
                "they seem to be in shares of the image.",
                next=POINTS_IN_PIXELS,
            )

    def box(
        self, values: Mapping[str, Any], mpp: float | None, row: str, wrong: Callable[[str, Any], DataError]
    ) -> Box | None:
        """Return the box of a row, none where no columns say it.

        Parameters
        ----------
        mpp : float, optional
            Micrometres per pixel, for a size in micrometres.
        row : str
            What it is called.
        wrong : callable
            Makes the error on the value of a column.

        Raises
        ------
        DataError
        """
        if not self.names:
            return None
        numbers = {name: _number(name, values[name], wrong) for name in self.names}
        try:
            if self._box:
                extent = Extent(*(numbers[name] for name in self._box))
                if shares := in_shares(extent):
                    raise DataError(f"{row} {shares}.", next=IN_PIXELS)
                return enclosing(extent)
            lengths = [Length(numbers[each]) if isinstance(each, str) else each for each in self._size]
            x, y = (numbers[name] for name in self._centre)
            return around(x, y, *self._sides(lengths, mpp, row))
        except ValueError:
            raise wrong(",".join(self.names), ",".join(f"{values[name]}" for name in self.names)) from None

    def _sides(self, lengths: Sequence[Length], mpp: float | None, row: str) -> tuple[int, int]:
        if any(not length.micrometres and length.number < 1 for length in lengths):
            raise ValueError(lengths)
        width, height = (side(length, mpp, row) for length in lengths)
        return width, height


def _check_number(option: str, given: Sequence[str], numbers: Sequence[int], meant: str) -> None:
    if given and len(given) not in numbers:
        words = {1: "one", 2: "two", 4: "four"}
        raise UsageError(
            f"The option {option}={','.join(given)} names {len(given)} columns instead of {words[numbers[-1]]}.",
            next=f"Name the columns of {meant}.",
        )


def _refuse_lengths(names: Sequence[str]) -> None:
    for name in names:
        if found := _LENGTH.fullmatch(name):
            raise UsageError(
                f"The column {name!r} is in {found[1]} by its name, and boxes are in pixels.",
                next="Name columns of pixels: what is there, divided by the length of a pixel.",
            )


def _number(name: str, value: Any, wrong: Callable[[str, Any], DataError]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(name, value)
    return float(value)


def image_by_image(table: pa.Table, image: str) -> tuple[pa.Table, Sequence[int]]:
    """Return the rows of a table with those of one image one after the other, and the number of each, from 1.

    Images stay in the order of their first rows: one with many boxes is then opened once.
    """
    codes = table.column(image).combine_chunks().dictionary_encode().indices.fill_null(len(table)).to_numpy()
    changes = np.flatnonzero(np.diff(codes))
    if len(changes) < len(np.unique(codes)):
        return table, range(1, len(table) + 1)
    order = np.argsort(codes, kind="stable")
    return table.take(pa.array(order)), (order + 1).tolist()
