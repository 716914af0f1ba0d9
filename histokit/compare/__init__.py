"""Runs side by side: scores of methods, paired differences, ranks and tests over datasets."""

from histokit.steps import callable_step

callable_step(__name__)
