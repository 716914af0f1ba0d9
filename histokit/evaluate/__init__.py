"""From what a run left, predictions and training curves, to metrics, confidence intervals and tables."""

from histokit.steps import callable_step

callable_step(__name__)
