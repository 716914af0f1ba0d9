"""Processes that read give what threads give, whatever happens to them."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pretended_cuda import pretended_cuda
from tiny_plugin import TinyBackbone, TinyPlugin

import histokit
from histokit.errors import PluginError
from histokit.features import FeatureStore
from histokit.finetune import pixels
from histokit.ingest import digest_process
from histokit.plugin.manager import registry
from histokit.plugin.testing import added_plugin
from histokit.reading import chunks, other_process, processes
from histokit.reading import reader as reader_module
from histokit.reading.chunks import ChunkReader, lasting_results
from histokit.reading.ingested_files import IngestedFiles, open_files
from histokit.reading.reader import ReadResult, rebuild_sample
from tests.lab_plugin import raising

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="file descriptors are not handed over there")

PATTERN = {"pattern": "{patient}/{label}/*.png", "group": "patient"}

PLUGIN = '''
import os, time
import numpy as np
from histokit.reading import serving
from histokit.plugin import Dataset, Sample, hookimpl, sample_pixels

class Odd(Dataset):
    """Reads numbers from a file that is held open, and does what an image's name says."""

    def __init__(self, root, where="anywhere"):
        super().__init__(root)
        if where == "here" and os.getpid() != int((self.root / "pid").read_text()):
            raise OSError("the file is locked by another process")
        self.file = os.open(self.root / "numbers.bin", os.O_RDONLY)
        if where == "without memory" and os.getpid() != int((self.root / "pid").read_text()):
            # As where no thread can be started, or no answer be put together.
            serving.SimpleQueue = no_memory

    def samples(self):
        for path in sorted(self.root.glob("*.txt")):
            yield Sample(path.stem, (path.name,), label="odd" if int(path.stem) % 2 else "even")

    def read(self, sample):
        what = (self.root / sample.image[0]).read_text()
        marker = self.root / f"{sample.id}.seen"
        if what == "start another" and os.getpid() != int((self.root / "pid").read_text()):
            child = os.fork()
            if not child:
                time.sleep(1000)
            with open(self.root / "children", "a") as children:
                children.write(f"{child} ")
        if what == "die" or (what == "die once" and not marker.exists()):
            marker.touch()
            os._exit(7)
        if what == "die elsewhere" and os.getpid() != int((self.root / "pid").read_text()):
            os._exit(7)
        if what == "die elsewhere":
            (self.root / f"{sample.id}.here").touch()
        if what == "hang" and os.getpid() != int((self.root / "pid").read_text()):
            marker.write_text(str(os.getpid()))
            time.sleep(1000)
        if what.startswith("large") and os.getpid() != int((self.root / "pid").read_text()):
            return np.full((500, 500, 3), int(sample.id), np.uint8)
        if what == "no memory" and os.getpid() != int((self.root / "pid").read_text()):
            raise MemoryError
        if what == "interrupt" and os.getpid() != int((self.root / "pid").read_text()):
            raise KeyboardInterrupt
        if what == "fail":
            raise ValueError("no such number")
        print("read", sample.id)
        os.lseek(self.file, int(sample.id), os.SEEK_SET)
        return np.full((4, 4, 3), os.read(self.file, 1)[0], np.uint8)

def no_memory():
    raise RuntimeError("can't start new thread")

class Boxed(Dataset):
    """Boxes in images, each of which is noted when it is opened."""

    def __init__(self, root, whole: bool = True):
        super().__init__(root)
        self.opens_whole = whole

    def samples(self):
        for image in range(4):
            for box in range(150):
                yield Sample(f"{image}-{box}", (f"{image}.png",), box=(box % 30, box // 30, 8, 8))

def noted(path, *how, **more):
    if "OPENED_LOG" in os.environ:
        with open(os.environ["OPENED_LOG"], "a") as log:
            log.write(f"{os.path.basename(path)}\\n")
    return read_image(path, *how, **more)

read_image = sample_pixels.read_image
sample_pixels.read_image = noted

@hookimpl
def register_datasets(register):
    register("odd", lambda: Odd)
    register("boxed", lambda: Boxed)
'''


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Make a folder of the dataset plugin ``odd``, which is installed: words by the number of the sample."""
    packages = tmp_path / "packages"
    info = packages / "odd_reader-1.dist-info"
    info.mkdir(parents=True)
    (packages / "odd_reader.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-reader\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[histokit]\nodd = odd_reader\n")
    monkeypatch.syspath_prepend(packages)
    registry.cache_clear()

    def folder(count: int = 40, **words: str) -> Path:
        root = tmp_path / "odd"
        root.mkdir()
        (root / "numbers.bin").write_bytes(bytes(range(100, 100 + count)))
        (root / "pid").write_text(str(os.getpid()))
        for number in range(count):
            (root / f"{number:02d}.txt").write_text(words.get(f"n{number}", ""))
        return root

    yield folder
    registry.cache_clear()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that were started."""
    found: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def kept(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        process = popen(*args, **kwargs)
        if args[0][0] == sys.executable:
            found.append(process)
        return process

    monkeypatch.setattr(other_process.subprocess, "Popen", kept)
    return found


def opened(store: FeatureStore) -> tuple[IngestedFiles, list[Any]]:
    samples = [rebuild_sample(row) for row in store.samples("d").to_pylist()]
    return open_files(store, store.dataset("d")), samples


def copied(results: list[ReadResult]) -> list[Any]:
    """Return results that last."""
    return [
        (each.position, None if each.pixels is None else each.pixels.tolist(), each.mpp, each.reason, each.remarks)
        for each in results
    ]


def _died(notes: list[str]) -> list[str]:
    return [note for note in notes if "ended while it read" in note]


def read(files: IngestedFiles, samples: list[Any], workers: int | None) -> tuple[list[Any], list[str]]:
    reader = ChunkReader(files, workers, False, lambda: len(samples))
    found = [each for chunk in reader.chunks(enumerate(samples)) for each in copied(chunk)]
    return found, reader.notes


def test_processes_give_what_this_one_gives(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    paths = sorted(images.rglob("*.png"))
    Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)).save(paths[1])
    transparent = Image.fromarray(np.full((16, 16, 4), 100, np.uint8))
    transparent.save(paths[2])
    histokit.ingest(store, "folder", images, name="d", options=PATTERN)
    paths[3].write_bytes(b"no image")
    os.utime(paths[4], ns=(1, 1))
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(paths[5])
    paths[6].unlink()
    # Three images of 16 by 16 go into the memory of a task, the large one goes another way.
    monkeypatch.setattr(processes, "_TASK_BYTES", 2400)
    files, samples = opened(store)
    here, _ = read(files, samples, 0)
    assert not started
    there, notes = read(files, samples, 2)
    assert len(started) == 2
    assert there == here
    assert not notes
    reasons = [reason for *_, reason, _ in here]
    assert [place for place, reason in enumerate(reasons) if reason] == [3, 5, 6]
    assert "changed since" in reasons[5]
    assert [place for place, (*_, remarks) in enumerate(here) if remarks] == [2]
    assert all(process.poll() is not None for process in started)


def test_a_dataset_is_opened_in_each_process(
    store: FeatureStore, odd: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    histokit.ingest(store, "odd", odd(), name="d")
    found, notes = read(*opened(store), workers=3)
    assert [pixels[0][0][0] for _, pixels, *_ in found] == list(range(100, 140))
    assert not notes
    out, err = capfd.readouterr()
    assert not out
    assert "read 39" in err


@pytest.fixture
def many_tasks(
    store: FeatureStore, odd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> tuple[IngestedFiles, list[Any]]:
    """Files and samples of which a process reads four at a time: more tasks than its memory has parts."""
    monkeypatch.setattr(processes, "_FIRST", 4)
    histokit.ingest(store, "odd", odd(), name="d")
    return opened(store)


def test_a_process_that_ends_between_samples_blames_none(many_tasks: tuple[IngestedFiles, list[Any]]) -> None:
    files, samples = many_tasks
    with closing(processes.ReaderProcesses(files, 1)) as readers:
        # What is to last is copied.
        first = [each for chunk in readers.chunks(enumerate(samples)) for each in copied(chunk)]
        ended = readers._readers[0].process
        ended.kill()
        ended.wait()
        again = [each for chunk in readers.chunks(enumerate(samples)) for each in copied(chunk)]
    assert first == again
    assert readers.notes == [
        f"the process {ended.pid} ended (SIGKILL, as where memory is short): another one reads in its place"
    ]


def test_pixels_that_are_to_last_are_no_others_later(many_tasks: tuple[IngestedFiles, list[Any]]) -> None:
    files, samples = many_tasks
    found = list(lasting_results(files, enumerate(samples), 1, 4, []))
    assert [int(each.pixels.max()) for each in found if each.pixels is not None] == list(range(100, 140))


def test_a_process_that_ends_is_told_of_and_loses_nothing(store: FeatureStore, odd: Callable[..., Path]) -> None:
    root = odd(n5="die once", n20="die", n21="fail", n22="fail")
    histokit.ingest(store, "odd", root, name="d")
    found, notes = read(*opened(store), workers=2)
    assert [position for position, *_ in found] == list(range(40))
    assert {position: reason for position, pixels, _, reason, _ in found if pixels is None} == {
        20: "2 processes that read it ended: its file, or what decodes it, is at fault",
        **{position: reason for position, _, _, reason, _ in found if position in (21, 22)},
    }
    assert "no such number" in str(found[21][3])
    (failed,) = [note for note in notes if "the plugin failed in another process, first on 21: " in note]
    assert "--workers 0 (and --retry, of extract)" in failed
    assert sorted(note.partition(" ended ")[2] for note in notes if note != failed) == [
        f"while it read {name} (exit code 7): another one reads in its place" for name in ("05", "20", "20")
    ]


def test_a_process_without_memory_says_so_in_a_line(
    store: FeatureStore, odd: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    root = odd(n4="no memory")
    histokit.ingest(store, "odd", root, name="d", options={"where": "without memory"})
    with pytest.raises(
        histokit.errors.DataError, match=r"end by themselves, the last one \(it had too little memory\)"
    ):
        read(*opened(store), workers=1)
    assert "Traceback" not in capfd.readouterr().err
    histokit.ingest(store, "odd", root, name="d")
    found, notes = read(*opened(store), workers=1)
    assert [(place, reason) for place, _, _, reason, _ in found if reason] == [
        (4, "There was too little memory to read it (MemoryError): --retry, maybe with fewer --workers")
    ]
    # The plugin is not at fault.
    assert not notes


def test_a_plugin_that_makes_up_an_interruption_ends_no_process(
    store: FeatureStore, odd: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    histokit.ingest(store, "odd", odd(n7="interrupt"), name="d")
    found, notes = read(*opened(store), workers=1)
    ((place, reason),) = [(place, reason) for place, _, _, reason, _ in found if reason]
    assert place == 7
    assert "failed in read() for the sample '07': KeyboardInterrupt" in reason
    assert not _died(notes)
    assert "Traceback" not in capfd.readouterr().err


def test_processes_may_end_as_often_as_others_read_something(
    store: FeatureStore, odd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_DEATHS_WITHOUT_RESULT", 2)
    histokit.ingest(store, "odd", odd(n5="die once", n20="die once"), name="d")
    found, notes = read(*opened(store), workers=1)
    assert [position for position, pixels, *_ in found if pixels] == list(range(40))
    assert len(_died(notes)) == 2


def test_many_files_that_end_processes_are_passed_over(store: FeatureStore, odd: Callable[..., Path]) -> None:
    bad = [3, 5, 6, 7]
    histokit.ingest(store, "odd", odd(**{f"n{number}": "die" for number in bad}), name="d")
    found, notes = read(*opened(store), workers=1)
    assert [position for position, pixels, *_ in found if pixels is None] == bad
    assert len(notes) == 2 * len(bad)


def test_processes_that_read_nothing_end_it(store: FeatureStore, odd: Callable[..., Path]) -> None:
    histokit.ingest(store, "odd", odd(**{f"n{number}": "die" for number in range(40)}), name="d")
    with pytest.raises(histokit.errors.DataError, match="end by themselves"):
        read(*opened(store), workers=1)


@pytest.mark.usefixtures("tiny")
def test_what_ended_processes_is_not_read_in_this_one(store: FeatureStore, odd: Callable[..., Path]) -> None:
    # Two samples of one content: the other one is no help.
    histokit.ingest(store, "odd", odd(n5="die elsewhere", n8="die elsewhere"), name="d")
    histokit.extract(store, "d", "tiny", layers="0", workers=2)
    problems = store.problems("d").to_pylist()
    assert sorted(row["id"] for row in problems) == ["05", "08"]
    assert all("processes that read it ended" in row["reason"] for row in problems)
    assert len(store.features("d", "tiny/0", allow_missing=True).X) == 38


ENDED = "2 processes that read it ended: its file, or what decodes it, is at fault"
TRAINING: dict[str, Any] = {"backbone": "tiny", "split": "holdout", "settings": {"epochs": 1}, "keep": "final"}
WINDOWS: dict[str, Any] = {"windows": 4, "trees": 2, "w_min": 0.5, "w_max": 0.75, "min_leaf": 1}


@pytest.mark.usefixtures("tiny")
def test_training_and_predicting_read_nothing_that_ended_processes(
    store: FeatureStore, odd: Callable[..., Path]
) -> None:
    root = odd(n5="die elsewhere", n12="die elsewhere")
    histokit.ingest(store, "odd", root, name="d")
    # Before anything is known of the two: one ends its processes, the rest is looked at by processes as well.
    with pytest.raises(histokit.errors.DataError, match="2 of 40 images cannot be read: 05, 12") as told:
        histokit.finetune(store, "d", workers=1, **TRAINING)
    assert ENDED in told.value.message
    store.forget_problems("d")
    (run,) = histokit.finetune(store, "d", workers=2, allow_missing=True, **TRAINING)
    assert "2 of 40 samples are left out: their images cannot be read" in run.notes
    assert len(_died(run.notes)) == 4
    store.forget_problems("d")
    with pytest.raises(histokit.errors.DataError, match="2 of 40 images cannot be read: 05, 12"):
        histokit.predict(store, run.id, "d", workers=1)
    assert len(histokit.predictions(store, histokit.predict(store, run.id, "d", allow_missing=True).id)) == 38
    assert not [*root.glob("*.here")]


def test_classifiers_of_pixels_predict_by_processes(store: FeatureStore, odd: Callable[..., Path]) -> None:
    root = odd(n5="die elsewhere")
    histokit.ingest(store, "odd", root, name="d")
    how: dict[str, Any] = {"classifier": "et-fl", "split": "holdout", "grid": WINDOWS}
    (run,) = histokit.train(store, "d", "images", where="id <> '05'", **how)
    with pytest.raises(histokit.errors.DataError, match="1 of 40 images cannot be read: 05"):
        histokit.predict(store, run.id, "d", workers=1)
    store.forget_problems("d")
    predicted = histokit.predict(store, run.id, "d", workers=1, allow_missing=True)
    assert len(histokit.predictions(store, predicted.id)) == 39
    assert len(_died(predicted.notes)) == 2
    assert not [*root.glob("*.here")]


@pytest.mark.usefixtures("tiny")
def test_what_is_known_to_end_processes_is_read_by_threads_neither(
    store: FeatureStore, odd: Callable[..., Path]
) -> None:
    root = odd(n5="die elsewhere")
    histokit.ingest(store, "odd", root, name="d")
    histokit.extract(store, "d", "tiny", layers="0", workers=1)
    for how in ({"problems": True}, {"where": "id = '05'"}):
        (seen,) = histokit.show(store, "d", **how).samples
        assert (seen.reason, seen.pixels) == (ENDED, None)
    (run,) = histokit.finetune(store, "d", allow_missing=True, **TRAINING)
    assert "1 of 40 samples is left out: their images cannot be read" in run.notes
    assert not [*root.glob("*.here")]
    # Another file is another image, and --retry tries all again.
    (root / "05.txt").write_text("mended")
    histokit.ingest(store, "odd", root, name="d")
    assert histokit.show(store, "d", where="id = '05'").samples[0].pixels is not None
    (root / "05.txt").write_text("die elsewhere")
    histokit.ingest(store, "odd", root, name="d")
    histokit.extract(store, "d", "tiny", layers="0", workers=0, retry=True)
    assert [path.name for path in root.glob("*.here")] == ["05.here"]


@pytest.mark.usefixtures("tiny")
def test_a_process_that_ended_is_told_of_where_images_do_not_fit_into_memory(
    store: FeatureStore, odd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "_SHARE", 1 << 60)
    histokit.ingest(store, "odd", odd(n5="die once"), name="d")
    (run,) = histokit.finetune(store, "d", workers=1, **TRAINING)
    assert len(_died(run.notes)) == 1


def test_what_is_large_on_both_ways_makes_nobody_wait(
    store: FeatureStore, odd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = odd(**{f"n{number}": "large" + "x" * 100_000 for number in range(40)})
    histokit.ingest(store, "odd", root, name="d")
    files, samples = opened(store)
    samples = [replace(sample, metadata={"text": "x" * 100_000}) for sample in samples]
    monkeypatch.setattr(processes, "_TASK_BYTES", 1000)
    found = []
    with closing(ChunkReader(files, 1, False, lambda: 40).chunks(enumerate(samples))) as results:
        for chunk in results:
            found += [(each.position, each.pixels.shape, int(each.pixels[0, 0, 0])) for each in chunk]
    assert found == [(number, (500, 500, 3), number) for number in range(40)]


@pytest.mark.parametrize(("number", "told"), [(signal.SIGKILL, "SIGKILL, as where memory is short"), (40, "signal 40")])
def test_a_killed_process_is_replaced(
    store: FeatureStore, odd: Callable[..., Path], started: list[subprocess.Popen[bytes]], number: int, told: str
) -> None:
    root = odd(n7="hang")
    histokit.ingest(store, "odd", root, name="d")
    files, samples = opened(store)
    reader = ChunkReader(files, 2, False, lambda: len(samples))
    results = reader.chunks(enumerate(samples))
    marker = root / "07.seen"

    def kill() -> None:
        while not marker.exists() or not marker.read_text():
            time.sleep(0.02)
        (root / "07.txt").write_text("")
        os.kill(int(marker.read_text()), number)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = [each for chunk in results for each in copied(chunk)]
    assert [position for position, *_ in found] == list(range(40))
    (note,) = reader.notes
    assert f"ended while it read 07 ({told})" in note
    assert all(process.poll() is not None for process in started)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a child shares open files by a fork")
def test_what_a_plugin_starts_in_a_process_ends_with_it(store: FeatureStore, odd: Callable[..., Path]) -> None:
    # The first child holds what its parent answers through when that ends by itself, the second one when it is ended.
    root = odd(n4="start another", n5="die once", n30="start another")
    histokit.ingest(store, "odd", root, name="d")
    files, samples = opened(store)
    children = root / "children"

    def free() -> None:
        # So that this test fails rather than waits for ever.
        if len(found) < 40:
            _kill_all(children)

    found: list[Any] = []
    timer = threading.Timer(30, free)
    timer.start()
    found += read(files, samples, workers=1)[0]
    timer.cancel()
    assert [position for position, pixels, *_ in found if pixels is not None] == list(range(40))
    numbers = [int(number) for number in children.read_text().split()]
    assert len(numbers) == 3
    _wait_until_gone(numbers)


def test_the_number_of_a_process_that_was_waited_for_may_be_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    process = other_process.OtherProcess(digest_process.__name__)
    process.process.kill()
    assert process.cause().startswith("SIGKILL")
    ended: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda number, _: ended.append(number))
    process.end()
    assert ended == []


def _kill_all(children: Path) -> None:
    for number in children.read_text().split():
        with suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGKILL)


def test_processes_that_cannot_serve_are_an_error(store: FeatureStore, odd: Callable[..., Path]) -> None:
    histokit.ingest(store, "odd", odd(), name="d", options={"where": "here"})
    with pytest.raises(histokit.errors.PluginError, match="Another process cannot read") as told:
        read(*opened(store), workers=2)
    assert "locked by another process" in told.value.message
    assert "--workers 0" in told.value.next


def test_processes_that_cannot_be_started_are_an_error(
    store: FeatureStore, odd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    histokit.ingest(store, "odd", odd(), name="d")
    files, samples = opened(store)
    popen = subprocess.Popen
    made: list[Any] = []

    def limited(*args: Any, **kwargs: Any) -> Any:
        if len(made) == 4:
            raise OSError(errno.EMFILE, "Too many open files")
        made.append(popen(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(other_process.subprocess, "Popen", limited)
    with pytest.raises(histokit.errors.UsageError, match=r"4 of 9 processes .* could be started: Too many") as told:
        read(files, samples, workers=9)
    assert "--workers 2," in told.value.next
    assert all(process.poll() is not None for process in made)


@pytest.mark.parametrize("where", ["here", "anywhere"])
def test_threads_go_on_where_processes_that_nobody_asked_for_cannot_read(
    store: FeatureStore, odd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    histokit.ingest(store, "odd", odd(), name="d", options={"where": where})
    files, samples = opened(store)
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    if where == "anywhere":
        monkeypatch.setattr(other_process.subprocess, "Popen", raising(OSError(errno.EAGAIN, "Try again")))
    # As soon as one has said what is wrong.
    monkeypatch.setattr(processes.ReaderProcesses, "ready", lambda self: self._receive())
    reader = ChunkReader(files, None, True, lambda: 1000)
    found = [each.position for chunk in reader.chunks(enumerate(samples * 5)) for each in chunk]
    assert found == list(range(200))
    (note,) = reader.notes
    assert note.startswith("images are read by threads: ")
    assert ("locked by another process" if where == "here" else "0 of 2 processes") in note


def test_threads_read_until_they_are_outrun(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    histokit.ingest(store, "folder", images, name="d", options=PATTERN)
    files, samples = opened(store)
    samples = samples * 20
    monkeypatch.setattr(chunks, "cores", lambda: 2)

    def positions(worth: float, seconds: float) -> list[int]:
        monkeypatch.setattr(chunks, "_WORTH", worth)
        reader = ChunkReader(files, None, False, lambda: len(samples))
        found = []
        for chunk in reader.chunks(enumerate(samples)):
            time.sleep(seconds)
            found += [each.position for each in chunk]
        return found

    assert positions(1000.0, 0.0) == list(range(len(samples)))
    assert positions(0.0, 0.5) == list(range(len(samples)))
    assert not started
    assert positions(0.0, 0.0) == list(range(len(samples)))
    assert len(started) == 2


def test_threads_read_until_processes_can(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    histokit.ingest(store, "folder", images, name="d", options=PATTERN)
    files, samples = opened(store)
    samples = samples * 60
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    here: list[int] = []
    read_here = reader_module.read_sample

    def counted(files: Any, position: int, sample: Any) -> ReadResult:
        here.append(position)
        return read_here(files, position, sample)

    monkeypatch.setattr(reader_module, "read_sample", counted)
    reader = ChunkReader(files, None, True, lambda: len(samples))
    found = []
    for chunk in reader.chunks(enumerate(samples)):
        # Long enough for a process to start before the images come to their end.
        time.sleep(0.3)
        found += [each.position for each in chunk]
    assert found == list(range(len(samples)))
    assert len(started) == 2
    assert chunks.CHUNK <= len(here) < len(samples)
    assert sorted(here) == list(range(len(here)))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("workers", [None, 2])
def test_processes_start_before_networks_are_built(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, started: list[Any], workers: int | None
) -> None:
    histokit.ingest(store, "folder", images, name="d", options=PATTERN)
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    monkeypatch.setattr(chunks, "_KNOWN_AFTER", 8)
    build, there = TinyBackbone.build, []

    def counted(backbone: TinyBackbone) -> Any:
        there.append(len(started))
        return build(backbone)

    monkeypatch.setattr(TinyBackbone, "build", counted)
    with pretended_cuda():
        histokit.extract(store, "d", "tiny", workers=workers)
    assert there[-1] == len(started) == 2
    if workers is None:
        # Neither for networks on processors, with which threads may keep up, nor for the few images of most commands.
        histokit.extract(store, "d", "tiny", device="cpu", force=True)
        monkeypatch.undo()
        with pretended_cuda():
            histokit.extract(store, "d", "tiny", force=True)
        assert len(started) == 2


def test_processes_end_where_a_network_cannot_be_built(store: FeatureStore, images: Path, started: list[Any]) -> None:
    histokit.ingest(store, "folder", images, name="d", options=PATTERN)
    with added_plugin(Unbuilt(), "tinyplugin"), pytest.raises(PluginError, match="no such thing"):
        histokit.extract(store, "d", "tiny", workers=2)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


class Unbuilt(TinyPlugin):
    """Registers ``tiny``, which can be built no more once its layers are known."""

    def load(self, request: Any) -> Any:
        """Return it with a `build` that raises."""
        whole = super().load(request)

        def build() -> Any:
            raise RuntimeError("no such thing")

        whole.build = build  # type: ignore[method-assign]
        return whole


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_of_many_boxes_is_opened_by_one_process(
    store: FeatureStore, odd: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    root = odd()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    histokit.ingest(store, "boxed", root, name="d", options={"whole": whole})
    files, samples = opened(store)
    monkeypatch.setenv("OPENED_LOG", str(tmp_path / "log"))
    found, _ = read(files, samples, 3)
    log = (tmp_path / "log").read_text().split()
    assert set(log) == {f"{number}.png" for number in range(4)}
    # More boxes than a process has tasks for, so that regions of one image go to several where that is no loss.
    assert len(log) == 4 if whole else len(log) > 4
    monkeypatch.delenv("OPENED_LOG")
    assert found == read(files, samples, 0)[0]


def test_boxes_of_an_image_whose_process_ended_go_to_another_one(store: FeatureStore, odd: Callable[..., Path]) -> None:
    root = odd()
    for number in range(4):
        Image.fromarray(np.full((40, 40, 3), number, np.uint8)).save(root / f"{number}.png")
    histokit.ingest(store, "boxed", root, name="d")
    files, samples = opened(store)
    with closing(processes.ReaderProcesses(files, 1)) as readers:
        found = []
        for chunk in readers.chunks(enumerate(samples)):
            found += [(each.position, int(each.pixels.max())) for each in chunk if each.pixels is not None]
            if len(found) == len(chunk):
                readers._readers[0].process.kill()
    assert found == [(place, place // 150) for place in range(600)]
    assert len(readers.notes) == 1


@pytest.mark.usefixtures("tiny")
def test_vectors_are_the_same(store: FeatureStore, images: Path, tmp_path: Path, started: list[Any]) -> None:
    for path, workers in ((store, 0), (histokit.open_store(tmp_path / "other"), 2)):
        histokit.ingest(path, "folder", images, name="d", options=PATTERN)
        histokit.extract(path, "d", "tiny", workers=workers, batch_size=4)
    assert len(started) == 2
    assert (store.features("d", "tiny/all").X == path.features("d", "tiny/all").X).all()


def test_a_dataset_of_this_process_alone_is_read_by_threads(
    store: FeatureStore, images: Path, started: list[Any]
) -> None:
    histokit.ingest(store, "folder", images, name="d", options=PATTERN)
    files, samples = opened(store)
    files.opening = None
    found, notes = read(files, samples, 2)
    assert len(found) == 24
    assert not started
    assert notes == ["images are read by threads: no other process can open this dataset"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_no_process_is_left_behind(
    store: FeatureStore, odd: Callable[..., Path], tmp_path: Path, number: int, code: int
) -> None:
    root = odd(n2="start another", n3="hang")
    histokit.ingest(store, "odd", root, name="d")
    start = (
        "import sys, json, signal; sys.path[:] = json.loads(sys.argv.pop(1)); "
        # A process that is started in the background of a test may ignore it.
        "signal.signal(signal.SIGINT, signal.default_int_handler); from histokit.cli import main; main()"
    )
    command = ["extract", "d", "--backbone", "texture", "--workers", "2", "--store", str(tmp_path / "store"), "--json"]
    words = [sys.executable, "-c", start, json.dumps(sys.path), *command]
    asking = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    marker = root / "03.seen"
    while not marker.exists() or not marker.read_text():
        assert asking.poll() is None
        time.sleep(0.05)
    asking.send_signal(number)
    out, err = asking.communicate(timeout=60)
    assert asking.returncode == code, err
    assert "Traceback" not in err
    assert (json.loads(out)["error"]["code"] if out else -9) == code
    _wait_until_gone([int(marker.read_text()), int((root / "children").read_text())])


def _wait_until_gone(numbers: list[int]) -> None:
    patience = time.monotonic() + 20
    while left := [number for number in numbers if _is_there(number)]:
        if time.monotonic() > patience:
            for number in left:
                os.kill(number, signal.SIGKILL)
            pytest.fail(f"{len(left)} processes are left")
        time.sleep(0.1)


def _is_there(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{number}/stat")
    # A process that nobody waits for any more stays as a zombie in some containers.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
