"""Splits that data come with: a word for each sample, in a column or in its path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from histokit.plugin.dataset import PublishedSplit, Role, Sample, SplitRow

#: What people write, in small letters.
ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def role_of(text: str) -> Role | None:
    """Return what a word says of a sample, however it is written; none where it is another word."""
    return ROLES.get(text.strip().lower())


def own_split(samples: Iterable[tuple[Sample, Role]], group: str | None) -> PublishedSplit:
    """Return the split of samples and their roles; where it cuts through groups of the test set, it says so."""
    rows: list[SplitRow] = []
    roles: dict[Any, set[Role]] = {}
    for sample, role in samples:
        rows.append(SplitRow(0, 0, sample.id, role))
        if group:
            roles.setdefault(sample.metadata[group], set()).add(role)
    cut = [str(value) for value, met in roles.items() if "test" in met and len(met) > 1]
    if not cut:
        return PublishedSplit(rows, group)
    leaks = f"{len(cut)} values of {group} are in the test set and outside it, for example {cut[0]}"
    return PublishedSplit(rows, None, leaks)
