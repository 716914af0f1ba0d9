"""Files that are read by other processes come out as those that are read by this one, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from raw_images import ORIENTATION, page, tiff

import histokit
from histokit.errors import DataError, PluginError
from histokit.features import FeatureStore
from histokit.ingest import digest_processes, file_digests
from histokit.ingest import samples as samples_module
from histokit.ingest.digest_process import FilesFound, FileTask
from histokit.ingest.digest_processes import FileReaders
from histokit.plugin import Dataset, Sample
from histokit.reading import other_process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="file descriptors are not handed over there")

GREY = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24)
COUNT = 90


class Cells(Dataset):
    """Two boxes of each image, and what cannot be read among them; ``meanwhile`` is called at the sixtieth image."""

    name = "cells"
    version = "1"

    def samples(self) -> Iterator[Sample]:
        """Yield them."""
        for number, path in enumerate(sorted(self.root.iterdir())):
            if number == 60:
                self.meanwhile()
            for x in (0, 4):
                yield Sample(f"{path.name} {x}", (path.name,), box=(x, 0, 8, 8))
        for path in ("../outside.png", "absent.png"):
            yield Sample(path, (path,))
        yield Sample("both", ("000.png", "absent.png"))

    def meanwhile(self) -> None:
        """Do nothing."""


class Own(Cells):
    """Has digests of its own."""

    def file_digest(self, path: Path) -> bytes:
        """Return the length of the file's name."""
        return len(path.name).to_bytes(16, "little")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(np.full((12, 12, 3), number, np.uint8)).save(folder / f"{number:03d}.png")
    (folder / "folder.png").mkdir()
    (folder / "link.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.tif")
    # Read otherwise than once, which is in the digest of its content.
    tiff(folder / "turned.tif", page(GREY, {ORIENTATION: 6}))
    (tmp_path / "outside.png").write_bytes(b"outside")
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that were started."""
    found: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def kept(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        found.append(popen(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(other_process.subprocess, "Popen", kept)
    return found


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, started: list[Any]) -> list[subprocess.Popen[bytes]]:
    """Let two processes read all but the first few files; they are returned."""
    has_room = FileReaders.has_room

    def waited(self: FileReaders) -> bool:
        there = has_room(self)
        while len(self._ready) < len(self._processes):
            self._receive(None)
        return there or bool(self._ready)

    monkeypatch.setattr(FileReaders, "has_room", waited)
    monkeypatch.setattr(digest_processes, "_WORTH", 0.0)
    monkeypatch.setattr(digest_processes, "_SHARE", 0.0)
    monkeypatch.setattr(digest_processes, "cores", lambda: 2)
    monkeypatch.setattr(file_digests, "_GROUP", 5)
    return started


def ingested(store: Path, dataset: Dataset) -> list[Any]:
    """Ingest, and return all that is written."""
    opened = histokit.open_store(store)
    histokit.ingest(opened, dataset, name="d")
    problems = [{**row, "dataset": ""} for row in opened.problems("d").to_pylist()]
    return [opened.samples("d").to_pylist(), opened.files("d").to_pylist(), problems]


def test_processes_find_what_this_one_finds(
    root: Path, tmp_path: Path, request: pytest.FixtureRequest, started: list[Any]
) -> None:
    here = ingested(tmp_path / "here", Cells(root))
    assert not started, "few files are read here"
    request.getfixturevalue("at_once")
    assert ingested(tmp_path / "there", Cells(root)) == here
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
    samples, files, problems = here
    assert len(samples) == 2 * (COUNT + 4) + 3
    assert [row["path"] for row in files if row["digest"] is None] == [
        *("folder.png", "link.png", "pipe.tif", "../outside.png", "absent.png")
    ]
    assert {row["id"]: row["reason"].partition(" ")[2] for row in problems} == {
        **dict.fromkeys(("folder.png 0", "folder.png 4"), "cannot be read: Is a directory"),
        **dict.fromkeys(("link.png 0", "link.png 4"), "cannot be read: No such file or directory"),
        **dict.fromkeys(("pipe.tif 0", "pipe.tif 4"), "cannot be read: it is a pipe, no file"),
        "../outside.png": f"lies outside the dataset's root {root}",
        **dict.fromkeys(("absent.png", "both"), "cannot be read: No such file or directory"),
    }


def test_marks_are_found_by_processes_too(root: Path, tmp_path: Path, at_once: list[Any]) -> None:
    def content(store: str) -> Any:
        samples, *_ = ingested(tmp_path / store, Cells(root))
        return next(row["content"] for row in samples if row["id"] == "turned.tif 0")

    marked = content("a")
    with pytest.MonkeyPatch.context() as without:
        without.setattr(Cells, "marks_ahead", property(lambda self: {"turned.tif": b""}))
        assert content("b") != marked


def test_each_of_many_files_as_long_as_one_another_has_its_own_mark(tmp_path: Path) -> None:
    # Some of these orientations were read otherwise by the first versions.
    order = [1, 1, 1, 3, 6, 6, 3, 3, 5, 2, 2, 5, 6, 1, 3, 3]
    contents = []
    for together in (True, False):
        found = {}
        for number, orientation in enumerate(order):
            root = tmp_path / ("all" if together else f"only{number}")
            root.mkdir(exist_ok=True)
            tiff(root / f"{number:02d}.tif", page(GREY, {ORIENTATION: orientation}))
            if not together:
                found |= _contents(tmp_path / f"store{number}", root)
        contents.append(_contents(tmp_path / "store", tmp_path / "all") if together else found)
    assert len({path.stat().st_size for path in (tmp_path / "all").iterdir()}) == 1
    assert contents[0] == contents[1]
    assert len(set(contents[0].values())) == len(set(order))


def _contents(place: Path, root: Path) -> dict[str, bytes]:
    store = histokit.open_store(place)
    histokit.ingest(store, "folder", root, name="d", options={"pattern": "*.tif"})
    return dict(zip(*store.samples("d", ["id", "content"]).to_pydict().values(), strict=True))


def test_only_what_changed_is_read_again(root: Path, tmp_path: Path, at_once: list[Any]) -> None:
    ingested(tmp_path / "store", Cells(root))
    (root / "070.png").write_bytes(b"another image")
    os.utime(root / "071.png", ns=(5, 5))
    # Another content under the same size and time.
    before = (root / "072.png").stat()
    (root / "072.png").write_bytes(bytes(before.st_size))
    os.utime(root / "072.png", ns=(before.st_mtime_ns, before.st_mtime_ns))
    told: list[str] = []
    store = histokit.open_store(tmp_path / "store")
    contents = [dict(zip(*store.samples("d", ["id", "content"]).to_pydict().values(), strict=True))]
    histokit.ingest(store, Cells(root), name="d", progress=lambda done, total, detail: told.append(detail))
    contents.append(dict(zip(*store.samples("d", ["id", "content"]).to_pydict().values(), strict=True)))
    assert len(at_once) == 4
    assert told == ["samples, 3 files read"]
    changed = {i for i in contents[0] if contents[0][i] != contents[1][i]}
    assert changed == {"070.png 0", "070.png 4", "072.png 0", "072.png 4"}


def test_files_that_vanish_or_change_meanwhile(root: Path, tmp_path: Path, at_once: list[Any]) -> None:
    class Moving(Cells):
        def meanwhile(self) -> None:
            (self.root / "080.png").unlink()
            (self.root / "081.png").write_bytes(b"another image")

    samples, files, problems = ingested(tmp_path / "store", Moving(root))
    assert at_once
    assert [row["size"] for row in files if row["path"] == "081.png"] == [len(b"another image")]
    assert [row["id"] for row in problems if row["id"].startswith("08")] == ["080.png 0", "080.png 4"]
    assert len(samples) == 2 * (COUNT + 4) + 3


@pytest.mark.parametrize("killed", [1, 2])
def test_a_killed_process_loses_nothing(
    root: Path, tmp_path: Path, at_once: list[Any], capfd: pytest.CaptureFixture[str], killed: int
) -> None:
    class Killing(Cells):
        def meanwhile(self) -> None:
            for process in at_once[:killed]:
                process.send_signal(signal.SIGKILL)

    there = ingested(tmp_path / "there", Killing(root))
    assert all(process.poll() is not None for process in at_once)
    told = capfd.readouterr().err
    for process, rest in zip(at_once[:killed], ("others go on", "this process goes on"), strict=False):
        assert f"the process {process.pid}, which read files, ended (SIGKILL, as where memory is short)" in told
        assert rest in told
    assert there == ingested(tmp_path / "here", Cells(root))


def test_where_no_process_can_be_started_this_one_reads(
    root: Path, tmp_path: Path, at_once: list[Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    popen = other_process.subprocess.Popen

    def short(*args: Any, **kwargs: Any) -> Any:
        if at_once:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return popen(*args, **kwargs)

    monkeypatch.setattr(other_process.subprocess, "Popen", short)
    there = ingested(tmp_path / "there", Cells(root))
    assert len(at_once) == 1
    assert "no other process can be started to read files (Resource temporarily unavailable)" in capfd.readouterr().err
    assert there == ingested(tmp_path / "here", Cells(root))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("stop", next="Go on.")])
def test_no_process_stays(store: FeatureStore, root: Path, at_once: list[Any], error: Any) -> None:
    class Failing(Cells):
        def meanwhile(self) -> None:
            raise error

    with pytest.raises(type(error)):
        histokit.ingest(store, Failing(root), name="d")
    assert len(at_once) == 2
    assert all(process.poll() is not None for process in at_once)


def test_no_process_stays_after_an_error_elsewhere(
    store: FeatureStore, root: Path, at_once: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Cells):
        def pixel_key(self, sample: Sample) -> bytes:
            raise ValueError("no key")

    monkeypatch.setattr(samples_module, "_ROWS_PER_BATCH", 50)
    with pytest.raises(PluginError, match="no key") as told:
        histokit.ingest(store, Failing(root), name="d")
    assert len(at_once) == 2
    assert all(process.poll() is not None for process in at_once), told


def test_so_many_processes_are_started_as_help(root: Path, started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    read, receive = digest_processes.read_files, FileReaders._receive

    def reading(task: FileTask) -> FilesFound:
        clock.now += 1.5
        return read(task)

    def receiving(self: FileReaders, seconds: float | None) -> None:
        clock.now += 3.0 if seconds is None else 0.0
        receive(self, seconds)

    monkeypatch.setattr(digest_processes, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(digest_processes, "read_files", reading)
    monkeypatch.setattr(FileReaders, "_receive", receiving)
    monkeypatch.setattr(digest_processes, "cores", lambda: 8)
    task = FileTask(str(root), ["000.png"], None, False)

    def after(seconds: float) -> int:
        """Let one task be read and other things take some seconds."""
        found = readers.result(readers.ask(task))
        assert found.states[0] is not None
        clock.now += seconds
        readers.has_room()
        now = len(started)
        while len(readers._ready) < now:
            receive(readers, None)
        return now

    with FileReaders(print) as readers:
        assert after(10.0) == 0, "reading takes less than the rest"
        assert after(1.0) == 3
        assert after(100.0) == 3, "this process waits for nothing"
        assert after(1.0) == 7, "three of four seconds were spent on waiting"
        assert after(1.0) == 8, "as many as cores"
        assert after(1.0) == 8
    assert all(process.poll() is not None for process in started)


def test_a_plugin_digests_its_own_files_here(root: Path, tmp_path: Path, at_once: list[Any]) -> None:
    _, files, _ = ingested(tmp_path / "store", Own(root))
    assert not at_once
    assert files[0]["digest"] == len("000.png").to_bytes(16, "little")


def test_the_first_process_that_is_ready_is_not_given_what_the_other_is_started_for(monkeypatch):
    monkeypatch.setattr(FileReaders, "_receive", lambda *_: None)
    readers = FileReaders(print)
    first, second = (type(name, (), {"send": lambda *_: None})() for name in ("First", "Second"))
    readers._processes, readers._may_start = [first, second], 0
    given = []
    for ready in (first, second):
        readers._ready[ready] = set()
        while readers.has_room():
            readers.ask(FileTask("", ["a"], None, False))
        given.append([len(each) for each in readers._ready.values()])
    assert given == [[12], [12, 12]]
