"""What an extraction did, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from histokit.errors import shortened, some


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Parameters
    ----------
    dataset : str
    addresses : tuple of str
    networks : tuple of dict
        For each backbone: ``weights`` (their file, ``random:SEED`` or ``none``) and ``digest``, ``version``,
        ``plugin``, ``preprocess`` and whose it is (``preprocess_origin``); ``described`` in one line.
    tables : tuple of dict
        For each address: table, fingerprint, width, weights, and the numbers of samples ``cached``, ``copied``,
        ``computed``, ``unusable`` and ``missing``; ``differences`` to other tables of the same layer. In a dry run
        also ``seconds`` that it would take alone, and their ``estimate``: ``measured``, ``typical`` or none.
    problems : tuple of dict
        Samples that could not be read, with the reason.
    notes : tuple of str
        What is to be known of the networks, such as weights without a classifier.
    warnings : tuple of str
        What is to be known of the images, a line for each kind, such as 16 bits of which only a few are used.
    seconds : float
    estimated_seconds : float, optional
        That the computation would take, where one pass through a network fills all its tables; of a dry run.
    """

    dataset: str
    addresses: tuple[str, ...]
    networks: tuple[dict[str, Any], ...]
    tables: tuple[dict[str, Any], ...]
    problems: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    seconds: float
    dry_run: bool = False
    estimated_seconds: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def expectation(self) -> str:
        """How long the computation is expected to take, in words."""
        if self.estimated_seconds is None:
            unknown = [address for address, seconds in self._alone().items() if seconds is None]
            names = [n["backbone"] for n in self.networks if any(a.startswith(f"{n['backbone']}/") for a in unknown)]
            what = "all takes together" if len(names) < len(self.networks) else "it takes"
            return f"How long {what} is not known: {some(list(dict.fromkeys(names)))} did not run here before."
        typical = any(table.get("estimate") == "typical" for table in self.tables)
        source = "roughly, from their numbers of operations" if typical else "as fast as before on this machine"
        shared = "; one pass through a network fills all its tables" * (sum(map(bool, self._alone().values())) > 1)
        return f"The networks will take about {self.estimated_seconds:.0f} s ({source}{shared})."

    def _alone(self) -> dict[str, float | None]:
        return {table["address"]: table.get("seconds") for table in self.tables}

    def __repr__(self) -> str:
        return f"Extraction({self.dataset}: {shortened(', '.join(self.addresses))}, {len(self.problems)} problems)"

    def to_json(self) -> dict[str, Any]:
        """Return the extraction as JSON-serialisable data."""
        estimated = {"estimated_seconds": self.estimated_seconds} if self.dry_run else {}
        return estimated | {
            "dataset": self.dataset,
            "addresses": list(self.addresses),
            "networks": list(self.networks),
            "tables": list(self.tables),
            "problems": list(self.problems),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }
