"""The columns of samples in files that hold no lists: CSV, ``.npz`` and ``.h5ad``, written and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from histokit.store.records import SAMPLE_FIELDS

#: The key of the provenance in the schema metadata of a Parquet file.
PROVENANCE_KEY = b"histokit.provenance"

_TYPES = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}
_LISTS = {field.name: field.type for field in SAMPLE_FIELDS if pa.types.is_nested(field.type)}


def column_types(samples: pa.Table) -> dict[str, str]:
    """Return the type of each column of samples as text, for `arrow_columns`."""
    return {field.name: str(field.type) for field in samples.schema if str(field.type) in _TYPES}


def flat(samples: pa.Table) -> pa.Table:
    """Return columns of samples as texts where they are none: a path that is alone as it is, other lists as JSON.

    Digests are hexadecimal.
    """
    for place, field in enumerate(samples.schema):
        digests = pa.types.is_binary(field.type) or pa.types.is_fixed_size_binary(field.type)
        if digests or pa.types.is_nested(field.type):
            told = bytes.hex if digests else _list_text
            texts = [None if value is None else told(value) for value in samples.column(place).to_pylist()]
            samples = samples.set_column(place, field.name, pa.array(texts, pa.string()))
    return samples


def _list_text(value: Sequence[Any] | None) -> str | None:
    if not value:
        return None
    alone = len(value) == 1 and isinstance(value[0], str) and not value[0].startswith("[")
    return value[0] if alone else json.dumps(list(value), ensure_ascii=False)


def lists(values: Sequence[str | None], name: str) -> pa.Array:
    """Return texts of `flat` as the lists that they were; those of an image are never none."""
    found = [None if value is None else json.loads(value) if value.startswith("[") else [value] for value in values]
    return pa.array([[] if value is None and name == "image" else value for value in found], _LISTS[name])


def arrow_columns(columns: Mapping[str, Any], types: Mapping[str, str], count: int) -> dict[str, pa.Array]:
    """Return columns as arrays of the types that they had, those of nothing but gaps among them.

    Parameters
    ----------
    columns : mapping
        Name → values.
    types : mapping
        Name → `column_types`.
    count : int
        Rows.
    """
    found = {name: pa.array(values, _TYPES.get(types.get(name, ""))) for name, values in columns.items()}
    empty = {name: pa.nulls(count, _TYPES[kind]) for name, kind in types.items() if name not in found}
    return {**found, **{name: array for name, array in empty.items() if name not in ("id", "label")}}


def obs_names(samples: pa.Table) -> dict[str, str]:
    """Return what columns of samples are called in AnnData where they cannot keep their names: old → new."""
    names: dict[str, str] = {}
    for name in samples.column_names:
        new = name.replace("/", "_") if name != "_index" else "index_"
        while new != name and new in {*samples.column_names, *names.values()}:
            new += "_"
        if new != name:
            names[name] = new
    return names


def observations(samples: pa.Table) -> Any:
    """Return samples as the frame ``obs`` of an AnnData, indexed by id, without columns of nothing but gaps."""
    import pandas as pd

    # Whole numbers and truth values with gaps would become objects, which .h5ad cannot hold.
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    new, frame = obs_names(samples), pd.DataFrame(index=pd.Index(samples.column("id").to_pylist()))
    described = flat(samples.drop_columns(["id"]))
    for name, values in zip(described.column_names, described.columns, strict=True):
        if values.null_count < len(values):
            mapper = nullable.get if values.null_count else None
            frame[new.get(name, name)] = values.to_pandas(types_mapper=mapper).set_axis(frame.index)
    return frame
