"""What can be asked of a step: each option is declared once, with its default and what it is part of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Self

from histokit.ranges import RANGES, check_range
from histokit.store.records import NUMBER


class PartOf(Enum):
    """What an option is part of."""

    #: The method: runs that differ in it are compared with each other.
    METHOD = "method"
    #: The task: what is learned of which samples, and how that is scored.
    TASK = "task"
    #: A repeat: runs that differ in nothing else are averaged.
    REPEAT = "repeat"
    #: The handling: what comes out does not depend on it, so that no id does.
    HANDLING = "handling"


def option(default: Any, part: PartOf, *, later: bool = False) -> Any:
    """Declare an option.

    Parameters
    ----------
    default
    part : PartOf
    later : bool
        Whether there are runs from before it came: at its default it is left out of ids, so that they stay.
    """
    return field(default=default, metadata={"part": part, "later": later})


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """Options of a step; numbers are in their range.

    Raises
    ------
    UsageError
    """

    def __post_init__(self) -> None:
        for each in fields(self):
            given = getattr(self, each.name)
            # None where it is the default leaves the number to what runs.
            if each.name in RANGES and not (given is None and each.default is None):
                object.__setattr__(self, each.name, check_range(each.name, given))

    @classmethod
    def among(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return those among the arguments of a function or a command that takes them: its ``locals()``."""
        return {each.name: given[each.name] for each in fields(cls)}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return the options among the arguments of a function that takes them: its ``locals()``."""
        return cls(**cls.among(given))

    @classmethod
    def names(cls, *parts: PartOf) -> list[str]:
        """Return the options that are part of something, in order."""
        return [each.name for each in fields(cls) if each.metadata["part"] in parts]

    def asked(self) -> dict[str, Any]:
        """Return what an id hashes: all but the handling, and those that came later only where they are not at rest."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.metadata["part"] is not PartOf.HANDLING
            if not (each.metadata["later"] and getattr(self, each.name) == each.default)
        }


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions(StepOptions):
    """How features, labels and folds are brought together.

    Parameters
    ----------
    split : str, optional
        See `histokit.protocol.splits.resolve_split`.
    metric : str, optional
        The dataset's own where not given.
    target : str, optional
        A column in place of the label.
    target_type : str, optional
        ``class`` or ``number``; where not given, columns of fractions are numbers and all others are classes.
    where : str, optional
        SQL over the columns of the samples.
    seed : int
    allow_missing : bool
        Go on without samples whose features are missing.
    """

    split: str | None = option(None, PartOf.TASK)
    metric: str | None = option(None, PartOf.TASK)
    target: str | None = option(None, PartOf.TASK)
    target_type: str | None = option(None, PartOf.TASK, later=True)
    where: str | None = option(None, PartOf.TASK)
    seed: int = option(0, PartOf.REPEAT)
    allow_missing: bool = option(False, PartOf.HANDLING)

    def asked(self) -> dict[str, Any]:
        """Return what an id hashes, of the types of targets ``number`` alone: runs of classes keep theirs."""
        return {name: value for name, value in super().asked().items() if name != "target_type" or value == NUMBER}
