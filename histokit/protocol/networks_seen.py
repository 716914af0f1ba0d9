"""The leak guard for features of networks that were trained here: no test image may be one that they have seen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from histokit.errors import LeakageError, UsageError, some
from histokit.features.addresses import parse_address
from histokit.networks.trained_runs import find_trained, network_of_fold
from histokit.plugin.weights import TRAINED
from histokit.protocol.leaks import SAY_NOTHING
from histokit.store import Store
from histokit.store.split_records import TEST, FoldRows, Split


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


def addresses_of_folds(store: Store, address: str, split: Split, places: Sequence[tuple[int, int]]) -> list[str]:
    """Return an address for each of some folds, in which the networks of runs are those that were trained in that fold.

    Parameters
    ----------
    store : Store
    address : str
        Of features of networks that were trained here, merged with others or not.
    split : Split
    places : sequence of (repeat, fold)

    Raises
    ------
    UsageError
        If no network was trained here, or one on other folds.
    StoreError
        If a network of a fold was not kept.
    """
    parts = parse_address(address)
    runs = {name: find_trained(store, name).run for part in parts if (name := part.backbone).startswith(TRAINED)}
    if not runs:
        raise UsageError(
            f"No network of {address} was trained here: it is the same in each fold.",
            next="Leave out --fold-networks, or name a network of histokit finetune: --features run:ID/last",
        )
    for name, run in runs.items():
        if run.split_digest != split.digest:
            raise UsageError(
                f"The networks of {name} were trained on the folds of {run.split!r}, not on those of {split.name!r}.",
                next=f"Use --split {run.split}.",
            )
    found = []
    for repeat, fold in places:
        networks = {name: network_of_fold(store, run, repeat, fold).name for name, run in runs.items()}
        found.append("+".join(f"{networks.get(part.backbone, part.backbone)}/{part.layer}" for part in parts))
    return found


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
