"""Nearest samples and scores of retrieval, against other libraries and by hand."""

import json
from fractions import Fraction

import numpy as np
import pyarrow.parquet
import pytest
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from histokit import neighbours
from histokit.errors import DataError, LeakageError, StoreError, UsageError
from histokit.neighbours import exact, pieces
from histokit.neighbours.exact import Barred
from histokit.neighbours.retrieval_scores import retrieval_scores
from histokit.protocol.splits import make_split
from histokit.store import Split
from histokit.store.split_records import split_rows
from tests.toy import make_samples, make_store


def toy(folder, X, labels=None, slides=None, **columns):
    n = len(X)
    samples = {"id": [f"s{i}" for i in range(n)], "label": labels or ["a"] * n, **columns}
    if slides is not None:
        samples["slide"] = slides
    return make_store(folder, samples, {"last": np.asarray(X, np.float32)})


def ids(found, row=0):
    return [found.samples.sample_ids[place] for place in found.found.places[row]]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("pairs", [4_000_000, 100])
def test_the_nearest_are_those_of_scikit_learn(tmp_path, monkeypatch, metric, pairs):
    monkeypatch.setattr(exact, "_PAIRS", pairs)
    monkeypatch.setattr(exact, "_HELD", pairs)
    samples, X = make_samples(n=70, slides=7)
    store = make_store(tmp_path / "s", samples, {"last": X})
    found = neighbours(store, "toy", "net/last", k=9, metric=metric)
    X, slides = X.astype(np.float32).astype(float), np.array(samples["slide"])
    for row in range(70):
        others = np.flatnonzero(slides != slides[row])
        model = NearestNeighbors(n_neighbors=9, metric=metric, algorithm="brute").fit(X[others])
        distances, places = model.kneighbors(X[row : row + 1])
        assert found.found.places[row].tolist() == others[places[0]].tolist()
        assert found.found.distances[row] == pytest.approx(distances[0], abs=1e-6)
        true = np.array(samples["label"])[others] == samples["label"][row]
        every = NearestNeighbors(n_neighbors=len(others), metric=metric, algorithm="brute").fit(X[others])
        far, order = every.kneighbors(X[row : row + 1])
        assert found.found.precision[row] == pytest.approx(average_precision_score(true[order[0]], -far[0]))


def test_average_precision_by_hand(tmp_path):
    # From 0, others lie at 1, 2, 3, 4 and 5; those of its class are first, third and fourth: (1/1 + 2/3 + 3/4) / 3.
    store = toy(tmp_path / "s", [[0], [1], [2], [3], [4], [5]], list("aabaab"))
    found = neighbours(store, "toy", "net/last", metric="euclidean", k=5)
    assert found.found.precision[0] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert ids(found) == ["s1", "s2", "s3", "s4", "s5"]
    # Mean of the six, of which that of the last is 1 / 3: 4, 3, 2 come first.
    assert found.found.precision[5] == pytest.approx(1 / 3)
    assert found.scores["mean_average_precision"] == pytest.approx(found.found.precision.mean())
    assert "(6 queries, all others)" in found.sheets()[0].title


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("far", [0, 30, slice(0, 30)], ids=str)
def test_whole_rankings_are_right_where_some_samples_lie_far_away_from_all_others(tmp_path, metric, far):
    rng = np.random.default_rng(0)
    labels = np.array(list("ab"))[rng.integers(0, 2, 60)]
    X = rng.normal(size=(60, 9)) + (labels == "a")[:, None]
    X[:, 8] = 1.0
    X[far, 8] = 2.0**17
    store = toy(tmp_path / "s", X, labels.tolist())
    found = neighbours(store, "toy", "net/last", k=4, metric=metric)
    X = X.astype(np.float32).astype(np.longdouble)
    X /= np.sqrt((X**2).sum(1, keepdims=True)) if metric == "cosine" else 1
    for row in range(60):
        others = np.delete(np.arange(60), row)
        squared = ((X[others] - X[row]) ** 2).sum(1)
        order = others[squared.argsort(kind="stable")]
        assert found.found.places[row].tolist() == order[:4].tolist()
        precision = average_precision_score(labels[order] == labels[row], -np.arange(59))
        assert found.found.precision[row] == pytest.approx(precision)


def test_equal_angles_of_other_vectors_are_equally_far(tmp_path):
    rng = np.random.default_rng(1)
    X = rng.integers(0, 2, (80, 6)) * rng.integers(1, 9, (80, 1))
    X = X[X.any(1)]
    n, labels = len(X), np.array(list("abc"))[rng.integers(0, 3, len(X))]
    store = toy(tmp_path / "s", X, labels.tolist())
    found = neighbours(store, "toy", "net/last", k=7)
    for row in range(n):
        others = np.delete(np.arange(n), row)
        # The squared cosine of whole numbers is a fraction.
        cosines = [Fraction(int(X[row] @ x) ** 2, int(X[row] @ X[row]) * int(x @ x)) for x in X[others]]
        order = others[sorted(range(n - 1), key=lambda place: -cosines[place])]
        assert found.found.places[row].tolist() == order[:7].tolist()
        precision = average_precision_score(labels[order] == labels[row], -np.arange(n - 1))
        assert found.found.precision[row] == pytest.approx(precision)
        assert (np.diff(found.found.distances[row]) >= 0).all()


def test_scores_by_hand():
    true = np.array([0, 0, 1])
    near = np.array([[0, 1, 1], [1, 1, 0], [-1, -1, -1]])
    scores, by_class = retrieval_scores(true, near, np.array([0.5, 0.25, 0.0]), ["a", "b"])
    assert scores["mean_average_precision"] == pytest.approx(0.25)
    one, three = scores["at"]
    assert (one["k"], three["k"]) == (1, 3)
    assert (one["recall"], one["precision"]) == pytest.approx((1 / 3, 1 / 3))
    assert (three["recall"], three["precision"]) == pytest.approx((2 / 3, 2 / 9))
    # One vote: a, b, none. Three: b, b, none; what has no vote is wrong.
    assert one["vote"]["accuracy"] == pytest.approx(1 / 3)
    assert three["vote"]["accuracy"] == 0
    assert one["vote"]["eta_p"] == pytest.approx(1 / 3)
    assert one["vote"]["eta_w"] == pytest.approx((1 / 2 + 0) / 2)
    assert one["vote"]["eta_total"] == pytest.approx(1 / 3 * 1 / 4)
    # One of the two votes for a class is right for a, none for b; no vote is no class.
    assert one["vote"]["eta_w_precision"] == pytest.approx((1 + 0) / 2)
    assert by_class["a"]["at"][0] == {"k": 1, "recall": 0.5, "precision": 0.5, "vote": {"accuracy": 0.5}}
    assert by_class["b"]["queries"] == 1


def test_classes_come_in_the_order_of_the_dataset(tmp_path):
    samples = {"id": [f"s{i}" for i in range(4)], "label": list("abab")}
    X = np.arange(8).reshape(4, 2)
    store = make_store(tmp_path / "s", samples, {"last": X}, classes=("b", "a"))
    assert list(neighbours(store, "toy", "net/last", k=1).per_class) == ["b", "a"]


def test_queries_without_a_label_are_those_that_a_split_asks(tmp_path):
    store = toy(tmp_path / "s", np.arange(16).reshape(8, 2), [None, None, *"abab", None, "b"])
    roles = ["test" if i > 3 else "train" for i in range(8)]
    store.save_split(Split("toy", "s", split_rows([(0, 0, f"s{i}", role) for i, role in enumerate(roles)])))
    found = neighbours(store, "toy", "net/last", split="s", k=1)
    assert "1 query without a label is not scored" in found.notes
    assert found.scores["queries"] == 3
    assert any("2 samples that are sought among have no label" in note for note in found.notes)


def test_of_as_many_votes_the_nearest_counts():
    near = np.array([[1, 0, 0, 1]])
    scores, _ = retrieval_scores(np.array([1]), near, np.zeros(1), ["a", "b"])
    assert [entry["vote"]["accuracy"] for entry in scores["at"]] == [1, 0, 1]


def test_of_equally_near_ones_the_first_comes_first(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 33)).astype(np.float32)
    X[5:25] = X[30]
    store = toy(tmp_path / "s", X)
    for metric in ("cosine", "euclidean"):
        for pairs in (4_000_000, 80):
            monkeypatch.setattr(exact, "_PAIRS", pairs)
            monkeypatch.setattr(exact, "_HELD", pairs)
            found = neighbours(store, "toy", "net/last", query="s30", metric=metric, k=8)
            assert ids(found) == [f"s{i}" for i in range(5, 13)]
            assert (found.found.distances == 0).all()
            (sheet,) = found.sheets()
            assert [row[sheet.columns.index("distance")] for row in sheet.rows] == [0] * 8


def test_samples_that_are_not_held_are_prepared_once_for_many_queries(tmp_path, monkeypatch):
    store = toy(tmp_path / "s", np.random.default_rng(0).normal(size=(200, 9)), list("ab") * 100)
    whole = neighbours(store, "toy", "net/last", k=3)
    rows, prepared = [], exact._prepared
    monkeypatch.setattr(exact, "_prepared", lambda part, *how: rows.append(len(part)) or prepared(part, *how))
    # Ten queries at a time, and nothing is held.
    monkeypatch.setattr(exact, "_PAIRS", 2_000)
    monkeypatch.setattr(exact, "_HELD", 0)
    found = neighbours(store, "toy", "net/last", k=3)
    assert found.scores == whole.scores
    assert found.found.places.tolist() == whole.found.places.tolist()
    # All for their lengths, for the origin, as queries and once to be compared; and those near each query.
    assert sum(rows) < 10 * 200


def test_no_query_finds_itself_or_its_own_group(tmp_path):
    store = toy(tmp_path / "s", [[0], [0.1], [1], [1.1], [2]], list("aabba"), ["P", "P", "Q", "Q", None])
    found = neighbours(store, "toy", "net/last", metric="euclidean", k=2)
    assert [ids(found, row) for row in range(5)] == [["s2", "s3"]] * 2 + [["s1", "s0"], ["s4", "s1"], ["s3", "s2"]]
    assert found.group == "slide"
    assert "(5 queries, other slide)" in found.sheets()[0].title
    assert any("1 query has no slide" in note for note in found.notes)
    same = neighbours(store, "toy", "net/last", metric="euclidean", k=2, same_group=True)
    assert ids(same, 0) == ["s1", "s2"]
    assert same.group is None
    everything = neighbours(store, "toy", "net/last", metric="euclidean", k=4, same_group=True)
    assert all(f"s{row}" not in ids(everything, row) for row in range(5))


def test_more_neighbours_than_there_are_are_told(tmp_path):
    store = toy(tmp_path / "s", [[0], [1], [2], [3]], list("abab"), list("PPPQ"))
    found = neighbours(store, "toy", "net/last", k=10)
    assert found.k == 1
    assert any("10 neighbours were asked for; there are 1 sample" in note for note in found.notes)
    alone = toy(tmp_path / "t", [[0], [1]], list("ab"), list("PP"))
    with pytest.raises(DataError, match="no sample of another slide"):
        neighbours(alone, "toy", "net/last")
    assert neighbours(alone, "toy", "net/last", same_group=True).k == 1


def test_classes_of_one_group_count_as_wrong_and_are_told(tmp_path):
    store = toy(tmp_path / "s", [[0], [1.2], [2], [3]], list("aabc"), list("PQRR"))
    found = neighbours(store, "toy", "net/last", k=1, metric="euclidean")
    assert any("of b, c there is no sample of another slide" in note for note in found.notes)
    assert found.scores["queries"] == 4
    assert found.per_class["b"]["mean_average_precision"] == 0
    assert found.per_class["a"]["at"][0]["recall"] == 0.5
    # Each a finds the other one beside the b: as the nearest, whose vote counts, and as the second.
    _, by_class = neighbours(store, "toy", "net/last", k=2, metric="euclidean").sheets()
    assert by_class.columns == ["true class", "queries", "recall@2", "precision@2", "vote", "average precision"]
    assert by_class.rows == [["a", 2, 1, 0.5, 0.5, 0.75], ["b", 1, 0, 0, 0, 0], ["c", 1, 0, 0, 0, 0]]


def test_labels_that_are_missing_or_one_only(tmp_path):
    X = [[0], [1], [2], [4]]
    none = neighbours(toy(tmp_path / "s", X, [None] * 4), "toy", "net/last", k=2)
    assert none.scores is None
    assert any("no class of queries" in note for note in none.notes)
    one = neighbours(toy(tmp_path / "t", X), "toy", "net/last", k=2)
    assert any("all samples are of the class 'a'" in note for note in one.notes)
    some = neighbours(toy(tmp_path / "u", X, ["a", None, "a", "b"]), "toy", "net/last", k=2, metric="euclidean")
    assert some.scores["queries"] == 3
    assert [entry["recall"] for entry in some.scores["at"]] == pytest.approx([0, 2 / 3])
    (note,) = (note for note in some.notes if "count as wrong" in note and "no label" in note)
    assert note.startswith("1 sample that is sought among has no label")
    kept = neighbours(
        toy(tmp_path / "v", X, ["a", None, "a", "b"]),
        "toy",
        "net/last",
        k=1,
        metric="euclidean",
        where="label IS NOT NULL",
    )
    assert kept.scores["at"][0]["recall"] == pytest.approx(2 / 3)
    assert not any("no label" in note for note in kept.notes)


def test_vectors_of_zeros_are_at_right_angles_to_all(tmp_path):
    store = toy(tmp_path / "s", [[0, 0], [1, 0], [0, 1], [0, 0], [-1, 0]], list("abcab"))
    found = neighbours(store, "toy", "net/last", k=4)
    assert found.found.distances[0].tolist() == [1, 1, 1, 1]
    assert ids(found, 0) == ["s1", "s2", "s3", "s4"]
    assert ids(found, 1) == ["s0", "s2", "s3", "s4"]
    assert found.found.distances[1].tolist() == [1, 1, 1, 2]
    assert any("2 samples hold nothing but zeros" in note for note in found.notes)


def test_a_split_seeks_among_its_training_samples(tmp_path):
    samples, X = make_samples(n=40, slides=4)
    store = make_store(tmp_path / "s", samples, {"last": X})
    store.save_split(make_split(store.samples("toy"), store.dataset("toy"), "two", folds=2))
    found = neighbours(store, "toy", "net/last", split="two", k=3, metric="euclidean")
    assert len(found.asked) == 40
    for fold in store.split("toy", "two").folds():
        rows = [row for row, place in enumerate(found.folds) if place == (fold.repeat, fold.fold)]
        assert {found.queries.ids[found.asked[row]] for row in rows} == set(fold.test)
        train = np.array([int(i[1:]) for i in fold.train])
        model = NearestNeighbors(n_neighbors=3).fit(X[np.sort(train)].astype(np.float32))
        for row in rows:
            query = X[found.asked[row]].astype(np.float32)
            near = np.sort(train)[model.kneighbors(query[None], return_distance=False)[0]]
            assert found.found.places[row].tolist() == near.tolist()
    table = found.table()
    assert table.column("query").to_pylist() == [found.queries.ids[row] for row in found.asked for _ in range(3)]
    assert table.column("fold").to_pylist() == [fold for _, fold in found.folds for _ in range(3)]
    labels = dict(zip(samples["id"], samples["label"], strict=True))
    assert table.column("query_label").to_pylist() == [labels[i] for i in table.column("query").to_pylist()]
    assert table.column("label").to_pylist() == [labels[i] for i in table.column("id").to_pylist()]
    with pytest.raises(UsageError, match="no place beside it"):
        neighbours(store, "toy", "net/last", split="two", query="s1")


def test_a_split_keeps_its_own_groups_apart_and_tells_its_notes(tmp_path):
    samples, X = make_samples(n=24, slides=6, patient=[f"patient {i % 6 // 2}" for i in range(24)])
    store = make_store(tmp_path / "s", samples, {"last": X})
    rows = [(0, 0, i, "test" if s == "P0" else "train") for i, s in zip(samples["id"], samples["slide"], strict=True)]
    store.save_split(Split("toy", "cut", split_rows(rows), "patient"))
    with pytest.raises(LeakageError, match="patient patient 0 is in training and in test"):
        neighbours(store, "toy", "net/last", split="cut")
    store.save_split(Split("toy", "apart", split_rows(rows), "slide", params={"notes": ["six slides are few"]}))
    found = neighbours(store, "toy", "net/last", split="apart")
    assert "six slides are few" in found.notes


def test_another_dataset_is_queries(tmp_path):
    samples, X = make_samples(n=30, slides=3)
    store = make_store(tmp_path / "s", samples, {"last": X})
    other = {"id": ["s0", "new"], "label": ["a", "b"], "slide": ["P1", "P9"]}
    make_store(tmp_path / "s", other, {"last": X[:2] + 0.01}, name="other")
    found = neighbours(store, "toy", "net/last", query="other", k=30, metric="euclidean")
    assert found.k == 20, "the first has the slide P1 in common with ten samples"
    assert ids(found, 0)[0] == "s0"
    assert all(int(i[1:]) % 3 != 1 for i in ids(found, 0))
    assert ids(found, 1)[0] == "s1"
    assert found.scores["queries"] == 2
    assert any("byte-identical" in note for note in found.notes), "made-up contents follow ids"
    assert found.table().column("identical").to_pylist()[0]
    assert any(note.startswith("1 query has a slide that toy names, too") for note in found.notes)
    itself = neighbours(store, "toy", "net/last", query="toy", k=3, same_group=True)
    every = neighbours(store, "toy", "net/last", k=3, same_group=True)
    assert itself.table().equals(every.table()), "no sample finds itself"
    make_store(tmp_path / "s", other, {"last": X[:2]}, name="odd", spec={"weights": "others"})
    with pytest.raises(UsageError, match="not made as those"):
        neighbours(store, "toy", "net/last", query="odd")


def test_a_sample_that_a_filter_leaves_out_can_be_the_query(tmp_path):
    samples, X = make_samples(n=30, slides=3)
    store = make_store(tmp_path / "s", samples, {"last": X})
    found = neighbours(store, "toy", "net/last", query="s0", where="label = 'b'", k=4)
    assert set(found.table().column("label").to_pylist()) == {"b"}
    assert "P0" not in found.table().column("group").to_pylist()
    with pytest.raises(DataError, match="keeps no sample"):
        neighbours(store, "toy", "net/last", where="label = 'z'")


def test_mistakes_are_told(tmp_path):
    samples, X = make_samples(n=12)
    X[3] = np.nan
    store = make_store(tmp_path / "s", samples, {"last": X})
    with pytest.raises(StoreError, match="missing for 1 of 12 samples"):
        neighbours(store, "toy", "net/last")
    found = neighbours(store, "toy", "net/last", allow_missing=True, k=2)
    assert any("1 of 12 samples is left out" in note for note in found.notes)
    found = neighbours(store, "toy", "net/last", allow_missing=True, k=2, where="slide = 'P3' or slide = 'P4'")
    assert any("1 of 4 samples is left out" in note for note in found.notes)
    with pytest.raises(DataError, match="'s3' of 'toy' has no features"):
        neighbours(store, "toy", "net/last", query="s3", allow_missing=True)
    with pytest.raises(UsageError, match="no sample of 'toy', no file and no dataset") as told:
        neighbours(store, "toy", "net/last", query="s11x", allow_missing=True)
    assert "Did you mean" in told.value.next
    with pytest.raises(UsageError, match="no distance 'cosin'"):
        neighbours(store, "toy", "net/last", metric="cosin")


def test_merged_features_are_one_vector(tmp_path):
    samples, X = make_samples(n=20)
    store = make_store(tmp_path / "s", samples, {"first": X[:, :3], "last": X[:, 3:]})
    merged = neighbours(store, "toy", "net/first+net/last", k=3)
    whole = make_store(tmp_path / "t", samples, {"last": X})
    assert (merged.found.places == neighbours(whole, "toy", "net/last", k=3).found.places).all()


def test_odd_ids_come_out_whole(tmp_path):
    odd = ["a'b", "=1+1", "日本 x", 'a,b"c', "x/y.png", " "]
    samples = {"id": odd, "label": list("ababab")}
    store = make_store(tmp_path / "s", samples, {"last": np.arange(12).reshape(6, 2)})
    for name in odd:
        found = neighbours(store, "toy", "net/last", query=name, k=5, metric="euclidean")
        assert set(ids(found)) == set(odd) - {name}


def test_the_command_tells_and_writes(tmp_path, monkeypatch, capsys):
    from histokit import cli

    samples, X = make_samples(n=30, slides=3)
    make_store(tmp_path / "s", samples, {"last": X}, metric="eta_total")
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "s"))
    call = ["neighbours", "toy", "--features", "net/last"]
    assert cli.run([*call, "--k", "5"]) == 0
    shown = capsys.readouterr().out
    assert "recall@k" in shown
    assert "eta_total" in shown
    assert cli.run([*call, "--json", "--k", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [entry["k"] for entry in document["scores"]["at"]] == [1, 3]
    assert len(document["neighbours"]) == 90
    assert document["neighbours"][0].keys() >= {"query", "rank", "id", "label", "distance", "identical"}
    assert cli.run([*call, "--query", "s4", "--k", "3", "--out", str(tmp_path / "n.parquet")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'n.parquet'}\n"
    rows = pyarrow.parquet.read_table(tmp_path / "n.parquet").to_pylist()
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert {row["query"] for row in rows} == {"s4"}
    assert cli.run([*call, "--query", "s4", "--k", "3"]) == 0
    assert "s4  " in capsys.readouterr().out


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_pieces_give_what_all_at_once_gives_of_equally_near_samples_too(monkeypatch, metric):
    rng = np.random.default_rng(0)
    # Of so few vectors many are equal, in several pieces; ten of the queries are samples themselves.
    X = rng.integers(0, 3, (200, 4)).astype(np.float32)
    asked, among = np.arange(20), np.sort(rng.permutation(200)[:150])
    queries = np.concatenate([X[:10], rng.integers(0, 3, (10, 4)).astype(np.float32)])
    own = np.concatenate([np.arange(10), np.full(10, -1)])
    barred = Barred(own, rng.integers(-1, 5, 20), rng.integers(-1, 5, 200))
    whole = exact.search(queries, X, metric, 9, barred, (asked, among))
    monkeypatch.setattr(pieces, "_HELD", 4 * 7)
    found = pieces.search_pieces(queries, lambda rows: X[rows], metric, 9, barred, (asked, among))
    np.testing.assert_array_equal(found.places, whole.places)
    np.testing.assert_allclose(found.distances, whole.distances)
