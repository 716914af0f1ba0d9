"""Training networks: samples → trained network, run, predictions, curves."""

from typing import TYPE_CHECKING

from histokit.steps import callable_step

if TYPE_CHECKING:
    from histokit.finetune.training_plan import TrainingPlan, plan_training
else:
    import lazy_loader

    _NAMES = {"training_plan": ["TrainingPlan", "plan_training"]}
    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs=_NAMES)

callable_step(__name__)

__all__ = ["TrainingPlan", "plan_training"]
