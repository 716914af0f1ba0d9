"""Rows that go to a file beside the store."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from histokit.errors import StoreError
from histokit.store import spilled_rows
from histokit.store.spilled_rows import SpilledRows

ROWS = pa.record_batch({"id": ["a", "b", "c"], "n": [1, 2, 3]})


def test_rows_come_back_as_often_as_they_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pa.Table.from_batches([ROWS] * 4)
    for limit in (0, 2 * ROWS.nbytes, 1 << 20):
        monkeypatch.setattr(spilled_rows, "_IN_MEMORY", limit)
        with SpilledRows(ROWS.schema, tmp_path / "store") as rows:
            for number in range(1, 5):
                rows.add(ROWS)
                # Also while more are to come, and after a look at the first of them alone.
                assert rows.to_table().equals(whole.slice(0, 3 * number))
                assert next(rows.to_batches()).equals(ROWS)
            assert len(rows) == 12
            assert rows.column("n").to_pylist() == [1, 2, 3] * 4
            assert [batch.schema.names for batch in rows.to_batches(["n"])] == [["n"]] * 4
            assert rows.to_reader().read_all().equals(whole)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_disk_that_is_full_when_rows_are_read_again_is_told_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is in a buffer until then."""
    monkeypatch.setattr(spilled_rows, "_IN_MEMORY", 0)
    monkeypatch.setattr(spilled_rows, "_file_beside", lambda _: os.fdopen(os.open("/dev/full", os.O_RDWR), "r+b"))
    with SpilledRows(ROWS.schema, tmp_path / "store") as rows:
        rows.add(ROWS)
        with pytest.raises(StoreError, match="store cannot be written: No space left on device"):
            rows.to_table()
