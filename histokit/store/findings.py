"""What a check of the store finds, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: The kind of what a newer version wrote.
NEWER = "newer"

#: The kind of a feature table whose extraction did not end: it goes on where it stopped, and nothing is damaged.
INCOMPLETE = "incomplete"

_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    table : str
    kind : str
        ``unreadable``, ``lost``, ``newer``, ``foreign``, ``schema``, ``doubled``, ``key``, ``changed``, ``vector``,
        ``incomplete``, ``orphan``, ``samples``, ``split``, ``run`` or ``document``; after a repair also ``aside``.
    what, next : str
        What is wrong with which, and what to do.
    """

    table: str
    kind: str
    what: str
    next: str


@dataclass(frozen=True)
class Verification:
    """What a check of a store found.

    Parameters
    ----------
    findings : tuple of Finding
    tables, rows : int
        How much was read.
    """

    findings: tuple[Finding, ...]
    tables: int
    rows: int

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged; extractions may not have ended yet."""
        return not self.damaged

    @property
    def damaged(self) -> list[Finding]:
        """What is wrong with more than that an extraction has not ended."""
        return [finding for finding in self.findings if finding.kind != INCOMPLETE]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        findings = [asdict(finding) for finding in self.findings]
        return {"ok": self.ok, "findings": findings, "tables": self.tables, "rows": self.rows}


class FaultTally:
    """Counts what is wrong and keeps a few examples."""

    def __init__(self) -> None:
        self.count = 0
        self._examples: list[Any] = []

    def add(self, values: Iterable[Any]) -> None:
        """Count some values."""
        for value in values:
            self.count += 1
            if len(self._examples) < _EXAMPLES:
                self._examples.append(value)

    def __str__(self) -> str:
        more = f" and {self.count - len(self._examples)} more" if self.count > len(self._examples) else ""
        return ", ".join(map(repr, self._examples)) + more


def remove_folder(uri: Any, name: str, then: Sequence[str] = ()) -> str:
    """Return the advice to move a table's folder away."""
    steps = [f"Move the folder {uri / f'{name}.lance'} away", *then]
    return ", then: ".join(steps)
