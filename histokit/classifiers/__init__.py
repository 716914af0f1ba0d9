"""The classifiers of `--classifier`: one row each, how they are fitted and stored, and the solvers of whole grids."""
