"""From samples to feature tables: a plan of what is missing, a worker that reads, forwards and pools, a writer."""

from histokit.extract.extract import Extraction, extract

__all__ = ["Extraction", "extract"]
