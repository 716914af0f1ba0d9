"""Nucleus centres, as the data's ``.mat`` files hold them."""

from __future__ import annotations

from typing import IO

import numpy as np
import numpy.typing as npt

from histokit.plugin import DataError


def read_centres(file: IO[bytes], name: str) -> npt.NDArray[np.float64]:
    """Read the centres of the nuclei of one class in one image.

    Parameters
    ----------
    file : binary file
    name : str
        What it is called in messages.

    Returns
    -------
    (n, 2) float64 array
        x (column) and y (row) in MATLAB's coordinates, where the middle of the first pixel is 1; NaN where
        the file has NaN; no row for a class that the image does not have.

    Raises
    ------
    DataError
        If the file cannot be read or does not hold n × 2 numbers named ``detection``.
    """
    from scipy.io import loadmat

    try:
        values = loadmat(file, variable_names=["detection"])["detection"]
    except KeyError:
        raise _unfit(name, "has no variable 'detection'") from None
    except Exception as error:  # loadmat raises whatever it stumbles upon in a damaged file.
        raise _unfit(name, f"cannot be read ({error or type(error).__name__})") from error
    if values.size == 0:
        return np.zeros((0, 2))
    if values.dtype.kind not in "uif" or values.ndim != 2 or values.shape[1] != 2:
        raise _unfit(name, f"holds {values.shape} values of type {values.dtype} instead of n × 2 numbers")
    return values.astype(np.float64)


def to_pixels(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the column and row, from 0, of the pixel that each centre lies in.

    MATLAB's first pixel reaches from 0.5 to 1.5, so 1 is taken off and the rest rounded, halves upwards.
    A reader that does not take 1 off is one pixel further right and down.
    """
    return np.floor(centres - 0.5).astype(np.int64)


def _unfit(name: str, reason: str) -> DataError:
    return DataError(f"{name} {reason}.", next="Unpack the file again from the archive of the data.")
