"""Figures of what the steps found, all in one style."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histokit.figures.calibration import calibration_figure
    from histokit.figures.contact import ContactSheet, Thumbnail, contact_figure
    from histokit.figures.filters import filters_figure
    from histokit.figures.groups import groups_figure
    from histokit.figures.heat_maps import heat_maps_figure
    from histokit.figures.ranks import rank_figure
    from histokit.figures.scatter import scatter_figure
    from histokit.figures.score_curves import labels_figure, layers_figure
    from histokit.figures.scores import scores_figure
    from histokit.figures.selections import curve_figure, importance_figure
    from histokit.figures.sheet import check_figure
    from histokit.figures.table import asked_figures, check_figure_of, draw_figure
    from histokit.figures.threshold_curves import precision_recall_figure, roc_figure
    from histokit.figures.training import training_figure
else:
    import lazy_loader

    _NAMES = {
        "calibration": ["calibration_figure"],
        "contact": ["ContactSheet", "Thumbnail", "contact_figure"],
        "filters": ["filters_figure"],
        "heat_maps": ["heat_maps_figure"],
        "groups": ["groups_figure"],
        "ranks": ["rank_figure"],
        "scatter": ["scatter_figure"],
        "score_curves": ["labels_figure", "layers_figure"],
        "scores": ["scores_figure"],
        "selections": ["curve_figure", "importance_figure"],
        "sheet": ["check_figure"],
        "table": ["asked_figures", "check_figure_of", "draw_figure"],
        "threshold_curves": ["precision_recall_figure", "roc_figure"],
        "training": ["training_figure"],
    }
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_NAMES)

__all__ = [
    "ContactSheet",
    "Thumbnail",
    "asked_figures",
    "calibration_figure",
    "check_figure",
    "check_figure_of",
    "contact_figure",
    "curve_figure",
    "draw_figure",
    "filters_figure",
    "groups_figure",
    "heat_maps_figure",
    "importance_figure",
    "labels_figure",
    "layers_figure",
    "precision_recall_figure",
    "rank_figure",
    "roc_figure",
    "scatter_figure",
    "scores_figure",
    "training_figure",
]
