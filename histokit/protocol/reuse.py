"""What was fitted before, on these samples or on others, and may be used only where it never saw a test sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histokit.errors import LeakageError, StoreError, some
from histokit.protocol.leaks import TOO_GOOD
from histokit.store import Store
from histokit.store.records import SelectionRecord
from histokit.store.split_records import Fold, Split


def fitted_contents(store: Store, selection: SelectionRecord) -> tuple[dict[str, bytes], list[str]]:
    """Return the content digests of what a selection was fitted on, by id.

    A selection that was stored without them is looked up in the samples of its dataset.

    Returns
    -------
    contents : dict
    notes : list of str
        How many are not known.
    """
    ids = {i for part in selection.fitted_on for i in part["ids"]}
    contents = {i: bytes.fromhex(digest) for i, digest in selection.contents.items()}
    if not contents:
        try:
            rows = store.samples(selection.dataset, ["id", "content"])
        except StoreError:
            rows = None
        pairs = zip(*(rows.column(name).to_pylist() for name in ("id", "content")), strict=True) if rows else ()
        contents = {i: content for i, content in pairs if i in ids and content is not None}
    unknown = sorted(ids - set(contents))
    if not unknown:
        return contents, []
    return contents, [
        f"the selection {selection.id} was fitted on {len(unknown)} samples of {selection.dataset!r} that are not "
        f"there any more (such as {unknown[0]}): whether their images are tested here is not known"
    ]


def check_selection(
    selection: SelectionRecord,
    split: Split,
    fold: Fold,
    contents: Mapping[str, bytes],
    fitted: Mapping[str, bytes],
) -> dict[str, Any]:
    """Return the part of a selection that an outer fold may use.

    On the split that the selection was made on that is the part of the same fold; on another one the
    columns selected from all its training samples.

    Parameters
    ----------
    selection : SelectionRecord
    split : Split
        The split of the outer folds.
    fold : Fold
    contents : mapping
        Sample id → content digest, of the samples of the folds.
    fitted : mapping
        The same of those that the selection was fitted on, see `fitted_contents`.

    Returns
    -------
    part : dict
        An entry of the selection's ``folds``, or its ``kept``.

    Raises
    ------
    LeakageError
        If a sample that the part used, or the same bytes under another name, lie in the test set of the fold.
    """
    same = _same_split(selection, split)
    parts = {(p["repeat"], p["fold"]): p for p in selection.folds} if same else {}
    part = parts.get((fold.repeat, fold.fold)) or selection.kept or selection.folds[0]
    used = _used(selection, part)
    what = f"The selection {selection.id}"
    # Names tell samples apart inside a dataset only.
    seen = sorted(set(used).intersection(fold.test)) if selection.dataset == split.dataset else []
    _refuse(seen, fold, what, some(seen, 3))
    known = {fitted[i]: i for i in used if i in fitted}
    if same:
        # What the split itself has on both sides is told of as duplicates, with this selection or without.
        for sample_id in (*fold.train, *fold.val):
            known.pop(contents.get(sample_id, b""), None)
    again = {i: known[contents[i]] for i in fold.test if contents.get(i) in known}
    where = "" if selection.dataset == split.dataset else f" of {selection.dataset}"
    _refuse(list(again), fold, what, some([f"{i} (byte-identical to {twin}{where})" for i, twin in again.items()], 3))
    return part


def _same_split(selection: SelectionRecord, split: Split) -> bool:
    return (selection.dataset, selection.split_digest) == (split.dataset, split.digest)


def _used(selection: SelectionRecord, part: Mapping[str, Any]) -> list[str]:
    place = (part["repeat"], part["fold"])
    ids: list[str] = next(u["ids"] for u in selection.fitted_on if (u["repeat"], u["fold"]) == place)
    return ids


def _refuse(seen: list[str], fold: Fold, what: str, examples: str) -> None:
    if seen:
        raise LeakageError(
            f"{what} was fitted on {len(seen)} of the {len(fold.test)} test samples of fold {fold.fold}, such as "
            f"{examples}.",
            next="Fit it on the same split, or select anew in each fold with --rfe.",
            details={"fold": fold.fold, "repeat": fold.repeat, "samples": seen[:100]},
        )


def equal_notes(selection: SelectionRecord, split: Split, vectors: Mapping[str, bytes]) -> list[str]:
    """Report test samples whose vectors a selection was fitted on, as of the same pixels in another file.

    On the split that it was made on `histokit.protocol.leaks.duplicate_notes` does so.

    Parameters
    ----------
    selection : SelectionRecord
    split : Split
    vectors : mapping
        Sample id → digest, see `histokit.protocol.leaks.vector_digests`.
    """
    if _same_split(selection, split):
        return []
    used = _used(selection, selection.kept or selection.folds[0])
    known = {bytes.fromhex(selection.vectors[i]): i for i in used if i in selection.vectors}
    equal = {i: known[vectors[i]] for fold in split.folds() for i in fold.test if vectors.get(i) in known}
    if not equal:
        return []
    return [
        f"{len(equal)} test samples are equal in all features to samples that the selection {selection.id} was fitted "
        f"on (such as {' = '.join(next(iter(equal.items())))}): the scores {TOO_GOOD}"
    ]
