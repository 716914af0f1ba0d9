"""From a `FeatureSet` to a selection of its columns."""

from histokit.steps import callable_step

callable_step(__name__)
