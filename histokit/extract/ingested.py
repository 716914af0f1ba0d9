"""The files of a dataset as they were when it was ingested."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from histokit.plugin import Dataset, Sample
from histokit.plugin.digests import digest_bytes


class IngestedFiles:
    """Tells whether a file is still the one that was ingested, so that no vector is stored under another's content.

    Parameters
    ----------
    dataset : Dataset
    files : pyarrow.Table, optional
        Of `histokit.store.records.FILE_SCHEMA`.
    """

    def __init__(self, dataset: Dataset, files: pa.Table | None):
        self.dataset = dataset
        known = files if files is not None else pa.table({"path": pa.array([], pa.string())})
        keys = np.array([_key(path) for path in known.column("path").to_pylist()], dtype=np.uint64)
        # Arrays, because a dictionary of millions of paths would fill the memory.
        self._order = np.argsort(keys)
        self._keys = keys[self._order]
        self._files = known

    def changed(self, sample: Sample) -> str | None:
        """Return why a sample's pixels may not be those that were ingested, or none where they are."""
        for path in sample.image:
            if self._differs(path):
                return f"{path} changed since the dataset was ingested: ingest it again"
        return None

    def _differs(self, path: str) -> bool:
        key = _key(path)
        place = int(np.searchsorted(self._keys, key))
        if place == len(self._keys) or self._keys[place] != key:
            return False
        before = self._files.slice(int(self._order[place]), 1).to_pylist()[0]
        full = self.dataset.root / path
        status = full.stat()
        if (before["size"], before["mtime_ns"]) == (status.st_size, status.st_mtime_ns):
            return False
        return bool(self.dataset.file_digest(full) != before["digest"])


def _key(path: str) -> np.uint64:
    return np.uint64(int.from_bytes(digest_bytes(path.encode())[:8], "little"))
