"""Comparisons of runs of made-up predictions, with scores of their own or with those of the store."""

import numpy as np

from histokit.compare.compare import compare_scores
from histokit.compare.run_facts import describe_runs
from histokit.compare.scored import Scored
from histokit.compare.sheets import comparison_sheets
from tests.evaluate.made_up import make_record


def with_scores(store, entries, metric="accuracy"):
    """Return runs with given scores, as compared once they are scored; entries: (record, score)."""
    records = [record for record, _ in entries]
    facts = describe_runs(store, records)
    return [
        Scored(record, known, metric, score, score, 0.0, np.full(10, np.nan if score is None else score), 10, "same")
        for (record, score), known in zip(entries, facts, strict=True)
    ]


def ranked(store, rows, names=("svm", "et", "knn", "fc")):
    """Return the comparison of methods with given scores, one row for each dataset."""
    entries = [
        (make_record(f"D{number}", classifier), score)
        for number, row in enumerate(rows)
        for classifier, score in zip(names, row, strict=False)
    ]
    return compare_scores(with_scores(store, entries))


def methods(found):
    """Return the methods of a comparison by their names."""
    return {method["method"]: method for method in found.methods}


def scores(found, column):
    """Return the score of each method on a column."""
    return {name: m["cells"][column]["score"] for name, m in methods(found).items() if column in m["cells"]}


def score_table(found):
    """Return the table of scores for people."""
    return next(iter(comparison_sheets(found)))
