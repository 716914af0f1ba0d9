"""Whole slides: opened by the library that knows their format, masked for tissue, and tiled at a resolution."""
