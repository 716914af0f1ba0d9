"""Splits that data come with: a word for each sample, in a column or in its path."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from histokit.datasets.walk import Tally
from histokit.errors import DataError, counted, some
from histokit.plugin.dataset import PublishedSplit, Role, Sample, SplitRow

#: What people write, in small letters.
ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")

VAL_IS_TESTED = "the data have train and val, but no test samples: those of val are tested"


def role_of(text: str) -> Role | None:
    """Return what a word says of a sample, however it is written; none where it is another word."""
    return ROLES.get(text.strip().lower())


def role_in(path: str) -> Role | None:
    """Return what the innermost part of a path says that holds one such word, as in ``images/val2017``."""
    for part in reversed(path.split("/")):
        said = {role for word in _WORD.findall(part) if (role := role_of(word)) is not None}
        if said:
            return said.pop() if len(said) == 1 else None
    return None


@lru_cache(maxsize=1024)
def role_of_name(name: str) -> Role | None:
    """Return what one of the words of a name says of the split; none where they say several things, or nothing.

    Words with numbers, as of ``train2`` or ``test2023``, say it where none stands alone.
    """
    for belongs in (str.isalnum, str.isalpha):
        words = "".join(letter if belongs(letter) else " " for letter in name).split()
        if roles := {role for word in words if (role := role_of(word)) is not None}:
            return roles.pop() if len(roles) == 1 else None
    return None


def no_part(what: str, column: str, word: Any, advice: str) -> DataError:
    """Return the error on a word of an image or a sample that should name a part of a split."""
    return DataError(f"{what} has {column}={word!r}, which is no part of a split.", next=advice)


def no_parts(column: str, words: Iterable[Any], others: Collection[Role] = ()) -> str:
    """Return what to tell of words in a column that is called as splits are, which name no part of one.

    Parameters
    ----------
    column : str
    words : iterable
        Texts, or values of a column of another type.
    others : collection of str
        The parts that other words name; one alone makes no split.
    """
    met = sorted(set(words))
    listed = some([repr(str(word)) for word in met], 3)
    if len(others) > 1:
        return (
            f"The column {column} holds {listed} beside train, val and test: such samples are in no part of the split"
        )
    beside = f"only {listed} beside {min(others)}" if others else f"none of train, val and test, but {listed}"
    first = "'" + met[0].replace("'", "''") + "'" if isinstance(met[0], str) else str(met[0])
    return (
        f"The column {column} holds {beside}, and makes no split: to test those of a value, use "
        f'histokit split DATASET --name NAME --test-where "{column} = {first}"'
    )


def own_splits(
    name: str, samples: Iterable[tuple[Sample, Role]], group: str | None, told: list[str], unsaid: Tally | None = None
) -> dict[str, PublishedSplit]:
    """Return the split of samples and their roles; where it cuts through groups of the test set, it says so.

    Many data come as train and val alone: the validation part is tested then, and every run on it records that.

    Parameters
    ----------
    name : str
        Of the split.
    samples : iterable of (Sample, Role)
    group : str, optional
    told : list of str
        Gets a sentence where there is nothing to train on or nothing to test, and so no split, and where it leaks.
    unsaid : Tally, optional
        Samples of which no name says the part, where names should.
    """
    known = list(samples)
    met = {role for _, role in known}
    val_is_tested = "test" not in met and {"train", "val"} <= met
    if not ({"train", "test"} <= met or val_is_tested):
        if met:
            told.append(
                f"The data say {' and '.join(sorted(met))}, but a split needs train and test (or val): they bring none"
            )
        return {}
    if unsaid:
        images = counted(unsaid.count, "image is", "images are")
        told.append(f"{images} in no part of the split {name}: no name says train, val or test, for example {unsaid}")
    rows: list[SplitRow] = []
    roles: dict[Any, set[Role]] = {}
    for sample, said in known:
        role: Role = "test" if val_is_tested and said == "val" else said
        rows.append(SplitRow(0, 0, sample.id, role))
        if group:
            roles.setdefault(sample.metadata[group], set()).add(role)
    notes = (VAL_IS_TESTED,) if val_is_tested else ()
    cut = [str(value) for value, roles_met in roles.items() if "test" in roles_met and len(roles_met) > 1]
    if not cut:
        return {name: PublishedSplit(rows, group, notes=notes)}
    values = counted(len(cut), f"value of {group} is", f"values of {group} are")
    leaks = f"{values} in the test set and outside it, for example {cut[0]}"
    split = PublishedSplit(rows, None, leaks, notes=notes)
    told.extend(split.warnings(name))
    return {name: split}
