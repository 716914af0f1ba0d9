"""Search by an index: as exact search, with its recall measured; kept, added to, made again."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from histokit import neighbours
from histokit.neighbours import indexed
from histokit.plugin.digests import digest_bytes
from histokit.store import vector_index
from histokit.store.care import collect_garbage, compact
from histokit.store.verify import verify
from tests.toy import insert_vectors, make_store

N, WIDTH = 1600, 16


@pytest.fixture
def clusters(tmp_path, monkeypatch):
    """A store of vectors in clusters that cut through slides, and the vectors; an index is taken from 1,000 on."""
    monkeypatch.setattr(indexed, "INDEXED_FROM", 1_000)
    rng = np.random.default_rng(0)
    code = rng.integers(0, 30, N)
    X = (rng.normal(size=(30, WIDTH))[code] * 2 + rng.normal(size=(N, WIDTH))).astype(np.float32)
    samples = {"id": [f"s{i}" for i in range(N)], "label": [f"c{c % 5}" for c in code]}
    samples["slide"] = [f"P{i % 4}" for i in range(N)]
    return make_store(tmp_path / "s", samples, {"last": X}, count=N), X


def exactly(store, monkeypatch, **how):
    with monkeypatch.context() as patch:
        patch.setattr(indexed, "INDEXED_FROM", 10**9)
        return neighbours(store, "toy", "net/last", **how)


def overlap(one, other):
    return np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(one.found.places, other.found.places, strict=True)])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_index_finds_what_exact_search_finds(clusters, monkeypatch, metric):
    store, X = clusters
    other = {"id": [f"q{i}" for i in range(60)], "label": ["c1"] * 60, "slide": [f"P{i % 5}" for i in range(60)]}
    make_store(store.uri, other, {"last": X[:60] + 0.1}, name="other")
    how = {"metric": metric, "k": 5, "where": "id <> 's7'", "query": "other"}
    found, exact = neighbours(store, "toy", "net/last", **how), exactly(store, monkeypatch, **how)
    assert exact.index is None
    assert found.index["recall"] >= 0.95
    assert found.index["measured_on"] >= 100
    assert overlap(found, exact) >= 0.95
    same = found.found.places == exact.found.places
    assert found.found.distances[same] == pytest.approx(exact.found.distances[same])
    rows = found.table().to_pylist()
    assert all(row["group"] != row["query_group"] for row in rows), "no query finds its own slide"
    assert "s7" not in {row["id"] for row in rows}
    assert found.scores["mean_average_precision"] is None
    for mine, theirs in zip(found.scores["at"], exact.scores["at"], strict=True):
        assert mine["precision"] == pytest.approx(theirs["precision"], abs=0.05)


def test_an_index_finds_nothing_that_a_fold_tests(clusters, monkeypatch):
    store, _ = clusters
    how = {"split": "leave-one-group-out", "k": 3}
    found, exact = neighbours(store, "toy", "net/last", **how), exactly(store, monkeypatch, **how)
    assert found.index is not None
    assert len(found.asked) == N
    # Sample i is of slide i % 4, which its fold tests and does not train on.
    assert (found.found.places % 4 != found.asked[:, None] % 4).all()
    assert overlap(found, exact) >= 0.95


def test_what_an_index_finds_is_measured_anew_for_other_groups_and_other_numbers(clusters):
    store, _ = clusters
    measured = []

    def note(*told):
        measured.extend(text for text in told if isinstance(text, str) and "measuring" in text)

    for same_group, k in ((True, 5), (False, 5), (False, 6)):
        neighbours(store, "toy", "net/last", k=k, query="s1", same_group=same_group, progress=note)
        assert measured, "what it finds of as many neighbours is not known either"
        measured.clear()


def test_vectors_are_read_for_many_queries_at_once(clusters, monkeypatch):
    store, _ = clusters
    first = neighbours(store, "toy", "net/last", k=5)
    reads, read = [], vector_index.VectorIndex.read
    monkeypatch.setattr(vector_index.VectorIndex, "read", lambda own, rows: reads.append(len(rows)) or read(own, rows))
    found = neighbours(store, "toy", "net/last", k=5)
    # The queries themselves and what they are compared with, 256 queries at a time.
    assert found.index["recall"] == first.index["recall"]
    assert len(reads) == 2 * 7
    # Where little may be read at once, each query has its own vectors read.
    monkeypatch.setattr(indexed, "_READ", 1)
    single = neighbours(store, "toy", "net/last", k=5)
    assert len(reads) == 2 * 7 + 7 + N
    assert single.found.places.tolist() == found.found.places.tolist() == first.found.places.tolist()
    assert single.found.distances.tolist() == found.found.distances.tolist()


def test_an_index_is_asked_for_many_queries_at_once(clusters, monkeypatch):
    store, _ = clusters
    first = neighbours(store, "toy", "net/last", k=5)
    asked, nearby = [], vector_index.VectorIndex.nearby
    monkeypatch.setattr(
        vector_index.VectorIndex, "nearby", lambda own, q, *how: asked.append(len(q)) or nearby(own, q, *how)
    )
    neighbours(store, "toy", "net/last", k=5)
    # 256 at a time, and again those that found too few beside their own slide.
    assert max(asked) == 256
    assert len(asked) <= 7 * 6
    # Where little may be found at once, each query is alone, and finds the same.
    monkeypatch.setattr(vector_index, "_FOUND", 1)
    single = neighbours(store, "toy", "net/last", k=5)
    assert single.found.places.tolist() == first.found.places.tolist()
    assert single.found.distances.tolist() == first.found.distances.tolist()


def test_every_sample_can_be_a_query_of_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(indexed, "INDEXED_FROM", 300)
    X = np.random.default_rng(2).normal(size=(320, 8))
    samples = {
        "id": [f"s{i}" for i in range(320)],
        "label": ["a", "b"] * 160,
        "slide": [f"P{i % 4}" for i in range(320)],
    }
    store = make_store(tmp_path / "s", samples, {"last": X}, count=320)
    found, exact = neighbours(store, "toy", "net/last", k=3), exactly(store, monkeypatch, k=3)
    assert found.index is not None
    assert len(found.asked) == 320
    assert overlap(found, exact) >= 0.95
    assert (found.found.places % 4 != np.arange(320)[:, None] % 4).all()


def test_groups_that_fill_the_nearest_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(indexed, "INDEXED_FROM", 1_000)
    rng = np.random.default_rng(0)
    slide = np.repeat(np.arange(4), 500)
    X = rng.normal(size=(4, WIDTH))[slide] * 20 + rng.normal(size=(2000, WIDTH))
    samples = {"id": [f"s{i}" for i in range(2000)], "label": ["a", "b"] * 1000}
    store = make_store(tmp_path / "s", samples | {"slide": [f"P{s}" for s in slide]}, {"last": X}, count=2000)
    found = neighbours(store, "toy", "net/last", query="s3", k=4, metric="euclidean")
    exact = exactly(store, monkeypatch, query="s3", k=4, metric="euclidean")
    assert found.index is not None
    assert found.found.places.tolist() == exact.found.places.tolist()


def test_the_index_is_kept_and_new_rows_are_found(clusters, monkeypatch):
    store, X = clusters
    first = neighbours(store, "toy", "net/last", query="s3", k=3)
    made = []
    make = vector_index.Database.index_vectors
    monkeypatch.setattr(vector_index.Database, "index_vectors", lambda *a: made.append(a) or make(*a))
    monkeypatch.setattr(indexed, "search_pieces", lambda *a, **k: pytest.fail("it was measured before"))
    again = neighbours(store, "toy", "net/last", query="s3", k=3)
    assert not made
    assert again.found.places.tolist() == first.found.places.tolist()
    assert again.index == first.index
    monkeypatch.undo()
    monkeypatch.setattr(indexed, "INDEXED_FROM", 1_000)
    samples = store.samples("toy").to_pydict()
    new = {name: [*samples[name], value] for name, value in (("id", "new"), ("label", "c1"), ("slide", "P9"))}
    store = make_store(store.uri, new, {}, count=N + 1)
    table = store.feature_tables()[0]
    assert insert_vectors(store.database, table, ["new"], [digest_bytes(b"new")], X[3:4]) == 1
    found = neighbours(store, "toy", "net/last", query="s3", k=3)
    assert found.samples.sample_ids[found.found.places[0, 0]] == "new"
    assert found.found.distances[0, 0] == pytest.approx(0, abs=1e-9)


def test_what_an_index_finds_is_measured_anew_among_other_samples(clusters):
    """Also where a filter keeps as many."""
    store, _ = clusters
    measured = []

    def note(*told):
        measured.extend(text for text in told if isinstance(text, str) and "measuring" in text)

    for where in ("slide in ('P0', 'P1', 'P2')", "slide in ('P1', 'P2', 'P3')"):
        for times in (True, False):
            how = {"k": 5, "where": where, "same_group": True, "query": "s1", "progress": note}
            found = neighbours(store, "toy", "net/last", **how)
            assert len(found.samples) == 1_200
            assert found.index is not None
            assert bool(measured) is times, "and once for each"
            measured.clear()


def test_care_leaves_it_as_it_is(clusters):
    store, _ = clusters
    first = neighbours(store, "toy", "net/last", query="s3", k=3)
    compact(store)
    collect_garbage(store, older_than=0)
    assert not verify(store).findings
    again = neighbours(store, "toy", "net/last", query="s3", k=3)
    assert again.index == first.index
    assert again.found.places.tolist() == first.found.places.tolist()


def test_both_distances_have_an_index_of_their_own(clusters, monkeypatch):
    store, _ = clusters
    for metric in ("cosine", "euclidean", "cosine"):
        found = neighbours(store, "toy", "net/last", query="s5", k=3, metric=metric)
        exact = exactly(store, monkeypatch, query="s5", k=3, metric=metric)
        assert found.found.places.tolist() == exact.found.places.tolist()
    table = store.feature_tables()[0]
    names = [each.name for each in store.database.table(table.name).describe_indices()]
    assert sorted(names) == ["nearest_cosine", "nearest_l2"]


def test_a_damaged_index_is_made_again(clusters, monkeypatch):
    store, _ = clusters
    first = neighbours(store, "toy", "net/last", query="s3", k=3)
    table = store.feature_tables()[0]
    for path in (store.uri / f"{table.name}.lance" / "_indices").rglob("*"):
        if path.is_file():
            path.write_bytes(b"nothing")
    again = neighbours(store, "toy", "net/last", query="s3", k=4)
    assert again.found.places[0, :3].tolist() == first.found.places[0].tolist()
    assert again.index is not None


def test_an_index_that_finds_too_little_is_not_used(clusters, monkeypatch):
    store, _ = clusters
    monkeypatch.setattr(indexed, "LEAST_RECALL", 1.1)
    found = neighbours(store, "toy", "net/last", query="s3", k=3)
    assert found.index is None
    assert any("an index finds less than 110% of the nearest" in note for note in found.notes)
    exact = exactly(store, monkeypatch, query="s3", k=3)
    assert found.found.places.tolist() == exact.found.places.tolist()


def test_without_a_place_to_write_distances_are_computed(clusters, monkeypatch):
    store, _ = clusters

    def refuse(*_):
        raise OSError(30, "Read-only file system (os error 30)")

    monkeypatch.setattr("lance.LanceDataset.create_index", lambda *a, **k: refuse())
    found = neighbours(store, "toy", "net/last", query="s3", k=3)
    assert found.index is None
    assert any("no index can be used" in note for note in found.notes)
    assert found.found.places.tolist() == exactly(store, monkeypatch, query="s3", k=3).found.places.tolist()


@pytest.mark.parametrize("width", [10, 1])
def test_widths_that_are_no_whole_bytes(tmp_path, monkeypatch, width):
    monkeypatch.setattr(indexed, "INDEXED_FROM", 500)
    X = np.random.default_rng(1).normal(size=(1500, width))
    store = make_store(tmp_path / "s", {"id": [f"s{i}" for i in range(1500)]}, {"last": X}, count=1500)
    found = neighbours(store, "toy", "net/last", query="s3", k=3, metric="euclidean")
    assert (
        found.found.places.tolist()
        == exactly(store, monkeypatch, query="s3", k=3, metric="euclidean").found.places.tolist()
    )


def test_of_two_at_once_one_makes_the_index(clusters, monkeypatch):
    store, _ = clusters
    made, make = [], vector_index.Database.index_vectors
    monkeypatch.setattr(vector_index.Database, "index_vectors", lambda *a: made.append(1) or make(*a))

    def ask(_):
        return neighbours(str(store.uri), "toy", "net/last", query="s3", k=3).found.places.tolist()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second
    assert len(made) == 1
