"""Solvers that fit a whole grid over all folds together; scikit-learn's estimators define what is right."""
