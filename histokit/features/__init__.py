"""From feature tables to the one object that selection and training consume."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histokit.features.export import export_features
    from histokit.features.feature_set import FeatureSet, Part
    from histokit.features.feature_store import FeatureStore, StoreLike, open_store
else:
    import lazy_loader

    _NAMES = {
        "export": ["export_features"],
        "feature_set": ["FeatureSet", "Part"],
        "feature_store": ["FeatureStore", "StoreLike", "open_store"],
    }
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_NAMES)

__all__ = [
    "FeatureSet",
    "FeatureStore",
    "Part",
    "StoreLike",
    "export_features",
    "open_store",
]
