"""From features to the subset that is worth keeping, and what selections tell."""

from typing import TYPE_CHECKING

from histokit.steps import callable_step

if TYPE_CHECKING:
    from histokit.select.importances import ImportanceShares, importance_shares
    from histokit.select.overlap import Overlap, compare_selections
    from histokit.select.provenance import kept_by_layer
else:
    import lazy_loader

    _NAMES = {
        "importances": ["ImportanceShares", "importance_shares"],
        "overlap": ["Overlap", "compare_selections"],
        "provenance": ["kept_by_layer"],
    }
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_NAMES)

callable_step(__name__)

__all__ = [
    "ImportanceShares",
    "Overlap",
    "compare_selections",
    "importance_shares",
    "kept_by_layer",
]
