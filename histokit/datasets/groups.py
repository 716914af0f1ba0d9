"""The groups of samples, through which no fold may cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from histokit.datasets.walk import Tally
from histokit.errors import DataError, counted

#: Columns that name what images have in common and folds must not cut through.
_GROUP_LIKE = ("patient", "patient_id", "case", "case_id", "slide", "slide_id", "subject", "donor")


def group_remark(group: str | None, columns: Iterable[str]) -> Iterator[str]:
    """Yield a sentence where no group is set, although a column names what folds should not cut through."""
    likely = next((name for name in columns if name.lower() in _GROUP_LIKE), None)
    if group is None and likely:
        yield f"No group is set, so folds may cut through a {likely}; -o group={likely} prevents it"


class Groups:
    """Gives a sample whose group is not known a group of its own, and counts such samples.

    Parameters
    ----------
    column : str, optional
        The column of the groups, where the dataset has any.
    """

    def __init__(self, column: str | None):
        self.column, self.known, self.unknown = column, 0, Tally()

    def complete(self, sample_id: str, metadata: dict[str, Any]) -> None:
        """Put a group of its own among the metadata of a sample that has none."""
        if self.column is None:
            return
        if metadata[self.column] is not None:
            self.known += 1
            return
        self.unknown.add(sample_id)
        metadata[self.column] = own_group(sample_id)

    def remarks(self) -> Iterator[str]:
        """Yield a sentence where samples have no group.

        Raises
        ------
        DataError
            If none has one.
        """
        if not self.unknown:
            return
        if not self.known:
            raise DataError(
                f"No sample has a {self.column}, which is the dataset's group, for example {self.unknown}.",
                next=f"Fill the column {self.column}, or name another one: -o group=COLUMN.",
            )
        yield groups_unknown(self.unknown.count, str(self.column), self.unknown)


def own_group(sample_id: str) -> str:
    """Return the group of a sample whose group is not known: a group for itself."""
    return f"unknown:{sample_id}"


def groups_unknown(count: int, column: str, examples: object) -> str:
    """Return the sentence on samples without a group."""
    samples = counted(count, "sample has", "samples have")
    return (
        f"{samples} no {column}, for example {examples}; each counts as a {column} of its own, so that what belongs "
        "together may stand in training and in test"
    )
