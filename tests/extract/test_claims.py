from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tiny_plugin import TinyPlugin

import histokit
from histokit.errors import StoreError
from histokit.extract import claimed_work, samples
from histokit.extract import claims as module
from histokit.extract.claims import Claims
from histokit.features import FeatureStore
from histokit.store.fingerprints import table_name
from tests.toy import insert_vectors

OPTIONS = {"pattern": "{patient}/{label}/*.png", "group": "patient"}

_OTHER = """
import sys
from pathlib import Path
from histokit.extract.claims import Claims
claims, held = Claims(Path(sys.argv[1])), {}
for line in sys.stdin:
    order, table, unit = line.split()
    if order == "claim":
        held[table, unit] = claims.claim([table], int(unit))
        print(held[table, unit] is not None, flush=True)
    elif order == "attend":
        print(claims.attend(table, alone=bool(int(unit))), flush=True)
    else:
        held.pop((table, unit)).release()
        print("released", flush=True)
"""


class Other:
    """Another process, which claims what it is told to."""

    def __init__(self, folder: Path):
        command = [sys.executable, "-c", _OTHER, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, order: str, table: str, unit: int) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order} {table} {unit}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(store: FeatureStore) -> Iterator[Other]:
    store.uri.mkdir(exist_ok=True)
    process = Other(store.uri)
    yield process
    process.kill()


def test_a_claim_shuts_others_out_until_it_is_released_or_its_holder_dies(store: FeatureStore, other: Other) -> None:
    claims = Claims(store.uri)
    mine = claims.claim(["a", "b"], 3)
    assert mine is not None
    assert [other.tell("claim", *place) for place in (("a", 3), ("b", 3), ("a", 2), ("c", 3))] == [
        "False",
        "False",
        "True",
        "True",
    ]
    assert claims.claim(["d", "c"], 3) is None
    assert other.tell("claim", "d", 3) == "True"
    mine.release()
    assert other.tell("claim", "b", 3) == "True"
    other.kill()
    assert claims.claim(["a", "b", "c", "d"], 3) is not None
    claims.close()


@pytest.fixture
def table(store: FeatureStore, images: Path, tiny: TinyPlugin, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the table that an extraction of 24 samples, three in a unit, will fill."""
    monkeypatch.setattr(claimed_work, "UNIT", 3)
    monkeypatch.setattr("histokit.extract.image_feed._LOOK_EVERY", 0.01)
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    made = histokit.extract(store, "d", "tiny", layers="last", batch_size=4).tables[0]["table"]
    store.database.drop(made)
    return str(made)


def extract_while(store: FeatureStore, act: Callable[[], Any]) -> histokit.Extraction:
    """Extract; as soon as nothing is left but what others claimed, act."""

    def report(_done: int, _total: int, detail: str = "") -> None:
        if detail.startswith("waiting"):
            act()

    return histokit.extract(store, "d", "tiny", layers="last", batch_size=4, progress=report)


def counts(extraction: histokit.Extraction) -> tuple[int, ...]:
    return tuple(extraction.tables[0][name] for name in ("cached", "copied", "computed", "missing"))


def test_what_a_killed_process_left_is_computed(store: FeatureStore, table: str, other: Other) -> None:
    for unit in (1, 4):
        assert other.tell("claim", table, unit) == "True"
    stored = []

    def act() -> None:
        stored.append(store.database.count(table))
        # Whoever waits holds nothing that others could wait for.
        assert other.process.poll() is not None or other.tell("claim", table, 0) == "True"
        other.kill()

    assert counts(extract_while(store, act)) == (0, 0, 24, 0)
    assert stored[0] == 18
    assert len(store.features("d", "tiny/last")) == 24


def test_what_another_process_stored_is_not_computed_again(
    store: FeatureStore, table: str, other: Other, tmp_path: Path, images: Path
) -> None:
    elsewhere = histokit.open_store(tmp_path / "elsewhere")
    histokit.ingest(elsewhere, "folder", images, name="d", options=OPTIONS)
    histokit.extract(elsewhere, "d", "tiny", layers="last", batch_size=4)
    rows = elsewhere.database.read(table).slice(3, 3)
    for unit in (1, 4):
        other.tell("claim", table, unit)
    stored: list[int] = []

    def act() -> None:
        if stored:
            # What turned out to be done is nobody's while the rest is waited for.
            assert other.process.poll() is not None or other.tell("claim", table, 1) == "True"
            other.kill()
            return
        stored.append(1)
        vectors = rows.column("vector").combine_chunks().flatten().to_numpy()
        ids, contents = (rows.column(name).to_pylist() for name in ("id", "content"))
        insert_vectors(store.database, store.feature_tables("d")[0], ids, contents, vectors.reshape(3, -1))
        other.tell("release", table, 1)

    assert counts(extract_while(store, act)) == (3, 0, 21, 0)
    assert (store.features("d", "tiny/last").X == elsewhere.features("d", "tiny/last").X).all()


def test_a_claim_on_what_cannot_be_read_is_not_kept_while_others_are_waited_for(
    store: FeatureStore, images: Path, table: str, other: Other
) -> None:
    for sample_id in store.samples("d", ["id"]).column("id").to_pylist()[:3]:
        (images / sample_id).write_bytes(b"no image")
    for unit in range(1, 8):
        other.tell("claim", table, unit)

    def act() -> None:
        assert other.process.poll() is not None or other.tell("claim", table, 0) == "True"
        other.kill()

    assert counts(extract_while(store, act)) == (0, 0, 21, 0)


def test_nothing_is_claimed_after_an_extraction(store: FeatureStore, table: str, other: Other) -> None:
    histokit.extract(store, "d", "tiny", layers="last")
    assert other.tell("attend", table, 1) == "True"


@pytest.mark.parametrize("positions", [[8, 9, 11], [7, 8], [23], [0, 23], [5, 4, 3], []])
def test_samples_are_taken_by_their_places(
    store: FeatureStore, images: Path, monkeypatch: pytest.MonkeyPatch, positions: list[int]
) -> None:
    monkeypatch.setattr("histokit.extract.samples._KEPT", 8)
    record = histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    rows = store.samples("d").to_pylist()
    taken = samples.Samples(store, store.dataset(record.name)).take(positions)
    assert [(sample.id, content) for sample, content in taken] == [
        (rows[i]["id"], rows[i]["content"]) for i in positions
    ]


def test_layers_that_another_process_does_not_fill_are_not_waited_for(
    store: FeatureStore, table: str, other: Other
) -> None:
    for unit in range(8):
        other.tell("claim", table, unit)
    assert counts(histokit.extract(store, "d", "tiny", layers="0")) == (0, 0, 24, 0)


def test_images_that_one_network_takes_and_another_waits_for_are_not_done_twice(
    store: FeatureStore, table: str, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.reading.chunks.CHUNK", 4)
    for unit in range(8):
        other.tell("claim", table, unit)
    seen: list[tuple[int, int]] = []

    def report(done: int, total: int, detail: str = "") -> None:
        seen.append((done, total))
        if detail.startswith("waiting"):
            other.kill()

    done = histokit.extract(store, "d", ["tiny", "texture"], layers="last", batch_size=4, progress=report)
    assert [made["computed"] for made in done.tables] == [24, 24]
    assert all(0 <= before <= after <= total for (before, _), (after, total) in pairwise(seen))
    assert seen[-1] == (24, 24)


@pytest.mark.parametrize("absent", [False, True])
def test_without_locks_extraction_goes_on_and_says_so(
    store: FeatureStore, table: str, monkeypatch: pytest.MonkeyPatch, absent: bool
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if absent:
        monkeypatch.setattr(module, "fcntl", None)
    else:
        monkeypatch.setattr(module.fcntl, "lockf", refuse)
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert counts(extraction) == (0, 0, 24, 0)
    assert [note.partition(":")[0] for note in extraction.notes] == [
        f"The file system of the store takes no locks ({os.strerror(errno.ENOLCK)})"
    ]


def test_a_file_of_claims_that_is_not_to_be_written_is_not_taken_for_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refused)
    assert Claims(tmp_path).notes == [
        "claims.lock of the store is not to be written by this user (Permission denied): several processes at once may "
        "push the same images through."
    ]


@pytest.mark.parametrize("at_once", [False, True])
def test_locks_that_cannot_be_given_back_end_nothing(
    store: FeatureStore, table: str, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    lock = module.fcntl.lockf
    taken: list[int] = []

    def refuse(file: int, how: int, *where: int) -> None:
        if how == module.fcntl.LOCK_UN or (at_once and len(taken) > 1):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        taken.append(file)
        lock(file, how, *where)

    monkeypatch.setattr(module.fcntl, "lockf", refuse)
    extraction = histokit.extract(store, "d", "tiny", layers="last")
    assert counts(extraction) == (0, 0, 24, 0)
    assert taken
    (note,) = extraction.notes
    assert note.startswith("The file system of the store takes no locks (")


_RUN = """
import sys, time
from pathlib import Path
import histokit
from histokit.errors import StoreError
from histokit.extract import claimed_work, samples
from histokit.networks.cut_network import CutNetwork
from histokit.extract.worker import NetworkWorker
from histokit.extract.writer import Writer
from histokit.plugin.testing import added_plugin
sys.path.insert(0, sys.argv[2])
from tiny_plugin import TinyPlugin

uri, me, layers = Path(sys.argv[1]), sys.argv[3], sys.argv[4].split(",")
claimed_work.UNIT = 6
seen = []
add, forward, run = Writer.add, CutNetwork.forward, claimed_work.Work.images
Writer.add = lambda s, p, contents, v: (seen.append(len(contents)), add(s, p, contents, v))
CutNetwork.forward = lambda s, batch: (time.sleep(0.02), forward(s, batch))[1]

def together(self):
    (uri / f"{me}.ready").touch()
    deadline = time.monotonic() + 60
    while len(list(uri.glob("*.ready"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return run(self)

claimed_work.Work.images = together
with added_plugin(TinyPlugin(), "tinyplugin"):
    done = histokit.extract(histokit.open_store(uri), "d", "tiny", layers=layers, batch_size=4, workers=1)
assert all(t["cached"] + t["computed"] == 240 and t["missing"] == 0 for t in done.tables), done.tables
print(sum(seen))
"""


def run_two(store: FeatureStore, layers: tuple[str, str]) -> list[int]:
    tests = str(Path(__file__).parents[1])
    commands = [[sys.executable, "-c", _RUN, str(store.uri), tests, str(i), names] for i, names in enumerate(layers)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    return [int(process.communicate(timeout=120)[0]) for process in processes]


def ingest_synthetic(store: FeatureStore) -> None:
    histokit.ingest(store, "synthetic", ".", name="d", options={"slides": 4, "per_slide": 60, "size": 16})


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("layers", [("0,3", "0,3"), pytest.param(("0,1", "1,3"), marks=pytest.mark.slow)])
def test_two_processes_share_the_work(store: FeatureStore, tmp_path: Path, layers: tuple[str, str]) -> None:
    ingest_synthetic(store)
    pushed = run_two(store, layers)
    assert min(pushed) >= 40
    # Where layers only overlap, each image goes through once for each, or first for the one and then for the other.
    assert sum(pushed) == 240 if layers[0] == layers[1] else sum(pushed) <= 480
    for name in {name for text in layers for name in text.split(",")}:
        assert len(store.features("d", f"tiny/{name}")) == 240
    alone = histokit.open_store(tmp_path / "alone")
    ingest_synthetic(alone)
    histokit.extract(alone, "d", "tiny", batch_size=4)
    for name in ("0", "3"):
        assert (alone.features("d", f"tiny/{name}").X == store.features("d", f"tiny/{name}").X).all()


@pytest.mark.usefixtures("tiny")
def test_vectors_are_computed_anew_by_one_process_alone(store: FeatureStore, images: Path, other: Other) -> None:
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    (table,) = [t["table"] for t in histokit.extract(store, "d", "tiny", layers="last").tables]
    assert other.tell("attend", table, 0) == "True"
    with pytest.raises(StoreError, match="Another process fills tiny/3 of the dataset 'd'"):
        histokit.extract(store, "d", "tiny", layers="last", force=True)
    other.kill()
    assert histokit.extract(store, "d", "tiny", layers="last", force=True).tables[0]["computed"] == 24


@pytest.mark.usefixtures("tiny")
def test_nothing_is_added_to_what_another_process_computes_anew(
    store: FeatureStore, images: Path, other: Other
) -> None:
    histokit.ingest(store, "folder", images, name="d", options=OPTIONS)
    (plan,) = histokit.extract(store, "d", "tiny", layers="last", dry_run=True).tables
    assert (
        other.tell("attend", table_name("d", "tiny", plan["address"].rpartition("/")[2], plan["fingerprint"]), 1)
        == "True"
    )
    with pytest.raises(StoreError, match=r"Another process computes all of tiny/\w+ of the dataset 'd'"):
        histokit.extract(store, "d", "tiny", layers="last")
    other.kill()
    assert histokit.extract(store, "d", "tiny", layers="last").tables[0]["computed"] == 24
