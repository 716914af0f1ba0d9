"""From predictions to metrics, confidence intervals and figures."""

from histokit.steps import callable_step

callable_step(__name__)
