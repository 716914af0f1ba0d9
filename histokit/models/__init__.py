"""Models of runs as folders that work without the store: written, described, read again."""
