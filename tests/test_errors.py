"""What errors propose and advise."""

from __future__ import annotations

import errno

import pytest

from histokit.errors import did_you_mean, out_of_reach

#: Columns as CellProfiler writes them.
PROFILER = ["Metadata_Plate", "Metadata_Well", "Cells_AreaShape_Area", "Cells_AreaShape_Solidity", "Cells_Parent"]


@pytest.mark.parametrize(
    ("name", "known", "proposed"),
    [
        ("Plate", PROFILER, "'Metadata_Plate'"),
        ("plate", PROFILER, "'Metadata_Plate'"),
        ("well", [*PROFILER, "wall"], "'Metadata_Well' or 'wall'"),
        ("AreaShape_Area", PROFILER, "'Cells_AreaShape_Area'"),
        ("slide", ["slide_id", "patient_id"], "'slide_id'"),
        ("Metadata_Plate", ["Plate", "Well"], "'Plate'"),
        # A piece of many words, or of none, is no name.
        ("Cells", [*PROFILER, "Cells_Intensity_Mean"], ""),
        ("late", ["Metadata_Plate"], ""),
        ("1", ["a_1", "b_2"], ""),
        ("a_1", ["1", "b"], ""),
        ("Metadata_Well", PROFILER, "'Metadata_Well'"),
        # What is mistyped by a letter stands before what it is a piece of.
        ("slide_ids", ["slide", "slide_id"], "'slide_id' or 'slide'"),
        ("label", ["labels", "label_column"], "'labels' or 'label_column'"),
    ],
)
def test_names_are_proposed_by_what_stands_beside_an_underscore(name: str, known: list[str], proposed: str) -> None:
    assert did_you_mean(name, known) == (f"Did you mean {proposed}? " if proposed else "")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError(errno.EACCES, "denied"), "Mend the permissions"),
        (OSError(errno.ESTALE, "stale"), "Wait until its disk can be read again"),
        (
            RuntimeError("spawn failed: Os { code: 11, kind: WouldBlock }"),
            "End other programs, or allow more threads (ulimit -u)",
        ),
        (MemoryError(), "End other programs"),
        (OSError(errno.EIO, "a bad block"), None),
        (ValueError("no such thing"), None),
    ],
)
def test_advice_on_what_cannot_be_read_for_now(error: Exception, advice: str | None) -> None:
    found = out_of_reach(error, "The table")
    assert (found is None) == (advice is None)
    assert found is None or found.next.startswith(f"{advice}, ")
