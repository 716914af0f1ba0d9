"""Runs of made-up predictions of numbers, written straight into a store."""

import pyarrow as pa

from histokit.store.records import NUMBER_PREDICTION_SCHEMA
from tests.evaluate.made_up import make_record


def save_numbers(store, rows, *, dataset="toy", metric="r2", classifier="ridge", levels=(), digest=None, **changes):
    """Save a run that predicts numbers; rows: fold, id, true, predicted, group, level values."""
    changes = {"target": "age", "target_type": "number", "classes": (), "metric": metric, "positive": None} | changes
    record = make_record(dataset, classifier, digest=digest, levels=levels, **changes)
    columns = {name: [] for name in NUMBER_PREDICTION_SCHEMA.names}
    for fold, sample_id, true, predicted, owner, *units in rows:
        values = {"run": record.id, "repeat": 0, "fold": fold, "role": "test", "id": sample_id, "kind": "value"}
        values |= {"true": None, "predicted": None, "scores": None, "group": owner, "levels": units}
        for name, value in (values | {"true_value": true, "predicted_value": predicted}).items():
            columns[name].append(value)
    store.save_run(record, pa.table(columns, schema=NUMBER_PREDICTION_SCHEMA), None, again=True)
    return record.id
