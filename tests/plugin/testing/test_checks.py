from __future__ import annotations

import pytest

from histokit.errors import DataError
from histokit.plugin.testing import Check, CheckFailure, CheckResult, run_checks
from histokit.plugin.testing.checks import raise_failures, require


def passes() -> None:
    """Hold."""


def fails() -> None:
    require(False, "three is not four")


def stumbles() -> None:
    raise KeyError("slide")


def refuses() -> None:
    raise DataError("The folder 'x' does not exist.", next="Give another.")


def test_all_checks_run_and_give_reasons():
    checks = [Check(f.__name__, "", f) for f in (fails, passes, stumbles, refuses)]
    line = stumbles.__code__.co_firstlineno + 1
    assert run_checks(checks) == [
        CheckResult("fails", False, "three is not four"),
        CheckResult("passes", True, ""),
        CheckResult("stumbles", False, f"KeyError: 'slide' (test_checks.py, line {line})"),
        CheckResult("refuses", False, "The folder 'x' does not exist."),
    ]


def test_failures_are_named_together():
    results = [CheckResult("a", False, "one"), CheckResult("b", True), CheckResult("c", False, "two")]
    with pytest.raises(CheckFailure) as caught:
        raise_failures("The plugin x", results)
    assert str(caught.value) == "The plugin x fails 2 of 3 checks:\n  a: one\n  c: two"
    assert caught.value.results == results


def test_nothing_is_raised_where_all_pass():
    raise_failures("The plugin x", [CheckResult("a", True)])


def test_require():
    require([1], "not raised")
    with pytest.raises(AssertionError, match="empty"):
        require([], "empty")
