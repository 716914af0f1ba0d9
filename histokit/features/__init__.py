"""From feature tables to the one object that selection and training consume."""

from histokit.features.feature_set import FeatureSet, Part
from histokit.features.feature_store import FeatureStore, open_store

__all__ = ["FeatureSet", "FeatureStore", "Part", "open_store"]
