"""Colours of TIFF files as brightness and two differences: whether they are as in JPEG, as decoders take them to be."""

from __future__ import annotations

from collections.abc import Sequence

from histokit.plugin.tiff_tags import YCBCR_LIMITS, YCBCR_WEIGHTS, Page

#: Of colours that are refused, as the end of a sentence.
OTHER_YCBCR = "has YCbCr of other weights or limits than those of JPEG, which are not applied"

#: Compressions, none among them, whose decoders do not look at what a file says of its YCbCr.
_NOT_HEEDED = (1, 7, 33007)
_YCBCR = 6

#: Weights of red, green and blue in the brightness of JPEG's, and what is no other weight than they.
_BT_601, _NEAR = (0.299, 0.587, 0.114), 0.002


def is_other_ycbcr(page: Page) -> bool:
    """Whether colours are YCbCr of another kind than JPEG's, where the decoder does not look."""
    unheeded = page.value(262, 0) == _YCBCR and page.value(259, 1) in _NOT_HEEDED
    return unheeded and is_unusual_ycbcr(page.values(YCBCR_WEIGHTS), page.values(YCBCR_LIMITS))


def is_unusual_ycbcr(weights: Sequence[int], limits: Sequence[int]) -> bool:
    """Whether YCbCr has other weights than those of BT.601, or other limits than 0 and 255: it would get other colours.

    Parameters
    ----------
    weights, limits : sequence of int
        Fractions, each as the number above and that below; nothing where a file does not say them.
    """
    given, edges = (
        [above / below if below else 0 for above, below in zip(values[::2], values[1::2], strict=False)]
        for values in (weights, limits)
    )
    other = len(given) == 3 and any(abs(a - b) > _NEAR for a, b in zip(given, _BT_601, strict=True))
    # Some write of the differences what is meant for red, green and blue, which nobody heeds.
    pairs = zip(edges[::2], edges[1::2], strict=False)
    return other or (len(edges) == 6 and any(pair not in ((0, 255), (128, 255)) for pair in pairs))
