"""From trained models to where in an image they look."""

from histokit.steps import callable_step

callable_step(__name__)
