"""From features to the subset that is worth keeping."""

from histokit.steps import callable_step

callable_step(__name__)
