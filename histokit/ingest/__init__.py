"""From a dataset plugin to samples and splits in the store."""

from histokit.steps import callable_step

callable_step(__name__)
