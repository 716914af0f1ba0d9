"""Filters over the columns of a table: what ``--where`` and ``where=`` take, at every door, by SQL's rules.

Missing values make a comparison unknown, and unknown is not kept; NaN is a missing value. Comparisons are exact, texts
are compared letter by letter, in whichever of Unicode's forms. Nothing but the table at hand is read.
"""

from __future__ import annotations

import operator
import re
import unicodedata
from collections.abc import Callable, Sequence
from decimal import ROUND_FLOOR, Decimal
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import did_you_mean
from histokit.store.filter_grammar import Node, parse
from histokit.store.filter_tokens import name_text, refuse

_INT64, _UINT64 = range(-(2**63), 2**63), range(2**64)
_COMPUTE: dict[str, Callable[..., Any]] = {
    "=": pc.equal,
    "<>": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}

#: Function → what it takes, what it gives, how.
_FUNCTIONS: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "lower": ("text", "text", pc.utf8_lower),
    "upper": ("text", "text", pc.utf8_upper),
    "trim": ("text", "text", lambda values: pc.utf8_trim(values, " ")),
    "length": ("text", "number", pc.utf8_length),
    "abs": ("number", "number", pc.abs),
}

_HOLDS = {"text": "text", "number": "numbers", "truth": "truth values", "other": "lists or bytes"}


class Filter:
    """A condition over columns.

    Parameters
    ----------
    text : str
        See `histokit.store.filter_grammar.parse`.

    Raises
    ------
    UsageError
        If the text is not wholly a condition.
    """

    def __init__(self, text: str):
        self.text = _composed(text) if isinstance(text, str) else text
        self._root = parse(self.text)

    def check(self, schema: pa.Schema) -> None:
        """Raise unless the columns are there and are compared with values of their own type.

        Raises
        ------
        UsageError
        """
        self.mask(schema.empty_table())

    def names(self, columns: Sequence[str]) -> list[str]:
        """Return those of some columns that are looked at."""
        return list(dict.fromkeys(_Evaluation(self.text, columns).names(self._root)))

    def mask(self, rows: pa.Table) -> pa.ChunkedArray | pa.Array:
        """Return for each row whether it is kept, without nulls."""
        work = _Evaluation(self.text, rows.column_names, rows)
        kept = pc.fill_null(work.truth(self._root), False)
        return pa.repeat(kept, len(rows)) if isinstance(kept, pa.Scalar) else kept

    def keep(self, rows: pa.Table) -> pa.Table:
        """Return the rows that are kept, in their order."""
        return rows.filter(self.mask(rows))


class _Evaluation:
    """A filter over one table; values are arrays, those of literals are scalars, numbers decimals."""

    def __init__(self, text: str, columns: Sequence[str], rows: pa.Table | None = None):
        self.text, self.columns, self.rows = text, list(columns), rows

    def names(self, node: Node) -> list[str]:
        own = [self._name(node)] if node.kind == "column" else []
        return own + [name for part in node.parts for name in self.names(part)]

    def _name(self, node: Node) -> str:
        name, quoted = node.value
        if name in self.columns:
            return str(name)
        for alike in (_composed,) if quoted else (_composed, lambda text: _composed(text).casefold()):
            found = [column for column in self.columns if alike(column) == alike(name)]
            if len(found) == 1:
                return found[0]
            if found:
                refuse(self.text, node.at, f"it may be any of the columns {', '.join(found)}")
        listed = ", ".join(self.columns)
        label = "The labels are the column label, whatever they were called. " if "label" in self.columns else ""
        hint = f"{did_you_mean(name, self.columns)}{label}A text stands in single quotes: '{name}'. "
        refuse(self.text, node.at, f"there is no column {name!r}", f"{hint}The columns are: {listed}.")

    def truth(self, node: Node) -> Any:
        kind, value = self.value(node)
        if kind != "truth":
            what = {"text": "a text", "number": "a number"}.get(kind, "no condition")
            refuse(self.text, node.at, f"this is {what}, and no condition that holds or does not")
        return value

    def value(self, node: Node) -> tuple[str, Any]:
        """Return what a node holds, ``text``, ``number``, ``truth`` or ``other``, and its values."""
        if node.kind == "number":
            return "number", node.value
        if node.kind in ("text", "truth"):
            return node.kind, pa.scalar(node.value)
        self._require_column(node)
        if node.kind == "column":
            assert self.rows is not None
            values = self.rows.column(self._name(node))
            kind = _kind(values.type)
            if kind == "text" and not self.text.isascii():
                values = pc.utf8_normalize(values, form="NFC")
            return kind, _without_nan(values)
        if node.kind == "function":
            return self._function(node)
        return "truth", getattr(self, f"_{node.kind}")(node)

    def _require_column(self, node: Node) -> None:
        """Raise where texts alone are compared and one is the name of a column, which then all rows or none fulfil."""
        # Of a function, what it is compared with tells.
        if node.kind in ("not", "and", "or", "function") or self.names(node):
            return
        for part in _literals(node):
            if part.value in self.columns:
                hint = f"A column stands without quotes or in double quotes: {name_text(part.value)}"
                refuse(self.text, part.at, "this is a text, and no column", hint)

    def _function(self, node: Node) -> tuple[str, Any]:
        takes, gives, compute = _FUNCTIONS[node.value]
        kind, values = self.value(node.parts[0])
        if kind != takes:
            refuse(self.text, node.at, f"{node.value} takes {_HOLDS[takes]}")
        if isinstance(values, Decimal):
            return gives, abs(values)
        return gives, compute(values)

    def _and(self, node: Node) -> Any:
        return reduce(pc.and_kleene, map(self.truth, node.parts))

    def _or(self, node: Node) -> Any:
        return reduce(pc.or_kleene, map(self.truth, node.parts))

    def _not(self, node: Node) -> Any:
        return pc.invert(self.truth(node.parts[0]))

    def _is(self, node: Node) -> Any:
        if node.value == "DISTINCT":
            return self._distinct(node)
        if node.value == "NULL":
            values = self.value(node.parts[0])[1]
            return pa.scalar(False) if isinstance(values, Decimal) else pc.is_null(values)
        truth = self.truth(node.parts[0])
        if node.value == "UNKNOWN":
            return pc.is_null(truth)
        return pc.fill_null(truth if node.value == "TRUE" else pc.invert(truth), False)

    def _distinct(self, node: Node) -> Any:
        same = pc.fill_null(self._pair(node, "=", *node.parts), False)
        absent = [self._is(Node("is", part.at, "NULL", (part,))) for part in node.parts]
        return pc.invert(pc.or_(same, pc.and_(*absent)))

    def _compare(self, node: Node) -> Any:
        return self._pair(node, node.value, *node.parts)

    def _between(self, node: Node) -> Any:
        value, low, high = node.parts
        return pc.and_kleene(self._pair(node, ">=", value, low), self._pair(node, "<=", value, high))

    def _pair(self, node: Node, sign: str, left: Node, right: Node) -> Any:
        (kind, a), (other, b) = self.value(left), self.value(right)
        self._check_alike(node, kind, other)
        if kind == "truth" and sign not in ("=", "<>"):
            refuse(self.text, node.at, "truth values are equal or not; none is more than another")
        if kind != "number":
            return _COMPUTE[sign](a, b)
        if isinstance(a, Decimal) and not isinstance(b, Decimal):
            a, b, sign = b, a, _MIRRORED.get(sign, sign)
        return _compare_numbers(sign, a, b)

    def _check_alike(self, node: Node, kind: str, other: str) -> None:
        if kind == other != "other":
            return
        if "other" in (kind, other):
            refuse(self.text, node.at, "lists and bytes can only be tested by IS NULL")
        plain = "Texts stand in single quotes: '5'; numbers stand without quotes: 5"
        next = "Write TRUE or FALSE, or the column by itself" if "truth" in (kind, other) else plain
        refuse(self.text, node.at, f"{_HOLDS[kind]} cannot be compared with {_HOLDS[other]}", next)

    def _in(self, node: Node) -> Any:
        kind, values = self.value(node.parts[0])
        for item in node.value:
            self._check_alike(item, kind, item.kind)
        if isinstance(values, Decimal):
            return pa.scalar(values in [item.value for item in node.value])
        listed = [item.value for item in node.value]
        if kind == "number" and pa.types.is_integer(values.type):
            numbers, kind_of_all = _whole_numbers(values.type)
            listed = [int(value) for value in listed if value == value.to_integral_value() and int(value) in numbers]
            values = values.cast(kind_of_all)
        elif kind == "number":
            # is_in compares bits: adding 0 makes -0.0 and 0.0 one number, as they are.
            listed, values = [float(value) + 0.0 for value in listed], pc.add(values.cast(pa.float64()), 0.0)
        found = pc.is_in(values, value_set=pa.array(listed, values.type))
        return pc.if_else(pc.is_valid(values), found, pa.scalar(None, pa.bool_()))

    def _like(self, node: Node) -> Any:
        kind, values = self.value(node.parts[0])
        if kind != "text":
            refuse(self.text, node.at, f"{node.kind.upper()} looks at text, not at {_HOLDS[kind]}")
        pattern = _regular(*node.value)
        return pc.match_substring_regex(values, pattern, ignore_case=node.kind == "ilike")

    _ilike = _like


def _literals(node: Node) -> list[Node]:
    return [node] if node.kind == "text" else [found for part in node.parts for found in _literals(part)]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _kind(kind: pa.DataType) -> str:
    tests = (
        ("text", pa.types.is_string, pa.types.is_large_string),
        ("number", pa.types.is_integer, pa.types.is_floating),
        ("truth", pa.types.is_boolean),
    )
    return next((name for name, *fits in tests if any(fit(kind) for fit in fits)), "other")


def _without_nan(values: Any) -> Any:
    if not pa.types.is_floating(values.type):
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _compare_numbers(sign: str, a: Any, b: Any) -> Any:
    if isinstance(a, Decimal):
        return pa.scalar(bool(_OPERATORS[sign](a, b)))
    if not isinstance(b, Decimal):
        if a.type != b.type:
            a, b = (values.cast(pa.float64(), safe=False) for values in (a, b))
        return _COMPUTE[sign](a, b)
    if pa.types.is_integer(a.type):
        return _compare_whole(sign, a, b)
    return _COMPUTE[sign](a, pa.scalar(float(b), pa.float64()))


def _compare_whole(sign: str, values: Any, number: Decimal) -> Any:
    """Compare whole numbers without rounding them: beyond 2**53 a float holds only some."""
    below = int(number.to_integral_value(ROUND_FLOOR))
    if below != number and sign in ("=", "<>"):
        return _all(values, sign == "<>")
    if below != number:
        # Nothing lies between: less than 2.5 is at most 2.
        sign = {"<": "<=", ">=": ">"}.get(sign, sign)
    numbers, kind = _whole_numbers(values.type)
    if below not in numbers:
        return _all(values, bool(_OPERATORS[sign](0, below)))
    return _COMPUTE[sign](values, pa.scalar(below, kind))


def _whole_numbers(kind: pa.DataType) -> tuple[range, pa.DataType]:
    """Return the whole numbers with which those of a type are compared, and the type that holds them."""
    return (_UINT64, pa.uint64()) if pa.types.is_uint64(kind) else (_INT64, pa.int64())


def _all(values: Any, truth: bool) -> Any:
    """Return the same truth for every value that is there."""
    return pc.if_else(pc.is_valid(values), pa.scalar(truth), pa.scalar(None, pa.bool_()))


def _regular(pattern: str, escape: str) -> str:
    """Return the regular expression of a pattern of LIKE."""
    found, letters = [], iter(pattern)
    for letter in letters:
        if letter == escape:
            after = next(letters, "")
            # A character that needs no escape keeps a backslash before it.
            kept = after if after in ("%", "_", escape) else letter + after
            found.append(re.escape(kept))
        else:
            found.append({"%": ".*", "_": "."}.get(letter) or re.escape(letter))
    return rf"(?s)\A(?:{''.join(found)})\z"
