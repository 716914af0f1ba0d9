"""Features as notebooks show them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from histokit.layout import Sheet
from histokit.notebooks import InNotebooks


class ShownFeatures(InNotebooks):
    """What a notebook shows of features: how many, of what, and of which classes."""

    record: Any
    parts: Any
    labels: Any

    def sheets(self) -> list[Sheet]:
        """Return the tables of features, and the samples by class."""
        rows = [[part.address, len(part.names), part.fingerprint] for part in self.parts]
        found = [Sheet(repr(self), ["features", "columns", "fingerprint"], rows)]
        counts = Counter("no label" if label is None else str(label) for label in self.labels)
        return [
            *found,
            Sheet("samples by class", ["class", "samples"], [list(pair) for pair in sorted(counts.items())]),
        ]
