"""Parts of a piece of work that has not ended yet, kept so that an interruption loses little."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from histokit.store.database import Database, quote
from histokit.store.documents import Documents

TABLE = "unfinished"

#: After so long without an end, nobody will go on with it.
FORGOTTEN_AFTER = timedelta(days=30)


class Unfinished:
    """What is kept of unfinished selections and runs.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database):
        self.database = database
        self.documents = Documents(database)

    def read(self, owner: str) -> dict[str, dict[str, Any]]:
        """Return key → document of a piece of work; a document that is damaged is left out, to be made again."""
        rows = self.documents.sound(TABLE, f"owner = {quote(owner)}")
        return {row["key"]: document for row, document in rows}

    def save(self, owner: str, key: str, document: Mapping[str, Any]) -> None:
        """Keep a part of a piece of work."""
        keys = {"owner": owner, "key": key, "created": datetime.now(UTC).isoformat(timespec="seconds")}
        self.documents.save(TABLE, keys, document, on=["owner", "key"])

    def forget(self, owner: str) -> None:
        """Remove the parts of a piece of work that has ended, and those that nobody has asked for in 30 days."""
        self.database.delete(TABLE, f"owner = {quote(owner)} OR {_forgotten()}")

    def last(self) -> dict[str, datetime]:
        """Return owner → when its last part was kept."""
        there = self.database.exists(TABLE)
        rows = self.database.read(TABLE, ["owner", "created"]).to_pylist() if there else []
        # The latest is the last of those that are sorted.
        found = sorted((row["owner"], row["created"]) for row in rows)
        return {owner: datetime.fromisoformat(created) for owner, created in found}

    def collect(self, horizon: datetime, dry_run: bool) -> int:
        """Remove what killed processes left of work that has ended since, or is forgotten; return how much.

        What was kept after the horizon stays: what has ended may be done again just now.
        """
        ended = [quote(d["id"]) for table in ("runs", "selections") for d in self.documents.find(table, key="id")]
        old = f"created <= {quote(horizon.isoformat(timespec='seconds'))}"
        where = f"(owner IN ({', '.join(ended)}) AND {old}) OR {_forgotten()}" if ended else _forgotten()
        count = self.database.count(TABLE, where)
        if not dry_run:
            self.database.delete(TABLE, where)
        return count


def _forgotten() -> str:
    return f"created < {quote((datetime.now(UTC) - FORGOTTEN_AFTER).isoformat(timespec='seconds'))}"
