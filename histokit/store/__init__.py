"""The cached feature store: a LanceDB database that describes itself."""

from histokit.store.records import DatasetRecord, Fold, RunRecord, SelectionRecord, Split
from histokit.store.store import Store

__all__ = ["DatasetRecord", "Fold", "RunRecord", "SelectionRecord", "Split", "Store"]
