"""From the predictions of a run to metrics and confidence intervals."""

from histokit.steps import callable_step

callable_step(__name__)
