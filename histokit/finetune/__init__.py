"""Training networks: samples → trained network, run, predictions, curves."""

from histokit.steps import callable_step

callable_step(__name__)
