"""One self-contained page of what the store holds of runs, a dataset or a study."""

from histokit.steps import callable_step

callable_step(__name__)
