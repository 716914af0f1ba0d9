"""Runs with made-up training curves, written straight into a store."""

import pyarrow as pa

from histokit.store.records import CURVE_SCHEMA, PREDICTION_SCHEMA
from tests.evaluate.made_up import make_record

#: Repeat, fold, series, epoch, iteration, loss, metric. Batches of an epoch: two, then one; one, then two.
ONE = [
    (0, 0, "train", 0.5, 2, 3.0, None),
    (0, 0, "train", 1.0, 3, 2.0, None),
    (0, 0, "val", 1.0, 3, 2.5, 0.5),
    (0, 0, "test", 1.0, 3, 2.75, 0.25),
    (0, 0, "train", 1.5, 4, 1.5, None),
    (0, 0, "train", 2.0, 6, 0.5, None),
    (0, 0, "val", 2.0, 6, 2.0, 0.75),
    (0, 0, "test", 2.0, 6, 2.25, 1.0),
]

#: Two networks, the second of which has one epoch only, and that of all training samples.
TWO = [
    *(point for point in ONE if point[2] != "test"),
    (1, 0, "train", 1.0, 5, 1.0, None),
    (1, 0, "val", 1.0, 5, 1.5, 0.7),
    (-1, -1, "train", 1.0, 7, 100.0, None),
    (-1, -1, "val", 1.0, 7, 100.0, 0.0),
]


def save_curves(store, points, *, dataset="nuclei", stage_of=lambda epoch: 1, final=1, **changes):
    """Save a run of networks whose last epoch was chosen; changes go to `make_record`."""
    columns = ("repeat", "fold", "series", "epoch", "iteration", "loss", "metric")
    rows = [dict(zip(columns, point, strict=True)) for point in points]
    rows = [{**row, "run": "", "stage": stage_of(row["epoch"]), "lr": 1e-3, "seconds": 1.0} for row in rows]
    last = {(row["repeat"], row["fold"]): int(row["epoch"]) for row in rows if row["series"] == "val"}
    folds = [
        {"repeat": r, "fold": f, "scores": {"accuracy": 0.5}, "parameters": {"epoch": epoch}}
        for (r, f), epoch in last.items()
        if f >= 0
    ]
    facts = {"kind": "finetune", "folds": folds, "found": {"final": {"parameters": {"epoch": final}}}}
    facts |= {"recipe": {"choose_epoch": "validation", "name": "default"}, "network": {"weights": "pretrained"}}
    classifier = changes.pop("classifier", "fine-tuning")
    record = make_record(dataset, classifier, **facts | changes)
    table = pa.Table.from_pylist(rows, schema=CURVE_SCHEMA)
    store.save_run(record, PREDICTION_SCHEMA.empty_table(), None, again=True, curves=table)
    return record.id
