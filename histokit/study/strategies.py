"""The strategies of Mormont et al. 2018, as a table of data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from histokit.errors import UsageError, did_you_mean
from histokit.finetune.finetune_options import AUTO, KEPT
from histokit.networks.requests import PRECISIONS
from histokit.study.schema import FLAG, FLAG_OR_FLAGS, NAMES_OR_TABLES, NUMBERS, STEP, TABLE, TEXT, Form

#: What a layer is chosen by.
CHOICES = ("inner", "test")


@dataclass(frozen=True)
class Strategy:
    """A way from networks to a classifier.

    Parameters
    ----------
    summary : str
    layers : str
        Of each network: ``last``, ``all`` merged, ``each`` on its own, or none where it reads images.
    merges : bool
        Whether it merges all networks into one; else each network is on its own.
    selects : bool
        Whether columns are eliminated first.
    chooses : bool
        Whether one layer is chosen in each outer training set.
    trains : bool
        Whether networks themselves are trained; done only where a study names it, as are classifiers on their features.
    classifier : str, optional
        The one that belongs to it; else all of the study.
    options : mapping
        Its own keys in a study file.
    """

    summary: str
    layers: str = "last"
    merges: bool = False
    selects: bool = False
    chooses: bool = False
    trains: bool = False
    classifier: str | None = None
    options: Mapping[str, Form] = field(default_factory=dict)


STRATEGIES: dict[str, Strategy] = {
    "last layer": Strategy("the last layer of each network"),
    "feature selection": Strategy(
        "the columns of it that recursive elimination keeps in each outer training set",
        selects=True,
        options={"tolerance": NUMBERS["tolerance"], "step": STEP},
    ),
    "merged networks": Strategy("the last layers of all networks together", merges=True),
    "merged layers": Strategy("all layers of each network together", layers="all"),
    "inner layers": Strategy(
        "the layer of each network that is best alone",
        layers="each",
        chooses=True,
        options={"choose": TEXT.of(CHOICES)},
    ),
    "fine-tuning": Strategy(
        "each network trained on the images, by each preset; its classifiers, on the last layer of what came out",
        layers="",
        trains=True,
        options={
            "presets": NAMES_OR_TABLES,
            "set": TABLE,
            "from_scratch": FLAG_OR_FLAGS,
            "repeats": NUMBERS["repeats"],
            "precision": TEXT.of((AUTO, *PRECISIONS)),
            "micro_batch": NUMBERS["micro_batch"],
            "test_curve": FLAG,
            "keep": TEXT.of(KEPT),
        },
    ),
    "et-fl": Strategy("leaf frequencies of random subwindows: no network", layers="", classifier="et-fl"),
}


def find_strategy(name: str) -> str:
    """Return the name of a strategy as it is written in the table: ``Last_layer`` is ``last layer``.

    Raises
    ------
    UsageError
        If there is none.
    """
    spelt = {spelling(known): known for known in STRATEGIES}
    if spelling(name) not in spelt:
        raise UsageError(
            f"There is no strategy {name!r}.",
            next=f"{did_you_mean(name.lower(), STRATEGIES)}Use some of: {', '.join(STRATEGIES)}.",
        )
    return spelt[spelling(name)]


def spelling(name: str) -> str:
    """Return what all spellings of a strategy's name share."""
    return name.lower().replace("-", " ").replace("_", " ")
