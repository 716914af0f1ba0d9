"""What the cells of a table mean: which are missing, which columns hold numbers, and how a value is written as text."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import compute as pc

#: Texts without quotes that stand for a missing value, as pandas and R write and read them.
MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "#N/A", "#N/A N/A", "#NA", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)

#: Texts that are truth values; T and F are not, for they may be tumour and female.
TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

_SPACES = " \t\n\r\v\f\x85\u00a0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
#: Letters that nobody sees: soft hyphens, joiners, marks of direction and of the encoding.
_UNSEEN = "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff" + "".join(
    map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
_BLANKS = _SPACES + _UNSEEN
_WHOLE = r"^-?(0|[1-9][0-9]*)$"
_NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_LEADING_ZERO = r"^[-+]?0[0-9]"
#: What Arrow takes for a number and `_NUMBER` does not.
_NOT_CANONICAL = r"^[-+]?0[0-9]|^\+"
#: Such as the well or plate 1E5; programs write numbers with a point or a sign in the exponent.
_CODE = r"^[0-9]+[eE][0-9]+$"
_WRITTEN_BY_A_PROGRAM = r"\.|[eE][+-]"
_MANY_DIGITS = r"^-?[0-9]{16,}$"
_SEPARATED = (
    r"^[-+]?[0-9]+(,[0-9]+)+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"
    r"|^[-+]?[0-9]{1,3}(\.[0-9]{3})+,[0-9]+$"
    "|^[-+]?[0-9]{1,3}(['\u2019 \u00a0\u2009\u202f][0-9]{3})+([.,][0-9]+)?$"
)
#: What stands for a number that is not there, or is not written as one.
_NO_NUMBER = (
    r"(?i)^[-\x{2010}-\x{2015}\x{2212}.?*/_]+$|^#.*$|^[-+]?inf(inity)?$|^\+[0-9.]+([eE][+-]?[0-9]+)?$"
    r"|^\x{2212}[0-9.]+$"
)
_EXACT = 2**53
#: The largest share of cells with a leading zero in a column of numbers.
_RARE = 0.05


class OddCell(NamedTuple):
    """A cell that is no number in a column of numbers.

    Parameters
    ----------
    row : int
        From 1.
    text : str
    certain : bool
        Whether it stands for a number, so that the column cannot have been meant as text.
    """

    row: int
    text: str
    certain: bool

    @property
    def hint(self) -> str:
        """What to do about it."""
        if re.match(_SEPARATED, self.text):
            return "Write numbers with a point, and nothing between thousands"
        if re.match(_NUMBER, self.text):
            return "It is too large for a number: mend the cell"
        return "Mend the cell"


@lru_cache(maxsize=4096)
def tidy_text(text: str) -> str:
    """Return a text in Unicode's form NFC without blanks and unseen letters at its ends."""
    return unicodedata.normalize("NFC", text).strip(_BLANKS)


def tidy(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts as `tidy_text` does, none where nothing is left or what is left stands for a missing value.

    A word of `MISSING` in quotes is a text, unless there are blanks around it or all else are numbers.
    """
    if _numbers(column) is not None:
        return column
    plain = pc.utf8_normalize(pc.utf8_trim(column, _BLANKS), form="NFC")
    missing = pc.fill_null(_is_missing(plain), False)
    others = _without(plain, missing)
    if others.null_count < len(others) and _all_match(others, _NUMBER):
        return others
    nothing = pc.or_(pc.equal(plain, ""), pc.and_(pc.not_equal(plain, column), missing))
    return _without(plain, pc.fill_null(nothing, False))


def kind_of(column: pa.ChunkedArray) -> pa.DataType:
    """Return the type that a column of texts is of: int64, float64, bool or string.

    Numbers that would not come back as they are written are text, and so is the whole column: leading zeros, more
    digits than a number holds, codes such as ``1E5``.
    """
    if column.null_count == len(column):
        return pa.string()
    if _all_match(column, _WHOLE):
        return pa.int64() if _cast(column, pa.int64()) is not None else pa.string()
    if _all_match(column, _NUMBER):
        codes = _any_match(column, _CODE) and not _any_match(column, _WRITTEN_BY_A_PROGRAM)
        return pa.string() if codes or _any_match(column, _MANY_DIGITS) else pa.float64()
    truths = pc.is_in(column.drop_null(), pa.array(list(TRUTH)))
    return pa.bool_() if pc.all(truths).as_py() else pa.string()


def feature_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return a column of texts as the numbers of a feature, exact or not; none where it holds something else."""
    first = next((text.as_py() for text in column if text.is_valid), None)
    numbers = None if first is None else _numbers(column)
    if numbers is None or first is None:
        return None
    if re.match(_WHOLE, first):
        exact = _cast(column, pa.int64())
        return exact if exact is not None else None if _all_match(column, _WHOLE) else numbers
    return None if re.match(_CODE, first) and _all_match(column, _CODE) else numbers


def typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of tidy texts as what it is: whole numbers, numbers, truth values or texts.

    Whole numbers written as ``1.0``, as pandas does where some are missing, are whole numbers. A column in which two
    texts are the same number, such as ``1.1`` and ``1.10``, stays text.
    """
    kind = kind_of(column)
    if pa.types.is_string(kind):
        return column
    if pa.types.is_boolean(kind):
        return _truths(column)
    numbers = pc.cast(column, kind)
    if pc.count_distinct(column).as_py() != pc.count_distinct(numbers).as_py():
        return column
    return whole(numbers)


def whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of numbers as int64 where all of them are whole and NaN is missing; else as it is."""
    if not pa.types.is_floating(column.type):
        return column
    column = _without(column, pc.fill_null(pc.is_nan(column), False))
    exact = pc.and_(pc.equal(pc.floor(column), column), pc.less_equal(pc.abs(column), _EXACT))
    return pc.cast(column, pa.int64()) if pc.all(exact, skip_nulls=True).as_py() and len(column) else column


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of `typed` as texts: those that Python writes, such as 7, 0.5 and True."""
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_integer(column.type):
        return pc.cast(column, pa.string())
    return pa.chunked_array([pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())])


def times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return points in time as pandas writes them: days alone, or without empty fractions of seconds."""
    texts: Any = pc.replace_substring_regex(pc.cast(column, pa.string()), r"(\.[0-9]*?)0+(Z?)$", r"\1\2")
    texts = pc.replace_substring_regex(texts, r"\.(Z?)$", r"\1")
    days = pc.all(pc.match_substring_regex(texts, r" 00:00:00$"), skip_nulls=True).as_py()
    return pc.replace_substring(texts, " 00:00:00", "") if days else texts


def odd_cell(column: pa.ChunkedArray) -> OddCell | None:
    """Return the first cell that is no number of a column of texts most of which are numbers.

    None where the column is of numbers alone, or is text by nature, such as codes with leading zeros.
    """
    kind, zeros = kind_of(column), _any_match(column, _LEADING_ZERO)
    if pa.types.is_boolean(kind) or (zeros and _are_codes(column)):
        return None
    number = _match(column, _NUMBER)
    if pa.types.is_floating(kind):
        bad = pc.invert(pc.is_finite(pc.cast(column, kind)))
    elif not pa.types.is_string(kind) or _all_match(column, _NUMBER):
        return None
    else:
        bad = pc.invert(number)
    bad = pc.fill_null(bad, False)
    if not pc.any(bad).as_py():
        return None
    stands_for_one = pc.and_(bad, pc.or_(_match(column, _SEPARATED), _match(column, _NO_NUMBER)))
    numbers = _count(number)
    if 2 * (numbers + _count(stands_for_one)) <= len(column) - column.null_count:
        return None
    overflow = pa.types.is_floating(kind)
    if not numbers and not _any_match(column, _SEPARATED):
        return None
    certain = numbers > 0 and not zeros and (overflow or _count(stands_for_one) > 0)
    row = pc.index(stands_for_one if certain and not overflow else bad, True).as_py()
    return OddCell(row + 1, column[row].as_py(), certain)


def _are_codes(column: pa.ChunkedArray) -> bool:
    """Whether leading zeros belong to a column: they fill up to a width (08, 09, 10), or are no rare exception."""
    zeros = column.filter(_match(column, _LEADING_ZERO))
    if _any_match(zeros, r"\."):
        return False
    widest = pc.max(pc.utf8_length(zeros)).as_py()
    least = pc.min(pc.utf8_length(column.filter(_match(column, _NUMBER)))).as_py()
    return least is None or least >= widest or len(zeros) > max(1, len(column) * _RARE)


def too_large(column: pa.ChunkedArray) -> OddCell | None:
    """Return the first cell that is too large for a number, of a column of texts that are numbers and no codes."""
    if not _all_match(column, _NUMBER) or _all_match(column, _CODE):
        return None
    row = pc.index(pc.is_inf(pc.cast(column, pa.float64())), True).as_py()
    return None if row < 0 else OddCell(row + 1, column[row].as_py(), True)


def holds_fractions(column: pa.ChunkedArray) -> bool:
    """Whether most of a column of texts are numbers, some of which are no whole ones."""
    numbers = _match(column, _NUMBER)
    fractions = pc.and_(numbers, _match(column, r"\."))
    return _count(fractions) > 0 and 2 * _count(numbers) > len(column) - column.null_count


def _without(column: pa.ChunkedArray, where: Any) -> pa.ChunkedArray:
    return pc.if_else(where, pa.scalar(None, column.type), column)


def _truths(column: pa.ChunkedArray) -> pa.ChunkedArray:
    places = pc.index_in(column, pa.array(list(TRUTH)))
    return pa.chunked_array([pa.array(list(TRUTH.values())).take(part) for part in places.chunks], pa.bool_())


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return texts as numbers, none unless all are finite ones; several times as fast as a pattern for each."""
    numbers = _cast(column, pa.float64())
    if numbers is None or not pc.all(pc.is_finite(numbers), skip_nulls=True).as_py():
        return None
    return None if _any_match(column, _NOT_CANONICAL) else numbers


def _is_missing(column: pa.ChunkedArray) -> Any:
    return pc.is_in(column, pa.array(MISSING))


def _match(column: pa.ChunkedArray, pattern: str) -> Any:
    return pc.match_substring_regex(column, pattern)


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(_match(column, pattern), skip_nulls=True).as_py())


def _any_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.any(_match(column, pattern), skip_nulls=True).as_py())


def _count(matches: Any) -> int:
    return int(pc.sum(matches).as_py() or 0)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    try:
        return pc.cast(column, kind)
    except pa.ArrowInvalid:
        return None
