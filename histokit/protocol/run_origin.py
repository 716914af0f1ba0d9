"""When, and with which versions, a run was made."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version

from histokit import __version__


def creation_time() -> str:
    """Return the time of what is made now, so fine that of two runs the later one is told."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def to_the_second(created: str) -> str:
    """Return a time of creation for people; runs of earlier versions have theirs in seconds."""
    return datetime.fromisoformat(created).isoformat(timespec="seconds")


def versions_of(*libraries: str) -> dict[str, str]:
    """Return the versions that something was made with: that of histokit's code, which need not be installed, first."""
    return {"histokit": __version__, **{name: version(name) for name in libraries}}
