"""Options that several datasets have on what is taken of an image file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from histokit.datasets.walk import Tally
from histokit.errors import UsageError, did_you_mean
from histokit.plugin.dataset import Sample
from histokit.plugin.images import check_bits
from histokit.plugin.intensities import OVER, parse_scale
from histokit.plugin.raw_images import mpp_of, parts_of

#: In place of micrometres per pixel: those that each file states.
METADATA = "metadata"

#: In place of a plane's name: each as a sample of its own.
_EACH = "each"


class Intensities(NamedTuple):
    """The options on what of an image's numbers becomes black and white.

    Parameters
    ----------
    bits : int, optional
    scale : str
    over : str

    Raises
    ------
    UsageError
        From `checked`.
    """

    bits: int | None
    scale: str
    over: str

    @classmethod
    def checked(cls, bits: int | None, scale: str, over: str) -> Intensities:
        """Return them, checked.

        Raises
        ------
        UsageError
            If one of them means nothing, or `over` says what a `scale` that is no matter of the data is sought over.
        """
        if parse_scale(scale).how == "bits" and bits is not None:
            raise UsageError(
                f"The options bits={bits} and scale={scale} both say how many bits there are.", next="Give one of them."
            )
        if over not in OVER:
            hint = did_you_mean(over, OVER)
            raise UsageError(f"The option scale_over={over!r} is unknown.", next=f"{hint}Use one of {', '.join(OVER)}.")
        if over != OVER[0] and not parse_scale(scale).of_the_data:
            raise UsageError(
                f"The option scale_over={over} needs a scale that is sought in the data; scale is {scale!r}.",
                next="Add -o scale=minmax, or such as percentile:0.1,99.9.",
            )
        return cls(check_bits(bits), scale, over)


def samples_of_planes(
    sample: Sample, root: Path, planes: str | None, mpp: float | str | None, untold: Tally | None = None
) -> Iterator[Sample]:
    """Yield a sample for what is wanted of its files: each plane, their maximum, the one of a name, or all there is.

    Parameters
    ----------
    sample : Sample
        Without a part.
    root : Path
    planes : str, optional
        ``each``, ``max`` or a name such as ``t=0,z=2``; none where files are one picture.
    mpp : float or "metadata", optional
        Micrometres per pixel, or that files state them, where the sample has none.
    untold : Tally, optional
        Counts files that do not state them.

    Raises
    ------
    DataError
        If a file has to be opened for it and cannot be read.
    """
    if sample.mpp is None and mpp is not None:
        stated = mpp_of(root / sample.image[0]) if mpp == METADATA else float(mpp)
        sample = replace(sample, mpp=stated)
        if stated is None and untold is not None:
            untold.add(sample.image[0])
    if planes is None:
        yield sample
    elif planes != _EACH:
        yield replace(sample, part=planes)
    else:
        for part in parts_of(root / sample.image[0]) or [None]:
            name = sample.id if part is None else f"{sample.id}#{part}"
            yield replace(sample, id=name, part=part)
