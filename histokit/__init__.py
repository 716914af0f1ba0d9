"""Transfer learning on histopathology and cell images, with a cached feature store.

Everything that the command line does is a function here: `open_store`, `ingest`, `make_split`, `extract`,
`select`, `train`, `predict`, `evaluate` and `compare`.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from histokit.evaluate.compare import compare
    from histokit.evaluate.evaluate import evaluate
    from histokit.extract.extract import extract
    from histokit.features import FeatureSet, FeatureStore, open_store
    from histokit.ingest.ingest import ingest
    from histokit.protocol.splits import make_split
    from histokit.select.select import select
    from histokit.study.predict import predict
    from histokit.train.train import train
else:
    import lazy_loader

    _STEPS = ["evaluate", "extract", "ingest", "select", "train"]
    _NAMES = {
        "evaluate.compare": ["compare"],
        "features": ["FeatureSet", "FeatureStore", "open_store"],
        "protocol.splits": ["make_split"],
        "study.predict": ["predict"],
    }
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submodules=_STEPS, submod_attrs=_NAMES)

__all__ = [
    "FeatureSet",
    "FeatureStore",
    "compare",
    "evaluate",
    "extract",
    "ingest",
    "make_split",
    "open_store",
    "predict",
    "select",
    "train",
]
