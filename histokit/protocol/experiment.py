"""Features, labels and folds brought together and checked for leaks: what selection and training start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from histokit.errors import DataError, UsageError
from histokit.features import FeatureSet, FeatureStore
from histokit.features.normalisation import Normalisation
from histokit.plugin.digests import digest_bytes, digest_json
from histokit.protocol.folds import IN_A_SINGLE, of_other_classes, without_lone_classes
from histokit.protocol.labelled_features import label_notes, open_labelled
from histokit.protocol.leaks import check_groups, duplicate_notes, group_notes, samples_digest, vector_digests
from histokit.protocol.networks_seen import check_networks
from histokit.protocol.outer_folds import OuterFold, Rows, find_outer_folds
from histokit.protocol.rows import make_rows, open_controls
from histokit.protocol.splits import resolve_split
from histokit.protocol.step_options import ExperimentOptions
from histokit.protocol.targets import (
    check_varied,
    choose_metric,
    read_numbers,
    target_of,
    whole_number_note,
    with_type,
)
from histokit.protocol.tuning import Problem
from histokit.store.records import NUMBER
from histokit.store.split_records import Split


@dataclass(frozen=True)
class Experiment:
    """What is to be learned, with its outer folds.

    Parameters
    ----------
    features : FeatureSet
        Of the labelled samples, or of the units they were aggregated to.
    split : Split
    folds : list of OuterFold
    problem : Problem
    classes : tuple of str
        The order of scores; empty where numbers are predicted.
    labels : (n,) array of str
        Numbers as texts, too.
    group : str, optional
        The column of the groups.
    notes : list of str
        What a reader of the scores should know.
    contents, vectors : dict
        The digests of the images of the samples and of their vectors, by id; of samples, too, where rows are units.
    unit_of : dict
        Sample id → the row that it is part of.
    of_folds : sequence of Experiment
        Where each fold has features of networks of its own: that of each fold, whose only fold it is.
    """

    features: FeatureSet
    split: Split
    folds: list[OuterFold]
    problem: Problem
    classes: tuple[str, ...]
    labels: NDArray[np.object_]
    group: str | None
    notes: list[str]
    contents: dict[str, bytes]
    vectors: dict[str, bytes]
    unit_of: dict[str, str]
    of_folds: Sequence[Experiment] = ()

    def of_fold(self, number: int) -> tuple[Experiment, OuterFold]:
        """Return the features that a fold is trained on, and the fold as rows of them."""
        if not self.of_folds:
            return self, self.folds[number]
        return self.of_folds[number], self.of_folds[number].folds[0]

    @cached_property
    def training(self) -> Rows:
        """The rows that train in any fold, in order."""
        # Found once: each fold asks, and with repeats there are many folds of all rows.
        trained = np.zeros(len(self.labels), bool)
        for outer in self.folds:
            trained[outer.train] = True
        return np.flatnonzero(trained)

    @property
    def positive(self) -> str | None:
        """The positive one of two classes."""
        return None if self.problem.positive is None else self.classes[self.problem.positive]

    @property
    def feature_list(self) -> list[dict[str, Any]]:
        """The tables of the features, for a record."""
        return describe_features(self.features)

    @property
    def tested_digest(self) -> str:
        """The digest of the samples that are tested in any fold, and what is in their images."""
        tested = np.zeros(len(self.labels), bool)
        for outer in self.folds:
            tested[outer.test] = True
        rows = np.flatnonzero(tested).tolist()
        ids, contents = self.features.sample_ids, self.features.content
        return samples_digest([ids[row] for row in rows], [contents[row] for row in rows])

    def lacking(self, rows: Rows) -> list[str]:
        """Return the classes that none of some rows has."""
        there = set(self.problem.y[rows].tolist())
        return [name for number, name in enumerate(self.classes) if number not in there]

    def samples_of(self, rows: Rows) -> list[str]:
        """Return the ids of the samples behind rows: those of a unit are several."""
        ids = self.features.sample_ids
        units = {ids[row] for row in rows.tolist()}
        return [sample_id for sample_id, unit in self.unit_of.items() if unit in units]

    def identity(self) -> dict[str, Any]:
        """Return what an id has to hash of the data: features, samples with labels and groups, split."""
        groups = self.problem.groups
        rows = zip(
            self.features.sample_ids,
            self.features.content,
            self.labels,
            [None] * len(self.labels) if groups is None else groups,
            strict=True,
        )
        digest = digest_bytes(*sorted(repr((i, c, label, str(g))).encode() for i, c, label, g in rows))
        tables = [part["fingerprint"] for part in self.feature_list]
        known = {"features": tables, "samples": digest.hex(), "split": self.split.digest, "classes": list(self.classes)}
        if self.of_folds:
            known["of_folds"] = [[part["fingerprint"] for part in each.feature_list] for each in self.of_folds]
        return {**known, "steps": [step["digest"] for step in self.features.steps]} if self.features.steps else known

    def id_of(self, asked: Mapping[str, Any], datasets: Callable[[str], str | None]) -> str:
        """Return the id of what is asked of the experiment.

        Parameters
        ----------
        asked : mapping
            JSON-serialisable data.
        datasets : callable
            Returns the dataset of what is stored under an id, if anything is.

        Returns
        -------
        str
            Of the dataset, too, so that a copy of it has runs of its own. What an earlier version stored of the same
            dataset under an id without it keeps that id.
        """
        identity, name = {**self.identity(), **asked}, self.split.dataset
        before = digest_json(identity).hex()[:12]
        return before if datasets(before) == name else digest_json({**identity, "dataset": name}).hex()[:12]


def describe_features(features: FeatureSet) -> list[dict[str, Any]]:
    """Return the tables of a feature set: address, table, fingerprint, backbone, layer and number of columns."""
    names = ("address", "table", "fingerprint", "backbone", "layer")
    return [{**{name: getattr(part, name) for name in names}, "columns": len(part)} for part in features.parts]


def prepare(
    store: FeatureStore,
    dataset: str,
    address: str,
    options: ExperimentOptions,
    *,
    aggregate: str | None = None,
    normalisation: Normalisation | None = None,
    pixels: bool = False,
    outline: bool = False,
    keep: bool = True,
    workers: int | None = None,
    place: tuple[int, int] | None = None,
    tested: bool = True,
) -> Experiment:
    """Open the features of labelled samples and place them in the folds of a split.

    Parameters
    ----------
    store : FeatureStore
    dataset, address : str
    options : ExperimentOptions
    aggregate : str, optional
        ``COLUMN:how,…``, to train on units in place of samples.
    normalisation : Normalisation, optional
        By controls, which are neither trained on nor tested.
    pixels : bool
        Open images in place of features; the address has to be ``images``.
    outline : bool
        Read no vector: enough to know the identity of what would be done.
    keep : bool
        Write a split that is made on the spot into the store.
    workers : int, optional
        Processes that read images; threads of this one where not given.
    place : (int, int), optional
        Repeat and fold of the only fold of the split that is looked at.
    tested : bool
        Whether test samples are predicted by these features, so that their networks may not have seen them.

    Returns
    -------
    Experiment

    Raises
    ------
    LeakageError
        If a group is on both sides of a fold.
    DataError
        If features are not finite, there are fewer than two classes, or no fold has both sides.
    """
    options = with_type(store, dataset, options)
    target = options.target
    how_split: dict[str, Any] = {"target": target, "target_type": options.target_type, "keep": keep}
    chosen = resolve_split(store, dataset, options.split, **how_split)
    chosen = chosen if place is None else chosen.only(*place)
    if target and target == (chosen.group or store.dataset(dataset).group):
        raise UsageError(
            f"{target} is what the folds of {chosen.name!r} keep apart: no {target} of a test sample is trained on.",
            next="Use another --target, or a --split over another group.",
        )
    opening: dict[str, Any] = {"pixels": pixels, "outline": outline, "workers": workers}
    features, left_out = open_labelled(store, dataset, address, options, **opening)
    how: dict[str, Any] = {"allow_missing": options.allow_missing, "outline": outline}
    features, controls = open_controls(store, features, address, normalisation, **how, notes=left_out)
    record, notes = features.record, list(chosen.params.get("notes", []))
    notes += [note for note in left_out if note not in notes]
    metric = choose_metric(target_of(options.target_type), options.metric, record.metric)
    notes += whole_number_note(features.samples.schema, target, options.target_type)
    if not (record.group or chosen.group or chosen.leaks):
        notes.append(f"{dataset} names no group: samples of one slide, patient or compound may be on both sides")
    for column in dict.fromkeys([record.group, chosen.group, chosen.barred]):
        notes += [note for note in check_groups(chosen, _groups_by_id(features, column), column) if note not in notes]
    contents = dict(zip(features.sample_ids, features.content, strict=True))
    notes += check_networks(store, [part.backbone for part in features.parts], chosen, contents) if tested else []
    vectors = {} if pixels or outline else vector_digests(features.sample_ids, features.X)
    notes += duplicate_notes(chosen, contents, vectors)
    column = chosen.group or record.group
    notes += label_notes(features, contents, target, column)
    of_samples = _groups_by_id(features, column)
    asked: dict[str, Any] = {"normalisation": normalisation, "aggregate": aggregate, "outline": outline}
    features, unit_of, said = make_rows(features, controls, chosen, options, **asked)
    notes += said
    folds = find_outer_folds(chosen, unit_of, features.sample_ids, notes, of_samples)
    groups = _groups(features, column)
    # No single pixel tells a group: of images, only the sizes of groups are looked at.
    matrix = np.empty((len(features), 0)) if pixels else features.X
    notes += group_notes(matrix, groups, features.column_names, column)
    problem, classes, labels = _problem(features, groups, metric, options)
    if classes:
        notes = [note for note in notes if not of_other_classes(note, classes)]
        texts = pa.types.is_string(features.samples.schema.field(target or "label").type)
        if any(IN_A_SINGLE in note for note in notes):
            notes += without_lone_classes(labels, groups, target or "label", texts, options.where)
    seen = (contents, vectors, unit_of)
    return Experiment(features, chosen, folds, problem, classes, labels, column, notes, *seen)


def _problem(
    features: FeatureSet, groups: NDArray[np.object_] | None, metric: str, options: ExperimentOptions
) -> tuple[Problem, tuple[str, ...], NDArray[np.object_]]:
    """Return what is to be learned, the classes, and the target of each row as text."""
    target, record = options.target or "label", features.record
    values = features.column(target)
    labels = np.array([str(v) for v in values], object)
    if options.target_type == NUMBER:
        y = read_numbers(values, features.sample_ids, target)
        check_varied(y, target)
        return Problem(features.X, y, groups, 1, None, metric, options.seed, numbers=True), (), labels
    classes = _classes(labels, () if options.target else record.classes)
    position = {name: number for number, name in enumerate(classes)}
    codes = np.array([position[label] for label in labels], np.intp)
    positive = position.get(record.positive or "", len(classes) - 1) if len(classes) == 2 else None
    return Problem(features.X, codes, groups, len(classes), positive, metric, options.seed), classes, labels


def _groups_by_id(features: FeatureSet, column: str | None) -> dict[str, Any] | None:
    """Return the group of each sample that has one."""
    groups = features.groups(column) if column else None
    if groups is None:
        return None
    return {i: group for i, group in zip(features.sample_ids, groups, strict=True) if group is not None}


def _groups(features: FeatureSet, column: str | None) -> NDArray[np.object_] | None:
    groups = features.groups(column) if column else None
    if groups is None:
        return None
    units = zip(groups, features.sample_ids, strict=True)
    return np.array([unit if group is None else str(group) for group, unit in units], object)


def _classes(labels: NDArray[np.object_], announced: tuple[str, ...]) -> tuple[str, ...]:
    found = set(labels)
    classes = [name for name in announced if name in found]
    classes += sorted(found - set(classes))
    if len(classes) < 2:
        raise DataError(
            f"The samples are all of the class {classes[0]!r}." if classes else "There are no labelled samples.",
            next="Give labels of two classes or more, or another --target or --where.",
        )
    return tuple(classes)
