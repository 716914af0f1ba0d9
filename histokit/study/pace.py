"""How much time a study has left: by what was estimated, and how that came true so far."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from histokit.study.study_pieces import Piece

#: Seconds of estimates that must have come true or false before they are corrected by it.
_ENOUGH = 5.0


class StudyPace:
    """Compare what pieces took with what was estimated.

    Parameters
    ----------
    pieces : sequence of Piece
        Of the whole study, with their estimates.
    """

    def __init__(self, pieces: Sequence[Piece]):
        self._estimates = {id(piece): piece.seconds for piece in pieces}
        self._foreseen = self._taken = 0.0

    def took(self, piece: Piece, seconds: float) -> None:
        """Count what a piece took."""
        estimate = self._estimates[id(piece)]
        if estimate is not None:
            self._foreseen += estimate
            self._taken += seconds

    def left(self, pieces: Sequence[Piece], first: int, share: float) -> float:
        """Return how many seconds pieces will take, infinity where that is not known of one of them.

        Parameters
        ----------
        pieces : sequence of Piece
            Those that are being done, and those after them.
        first : int
            How many are being done.
        share : float
            What is done of these.
        """
        todo = [0.0 if piece.done else self._estimates[id(piece)] for piece in pieces]
        if any(seconds is None for seconds in todo):
            return inf
        known = [seconds or 0.0 for seconds in todo]
        factor = self._taken / self._foreseen if self._foreseen > _ENOUGH else 1.0
        return factor * (sum(known) - share * sum(known[:first]))
