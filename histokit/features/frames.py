"""Columns of a `FeatureSet` as arrays, and all of it as a data frame and as an AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histokit.errors import UsageError
from histokit.features.sample_columns import observations
from histokit.features.spatial import add_coordinates
from histokit.plugin.values import known

if TYPE_CHECKING:
    from histokit.features.feature_set import FeatureSet


def column_values(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return a column of n samples as an (n,) array, with none where a value is missing or NaN."""
    # Of many samples a few texts: each is an object once.
    distinct = pc.unique(column) if pa.types.is_string(column.type) else column
    values = np.empty(len(distinct), dtype=object)
    values[:] = [known(value) for value in distinct.to_pylist()]
    return values if distinct is column else values[pc.index_in(column, value_set=distinct).to_numpy()]


def data_frame(features: FeatureSet) -> Any:
    """Return what `FeatureSet.to_pandas` does."""
    try:
        import pandas as pd
    except ImportError:
        raise _extra("pandas") from None
    columns = pd.DataFrame(features.X, index=features.sample_ids, columns=features.column_names)
    metadata = features.samples.drop_columns(["id", "content"]).to_pandas()
    return pd.concat([columns, metadata.set_axis(columns.index)], axis=1)


def annotated_data(features: FeatureSet) -> Any:
    """Return what `FeatureSet.to_anndata` does."""
    try:
        import anndata
        import pandas as pd
    except ImportError:
        raise _extra("anndata") from None
    obs = observations(features.samples.drop_columns(["content"]))
    rows = [(p.backbone, p.layer, name, p.fingerprint) for p in features.parts for name in p.names]
    var = pd.DataFrame(rows, columns=["backbone", "layer", "filter", "fingerprint"], index=features.column_names)
    annotated = anndata.AnnData(X=features.X, obs=obs, var=var)
    add_coordinates(annotated, features.samples)
    return annotated


def _extra(package: str) -> UsageError:
    return UsageError(f"This needs the package {package}.", next=f"Install it with: pip install {package}")
