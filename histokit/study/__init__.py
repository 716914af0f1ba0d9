"""What composes several steps: studies, prediction on new data, the demonstration, the look at this machine."""

from typing import TYPE_CHECKING

from histokit.steps import callable_step

if TYPE_CHECKING:
    from histokit.study.plan import plan_study as plan
    from histokit.study.run import run_study as run
else:
    import lazy_loader

    __getattr__, __dir__, _ = lazy_loader.attach(__name__, submodules=["plan", "run"])

callable_step(__name__, "histokit.study.run:run_study")

__all__ = ["plan", "run"]
