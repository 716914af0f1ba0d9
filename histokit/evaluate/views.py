"""Views of stored predictions, each a document that is made only where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from histokit.errors import HistokitError, UsageError, did_you_mean
from histokit.evaluate.calibration import calibration, check_probabilities
from histokit.evaluate.evaluate_options import Resampling
from histokit.evaluate.frame import Frame
from histokit.evaluate.group_scores import check_groups_known, group_scores
from histokit.evaluate.threshold_curves import threshold_curves
from histokit.store import RunRecord

View = Callable[[Frame, Resampling], dict[str, Any]]

#: View → what makes it; figures of the same names draw them.
VIEWS: dict[str, View] = {
    "roc": lambda frame, resampling: threshold_curves(frame, resampling, "roc"),
    "precision-recall": lambda frame, resampling: threshold_curves(frame, resampling, "precision-recall"),
    "calibration": calibration,
    "groups": group_scores,
}
#: Those of the scores of classes.
_OF_CLASSES = {"roc", "precision-recall", "calibration"}
#: In the place of names: all that a run has.
FITTING = "fitting"


def check_views(names: str | Sequence[str], known: Collection[str] = VIEWS) -> list[str]:
    """Return the names of views, each once.

    Parameters
    ----------
    names : str or sequence of str
    known : collection of str
        Those that there are.

    Raises
    ------
    UsageError
        If there is none of a name.
    """
    asked = list(dict.fromkeys([names] if isinstance(names, str) else names))
    if asked == [FITTING]:
        return asked
    for name in asked:
        if name not in known:
            raise UsageError(
                f"There is no view {name!r}.", next=f"{did_you_mean(name, known)}Use one of {', '.join(known)}."
            )
    return asked


def views_of(frame: Frame, names: Sequence[str], resampling: Resampling, run: RunRecord) -> dict[str, Any]:
    """Return the views that are asked for, by their names.

    Parameters
    ----------
    frame : Frame
    names : sequence of str
        Of `VIEWS`, or `FITTING` alone.
    resampling : Resampling
    run : RunRecord
        Whose predictions they are.

    Raises
    ------
    UsageError
        If numbers were predicted, and a view is one of classes.
    DataError
        If scores are no probabilities, or there are no groups, and a view is of these.
    """
    if list(names) == [FITTING]:
        names = [name for name in VIEWS if _fits(name, frame, run)]
    for name in names:
        _check(name, frame, run)
    return {name: VIEWS[name](frame, resampling) for name in names}


def _check(name: str, frame: Frame, run: RunRecord) -> None:
    if frame.numbers and name in _OF_CLASSES:
        raise UsageError(
            f"The run {run.id} predicts numbers, and {name} is of the scores of classes.",
            next="Leave it out, or name runs that predict classes (histokit list runs).",
        )
    if name == "calibration":
        check_probabilities(frame, run.id, run.classifier)
    elif name == "groups":
        check_groups_known(frame, run.id)


def _fits(name: str, frame: Frame, run: RunRecord) -> bool:
    try:
        _check(name, frame, run)
    except HistokitError:
        return False
    return True
