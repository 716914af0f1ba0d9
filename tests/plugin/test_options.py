from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pytest

from histokit.errors import UsageError
from histokit.plugin.options import announced_options, convert_options, join_list, parse_pairs, split_list


def announced(
    root: str,
    needed: str,
    whole: int = 1,
    number: float = 0.5,
    flag: bool = False,
    path: Path = Path("."),
    choice: Literal["reflect", "drop"] = "drop",
    names: tuple[str, ...] = (),
    numbers: list[float] = [],  # noqa: B006
    maybe: int | None = None,
    either: int | str = 0,
) -> None:
    """Announce one option of each type."""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("whole", "-3", -3),
        ("number", "1e-3", 0.001),
        ("flag", "true", True),
        ("flag", "No", False),
        ("flag", "1", True),
        ("path", "a/b", Path("a/b")),
        ("choice", "reflect", "reflect"),
        ("names", "x,y", ("x", "y")),
        ("names", "", ()),
        ("names", 'x , "stroma, loose",5" disk', ("x", "stroma, loose", '5" disk')),
        ("numbers", "0.5,2", [0.5, 2.0]),
        ("maybe", "none", None),
        ("maybe", "4", 4),
        ("either", "7", 7),
        ("either", "seven", "seven"),
        ("needed", "0012", "0012"),
    ],
)
def test_conversion_by_annotation(name, text, value):
    converted = convert_options(announced, {"needed": "x", name: text}, "it")
    assert converted[name] == value
    assert type(converted[name]) is type(value)
    if name == "names":
        assert tuple(split_list(join_list(value))) == value


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("whole", "1.5", "a whole number"),
        ("number", "much", "a number"),
        ("flag", "perhaps", "true or false"),
        ("choice", "shift", "one of reflect, drop"),
        ("numbers", "1,x", "a comma-separated list of a number"),
        ("maybe", "x", "a whole number or none"),
    ],
)
def test_a_text_that_does_not_convert(name, text, wanted):
    with pytest.raises(UsageError, match=f"option {name}='{text}' is not {wanted}"):
        convert_options(announced, {"needed": "x", name: text}, "it")


def test_values_that_are_not_text_pass():
    assert convert_options(announced, {"needed": "x", "whole": 7, "names": ("a",)}, "it") == {
        "needed": "x",
        "whole": 7,
        "names": ("a",),
    }


class Stain(StrEnum):
    """Members that `str` calls otherwise, as of enumerations that are texts by inheritance."""

    HE = "H&E"

    def __str__(self) -> str:
        return self.name


class Two(NamedTuple):
    """A tuple that is not made of a list."""

    first: str
    second: str


def textual(
    root: str,
    *,
    name: str | None = None,
    names: tuple[str, ...] = (),
    both: str | int = "",
    pair: tuple[str, int] = ("", 0),
    free=None,
) -> None:
    """Announce options of text alone, one that may be a number, and one that says nothing."""


@pytest.mark.parametrize(
    ("given", "converted"),
    [
        ({"name": 1}, {"name": "1"}),
        ({"name": np.int64(1)}, {"name": "1"}),
        ({"name": Path("a.csv")}, {"name": "a.csv"}),
        ({"name": None}, {"name": None}),
        ({"names": [1, 0]}, {"names": ["1", "0"]}),
        ({"names": ("a, b", 2.5)}, {"names": ("a, b", "2.5")}),
        ({"names": 7}, {"names": ("7",)}),
        ({"both": 7, "free": 8}, {"both": 7, "free": 8}),
        ({"name": Stain.HE}, {"name": "H&E"}),
        ({"names": [Stain.HE, 1]}, {"names": ["H&E", "1"]}),
        ({"names": Two("a", "b")}, {"names": ("a", "b")}),
        ({"pair": ("a", 1)}, {"pair": ("a", 1)}),
    ],
)
def test_numbers_are_texts_where_texts_alone_are_announced(given, converted):
    assert convert_options(textual, given, "it") == converted


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("name", ["a"], "text or none"),
        ("name", {"a": 1}, "text or none"),
        ("names", {"A": 1}, "a comma-separated list of text"),
        ("names", [["a"]], "a comma-separated list of text"),
        ("names", [None], "a comma-separated list of text"),
    ],
)
def test_what_is_no_text_is_told_by_the_name_of_its_option(name, value, wanted):
    with pytest.raises(UsageError, match=rf"it: option {name}={re.escape(repr(value))} is not {wanted}") as caught:
        convert_options(textual, {name: value}, "it")
    assert caught.value.next == f"Give {name} as {wanted}."


def test_an_unknown_option_gets_a_hint():
    with pytest.raises(UsageError, match="it has no option 'nedeed'") as caught:
        convert_options(announced, {"nedeed": "x"}, "it")
    assert "Did you mean 'needed'?" in caught.value.next
    assert "whole" in caught.value.next


def test_a_missing_option_is_named():
    with pytest.raises(UsageError, match="it needs the option 'needed'") as caught:
        convert_options(announced, {}, "it")
    assert caught.value.next == "Add -o needed=VALUE."


def test_announced_options_leave_out_root_and_variadic():
    def function(self, root, *rest, a=1, **more): ...

    assert list(announced_options(function)) == ["a"]


def test_pairs():
    assert parse_pairs(["a=1", "b=x=y", "c="], "-o") == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize(("texts", "reason"), [(["a"], "KEY=VALUE"), (["=1"], "KEY=VALUE"), (["a=1", "a=2"], "twice")])
def test_wrong_pairs(texts, reason):
    with pytest.raises(UsageError, match=reason):
        parse_pairs(texts, "-o")
