"""The leak guard for features of networks that were trained here: no test image may be one that they have seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from shlex import quote

import numpy as np

from histokit.errors import LeakageError, StoreError, UsageError, counted, some
from histokit.networks.trained_runs import TrainedNetwork, find_trained, network_of_fold
from histokit.plugin.weights import TRAINED
from histokit.protocol.leaks import SAY_NOTHING
from histokit.store import RunRecord, Store
from histokit.store.repeat_commands import make_all_again, run_command
from histokit.store.split_records import TEST, FoldRows, Split
from histokit.store.vectors import FeatureTable


def seen_by(store: Store, backbone: str) -> set[bytes]:
    """Return the content digests of all images that a network has seen, and of those it was trained from.

    Parameters
    ----------
    store : Store
    backbone : str
        The whole name; other backbones than those of runs have seen none that is known.

    Raises
    ------
    StoreError
        If that cannot be told: the network is gone or damaged.
    """
    if not backbone.startswith(TRAINED):
        return set()
    found = find_trained(store, backbone)
    before = seen_by(store, found.run.address.rpartition("/")[0])
    return found.networks.contents(found.run, found.entry) | before


def check_networks(
    store: Store, backbones: Iterable[str], split: Split, contents: Mapping[str, bytes | None]
) -> list[str]:
    """Refuse features of a network that has seen an image of an outer test set, whatever that is called.

    Parameters
    ----------
    store : Store
    backbones : iterable of str
    split : Split
    contents : mapping
        Sample id → content digest.

    Returns
    -------
    notes : list of str
        How many training samples each network has seen: inner folds are optimistic where they are tuned on them.

    Raises
    ------
    LeakageError
    """
    notes = []
    for backbone in dict.fromkeys(backbones):
        used = seen_by(store, backbone)
        if not used:
            continue
        ids, folds = split.numbered
        known = np.array([contents.get(i) in used for i in ids], bool)
        trained, learned = np.zeros(len(ids), bool), []
        for fold in folds:
            is_test = fold.roles == TEST
            test = fold.samples[is_test]
            _refuse(backbone, fold, sorted(ids[i] for i in test[known[test]]), len(test))
            trained[fold.samples[~is_test]] = True
            learned.append(int(known[fold.samples[~is_test]].sum()))
        count = int((trained & known).sum())
        if count:
            notes.append(
                f"the network {backbone} was trained on {count} of the {trained.sum()} training samples: scores of "
                "inner folds are better than they should be, those of test samples are not"
            )
        more = sum(here < count for here in learned)
        if more:
            notes.append(
                f"in {more} of {len(folds)} folds, the network {backbone} has learned from samples that the fold does "
                "not train on: it knows more labels; run:ID.FOLD, the network of the fold, does not"
            )
    return notes


def _refuse(backbone: str, fold: FoldRows, seen: list[str], tested: int) -> None:
    if seen:
        raise LeakageError(
            f"The network {backbone} has seen {len(seen)} of the {tested} test samples of fold {fold.fold}, such as "
            f"{some(seen, 3)}.",
            next="Use a --split whose test samples it never saw; of a run over folds, run:ID.FOLD has not seen "
            "those of its fold, and train --fold-networks takes it there.",
            details={"fold": fold.fold, "repeat": fold.repeat, "samples": seen[:100]},
        )


def addresses_of_folds(
    store: Store, tables: Sequence[FeatureTable], split: Split, places: Sequence[tuple[int, int]]
) -> list[str]:
    """Return an address for each of some folds, in which the networks of runs are those that were trained in that fold.

    Parameters
    ----------
    store : Store
    tables : sequence of FeatureTable
        Of networks that were trained here on all training samples, merged with others or not. Those of folds have to
        be made in the same way: with the same preprocessing, precision and pooling.
    split : Split
    places : sequence of (repeat, fold)

    Raises
    ------
    UsageError
        If no network was trained here, or one on other folds, or one is that of a fold.
    StoreError
        If a network of a fold was not kept, or its features are not there.
    """
    networks = {t.backbone: find_trained(store, t.backbone) for t in tables if t.backbone.startswith(TRAINED)}
    _check_trained_on(networks, tables, split)
    of_folds = []
    for repeat, fold in places:
        found = {name: _of_fold(store, each.run, repeat, fold) for name, each in networks.items()}
        of_folds.append([_as_made(table, found.get(table.backbone)) for table in tables])
    there = {table.fingerprint for table in store.feature_tables(tables[0].dataset)}
    missing = [table for listed in of_folds for table in listed if table.fingerprint not in there]
    if missing:
        names = dict.fromkeys(table.backbone for table in missing)
        raise StoreError(
            f"{counted(len(names), 'network of a fold has', 'networks of folds have')} no features of "
            f"{tables[0].dataset!r} that were made as those of {' and '.join(networks)}: {some([*names])}.",
            next=make_all_again(missing),
        )
    return ["+".join(f"{table.address}@{table.fingerprint}" for table in listed) for listed in of_folds]


def _check_trained_on(networks: Mapping[str, TrainedNetwork], tables: Sequence[FeatureTable], split: Split) -> None:
    """Raise unless there are networks of all training samples of a split."""
    address = "+".join(table.address for table in tables)
    if not networks:
        raise UsageError(
            f"No network of {address} was trained here: it is the same in each fold.",
            next="Leave out --fold-networks, or name a network of histokit finetune: --features run:ID/last",
        )
    elsewhere = {name: found.run for name, found in networks.items() if found.run.split_digest != split.digest}
    if elsewhere:
        name, run = next(iter(elsewhere.items()))
        here = run.dataset == split.dataset
        alike = len(elsewhere) == len(networks) and len({each.split_digest for each in elsewhere.values()}) == 1
        again = run_command(replace(run, dataset=split.dataset, split=split.name))
        raise UsageError(
            f"The networks of {name} were trained on the folds of {run.split!r}{'' if here else f' of {run.dataset}'}, "
            f"not on those of {split.name!r}.",
            next=f"Use --split {run.split}." if here and alike else f"Train networks on these folds: {again}",
        )
    of_fold = {name: f"{TRAINED}{found.run.id}" for name, found in networks.items() if name.count(".")}
    if of_fold:
        whole = dict.fromkeys(f"{of_fold.get(table.backbone, table.backbone)}/{table.layer}" for table in tables)
        raise UsageError(
            f"{next(iter(of_fold))} is the network of one fold, and --fold-networks takes that of each fold in "
            "the place of that of all training samples.",
            next=f"Use --features {'+'.join(whole)} --fold-networks, or leave out --fold-networks.",
        )


def _of_fold(store: Store, run: RunRecord, repeat: int, fold: int) -> TrainedNetwork:
    where = run.asked.get("where")
    if where is not None and all((each["repeat"], each["fold"]) != (repeat, fold) for each in run.folds):
        raise StoreError(
            f"The run {run.id} has trained no network in fold {fold} of repeat {repeat}, of samples that were left out "
            "there.",
            next=f"Take the same samples: --where {quote(str(where))}",
        )
    return network_of_fold(store, run, repeat, fold)


def _as_made(table: FeatureTable, network: TrainedNetwork | None) -> FeatureTable:
    """Return a table, or what it is of another network of the same run."""
    if network is None:
        return table
    spec = {**table.spec, "backbone": network.name, "weights": network.entry["digest"]}
    return replace(table, name="", spec=spec)


def network_notes(store: Store, backbones: Iterable[str], contents: Sequence[bytes | None]) -> list[str]:
    """Say how many of the samples of some contents networks were trained on."""
    return seen_notes({backbone: seen_by(store, backbone) for backbone in backbones}, contents)


def seen_notes(seen: Mapping[str, Collection[bytes]], contents: Sequence[bytes | None]) -> list[str]:
    """Say how many of the samples of some contents are among those that networks have seen, by their names."""
    notes = []
    for backbone, used in seen.items():
        count = sum(content in used for content in contents) if used else 0
        if count:
            notes.append(
                f"{count} of {len(contents)} samples were in the training of the network {backbone}: their scores "
                f"{SAY_NOTHING}"
            )
    return notes
