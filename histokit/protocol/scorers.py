"""Metrics of one set of predictions, or of thousands of resamples of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from histokit.errors import UsageError, did_you_mean
from histokit.protocol.metrics import AREA, METRICS, Floats, ResampledMetrics, count_metrics, ratio
from histokit.protocol.number_metrics import NUMBER_METRICS

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Codes = NDArray[np.intp]
#: Scores below one, and scores of at most one.
_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
#: So many columns of scores are copied at once: one alone would be read number by number from all of memory.
_COLUMNS = 32

#: Means of scores that differ by less are equal: one is not the same to the last bit in every order of its terms.
TIE = 1e-12

#: Numbers of pairs of units, and of a score and a unit, that are held at once.
HELD_AT_ONCE = 4_000_000
#: Units are resampled by pairs of them where these are at most so many times the samples.
_PAIRS_OF_SAMPLE = 50


def check_metric(name: str) -> str:
    """Return the name of a metric, of classes or of numbers.

    Raises
    ------
    UsageError
        If there is none of this name.
    """
    every = (*METRICS, *NUMBER_METRICS)
    if name not in every:
        raise UsageError(
            f"There is no metric {name!r}.",
            next=f"{did_you_mean(name, every)}Use one of {', '.join(METRICS)}; of numbers {', '.join(NUMBER_METRICS)}.",
        )
    return name


class Ranking:
    """One score, sorted once, so that its area under the ROC curve is quick for any weights.

    Parameters
    ----------
    positive : (n,) array of bool
        Of which samples the score should be high.
    score : (n,) array
    """

    def __init__(self, positive: NDArray[np.bool_], score: Floats):
        self.order = np.argsort(score, kind="stable")
        ranked = score[self.order]
        self.positive = positive[self.order]
        self.starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))

    def area(self, owner: Codes, weights: Floats) -> Floats:
        """Return the (B,) areas under the ROC curve for (B, G) weights of the units of samples, NaN where undefined.

        Parameters
        ----------
        owner : (n,) array of int
            The unit of each sample.
        weights : (B, G) array
        """
        shares, rows = self.shares(owner, weights.shape[1]), max(1, HELD_AT_ONCE // len(owner))
        parts = (weights[start : start + rows] for start in range(0, len(weights), rows))
        return np.concatenate([area_below(*(counts_above(each, part) for each in shares)) for part in parts])

    def area_of_units(self, owner: Codes, weights: Floats) -> Floats:
        """Return the (B,) areas for (B, G) weights of the units of samples: wins add up over pairs of units.

        Parameters
        ----------
        owner : (n,) array of int
            The unit of each sample.
        weights : (B, G) array
        """
        from scipy.sparse import csr_array

        count, owner = weights.shape[1], owner[self.order]
        positive = self.positive
        tie = np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(owner)))
        # At each of the scores that positives have: how many negatives of each unit are lower; equal ones are half so.
        levels, level = np.unique(tie[positive], return_inverse=True)
        starts = [np.searchsorted(levels, tie[~positive], side) for side in _SIDES]
        units = owner[~positive]
        wins, below = np.zeros((count, count)), np.zeros(count)
        at_once = max(1, HELD_AT_ONCE // count)
        for first in range(0, len(levels), at_once):
            height = min(at_once, len(levels) - first)
            found = np.zeros(height * count)
            for start in starts:
                here = (start >= first) & (start < first + height)
                found += np.bincount((start[here] - first) * count + units[here], minlength=len(found)) / 2
            negatives = found.reshape(height, count)
            negatives[0] += below
            negatives = negatives.cumsum(0, out=negatives)
            below = negatives[-1].copy()
            here = (level >= first) & (level < first + height)
            places = (owner[positive][here], level[here] - first)
            wins += csr_array((np.ones(len(places[0])), places), shape=(count, height)) @ negatives
        pairs = [weights @ np.bincount(owner[chosen], minlength=count) for chosen in (positive, ~positive)]
        return ratio(((weights @ wins) * weights).sum(1), pairs[0] * pairs[1])

    def shares(self, owner: Codes, units: int) -> tuple[csr_array, csr_array]:
        """Return how many positive and how many negative samples of each unit are new at each threshold.

        Negatives that follow each other are one threshold: a ROC curve is a straight line there, and neither the
        recall nor the precision at it changes.

        Parameters
        ----------
        owner : (n,) array of int
            The unit of each sample.
        units : int

        Returns
        -------
        two (T, units) sparse arrays
            From the highest threshold down.
        """
        from scipy.sparse import csr_array

        owner = owner[self.order]
        tie = np.repeat(np.arange(len(self.starts)), np.diff(self.starts, append=len(owner)))
        rises = np.bincount(tie[self.positive], minlength=len(self.starts)) > 0
        # What is right above positives ends a line, and so does the lowest threshold.
        kept = rises | np.concatenate([[True], rises[:-1]])
        row = kept.sum() - kept.cumsum()[tie]
        shape = (int(kept.sum()), units)
        positive, negative = (
            csr_array((np.ones(int(chosen.sum())), (row[chosen], owner[chosen])), shape=shape)
            for chosen in (self.positive, ~self.positive)
        )
        return positive, negative


def counts_above(share: csr_array, weights: Floats) -> Floats:
    """Return the (B, T) counts of samples down to each threshold, for (B, units) weights; see `Ranking.shares`."""
    found: Floats = np.ascontiguousarray((share @ weights.T).T)
    return found.cumsum(1, out=found)


def area_below(positive: Floats, negative: Floats) -> Floats:
    """Return the (B,) areas under the ROC curves of (B, T) counts, see `counts_above`; NaN where undefined."""
    across, up = (np.diff(each, axis=1, prepend=0.0) for each in (negative, positive))
    # Below the corners at the right of each piece, less half of what each piece rises; products are held nowhere.
    below, half = (np.einsum("ij,ij->i", across, each) for each in (positive, up))
    return ratio(below - half / 2, positive[:, -1] * negative[:, -1])


def plain_area(positive: NDArray[np.bool_], score: Floats) -> Floats:
    """Return the (1,) area under the ROC curve that `Ranking` gives where no sample has a weight.

    All counts are whole or halves, so that it is the same number. Values alone are sorted several times as fast as
    their places, and nothing is kept.
    """
    ordered = np.sort(score)
    if np.isnan(ordered[-1:]).any():
        return Ranking(positive, score).area(np.zeros(len(score), np.intp), np.ones((1, 1)))
    own = ordered if positive.all() else np.sort(score[positive])
    below, above = (np.searchsorted(ordered, own, side) - np.searchsorted(own, own, side) for side in _SIDES)
    wins = (below + (above - below) / 2).sum()
    return ratio([wins], [len(own) * (len(ordered) - len(own))])


class Scorer(ResampledMetrics):
    """The metrics of a set of predicted classes.

    The ROC AUC of more than two classes is the mean over the classes that have samples and whose rest has.

    Parameters
    ----------
    true, predicted : (n,) arrays of int
        Numbers of classes; n is at least 1.
    scores : (n, K) array
        Decision values or probabilities.
    positive : int, optional
        The positive one of two classes; the last one where not given.
    units : (n,) array of int, optional
        What is resampled as a whole: numbers of groups from 0. Every sample on its own where not given.
    """

    known = METRICS
    weights_at_once = 4_000_000

    def __init__(
        self, true: Codes, predicted: Codes, scores: Floats, positive: int | None = None, units: Codes | None = None
    ):
        super().__init__(len(scores), units)
        self.classes = scores.shape[1]
        cells = np.asarray(true) * self.classes + np.asarray(predicted)
        self._order = np.argsort(cells, kind="stable")
        self._cells, self._starts = np.unique(cells[self._order], return_index=True)
        self._true, self._scores, self._positive = np.asarray(true), scores, positive

    @cached_property
    def rankings(self) -> dict[int, Ranking]:
        """Of each class against the rest, or of the positive one of two."""
        return {k: Ranking(self._true == k, score) for k, score in self._ranked()}

    def _ranked(self) -> Iterator[tuple[int, Floats]]:
        """Yield the scores of each class, or of the positive one of two."""
        last = self.classes - 1
        ranked = range(self.classes) if self.classes > 2 else [last if self._positive is None else self._positive]
        for start in range(0, len(ranked), _COLUMNS):
            chosen = ranked[start : start + _COLUMNS]
            yield from zip(chosen, np.array(self._scores[:, list(chosen)].T, float, order="C"), strict=True)

    def resample(self, unit_weights: Floats, metrics: Iterable[str] | None = None) -> dict[str, Floats]:
        """Return metrics, or all, for (B, units) weights; see `ResampledMetrics.resample`.

        Of few units they follow from what adds up over units and pairs of units, not from the weights of all samples.
        """
        names, owner = np.unique(self.units, return_inverse=True)
        most = min(HELD_AT_ONCE, _PAIRS_OF_SAMPLE * self.count)
        wanted = list(self.known if metrics is None else metrics)
        counted = [name for name in wanted if name != AREA]
        if len(names) > len(unit_weights) or len(names) * max(len(names), len(self._cells)) > most:
            area, owner, weights = Ranking.area, self.units, unit_weights
            found = super().resample(unit_weights, counted) if counted else {}
        else:
            area, weights = Ranking.area_of_units, unit_weights[:, names]
            found = self._from_counts(owner, weights, counted)
        if AREA in wanted:
            rankings = (Ranking(self._true == k, each) for k, each in self._ranked())
            found[AREA] = _mean_area([area(ranking, owner, weights) for ranking in rankings])
        return {name: found[name] for name in wanted}

    def _from_counts(self, owner: Codes, weights: Floats, wanted: Sequence[str]) -> dict[str, Floats]:
        cells = np.empty(self.count, np.intp)
        cells[self._order] = np.repeat(np.arange(len(self._cells)), np.diff(self._starts, append=self.count))
        size = (weights.shape[1], len(self._cells))
        counts = np.bincount(owner * size[1] + cells, minlength=size[0] * size[1]).reshape(size).astype(float)
        rows, parts = max(1, self.weights_at_once // self.classes**2), []
        for first in range(0, len(weights), rows):
            part = weights[first : first + rows]
            confusion = np.zeros((len(part), self.classes**2))
            confusion[:, self._cells] = part @ counts
            parts.append(count_metrics(confusion.reshape(-1, self.classes, self.classes), wanted))
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    def confusion(self, weights: Floats | None = None) -> Floats:
        """Return the (B, K, K) confusion matrices for (B, n) weights of samples; unweighted where not given."""
        weights = np.ones((1, self.count)) if weights is None else weights
        cells = np.zeros((len(weights), self.classes**2))
        cells[:, self._cells] = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        return cells.reshape(-1, self.classes, self.classes)

    @cached_property
    def areas(self) -> dict[int, Floats]:
        """The (1,) areas under the one-versus-rest ROC curves: of each class, or of the positive one of two."""
        return {k: plain_area(self._true == k, score) for k, score in self._ranked()}

    def values(self, metrics: Iterable[str] | None = None) -> dict[str, float]:
        wanted = list(self.known if metrics is None else metrics)
        counted = [name for name in wanted if name != AREA]
        found = count_metrics(self.confusion(), counted) if counted else {}
        if AREA in wanted:
            found[AREA] = _mean_area(list(self.areas.values()))
        return {name: float(found[name][0]) for name in wanted}

    def _metrics(self, weights: Floats, wanted: Sequence[str]) -> dict[str, Floats]:
        return count_metrics(self.confusion(weights), wanted)


def _mean_area(by_class: Sequence[Floats]) -> Floats:
    """Return the mean of (B,) areas over the classes where they are defined."""
    areas = np.stack(by_class)
    return ratio(np.nan_to_num(areas).sum(0), (~np.isnan(areas)).sum(0))


def defined(value: float) -> float | None:
    """Return a number for a JSON document: none where it is undefined."""
    return None if np.isnan(value) else float(value)


def first_best(means: Floats) -> int:
    """Return the place of the highest mean score, of equal ones the first; what is undefined is lower than all."""
    known = np.where(np.isnan(means), -np.inf, means)
    return int(np.flatnonzero(known >= known.max() - TIE)[0])


def spread(values: Floats) -> float | None:
    """Return the standard deviation of the values that are defined; none of fewer than two."""
    known = values[~np.isnan(values)]
    return float(known.std()) if len(known) > 1 else None


def reasons(values: dict[str, float], present: Sequence[str]) -> dict[str, str]:
    """Say why metrics are undefined.

    Parameters
    ----------
    values : dict
        Metric → number, NaN where undefined.
    present : sequence of str
        The true classes that occur.
    """
    if not present:
        why = "there are no labelled samples"
    elif len(present) == 1:
        why = f"all samples are of the class {present[0]!r}"
    else:
        why = "it is not defined for these predictions"
    return {name: why for name, value in values.items() if np.isnan(value)}
