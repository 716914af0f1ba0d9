"""The features of a study: extracted, several networks in one pass over the images, or computed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from histokit.errors import DataError, StoreError, counted
from histokit.extract.extract import extract
from histokit.extract.extraction import Extraction
from histokit.features.addresses import Address, resolve
from histokit.study.schema import EXTRACTION
from histokit.study.study_file import Network
from histokit.study.study_pieces import Piece


@dataclass(eq=False, kw_only=True)
class NetworkFeatures(Piece):
    """The features of one network.

    Parameters
    ----------
    network : Network
    fingerprints : dict
        Layer → fingerprint of its table; known once the dataset is in the store.
    widths : dict
        Layer → columns, where it is known.
    """

    network: Network
    fingerprints: dict[str, str] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)

    @property
    def what(self) -> str:
        return f"{self.network.name}/{','.join(self.network.layers)}"

    def addresses(self, layers: str) -> list[str]:
        """Return the addresses of ``last``, of ``all`` merged, or of ``each`` layer, exact to the fingerprint."""
        network, prints = self.network, self.fingerprints
        if layers == "last":
            return [f"{network.name}/{network.last}@{prints[network.last]}"]
        if network.inner == ("all",):
            return [f"{network.name}/{layers}@{next(iter(prints.values()))}"]
        listed = [f"{network.name}/{layer}@{prints[layer]}" for layer in network.inner]
        return ["+".join(listed)] if layers == "all" else listed

    def asked(self) -> dict[str, Any]:
        """Return what a training on these features is asked for."""
        return {}

    def _is_whole(self, found: Extraction) -> bool:
        """Return whether nothing is left to be extracted; raise where samples cannot be used."""
        if any(table["missing"] + table["copied"] for table in found.tables):
            return False
        self._check(found)
        return True

    def _check(self, found: Extraction) -> None:
        """Raise where samples could not be used, unless the study goes on without them."""
        bad = {problem["id"]: problem["reason"] for problem in found.problems}
        if bad and not self.data.allow_missing:
            name, reason = next(iter(bad.items()))
            raise DataError(
                f"{counted(len(bad), 'sample', 'samples')} of {self.data.name!r} could not be used, such as {name!r}: "
                f"{reason}",
                next=f"Mend and ingest them (histokit list problems {self.data.name}), or write "
                f"allow_missing = true under [datasets.{self.data.name}].",
            )


@dataclass(eq=False, kw_only=True)
class ImportedFeatures(NetworkFeatures):
    """Vectors that were computed elsewhere and brought in before."""

    kind = "imported"

    def _is_done(self) -> bool:
        network, dataset = self.network, self.data.name
        tables = [t for t in self.study.store.feature_tables(dataset) if network.version in (None, t.version)]
        if network.name not in {table.backbone for table in tables}:
            version = f" in version {network.version}" if network.version else ""
            raise StoreError(
                f"The dataset {dataset!r} has no vectors of {network.name!r}{version}.",
                next=f"Bring them in: histokit import-features {dataset} FILE --name {network.name} "
                f"--version {quote(network.version or 'V')}",
            )
        for layer in network.layers:
            (table,) = resolve(Address(network.name, layer), tables, dataset)
            self.fingerprints[layer], self.widths[layer] = table.fingerprint, table.width
        return True

    def do(self, report: Callable[..., None]) -> str:
        self._is_done()
        return counted(sum(self.widths.values()), "column", "columns")


@dataclass(eq=False, kw_only=True)
class Extract(NetworkFeatures):
    """The features of one network, extracted here.

    Parameters
    ----------
    computed : int
        Images that went through the network.
    """

    kind = "extract"

    computed: int = 0

    @property
    def together(self) -> tuple[Any, ...]:
        """What several networks must share to be extracted in one pass over the images."""
        options = self.network.options
        return (self.data.name, self.network.layers, *(options.get(n) for n in (*EXTRACTION, "batch_size")))

    def take(self, found: Extraction) -> None:
        """Take note of the tables of this network in what an extraction gave."""
        start = f"{self.network.name}/"
        for table in found.tables:
            if table["address"].startswith(start):
                layer = table["address"].removeprefix(start).partition("@")[0]
                self.fingerprints[layer] = table["fingerprint"]
                self.widths |= {layer: table["width"]} if table["width"] else {}
                self.computed = max(self.computed, table["computed"])

    def _is_done(self) -> bool:
        found = extract_networks([self], dry_run=True)
        self.seconds = found.estimated_seconds
        self.estimate = next((table["estimate"] for table in found.tables if table["estimate"]), None)
        return self._is_whole(found)

    def do(self, report: Callable[..., None]) -> str:
        found = extract_networks([self], progress=report)
        self.notes = list(dict.fromkeys([*self.notes, *found.notes, *found.warnings]))
        self._check(found)
        return counted(self.computed, "image", "images") if self.computed else "cached"


def extract_networks(pieces: Sequence[Extract], **options: Any) -> Extraction:
    """Extract several networks, each image read once for all of them; what they share is `Extract.together`."""
    first, networks = pieces[0], [piece.network for piece in pieces]
    weights = {network.name: network.options["weights"] for network in networks}
    changes = [f"{n.name}/{key}={value}" for n in networks for key, value in n.options["preprocess"].items()]
    own = {key: value for key, value in first.network.options.items() if key not in ("weights", "preprocess")}
    own |= {"layers": first.network.layers, "device": first.study.device, "weights": weights, "preprocess": changes}
    found = extract(first.study.store, first.data.name, list(weights), **{**own, **first.study.running}, **options)
    for piece in pieces:
        piece.take(found)
    return found
