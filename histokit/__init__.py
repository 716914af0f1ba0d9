"""Transfer learning on histopathology and cell images, with a cached feature store."""

__version__ = "0.1.0"
