"""Retrieval: the nearest samples of others by their features, and how often they are of the same class."""

from histokit.steps import callable_step

callable_step(__name__)
