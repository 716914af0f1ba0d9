"""Whether features are numbers that can be computed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from histokit.errors import DataError, counted

if TYPE_CHECKING:
    from histokit.features.feature_set import FeatureSet


def check_finite(features: FeatureSet, leave_out: str) -> None:
    """Raise where vectors hold NaN or infinite numbers.

    Parameters
    ----------
    features : FeatureSet
    leave_out : str
        How such samples are left out, for the message.

    Raises
    ------
    DataError
    """
    bad = ~np.isfinite(features.X).all(axis=1)
    if bad.any():
        first = features.sample_ids[int(np.flatnonzero(bad)[0])]
        raise DataError(
            f"The features {features.address} of {counted(int(bad.sum()), 'sample', 'samples')} are not finite, such "
            f"as {first!r}.",
            next=f"Leave them out{leave_out}, or extract them again with --precision float32.",
        )
