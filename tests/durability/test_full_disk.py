"""A disk that fills up in the middle of an extraction costs what was not yet written, and no more."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from histokit.store.verify import verify
from tests.durability.processes import Processes
from tests.durability.stores import check_same, ingested, many_images, rows, tables

PAGE = resource.getpagesize()
EXTRACT = ["extract", "d", "--backbone", "tiny", "--batch-size", "4", "--json"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_in_the_middle(forks: Processes, small_disk: Path, tmp_path: Path) -> None:
    root = many_images(tmp_path / "images", 120)
    whole, store = ingested(tmp_path / "whole", root), ingested(small_disk / "store", root)
    forks.run(*EXTRACT, "--store", whole.uri)
    ballast = small_disk / "ballast"
    # Half of what the tables take in pages of memory, of which such a disk is made.
    files = [path for path in whole.uri.glob("features.*/**/*") if path.is_file()]
    room = sum(-path.stat().st_size // PAGE * -PAGE for path in files) // 2
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - room))

    for _ in range(2):
        life = forks.start(*EXTRACT, "--store", store.uri)
        assert life.wait() == 5, life.err
        error = life.document["error"]
        assert f"of the store {store.uri} cannot be written: No space left on device" in error["message"]
        assert "Free some space" in error["next"]
        assert "Traceback" not in life.err
        assert {finding.kind for finding in verify(store).findings} <= {"incomplete"}
    before = rows(store)
    # Some writes went through before the disk was full, but not all.
    assert 0 < sum(before.values()) < 3 * 120

    ballast.unlink()
    done = forks.run(*EXTRACT, "--store", store.uri).document["tables"]
    assert [(t["cached"], t["computed"]) for t in done] == [
        (before.get(t["address"], 0), 120 - before.get(t["address"], 0)) for t in done
    ]
    check_same(tables(store), tables(whole))
    assert verify(store).findings == ()
