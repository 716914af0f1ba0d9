"""Whole grids of a classifier over all inner folds at once, with the optimum that scikit-learn's estimator has."""
