"""Optima in long double, and samples on which float64 loses digits unless it is told how not to."""

import numpy as np

LONG = np.longdouble


def solve(matrix, right):
    """Gaussian elimination with scaled columns and pivots, in long double."""
    scale = 1 / np.sqrt(np.diag(matrix))
    matrix, right = matrix * scale[:, None] * scale, right * scale
    size = len(right)
    for i in range(size):
        pivot = i + int(np.abs(matrix[i:, i]).argmax())
        matrix[[i, pivot]], right[[i, pivot]] = matrix[[pivot, i]], right[[pivot, i]]
        factor = matrix[i + 1 :, i] / matrix[i, i]
        matrix[i + 1 :] -= factor[:, None] * matrix[i]
        right[i + 1 :] -= factor * right[i]
    found = np.zeros(size, LONG)
    for i in range(size - 1, -1, -1):
        found[i] = (right[i] - matrix[i, i + 1 :] @ found[i + 1 :]) / matrix[i, i]
    return found * scale


class Hinge:
    """LinearSVC's objective: |v|² / 2 + C Σ c max(0, 1 - t f)², with an intercept that is penalised."""

    def __init__(self, X, target, penalty, weight):
        self.A = np.hstack([X.astype(LONG), np.ones((len(X), 1), LONG)])
        self.target, self.strength = target.astype(LONG), LONG(penalty) * weight.astype(LONG)

    def objective(self, v):
        errors = np.maximum(1 - self.target * (self.A @ v), 0)
        return v @ v / 2 + self.strength @ errors**2

    def slope_and_curvature(self, v):
        errors = np.maximum(1 - self.target * (self.A @ v), 0)
        rows, strength = self.A[errors > 0], 2 * self.strength[errors > 0]
        slope = v - 2 * self.A.T @ (self.strength * self.target * errors)
        return slope, np.eye(len(v), dtype=LONG) + (rows.T * strength) @ rows


class Logistic:
    """LogisticRegression's objective for two classes: C Σ c log(1 + exp(-t f)) + |w|² / 2, the intercept free."""

    def __init__(self, X, target, penalty, weight):
        self.A = np.hstack([X.astype(LONG), np.ones((len(X), 1), LONG)])
        self.target, self.strength = target.astype(LONG), LONG(penalty) * weight.astype(LONG)

    def objective(self, v):
        return v[:-1] @ v[:-1] / 2 + self.strength @ np.logaddexp(0, -self.target * (self.A @ v))

    def slope_and_curvature(self, v):
        wrong = 1 / (1 + np.exp(self.target * (self.A @ v)))
        penalised = np.append(np.ones(len(v) - 1, LONG), LONG(0))
        slope = penalised * v - self.A.T @ (self.strength * self.target * wrong)
        curvature = (self.A.T * (self.strength * wrong * (1 - wrong))) @ self.A
        return slope, curvature + np.diag(penalised)


class Squares:
    """RidgeClassifier's objective: Σ c (t - f)² + alpha |w|², the intercept free."""

    def __init__(self, X, target, penalty, weight):
        self.A = np.hstack([X.astype(LONG), np.ones((len(X), 1), LONG)])
        self.target, self.alpha, self.weight = target.astype(LONG), LONG(penalty), weight.astype(LONG)

    def objective(self, v):
        return self.alpha * v[:-1] @ v[:-1] + self.weight @ (self.target - self.A @ v) ** 2

    def slope_and_curvature(self, v):
        penalised = 2 * self.alpha * np.append(np.ones(len(v) - 1, LONG), LONG(0))
        slope = penalised * v - 2 * self.A.T @ (self.weight * (self.target - self.A @ v))
        return slope, 2 * (self.A.T * self.weight) @ self.A + np.diag(penalised)


def optimum(problem):
    """Newton's method with halved steps."""
    v = np.zeros(problem.A.shape[1], LONG)
    for _ in range(400):
        slope, curvature = problem.slope_and_curvature(v)
        step, size, before = -solve(curvature, slope), LONG(1), problem.objective(v)
        while problem.objective(v + size * step) > before + LONG(1e-4) * size * (slope @ step) and size > 1e-9:
            size /= 2
        v = v + size * step
        if abs(slope @ step) <= 1e-20 * before:
            return v
    raise AssertionError("Newton's method in long double has not reached the optimum")


def samples(n, d, kind, classes=2, seed=0):
    """Draw overlapping classes, and spoil the columns."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = (X @ rng.normal(size=(d, classes)) + 0.5 * np.sqrt(d) * rng.normal(size=(n, classes))).argmax(1)
    if "scales" in kind:
        X *= rng.permutation(np.geomspace(1e-3, 1e4, d))
    if "offsets" in kind:
        X += 1e4 * rng.normal(size=d)
    if "constant" in kind:
        X[:, 1] = 1e30
    if "large" in kind:
        X[:, 1] *= 1e9
    if "huge" in kind:
        X[:, 1] *= 1e25
    return X.astype(np.float32), y


KINDS = ["plain", "scales", "offsets", "scales and offsets", "constant", "huge"]
SHAPES = [(60, 15), (25, 60)]
