"""What a check of a plugin is, and how checks are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from histokit.errors import HistokitError
from histokit.plugin.calls import error_text, is_interruption, raised_at, shown_error
from histokit.plugin.kept_streams import kept_streams


class CheckFailure(AssertionError):  # noqa: N818 - a failed assertion, not an error of histokit
    """A plugin breaks its contract; the message names every failing check with its reason.

    Parameters
    ----------
    subject : str
        The plugin that was checked.
    results : iterable of CheckResult
        Of all checks, passed ones included.
    """

    def __init__(self, subject: str, results: Iterable[CheckResult]):
        self.results = list(results)
        failed = [result for result in self.results if not result.passed]
        lines = [f"  {result.name}: {result.reason}" for result in failed]
        super().__init__("\n".join([f"{subject} fails {len(failed)} of {len(self.results)} checks:", *lines]))


class Advice(Exception):  # noqa: N818 - no error
    """Raised by a check that passes, with what would be better."""


@dataclass(frozen=True)
class Check:
    """One clause of a plugin's contract.

    Parameters
    ----------
    name : str
        Short and readable, such as ``unique ids``.
    description : str
        What the clause asks for.
    run : callable
        Takes nothing; raises an exception, whose text is the reason, where the clause does not hold.
    """

    name: str
    description: str
    run: Callable[[], None]


@dataclass(frozen=True)
class CheckResult:
    """Whether a check passed, and why it did not; or what is advised."""

    name: str
    passed: bool
    reason: str = ""


def run_checks(checks: Iterable[Check]) -> list[CheckResult]:
    """Run all checks, the ones after a failure too."""
    return [_run(check) for check in checks]


def raise_failures(subject: str, results: Iterable[CheckResult]) -> None:
    """Raise `CheckFailure` where a check did not pass."""
    results = list(results)
    if not all(result.passed for result in results):
        raise CheckFailure(subject, results)


def require(condition: object, reason: str) -> None:
    """Raise an `AssertionError` with its reason where a condition does not hold, with ``python -O`` too."""
    if not condition:
        raise AssertionError(reason)


def _run(check: Check) -> CheckResult:
    try:
        with kept_streams():
            check.run()
    except Advice as advice:
        return CheckResult(check.name, True, f"advised: {advice}")
    except (AssertionError, HistokitError) as error:
        text = getattr(error, "message", None) or error_text(error) or type(error).__name__
        return CheckResult(check.name, False, text if isinstance(text, str) else shown_error(error))
    except BaseException as error:
        if is_interruption(error):
            raise
        return CheckResult(check.name, False, f"{shown_error(error)}{raised_at(error)}")
    return CheckResult(check.name, True)
