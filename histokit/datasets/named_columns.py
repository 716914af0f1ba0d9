"""What options of datasets name has to be there: columns, fields of patterns, tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from histokit.errors import UsageError, did_you_mean


def require_named(
    named: Mapping[str, Iterable[str | None]],
    known: Collection[str],
    otherwise: Callable[[str], str],
    has: str = "there are",
) -> None:
    """Raise a `UsageError` for the first name in options that is that of no column.

    Parameters
    ----------
    named : mapping
        Option → the names that it gives.
    known : collection of str
        The columns that it may name.
    otherwise : callable
        What to do about a name where no column is called nearly so.
    has : str
        What has the columns, with its verb.
    """
    for option, names in named.items():
        for name in names:
            if name and name not in known:
                raise UsageError(
                    f"The option {option}={name!r} names no column: {has} {', '.join(dict.fromkeys(known)) or 'none'}.",
                    next=did_you_mean(name, known).strip() or otherwise(name),
                )


def refuse_without_table(**options: str | None) -> None:
    """Raise a `UsageError` for the first option given that says something of a table of labels, where there is none."""
    for option, given in options.items():
        if given is not None:
            raise UsageError(f"The option {option}={given!r} needs a table of labels.", next="Add -o labels=FILE.csv.")
