"""Which columns several selections have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histokit.errors import UsageError
from histokit.features.feature_store import StoreLike, open_store
from histokit.store import Store
from histokit.store.records import SelectionRecord

Ranks = NDArray[np.intp]


@dataclass(frozen=True)
class Overlap:
    """What selections over the same columns have in common.

    Parameters
    ----------
    selections : list of dict
        ``selection``, ``dataset``, ``address``, ``kept``, the number of columns, and how they were found: ``metric``,
        ``k_best``, ``k_min``, and the ``curve`` of (columns, mean, std over inner folds).
    columns : int
        How many columns there were to choose from.
    pairs : list of dict
        ``first``, ``second``; ``common``, the columns that both kept; ``expected``, how many two random subsets of
        these sizes would have in common on average; ``jaccard``, the share of common ones among those that either kept.
    common : list of str
        The names of the columns that all kept.
    smallest : dict
        The smallest number of first columns of every ranking that have a column in common, and its names: by
        ``importances`` on all columns, as in Mormont et al. 2018, section 5.3, and by ``elimination``, the
        order in which columns were dropped. Each has ``size``, ``share`` of the columns, and ``names``.
    """

    selections: list[dict[str, Any]]
    columns: int
    pairs: list[dict[str, Any]]
    common: list[str]
    smallest: dict[str, dict[str, Any] | None]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return asdict(self)


def compare_selections(store: StoreLike, selections: Sequence[str]) -> Overlap:
    """Compare selections, usually of several datasets, that were made over the same columns.

    Parameters
    ----------
    store : FeatureStore or path
    selections : sequence of str
        Two ids or more; the columns kept in all training samples are compared.

    Returns
    -------
    Overlap

    Raises
    ------
    UsageError
        If there are fewer than two, one is named twice, or they are over different columns.
    StoreError
        If a selection is unknown.
    """
    store = open_store(store)
    records = [store.selection(name) for name in selections]
    if len({record.id for record in records}) < max(2, len(records)):
        raise UsageError("An overlap needs two different selections or more.", next="See: histokit list selections")
    orders = [_alignment(records[0], record) for record in records]
    parts = [record.kept or record.folds[0] for record in records]
    masks = [_mask(part, order) for part, order in zip(parts, orders, strict=True)]
    names = _column_names(store, records[0])
    kept = [int(mask.sum()) for mask in masks]
    return Overlap(
        selections=[_facts(*each) for each in zip(records, parts, kept, strict=True)],
        columns=len(names),
        pairs=[_pair(records[i], records[j], masks[i], masks[j]) for i, j in combinations(range(len(records)), 2)],
        common=[names[column] for column in np.flatnonzero(np.logical_and.reduce(masks)).tolist()],
        smallest={
            "importances": _smallest([_by_importance(p, o) for p, o in zip(parts, orders, strict=True)], names),
            "elimination": _smallest([_ranking(p, o) for p, o in zip(parts, orders, strict=True)], names),
        },
    )


def _facts(record: SelectionRecord, part: dict[str, Any], kept: int) -> dict[str, Any]:
    of_curve = {name: part.get(name) for name in ("metric", "k_best", "k_min", "curve")}
    return {"selection": record.id, "dataset": record.dataset, "address": record.address, "kept": kept, **of_curve}


def _column_names(store: Store, selection: SelectionRecord) -> list[str]:
    """Return the name of every column that a selection chose from; its position where the table is gone."""
    filters = {table.name: table.columns for table in store.feature_tables(selection.dataset)}
    named = [(part["address"], filters.get(part["table"], range(part["columns"]))) for part in selection.features]
    return [f"{address}[{name}]" for address, listed in named for name in listed]


def _alignment(first: SelectionRecord, other: SelectionRecord) -> Ranks:
    """Return for each column of the first selection its position in the other."""
    starts, start = {}, 0
    for part in other.features:
        starts[part["fingerprint"]] = start
        start += part["columns"]
    differing = _differing(first, other)
    if differing:
        raise UsageError(
            f"The selections {first.id} ({first.dataset}) and {other.id} ({other.dataset}) are over different columns: "
            f"{', '.join(differing)}.",
            next="Select on features of the same networks, layers and preprocessing. See: histokit list features",
            details={"differing": differing},
        )
    return np.concatenate([starts[part["fingerprint"]] + np.arange(part["columns"]) for part in first.features])


def _differing(first: SelectionRecord, other: SelectionRecord) -> list[str]:
    """Say which layers only one selection chose from, or in two variants."""
    mine, theirs = ({part["fingerprint"]: part["address"] for part in record.features} for record in (first, other))
    said = []
    for address in dict.fromkeys(
        address for key, address in (mine | theirs).items() if (key in mine) != (key in theirs)
    ):
        prints = [[key for key, known in parts.items() if known == address] for parts in (mine, theirs)]
        one = first.id if prints[0] else other.id
        both = f"{address}@{prints[0][0]} and {address}@{prints[1][0]}" if all(prints) else ""
        said.append(both or f"{address} is only in {one}")
    return said


def _mask(part: dict[str, Any], order: Ranks) -> NDArray[np.bool_]:
    mask = np.zeros(len(order), bool)
    mask[part["columns"]] = True
    return mask[order]


def _ranking(part: dict[str, Any], order: Ranks) -> Ranks:
    ranks: Ranks = np.array(part["ranking"], np.intp)[order]
    return ranks


def _by_importance(part: dict[str, Any], order: Ranks) -> Ranks | None:
    """Return the rank of each column by decreasing importance; equal ones in the order of columns."""
    if not part.get("importances"):
        return None
    ranks = np.empty(len(order), np.intp)
    ranks[np.argsort(-np.array(part["importances"])[order], kind="stable")] = np.arange(1, len(order) + 1)
    return ranks


def _pair(
    first: SelectionRecord, second: SelectionRecord, one: NDArray[np.bool_], other: NDArray[np.bool_]
) -> dict[str, Any]:
    common, either = int((one & other).sum()), int((one | other).sum())
    expected = int(one.sum()) * int(other.sum()) / len(one)
    return {
        "first": first.id,
        "second": second.id,
        "datasets": [first.dataset, second.dataset],
        "common": common,
        "expected": expected,
        "jaccard": common / either,
    }


def _smallest(rankings: Sequence[Ranks | None], names: Sequence[str]) -> dict[str, Any] | None:
    """Find the column whose worst rank is best: with so many first columns of each ranking it is in all of them."""
    known = [ranks for ranks in rankings if ranks is not None]
    if len(known) < len(rankings):
        return None
    worst = np.max(known, axis=0)
    size = int(worst.min())
    return {
        "size": size,
        "share": size / len(worst),
        "names": [names[i] for i in np.flatnonzero(worst == size).tolist()],
    }
