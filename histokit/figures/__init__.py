"""Figures of what the steps found, all in one style."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histokit.figures.calibration import calibration_figure, draw_calibration
    from histokit.figures.contact import ContactSheet, Thumbnail, contact_figure, draw_contact
    from histokit.figures.filters import draw_filters, filters_figure
    from histokit.figures.groups import draw_groups, groups_figure
    from histokit.figures.heat_maps import draw_heat_maps, heat_maps_figure
    from histokit.figures.ranks import draw_comparison, rank_figure
    from histokit.figures.scatter import draw_scatter, scatter_figure
    from histokit.figures.score_curves import draw_labels, draw_layers, labels_figure, layers_figure
    from histokit.figures.scores import draw_scores, scores_figure
    from histokit.figures.selections import (
        curve_figure,
        curves_figure,
        draw_curve,
        draw_curves,
        draw_importances,
        importance_figure,
    )
    from histokit.figures.sheet import check_figure
    from histokit.figures.table import asked_figures, check_figure_of, draw_figure, figures_of
    from histokit.figures.threshold_curves import draw_precision_recall, draw_roc, precision_recall_figure, roc_figure
    from histokit.figures.training import draw_training, training_figure
else:
    import lazy_loader

    _NAMES = {
        "calibration": ["calibration_figure", "draw_calibration"],
        "contact": ["ContactSheet", "Thumbnail", "contact_figure", "draw_contact"],
        "filters": ["draw_filters", "filters_figure"],
        "heat_maps": ["draw_heat_maps", "heat_maps_figure"],
        "groups": ["draw_groups", "groups_figure"],
        "ranks": ["draw_comparison", "rank_figure"],
        "scatter": ["draw_scatter", "scatter_figure"],
        "score_curves": ["draw_labels", "draw_layers", "labels_figure", "layers_figure"],
        "scores": ["draw_scores", "scores_figure"],
        "selections": [
            "curve_figure",
            "curves_figure",
            "draw_curve",
            "draw_curves",
            "draw_importances",
            "importance_figure",
        ],
        "sheet": ["check_figure"],
        "table": ["asked_figures", "check_figure_of", "draw_figure", "figures_of"],
        "threshold_curves": ["draw_precision_recall", "draw_roc", "precision_recall_figure", "roc_figure"],
        "training": ["draw_training", "training_figure"],
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
    "curves_figure",
    "draw_calibration",
    "draw_comparison",
    "draw_contact",
    "draw_curve",
    "draw_curves",
    "draw_figure",
    "draw_filters",
    "draw_groups",
    "draw_heat_maps",
    "draw_importances",
    "draw_labels",
    "draw_layers",
    "draw_precision_recall",
    "draw_roc",
    "draw_scatter",
    "draw_scores",
    "draw_training",
    "figures_of",
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
