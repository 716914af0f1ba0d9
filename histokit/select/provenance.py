"""Where the columns of a selection came from."""

from __future__ import annotations

from typing import Any

import numpy as np

from histokit.store.records import SelectionRecord


def kept_by_layer(selection: SelectionRecord) -> list[dict[str, Any]]:
    """Count the kept columns of each layer.

    Parameters
    ----------
    selection : SelectionRecord

    Returns
    -------
    list of dict
        In the order of the address: ``network``, ``layer``, ``columns`` (how many it has), ``kept`` (how many of
        them were kept in all training samples) and ``names`` (of those).
    """
    columns = np.array((selection.kept or {"columns": []})["columns"], np.intp)
    found, start = [], 0
    for part in selection.features:
        stop = start + part["columns"]
        inside = np.flatnonzero((columns >= start) & (columns < stop))
        entry = {"network": part["backbone"], "layer": part["layer"], "columns": part["columns"]}
        found.append({**entry, "kept": len(inside), "names": [selection.provenance[i] for i in inside]})
        start = stop
    return found
