"""Runs of made-up predictions, written straight into a store."""

import numpy as np
import pyarrow as pa

from histokit.plugin.digests import digest_json
from histokit.store.records import FILE_SCHEMA, PREDICTION_SCHEMA, SAMPLE_FIELDS, DatasetRecord, RunRecord

#: Samples of a made-up run, two to a group.
COUNT = 20


def make_record(dataset, classifier="svm", address="net/last", *, run_id=None, seed=0, digest=None, **changes):
    """Return the record of a run; what is no field of a record becomes a parameter."""
    fields = set(RunRecord.__dataclass_fields__)
    parameters = {"seed": seed, "classifier": classifier, "positive": "b"}
    parameters |= {name: value for name, value in changes.items() if name not in fields}
    facts = {"kind": "train", "split": "cv", "split_digest": digest or f"{dataset}-cv", "classes": ("a", "b")}
    facts |= {"metric": "accuracy", "folds": [], "notes": [], "versions": {}, "seconds": 0.0}
    facts |= {"created": "2026-01-01", "group": "slide", "parameters": parameters}
    facts |= {name: value for name, value in changes.items() if name in fields}
    made = RunRecord(id="", dataset=dataset, address=address, classifier=classifier, **facts)
    run_id = run_id or digest_json(made.to_json()).hex()[:12]
    return RunRecord(**{**made.__dict__, "id": run_id})


def save(store, dataset, right, classifier="svm", address="net/last", *, scores=None, labels=None, folds=1, **changes):
    """Save a run of which the first `right` of twenty predictions are right, or with scores of its own.

    Labels alternate; sample i is of slide i // 2 and fold i % folds; changes go to `make_record`.
    """
    record = make_record(dataset, classifier, address, **changes)
    truth = ["ab"[i % 2] for i in range(COUNT)] if labels is None else labels
    signs = [1.0 if t == "b" else -1.0 for t in truth]
    values = [s if i < right else -s for i, s in enumerate(signs)] if scores is None else scores
    columns = {
        "run": [record.id] * COUNT,
        "repeat": [0] * COUNT,
        "fold": [i % folds for i in range(COUNT)],
        "role": ["test"] * COUNT,
        "id": [f"s{i}" for i in range(COUNT)],
        "true": truth,
        "predicted": ["b" if value > 0 else "a" for value in values],
        "scores": [[-value, value] for value in values],
        "kind": ["decision"] * COUNT,
        "group": [f"P{i // 2}" for i in range(COUNT)],
        "levels": [[]] * COUNT,
    }
    store.save_run(record, pa.table(columns, schema=PREDICTION_SCHEMA), None, again=True)
    return record.id


def save_dataset(store, name, metric="accuracy"):
    """Save a dataset without samples."""
    facts = {"plugin": "toy", "plugin_version": "1", "distribution": "histokit", "root": "/", "options": {}}
    facts |= {"classes": ("a", "b"), "positive": "b", "channels": (), "columns": {}, "group": "slide", "levels": ()}
    record = DatasetRecord(name=name, metric=metric, state=None, count=0, created="2026-01-01", **facts)
    store.save_dataset(record, pa.schema(SAMPLE_FIELDS).empty_table(), FILE_SCHEMA.empty_table())


def save_run(
    store,
    rows,
    *,
    run_id="abcd12345678",
    classes=("a", "b"),
    levels=(),
    group="slide",
    digest="d",
    repeats=(),
    scored="decision",
    **changes,
):
    """Save a run of made-up predictions; rows: fold, id, true, scores (of the kind `scored`), group, level values.

    Further repeats have rows of their own.
    The predicted class is that of the highest score; of two classes one score is given, that of the second.
    """
    columns = {name: [] for name in PREDICTION_SCHEMA.names}
    every = [(repeat, *row) for repeat, listed in enumerate([rows, *repeats]) for row in listed]
    for repeat, fold, sample_id, true, scores, owner, *units in every:
        if len(classes) == 2 and not isinstance(scores, list):
            scores = [-scores, scores]
        values = {"run": run_id, "repeat": repeat, "fold": fold, "role": "test", "id": sample_id, "true": true}
        values |= {"predicted": classes[int(np.argmax(scores))], "scores": scores, "kind": scored}
        values |= {"group": owner, "levels": units}
        for name, value in values.items():
            columns[name].append(value)
    facts = {"kind": "train", "address": "net/last", "classifier": "svm", "split": "cv", "split_digest": digest}
    facts |= {"metric": "accuracy", "parameters": {"positive": classes[-1]}, "folds": [], "notes": [], "versions": {}}
    facts |= {"seconds": 0.0, "created": "", "group": "slide"}
    record = RunRecord(id=run_id, dataset="toy", classes=classes, levels=levels, **facts | changes)
    store.save_run(record, pa.table(columns, schema=PREDICTION_SCHEMA), None, again=True)
    return run_id


#: Enough for the quantiles below: each is four standard errors of its cumulative share from the next value.
DRAWS = 20_000


def save_groups(store, groups, wrong, size=2, **changes):
    """Save a run whose first groups are wrong in all their samples, and the others right in all."""
    rows = []
    for group in range(groups):
        for member in range(size):
            true = "ab"[member % 2]
            score = (1.0 if true == "b" else -1.0) * (-1 if group < wrong else 1)
            rows.append((group % 2, f"{group}.{member}", true, score, f"P{group:02}"))
    return save_run(store, rows, **changes)
