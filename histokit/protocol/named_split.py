"""Making a split of a dataset in the store, under a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from histokit.errors import UsageError, counted, some
from histokit.features.feature_store import StoreLike, open_store
from histokit.plugin.names import SPLIT_NAME, is_split_name
from histokit.protocol.splits import AUTOMATIC, make_split, resolve_split
from histokit.store import Store
from histokit.store.repeat_commands import split_command
from histokit.store.split_records import SPLIT_SCHEMA, Split


def split(
    store: StoreLike,
    dataset: str,
    name: str,
    *,
    group: str | None = None,
    test: float | None = None,
    folds: int | None = None,
    leave_one_group_out: bool = False,
    from_file: str | Path | None = None,
    within: str | None = None,
    test_where: str | None = None,
    repeats: int = 1,
    train_groups: int | None = None,
    train_per_class: int | None = None,
    seed: int = 0,
    target: str | None = None,
    target_type: str | None = None,
    ignore_groups: bool = False,
    bar: str | None = None,
) -> Split:
    """Make a split of the labelled samples of a dataset and store it, in place of one of the same name.

    Exactly one of `test`, `test_where`, `folds`, `leave_one_group_out`, `from_file` and `within` says how. Folds are
    stratified as far as groups allow and capped by the number of groups; ``params["notes"]`` says where they were.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    name : str
        What the split is called.
    group : str, optional
        The column that no fold cuts through; the dataset's own where not given.
    test : float, optional
        The fraction of a hold-out test set.
    folds : int, optional
        The number of folds; each is the test set once.
    leave_one_group_out : bool
        Whether each group is the test set once.
    from_file : path, optional
        A table with the columns ``id``, ``role`` and, for several, ``fold`` and ``repeat``.
    within : str, optional
        Another split, such as the one that the data come with: fewer of its training samples are drawn, and those that
        it tests stay.
    test_where : str, optional
        A filter over the columns: samples for which it holds are tested, those for which it does not are trained on,
        and those for which it cannot be said, because a value is missing, are in no part.
    repeats : int
        How often to draw anew.
    train_groups : int, optional
        The number of groups to draw for training in each fold; the others are left out.
    train_per_class : int, optional
        The number of samples of each class to draw for training in each fold, of those groups where both are given.
        With the same seed, a larger number draws the same samples and others.
    seed : int
    target : str, optional
        A column to stratify by in place of the label.
    target_type : str, optional
        ``class`` or ``number``; where not given, columns of fractions are numbers and all others are classes. Numbers
        are stratified by their quintiles.
    ignore_groups : bool
        Draw samples whatever group they are of, to show what scores folds would claim that leak. The split says that
        it leaks, and so does every run on it.
    bar : str, optional
        With `leave_one_group_out`, a column such as a batch: a fold for each group and batch, which trains on no
        sample of either. Samples of whose class none is left to train on are not tested, which a note tells.

    Returns
    -------
    Split
        Its `folds()` are lists of sample ids. ``params["notes"]`` also says what is on a split of which it took the
        place, which is not stored.

    Raises
    ------
    UsageError
        If it is not said how, a column is unknown, or the name is not allowed or that of a split that `train` makes.
    DataError
        If there are no labels, too few groups, or too few samples of a class.
    LeakageError
        If the dataset's group would be on both sides of a fold.
    StoreError
        If there is no such dataset, or no split to draw within.
    """
    check_split_name(name)
    # `train` without a split uses cv: under that name a hold-out would quietly take the place of the ten folds.
    if name in AUTOMATIC:
        raise UsageError(
            f"The split name {name!r} is taken: train makes that split itself.",
            next=f"Use it with: histokit train {dataset} --features A --split {name}; or choose another --name.",
        )
    store = open_store(store)
    before = store.split_headers(dataset).get(name)
    base = find_base(store, dataset, within, target, target_type, name=name)
    made = make_split(
        store.samples(dataset),
        store.dataset(dataset),
        name,
        group=group,
        test=test,
        folds=folds,
        leave_one_group_out=leave_one_group_out,
        from_file=from_file,
        within=base,
        test_where=test_where,
        repeats=repeats,
        train_groups=train_groups,
        train_per_class=train_per_class,
        seed=seed,
        target=target,
        target_type=target_type,
        ignore_groups=ignore_groups,
        bar=bar,
    )
    others = [header for header in store.split_headers(dataset).values() if header["name"] != name]
    store.save_split(made, before["digest"] if before else None)
    notes = [*made.params.get("notes", []), *replaced_notes(store, made, before), *_shared_draws(made, others)]
    return replace(made, params={**made.params, **({"notes": notes} if notes else {})})


def replaced_notes(store: Store, made: Split, before: Mapping[str, Any] | None) -> list[str]:
    """Say which runs and selections are on the split of a header, of which another one took the place.

    Also that it was the one that the data came with.

    Parameters
    ----------
    store : Store
    made : Split
        The new one.
    before : mapping, optional
        See `Split.header`.
    """
    if before is None or before["digest"] == made.digest:
        return []
    runs, selections = (
        [each.id for each in listed if (each.split, each.split_digest) == (made.name, before["digest"])]
        for listed in (store.runs(made.dataset), store.each_selection(made.dataset))
    )
    theirs = [
        f"the split {made.name!r} that the data came with is not to be had any more: to have it, ingest the data under "
        "another --name"
    ] * (before["source"] == "published" != made.source)
    if not runs and not selections:
        return theirs
    there = [counted(len(runs), "run", "runs") + f" ({some(runs)})"] * bool(runs)
    there += [counted(len(selections), "selection", "selections") + f" ({some(selections)})"] * bool(selections)
    other = Split(rows=SPLIT_SCHEMA.empty_table(), **{key: each for key, each in before.items() if key != "digest"})
    former = split_command(replace(other, name="OTHER"))
    both = f"to have both: {former}" if former else "choose another --name"
    if before["source"] == made.source == "published":
        both = "to have both, ingest the data as they are now under another --name"
    return [
        *theirs,
        f"the split {made.name!r} took the place of another one, whose folds {' and '.join(there)} of it keep: they "
        f"are not paired with runs on this one; {both}",
    ]


def _shared_draws(made: Split, others: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say which other splits of another seed test the same samples in some draws: draw r is made of the seed + r."""
    draws = _draws(made.seed, made.params)
    alike = [
        (other["name"], _draws(other["seed"], other["params"]))
        for other in others
        if made.source == other["source"] == "generated" and made.group == other["group"] and made.seed != other["seed"]
        if _way(made.params) == _way(other["params"]) and _way(made.params).keys() & {"folds", "test"}
    ]
    free = max((there.stop for _, there in alike), default=0)
    return [
        f"{len(shared)} of {len(draws)} draws test the same samples as draws of the split {name!r}, since the seed "
        f"goes up by one from draw to draw: to draw others, --seed {free}"
        for name, there in alike
        if (shared := set(draws) & set(there))
    ]


def _draws(seed: int | None, params: Mapping[str, Any]) -> range:
    return range(seed or 0, (seed or 0) + params.get("repeats", 1))


def _way(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a split was made, apart from how often."""
    return {name: value for name, value in params.items() if name not in ("repeats", "notes", "automatic")}


def find_base(
    store: Store, dataset: str, within: str | None, target: str | None, target_type: str | None, *, name: str
) -> Split | None:
    """Return the split within which another one, of a name, is to be drawn, if it is to be; nothing is stored.

    Raises
    ------
    UsageError
        If it would take its own place.
    StoreError
        If there is no such split.
    """
    if within is None:
        return None
    if within == name:
        raise UsageError(
            f"The split {name!r} would take its own place: what it draws within would be gone.",
            next="Give it another --name.",
        )
    return resolve_split(store, dataset, within, target=target, target_type=target_type, keep=False)


def check_split_name(name: str) -> None:
    """Raise unless a split may be called by a name.

    Raises
    ------
    UsageError
    """
    if not is_split_name(name):
        raise UsageError(f"The split name {name!r} is not allowed.", next=f"Use {SPLIT_NAME}.")
