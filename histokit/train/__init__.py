"""From features to a fitted classifier, a run and its predictions."""

from histokit.steps import callable_step

callable_step(__name__)
