"""From samples to feature tables: a plan of what is missing, a worker that reads, forwards and pools, a writer."""

from histokit.steps import callable_step

callable_step(__name__)
