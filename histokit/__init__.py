"""Transfer learning on histopathology and cell images, with a cached feature store.

Everything that the command line does is a function here, of the same name and options. Where a function takes a store,
it takes the path of one as well.

Steps: `ingest`, `split`, `extract`, `select`, `train`, `finetune`, `predict`, `evaluate`, `explain`, `compare`, `study`
(`study.run`, `study.plan`). Looking: `open_store`, `show`, `predictions`, `curves`, `neighbours`, `scatter`,
`report`. In and out: `export`, `import_features`, `export_model`, `load_model`.
"""

import os

__version__ = "0.1.0"

# Threads of torch that wait for each other in a loop take the processor from those that read images, and from other
# programs: on a busy machine networks take several times as long, on an idle one as long as they did. Read when torch
# is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from histokit import study
    from histokit.compare.compare import compare
    from histokit.evaluate.curves import curves
    from histokit.evaluate.evaluate import evaluate
    from histokit.evaluate.listing import predictions
    from histokit.explain.explain import explain
    from histokit.extract.extract import extract
    from histokit.extract.shown_samples import show
    from histokit.features import FeatureSet, FeatureStore, open_store
    from histokit.features.export import export
    from histokit.finetune.finetune import finetune
    from histokit.ingest.imports import import_features
    from histokit.ingest.ingest import ingest
    from histokit.models.export import export_model
    from histokit.models.loaded import load_model
    from histokit.neighbours.neighbours import neighbours
    from histokit.neighbours.scatter import scatter
    from histokit.protocol.named_split import split
    from histokit.protocol.splits import make_split
    from histokit.report.report import report
    from histokit.select.select import select
    from histokit.study.predict import predict
    from histokit.train.train import train
else:
    _STEPS = ["compare", "evaluate", "explain", "extract", "finetune", "ingest", "neighbours", "report", "select"]
    _STEPS += ["study", "train"]
    _NAMES = {
        "evaluate.curves": ["curves"],
        "evaluate.listing": ["predictions"],
        "extract.shown_samples": ["show"],
        "features": ["FeatureSet", "FeatureStore", "open_store"],
        "features.export": ["export"],
        "ingest.imports": ["import_features"],
        "models.export": ["export_model"],
        "models.loaded": ["load_model"],
        "neighbours.scatter": ["scatter"],
        "protocol.named_split": ["split"],
        "protocol.splits": ["make_split"],
        "study.predict": ["predict"],
    }

    def __getattr__(name):
        # Later, for until the command line has begun Ctrl-C ends in a traceback.
        import lazy_loader

        get, _, _ = lazy_loader.attach(__name__, submodules=_STEPS, submod_attrs=_NAMES)
        globals()["__getattr__"] = get
        return get(name)

    def __dir__():
        return list(__all__)


__all__ = [
    "FeatureSet",
    "FeatureStore",
    "compare",
    "curves",
    "evaluate",
    "explain",
    "export",
    "export_model",
    "extract",
    "finetune",
    "import_features",
    "ingest",
    "load_model",
    "make_split",
    "neighbours",
    "open_store",
    "predict",
    "predictions",
    "report",
    "scatter",
    "select",
    "show",
    "split",
    "study",
    "train",
]
