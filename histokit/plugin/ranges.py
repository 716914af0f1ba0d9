"""The one place that says which numbers an option can be, for functions and for the command line."""

from __future__ import annotations

#: One more than the largest seed: what every generator of numbers can be seeded with.
SEEDS = 2**32
