"""The nearest samples of queries by stored features."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from histokit.errors import DataError, UsageError, counted, did_you_mean, some
from histokit.features import FeatureSet, FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.neighbours.exact import NearestRows, Rows
from histokit.neighbours.question import (
    Queries,
    Round,
    SearchQuestion,
    bar_groups,
    identical_rows,
    one_sample,
    open_samples,
    queries_of,
    split_rounds,
    unknown_query,
)
from histokit.neighbours.retrieval import Retrieval
from histokit.neighbours.retrieval_scores import Scores, retrieval_scores
from histokit.neighbours.searching import open_sought, run_search
from histokit.plugin.weights import TRAINED
from histokit.protocol.labelled_features import left_out
from histokit.protocol.networks_seen import network_notes
from histokit.ranges import check_ranges

METRICS = ("cosine", "euclidean")


def neighbours(
    store: StoreLike,
    dataset: str,
    features: str,
    *,
    query: str | Path | None = None,
    split: str | None = None,
    k: int = 10,
    metric: str = "cosine",
    where: str | None = None,
    same_group: bool = False,
    allow_missing: bool = False,
    device: str = "auto",
    progress: Callable[..., None] = lambda *_: None,
) -> Retrieval:
    """Find the nearest samples of queries, and tell how often they are of the query's class.

    A query never finds itself, nor samples of its own group (slide, patient) where the dataset names one.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
        Whose samples are sought among.
    features : str
        An address; merged ones are vectors one behind the other.
    query : str or path, optional
        The id of a sample; another dataset with the same features, all of whose samples are queries; or an image file,
        which is pushed through the network of the features as the dataset's images were. Where not given, every sample
        is a query.
    split : str, optional
        The test samples of each fold are queries, and seek among the training samples of the fold. The split alone says
        what they may find.
    k : int
    metric : str
        ``cosine`` or ``euclidean``.
    where : str, optional
        A filter over the columns of the samples that are sought among, and of queries where all samples are.
    same_group : bool
        Let queries find samples of their own group.
    allow_missing : bool
        Leave out samples whose features are missing, instead of raising.
    device : str
        Where the network of an image file runs.
    progress : callable, optional
        Called with (done, total) queries.

    Returns
    -------
    Retrieval

    Raises
    ------
    StoreError
        If features are absent, ambiguous or incomplete.
    UsageError
        If the query is unknown, or a parameter out of range.
    DataError
        If features are not finite, or there is nothing to be found.
    """
    check_ranges(k=k)
    _check(metric, query, split)
    store = open_store(store)
    samples, outline = open_sought(store, dataset, features, where, allow_missing)
    notes = left_out(store, samples, where)
    queries = _queries(store, samples, query, features, allow_missing, device, notes)
    rounds, named = [Round(np.arange(len(queries)), np.arange(len(samples)))], None
    if split is not None:
        named, rounds = split_rounds(store, samples, split, notes)
        queries = Queries(**{**vars(queries), "kind": "split", "name": named})
    barred, group = bar_groups(samples, queries, same_group, notes)
    question = SearchQuestion(samples, queries, rounds, barred, group, notes)
    trained = [part.backbone for part in samples.parts if part.backbone.startswith(TRAINED)]
    notes += network_notes(store, trained, samples.content) if trained else []
    k = _most(question, k)
    known = None if queries.kind in ("sample", "file") else _scored_classes(question)
    found, index = run_search(store, question, metric, k, known and known[1:], outline, progress)
    asked = np.concatenate([each.queries for each in rounds])
    _tell(question, metric)
    scores, per_class = _scores(found, asked, *known) if known else (None, {})
    return Retrieval(
        dataset=dataset,
        address=samples.address,
        metric=metric,
        k=k,
        split=named,
        group=group,
        scores=scores,
        per_class=per_class,
        shown=samples.record.metric,
        index=index,
        notes=list(dict.fromkeys(notes)),
        question=question,
        asked=asked,
        folds=[(each.repeat, each.fold) for each in rounds for _ in each.queries.tolist()],
        found=found,
    )


def _check(metric: str, query: str | Path | None, split: str | None) -> None:
    if metric not in METRICS:
        raise UsageError(
            f"There is no distance {metric!r}.", next=f"{did_you_mean(metric, METRICS)}Use {' or '.join(METRICS)}."
        )
    if query is not None and split is not None:
        raise UsageError(
            "--split makes its test samples the queries, so that --query has no place beside it.",
            next="Leave one of them out.",
        )


def _queries(
    store: FeatureStore,
    samples: FeatureSet,
    query: str | Path | None,
    address: str,
    allow_missing: bool,
    device: str,
    notes: list[str],
) -> Queries:
    if query is None:
        return queries_of(samples, "all", "", None)
    if isinstance(query, str):
        if (one := one_sample(store, samples, query)) is not None:
            return one
        if store.find_dataset(query) is not None:
            return _of_dataset(store, samples, query, address, allow_missing)
    if os.path.exists(query):
        from histokit.neighbours.image_query import file_query

        return file_query(store, samples, Path(query), device, notes)
    raise unknown_query(store, samples, str(query))


def _of_dataset(store: FeatureStore, samples: FeatureSet, name: str, address: str, allow_missing: bool) -> Queries:
    others = open_samples(store, name, address, None, allow_missing, outline=False)
    mine, theirs = ({part.address: part.fingerprint for part in each.parts} for each in (samples, others))
    if mine != theirs:
        first = next(key for key in mine if mine[key] != theirs.get(key))
        raise UsageError(
            f"The features {first} of {name!r} are not made as those of {samples.record.name!r}: "
            f"@{theirs.get(first)} and @{mine[first]}.",
            next="See how they differ: histokit list features; extract both with the same weights and preprocessing.",
        )
    found = queries_of(others, "dataset", name, lambda rows: others.X[rows])
    if name != samples.record.name:
        return found
    place = {sample_id: row for row, sample_id in enumerate(samples.sample_ids)}
    return replace(found, own=np.array([place.get(i, -1) for i in found.ids], np.intp))


def _most(question: SearchQuestion, k: int) -> int:
    """Return how many neighbours every query has, and say where these are fewer than asked for."""
    least = min(int(question.barred.left(each.queries, each.samples).min()) for each in question.rounds)
    if least < 1:
        what = f"no sample of another {question.group}" if question.group else "no other sample"
        raise DataError(
            f"There is nothing to be found in {question.samples.record.name!r}: of some queries there is {what}.",
            next="Let them find samples of their own group with --same-group, or ingest more samples."
            if question.group
            else "Ingest more samples, or mend --where.",
        )
    if least < k:
        samples = counted(least, "sample", "samples")
        question.notes.append(f"{k} neighbours were asked for; there are {samples} to be found by every query")
    return min(k, least)


def _scored_classes(question: SearchQuestion) -> tuple[list[str], Rows, Rows] | None:
    """Return the classes, and their numbers of queries and samples, -1 where it is not known; none without scores."""
    samples, queries = question.samples, question.queries
    both = [queries.labels, samples.labels]
    known = {str(label) for labels in both for label in labels if label is not None}
    classes = [name for name in samples.record.classes or () if name in known]
    classes += sorted(known - set(classes))
    number = {name: code for code, name in enumerate(classes)}
    true, near = (
        np.array([-1 if label is None else number[str(label)] for label in labels], np.intp) for labels in both
    )
    return (classes, true, near) if _scored(question, classes, true, near) else None


def _scored(question: SearchQuestion, classes: list[str], true: Rows, near: Rows) -> bool:
    """Return whether classes can be scored, and say what of them cannot."""
    notes = question.notes
    asked = np.unique(np.concatenate([each.queries for each in question.rounds]))
    without = int((true[asked] < 0).sum())
    if without == len(asked) or not (near >= 0).any():
        notes.append("no class of queries or samples is known: there are no scores")
        return False
    if without:
        notes.append(counted(without, "query without a label is not scored", "queries without a label are not scored"))
    sought = np.zeros(len(near), bool)
    for each in question.rounds:
        sought[each.samples] = True
    if unknown := int((near[sought] < 0).sum()):
        has = counted(
            unknown, "sample that is sought among has no label", "samples that are sought among have no label"
        )
        notes.append(
            f'{has}: neighbours of no class, which count as wrong; --where "label IS NOT NULL" leaves them out'
        )
    if len(classes) == 1:
        notes.append(f"all samples are of the class {classes[0]!r}: scores say nothing")
    lost = {classes[c] for c in np.unique(true[asked]).tolist() if c >= 0 and not _findable(question, true, near, c)}
    if lost:
        what = f"of another {question.group}" if question.group else "to be found"
        notes.append(f"of {some(sorted(lost))} there is no sample {what}: their queries count as wrong")
    return True


def _findable(question: SearchQuestion, true: Rows, near: Rows, code: int) -> bool:
    """Return whether some query of a class has a sample of it to find."""
    for each in question.rounds:
        own = each.queries[true[each.queries] == code]
        there = each.samples[near[each.samples] == code]
        if len(own) and len(there) and (question.barred.left(own, there) > 0).any():
            return True
    return False


def _scores(
    found: NearestRows, asked: Rows, classes: list[str], true: Rows, near: Rows
) -> tuple[Scores, dict[str, Scores]]:
    labelled = true[asked] >= 0
    places = found.places[labelled]
    codes = np.where(places >= 0, near[places], -1)
    return retrieval_scores(true[asked][labelled], codes, found.precision[labelled], classes)


def _tell(question: SearchQuestion, metric: str) -> None:
    """Note what of the samples makes neighbours mean less than they seem to."""
    samples, queries, notes = question.samples, question.queries, question.notes
    if metric == "cosine":
        # Of an outline, which holds zeros in no memory, it is not known.
        flat = int((~samples.X.any(axis=1)).sum()) if samples.X.flags.writeable else 0
        if flat:
            holds = counted(flat, "sample holds", "samples hold")
            notes.append(f"{holds} nothing but zeros: at cosine distance 1 of everything")
    twins = identical_rows(samples, queries)
    alike = {
        queries.ids[q]: samples.samples.column("id")[others[0]].as_py()
        for q, content in enumerate(queries.contents)
        if content is not None and (others := [row for row in twins.get(content, []) if row != queries.own[q]])
    }
    if alike:
        one, other = next(iter(alike.items()))
        are = counted(len(alike), "query is", "queries are")
        notes.append(f"{are} byte-identical to another sample (such as {one} = {other}), and may find it")
