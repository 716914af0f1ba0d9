"""Linear support vector machines with squared hinge: many training sets and penalties of one matrix at once.

The objective of one problem, with targets ``y`` of -1 and 1, is that of scikit-learn's ``LinearSVC``::

    |v|² / 2 + C Σ c_i max(0, 1 - y_i f_i)²,   f = A v,   A = [X, 1]

It is differentiable, so that Newton's method on the samples inside the margin ends after a few steps (Keerthi and
DeCoste 2005, "A modified finite Newton method for fast solution of large scale linear SVMs"; Chapelle 2007,
"Training a support vector machine in the primal"). Where the penalty is small, conjugate gradients solve all
problems together; else each has linear systems as large as its samples inside the margin, or as the columns,
whichever are fewer, from products of samples or of columns that all problems share. Whatever gave the weights, the
gradient at them is looked at, and they are refined where it does not tell the optimum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.classifiers.solvers.chains import chains_of, in_turn
from histokit.classifiers.solvers.common import blas_threads
from histokit.classifiers.solvers.line_search import Line
from histokit.classifiers.solvers.newton_systems import System, columns_factor
from histokit.classifiers.solvers.refinement import NEAR, Refined, distances, refine

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_CG_STEPS = 45
_CG_TOLERANCE = 1e-9
#: Problems whose residual is not below this share after so many steps are left to other methods.
_CG_TRIAL, _CG_HOPE = 15, 0.1
_JOINT_STEPS = 6
_NEWTON_STEPS = 60
#: Where the curvature along some direction may be so large, dual coefficients have too few digits for the weights.
_STEEP = 1e11
#: Below so many multiplications in a product, one thread computes it.
_WORTH_THREADS = 30_000_000
#: The products of all pairs of samples are kept for no more samples than this: 1.2 GB.
_MOST_PAIRS = 12_000


class Matrix:
    """The samples of all problems, and their products.

    Parameters
    ----------
    X : (n, d) array
    """

    def __init__(self, X: NDArray[np.floating]):
        n, d = X.shape
        self.A = np.empty((n, d + 1))
        self.A[:, :d] = X
        self.A[:, d] = 1.0
        self._once = Lock()
        self._kept: tuple[float, Mask, Floats, Floats] | None = None

    @property
    def paired(self) -> bool:
        """Whether the products of all pairs of samples are used."""
        return len(self.A) <= _MOST_PAIRS

    @cached_property
    def gram(self) -> Floats:
        """The (n, n) products of samples."""
        products: Floats = self.A @ self.A.T
        return products

    def shared(self, rows: Mask, penalty: float) -> tuple[Floats, Floats]:
        """Return the (w, w) sums of products of columns over most rows, and the factor of their `columns_factor`.

        All problems of a training set begin with these.
        """
        with self._once:
            if self._kept is None or self._kept[0] != penalty or not np.array_equal(self._kept[1], rows):
                rest = self.A[~rows]
                sums = self._scatter - rest.T @ rest
                self._kept = penalty, rows, sums, columns_factor(sums, penalty)
            return self._kept[2:]

    @cached_property
    def _scatter(self) -> Floats:
        products: Floats = self.A.T @ self.A
        return products

    @cached_property
    def squares(self) -> Floats:
        """The (n,) squared lengths of samples."""
        found: Floats = np.einsum("ij,ij->i", self.A, self.A)
        return found

    def values(self, dual: Floats) -> Floats:
        """Return ``A Aᵀ dual``."""
        n, width = self.A.shape
        found: Floats = self.gram @ dual if self.paired and n <= 2 * width else self.A @ (self.A.T @ dual)
        return found


@dataclass
class BinaryProblems:
    """Binary problems on the rows of one matrix, each in a column.

    Parameters
    ----------
    target : (n, P) array
        -1 and 1.
    weight : (n, P) array
        ``c``; 0 where a row is not trained on.
    kind : (P,) array of int
        Equal for problems that differ in few rows.
    """

    target: Floats
    weight: Floats
    kind: NDArray[np.intp]

    def inside(self, values: Floats) -> Mask:
        """Return which training samples are inside the margin."""
        found: Mask = (self.target * values < 1.0) & (self.weight > 0)
        return found

    def steep(self, matrix: Matrix, penalty: float) -> Mask:
        """Return which problems are solved for the weights alone."""
        found: Mask = 2.0 * penalty * (matrix.squares @ self.weight) > _STEEP
        return found

    def take(self, columns: NDArray[np.intp]) -> BinaryProblems:
        """Return some of the problems."""
        return BinaryProblems(self.target[:, columns], self.weight[:, columns], self.kind[columns])


class Solved(NamedTuple):
    """The solution of one problem for one penalty.

    Parameters
    ----------
    column, penalty : int
        Their numbers.
    values : (n,) array
        ``f`` of all rows.
    primal : (w,) array
        ``v``.
    optimal : bool
        Whether the gradient at ``v`` is that of the optimum.
    """

    column: int
    penalty: int
    values: Floats
    primal: Floats
    optimal: bool


def path(matrix: Matrix, problems: BinaryProblems, penalties: Sequence[float]) -> Iterator[Solved]:
    """Solve problems for ascending penalties, each from the solution before.

    Parameters
    ----------
    matrix : Matrix
    problems : BinaryProblems
    penalties : ascending sequence of float
        ``C``.

    Yields
    ------
    Solved
        Of every problem and penalty.
    """
    values, dual = np.zeros_like(problems.target), np.zeros_like(problems.target)
    left = np.full(values.shape[1], len(penalties))
    together = np.arange(values.shape[1])
    # Threads that wait for each other after every small product cost more than they save.
    threads = 1 if values.size * matrix.A.shape[1] < _WORTH_THREADS else None
    for number, penalty in enumerate(penalties):
        with blas_threads(threads):
            solved = _solve_together(matrix, problems.take(together), penalty, values[:, together])
        good = solved.optimal
        left[together[~good]] = number
        together = together[good]
        values[:, together], dual[:, together] = solved.values[:, good], solved.dual[:, good]
        for column, primal in zip(together, solved.primal.T[good], strict=True):
            yield Solved(int(column), number, values[:, column], primal, True)
    chains = chains_of(problems.kind, np.flatnonzero(left < len(penalties)))

    def task(column: int, neighbour: dict[int, Mask]) -> list[Solved]:
        one, start = problems.take(np.array([column])), (values[:, column], dual[:, column])
        return _one_by_one(matrix, one, penalties[left[column] :], start, (column, int(left[column])), neighbour)

    if chains and matrix.paired:
        matrix.gram  # noqa: B018 - once, before threads ask for it
    yield from in_turn(chains, task)


def _one_by_one(
    matrix: Matrix,
    problem: BinaryProblems,
    penalties: Sequence[float],
    start: tuple[Floats, Floats],
    place: tuple[int, int],
    neighbour: dict[int, Mask],
) -> list[Solved]:
    """Solve one problem for the penalties that are left; `neighbour` holds who was inside a similar one."""
    target, weight = problem.target[:, 0], problem.weight[:, 0]
    system = System(matrix.A, matrix.gram if matrix.paired else None, weight, matrix.shared)
    (values, dual), (column, first), easy = start, place, list[Floats]()
    for number, penalty in enumerate(penalties, first):
        if problem.steep(matrix, penalty)[0]:
            break
        guess = neighbour.get(number, target * values < 1.0) & (weight > 0)
        values, dual = _newton(system, target, penalty, values, dual, guess)
        easy.append(dual)
    primals = matrix.A.T @ np.stack(easy or [dual], axis=1)
    found = _checked(matrix, problem, penalties[: len(easy)], primals)
    at, primal = len(easy), primals[:, -1]
    found += [None] * (len(penalties) - at)
    done = []
    for number, (penalty, known) in enumerate(zip(penalties, found, strict=True)):
        refined = known or refine(system, target, penalty, primals[:, number] if number < at else primal)
        primal = refined.primal
        neighbour[first + number] = target * refined.values < 1.0
        done.append(Solved(column, first + number, refined.values, primal, refined.optimal))
    return done


def _checked(
    matrix: Matrix, problem: BinaryProblems, penalties: Sequence[float], primals: Floats
) -> list[Refined | None]:
    """Return the weights of some penalties, one a column; none where they are not the optimum."""
    values = matrix.A @ primals
    strength = problem.weight * np.asarray(penalties)
    bounds, sizes = distances(matrix.A, problem.target, strength, primals[:, : len(penalties)], values)
    return [
        Refined(primals[:, number], values[:, number], True) if near else None
        for number, near in enumerate(bounds <= NEAR * sizes)
    ]


class _Together(NamedTuple):
    values: Floats
    dual: Floats
    primal: Floats
    optimal: Mask


def _solve_together(matrix: Matrix, problems: BinaryProblems, penalty: float, values: Floats) -> _Together:
    """Solve by conjugate gradients those problems that these can solve in a few steps."""
    dual, optimal = np.zeros_like(values), np.zeros(values.shape[1], bool)
    open_, inside = np.flatnonzero(~problems.steep(matrix, penalty)), problems.inside(values)
    values = values.copy()
    for _ in range(_JOINT_STEPS):
        if not len(open_):
            break
        part = problems.take(open_)
        found, converged = _conjugate_gradients(matrix, part, penalty, inside[:, open_])
        open_, found = open_[converged], found[:, converged]
        dual[:, open_], values[:, open_] = found, matrix.values(found)
        before, inside[:, open_] = inside[:, open_], problems.take(open_).inside(values[:, open_])
        same = (before == inside[:, open_]).all(0)
        optimal[open_[same]] = True
        open_ = open_[~same]
    primal = matrix.A.T @ dual
    values = matrix.A @ primal
    bounds, sizes = distances(matrix.A, problems.target, penalty * problems.weight, primal, values)
    return _Together(values, dual, primal, optimal & (bounds <= NEAR * sizes))


def _conjugate_gradients(matrix: Matrix, problems: BinaryProblems, penalty: float, inside: Mask) -> tuple[Floats, Mask]:
    """Solve ``(G + 1 / (2 C c)) dual = y`` on the samples inside, scaled to a diagonal of one and more."""
    scale = np.sqrt(2.0 * penalty * problems.weight) * inside
    right = scale * problems.target
    found, residual, direction = np.zeros_like(right), right, right
    trial = square = start = (right**2).sum(0)
    for number in range(_CG_STEPS):
        busy = square > _CG_TOLERANCE**2 * start
        if number >= _CG_TRIAL:
            busy &= trial <= _CG_HOPE**2 * start
        if not busy.any():
            break
        image = direction + scale * matrix.values(scale * direction)
        length = np.where(busy, square / np.where(busy, (direction * image).sum(0), 1.0), 0.0)
        found = found + length * direction
        residual = residual - length * image
        following = np.where(busy, (residual**2).sum(0), square)
        direction = residual + np.where(busy, following / np.where(square > 0, square, 1.0), 0.0) * direction
        square = following
        if number < _CG_TRIAL:
            trial = square
    return scale * found, square <= _CG_TOLERANCE**2 * start


def _newton(
    system: System, target: Floats, penalty: float, values: Floats, dual: Floats, inside: Mask
) -> tuple[Floats, Floats]:
    """Solve one problem by Newton's method from a state and a guess of who is inside the margin.

    Return values and dual, which may be short of the optimum.
    """
    for _ in range(_NEWTON_STEPS):
        try:
            new_dual, new_values = system.solve(inside, target, penalty)
        except np.linalg.LinAlgError:
            break
        if np.array_equal((target * new_values < 1.0) & (system.weight > 0), inside):
            return new_values, new_dual
        change, turn = new_values - values, new_dual - dual
        square = (float(dual @ values), float(turn @ values), float(turn @ change))
        share, settled = Line(system.weight * penalty, target, values, change, square).search()
        values, dual = values + share * change, dual + share * turn
        inside = (target * values < 1.0) & (system.weight > 0)
        if settled:
            break
    return values, dual
