"""From samples to feature tables: a plan, a ledger of what is missing, a feed of images, workers, and a writer."""

from histokit.steps import callable_step

callable_step(__name__)
