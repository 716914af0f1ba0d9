"""Normalisation of features by controls: what is asked, and the statistics of controls that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.errors import UsageError, did_you_mean

Doubles = NDArray[np.float64]

#: The deviation of a normal distribution whose median absolute deviation is 1.
_NORMAL = 1.4826


class Fit(NamedTuple):
    """What controls tell of each of d columns.

    Parameters
    ----------
    centre, spread : (d,) float64 arrays
        The spread is 0 where all controls, or for medians most of them, are the same.
    rotation : (d, r) float64 array, optional
        Of sphering: the directions of the scaled controls.
    gains : (r + 1,) float64 array, optional
        Of sphering: what each direction is multiplied by, and last all that are not among them.
    """

    centre: Doubles
    spread: Doubles
    rotation: Doubles | None = None
    gains: Doubles | None = None

    def apply(self, X: NDArray[np.floating], kept: NDArray[np.bool_], epsilon: float) -> NDArray[np.float32]:
        """Return (n, d) normalised vectors, with zeros in the columns that are not kept."""
        found = np.zeros(X.shape, np.float32)
        added = 0.0 if self.rotation is not None else epsilon
        scaled = (X[:, kept] - self.centre[kept]) / (self.spread[kept] + added)
        found[:, kept] = self._whitened(scaled)
        return found

    def pulled_back(self, weights: Doubles, kept: NDArray[np.bool_], epsilon: float) -> tuple[Doubles, Doubles]:
        """Return the weights of columns as they were, and what is to be added, that give what some give of `apply`.

        Parameters
        ----------
        weights : (K, d) array
            Of normalised columns.

        Returns
        -------
        (K, d) and (K,) arrays
        """
        added = 0.0 if self.rotation is not None else epsilon
        found = np.zeros(weights.shape)
        # The matrix that whitens is symmetric: it takes weights back as it takes vectors there.
        found[:, kept] = self._whitened(weights[:, kept]) / (self.spread[kept] + added)
        return found, -(found @ self.centre)

    def _whitened(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return (n, kept) rows times what whitens scaled columns; as they are where nothing does."""
        if self.rotation is None or self.gains is None:
            return rows
        inside = rows @ self.rotation
        return rows * self.gains[-1] + (inside * (self.gains[:-1] - self.gains[-1])) @ self.rotation.T


def _deviations(X: Doubles) -> Fit:
    spread = X.std(axis=0)
    # Of a column that is the same everywhere, rounding may leave a deviation.
    return Fit(X.mean(axis=0), np.where(X.max(axis=0) == X.min(axis=0), 0.0, spread))


def _medians(X: Doubles) -> Fit:
    centre = np.median(X, axis=0)
    return Fit(centre, _NORMAL * np.median(np.abs(X - centre), axis=0))


def sphere(fit: Fit, X: Doubles, kept: NDArray[np.bool_], epsilon: float) -> Fit:
    """Return what whitens controls of deviation 1 in the columns that are kept, by their correlations (ZCA-cor).

    Directions that the controls do not span have the variance of the least that they do.
    """
    scaled = (X[:, kept] - fit.centre[kept]) / fit.spread[kept]
    _, singular, directions = np.linalg.svd(scaled, full_matrices=False)
    least = singular.max(initial=0.0) * max(scaled.shape) * np.finfo(np.float64).eps
    singular, directions = singular[singular > least], directions[singular > least]
    gains = np.sqrt(len(X) - 1) / (np.append(singular, singular[-1]) + epsilon)
    return fit._replace(rotation=directions.T, gains=gains)


class Formula(NamedTuple):
    """A way of normalising: what it fits, what it adds to spreads by default, and whether it whitens."""

    fit: Callable[[Doubles], Fit]
    epsilon: float
    whitens: bool = False


#: The way → what it does; formulas and the added numbers are those of pycytominer.
METHODS: dict[str, Formula] = {
    "standardise": Formula(_deviations, 0.0),
    "mad-robustise": Formula(_medians, 1e-18),
    "sphering": Formula(_deviations, 1e-6, whitens=True),
}


@dataclass(frozen=True)
class Normalisation:
    """How features are normalised.

    Parameters
    ----------
    method : str
        One of `METHODS`: ``standardise`` takes mean and standard deviation of the controls, ``mad-robustise`` their
        median and 1.4826 times the median absolute deviation, ``sphering`` whitens them by ZCA-cor.
    controls : str
        A filter over the columns of the samples.
    per : str, optional
        A column such as a plate, whose controls normalise its own samples; all controls all samples where not given.
    epsilon : float, optional
        What is added to spreads, or to the singular values in sphering; that of the method where not given.
    """

    method: str
    controls: str
    per: str | None = None
    epsilon: float | None = None

    @property
    def added(self) -> float:
        """What is added to spreads or singular values."""
        return METHODS[self.method].epsilon if self.epsilon is None else self.epsilon

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        return {"method": self.method, "epsilon": self.added, "controls": self.controls, "per": self.per}


def parse_normalisation(normalise: str | None, controls: str | None, per: str | None) -> Normalisation | None:
    """Return how features are normalised, of ``METHOD[:EPSILON]`` and what its controls are.

    Raises
    ------
    UsageError
        If the method is unknown, or one of what belongs together is not given.
    """
    if normalise is None:
        if controls is not None or per is not None:
            raise UsageError(
                f"{'--controls' if controls is not None else '--per'} is for --normalise.",
                next=f"Give --normalise too, one of {', '.join(METHODS)}.",
            )
        return None
    method, colon, number = normalise.partition(":")
    if method not in METHODS:
        raise UsageError(
            f"There is no way {method!r} of normalising.",
            next=f"{did_you_mean(method, METHODS)}Use one of {', '.join(METHODS)}.",
        )
    if not controls:
        raise UsageError(
            f"--normalise {normalise} needs to know which samples are controls.",
            next="""Say so by their columns: --controls "compound = 'DMSO'".""",
        )
    return Normalisation(method, controls, per, _epsilon(normalise, number) if colon else None)


def normalisation_of(parameters: Mapping[str, Any]) -> Normalisation | None:
    """Return how features were normalised, of the parameters of a run."""
    return parse_normalisation(*(parameters.get(name) for name in ("normalise", "controls", "per")))


def _epsilon(text: str, number: str) -> float:
    try:
        epsilon = float(number)
    except ValueError:
        epsilon = -1.0
    if not (isfinite(epsilon) and epsilon >= 0):
        raise UsageError(
            f"--normalise {text!r}: {number!r} is no number of at least 0.",
            next="Write what is added to the spread of the controls, such as mad-robustise:0.01, or leave it out.",
        )
    return epsilon
