"""What the contract of a dataset plugin says of the splits that data come with."""

from __future__ import annotations

from typing import Any, get_args

from histokit.plugin.dataset import PublishedSplit, Role
from histokit.plugin.testing.another_process import split_digests
from histokit.plugin.testing.checks import require
from histokit.plugin.testing.examined import Examined


def split_rows(examined: Examined) -> None:
    """Splits refer to known samples, each at most once in a fold, with a role of train, val or test."""
    for name, split in examined.splits.items():
        require(isinstance(split, PublishedSplit), f"the split {name!r} is a {type(split).__name__}")
        met: set[tuple[int, int, str]] = set()
        for row in split.rows:
            where = f"the split {name!r}"
            require(row.sample_id in examined.by_id, f"{where} refers to {row.sample_id!r}, which is not a sample")
            require(row.role in get_args(Role), f"{where} gives {row.sample_id!r} the role {row.role!r}")
            key = (row.repeat, row.fold, row.sample_id)
            require(key not in met, f"{where} has {row.sample_id!r} twice in fold {row.fold} of repeat {row.repeat}")
            met.add(key)


def splits_repeat(examined: Examined) -> None:
    """`splits` gives the same rows in the same order again, and from another instance."""
    first = split_digests(examined.dataset)
    for what, again in (("a second time", examined.dataset), ("from another instance", examined.another())):
        second = split_digests(again)
        differing = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
        require(not differing, f"splits() gives other rows {what} in {', '.join(map(repr, differing))}: draw by a seed")


def splits_have_train_and_test(examined: Examined) -> None:
    """Every fold of a split has samples to train on and samples to test on."""
    for name, split in examined.splits.items():
        require(split.rows, f"the split {name!r} is empty")
        roles: dict[tuple[int, int], set[str]] = {}
        for row in split.rows:
            roles.setdefault((row.repeat, row.fold), set()).add(row.role)
        for (repeat, fold), met in roles.items():
            lacking = {"train", "test"} - met
            require(
                not lacking, f"fold {fold} of repeat {repeat} of {name!r} has no {' and no '.join(sorted(lacking))}"
            )


def groups_within_splits(examined: Examined) -> None:
    """No group is in the test set of a fold and outside it, unless the split says what leaks."""
    for name, split in examined.splits.items():
        group = split.group or examined.dataset.group
        if split.leaks is not None:
            require(split.leaks.strip(), f"the split {name!r} leaks, but does not say what")
        if split.leaks is not None or group is None:
            continue
        require(group in examined.dataset.columns, f"the group {group!r} of the split {name!r} is not a column")
        sides: dict[tuple[int, int, Any], bool] = {}
        for row in split.rows:
            value = examined.by_id[row.sample_id].metadata[group]
            tested = row.role == "test"
            straddles = sides.setdefault((row.repeat, row.fold, value), tested) != tested
            require(not straddles, f"{group} {value!r} is in the test set of the split {name!r} and outside it")
