"""The cached feature store: a LanceDB database that describes itself."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histokit.store.records import DatasetRecord, RunRecord, SelectionRecord
    from histokit.store.split_records import Fold, Split
    from histokit.store.store import Store
else:
    import lazy_loader

    _NAMES = {
        "records": ["DatasetRecord", "RunRecord", "SelectionRecord"],
        "split_records": ["Fold", "Split"],
        "store": ["Store"],
    }
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_NAMES)

__all__ = ["DatasetRecord", "Fold", "RunRecord", "SelectionRecord", "Split", "Store"]
