"""What each fold of a split trains, validates and tests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from histokit.layout import listed, natural_items
from histokit.store.split_records import ROLE_NAMES, Split
from histokit.store.store import Store

#: Of `set_rows`.
SET_COLUMNS = ["dataset", "split", "fold", "set", "samples", "groups", "classes"]


def fold_sets(split: Split, store: Store) -> list[dict[str, Any]]:
    """Return how many samples, of how many groups and of each class, the sets of each fold hold.

    Parameters
    ----------
    split : Split
    store : Store
        That holds its dataset, whose groups are counted, also where the split does not keep them together.

    Returns
    -------
    list of dict
        ``repeat``, ``fold``, ``set``, ``samples``, ``groups`` (none without groups) and ``classes`` (class → samples,
        those without label under an empty name) of each set that is not empty.
    """
    record = store.dataset(split.dataset)
    columns = list(dict.fromkeys(["id", "label", *([record.group] if record.group else [])]))
    samples = store.samples(split.dataset, columns)
    ids = samples.column("id").to_pylist()
    labels = dict(zip(ids, samples.column("label").to_pylist(), strict=True))
    groups = dict(zip(ids, samples.column(record.group).to_pylist(), strict=True)) if record.group else {}
    found = []
    for fold in split.folds():
        for name in ROLE_NAMES:
            members = getattr(fold, name)
            if not members:
                continue
            place = {"repeat": fold.repeat, "fold": fold.fold, "set": name, "samples": len(members)}
            counted = len({groups.get(each) for each in members} - {None}) if record.group else None
            classes = Counter(labels.get(each) or "" for each in members)
            found.append({**place, "groups": counted, "classes": dict(sorted(classes.items()))})
    return found


def set_rows(splits: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return a row for people of each set of some splits, which are as `histokit list splits --folds --json` has them.

    Folds are called ``FOLD``, with repeats ``REPEAT.FOLD``.
    """
    rows = []
    for split in splits:
        repeated = any(each["repeat"] for each in split["sets"])
        for each in split["sets"]:
            fold = f"{each['repeat']}.{each['fold']}" if repeated else each["fold"]
            counts = (each["samples"], each["groups"], class_counts(each["classes"]))
            rows.append([split["dataset"], split["name"], fold, each["set"], *counts])
    return rows


def class_counts(classes: Mapping[str, int]) -> Any:
    """Return how many samples there are of each class, as a cell of a table."""
    return listed(class_texts(classes), what="classes")


def class_texts(classes: Mapping[str, int], form: str = "") -> list[str]:
    """Return ``class count`` of each class, or ``class: count`` where a class ends with a digit.

    Examples
    --------
    >>> class_texts({"0": 1298, "1": 763}, ","), class_texts({"tumour": 3, "": 1})
    (['0: 1,298', '1: 763'], ['no label 1', 'tumour 3'])
    """
    between = ": " if any(label[-1:].isdigit() for label in classes) else " "
    return [f"{label or 'no label'}{between}{count:{form}}" for label, count in natural_items(classes)]
