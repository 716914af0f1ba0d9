"""From a dataset plugin to samples and splits in the store."""

from histokit.ingest.ingest import ingest

__all__ = ["ingest"]
