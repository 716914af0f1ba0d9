"""From trained models to where in an image they look, and to what excites their filters."""

from typing import TYPE_CHECKING

from histokit.steps import callable_step

if TYPE_CHECKING:
    from histokit.explain.columns import KeptColumns, kept_columns
    from histokit.explain.explanation import ExplainedSample, Explanation
    from histokit.explain.filters import FilterImages, filter_images
else:
    import lazy_loader

    _NAMES = {
        "columns": ["KeptColumns", "kept_columns"],
        "explanation": ["ExplainedSample", "Explanation"],
        "filters": ["FilterImages", "filter_images"],
    }
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_NAMES)

callable_step(__name__)

__all__ = [
    "ExplainedSample",
    "Explanation",
    "FilterImages",
    "KeptColumns",
    "filter_images",
    "kept_columns",
]
