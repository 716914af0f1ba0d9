"""What is exported comes back whole, in every format; arrays of other programs come in, too."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from histokit import cli
from histokit.errors import DataError, UsageError
from histokit.features import FeatureStore, export_features
from histokit.features.written_tables import write_table
from histokit.ingest.array_file import read_arrays
from histokit.ingest.imports import import_features
from tests.toy import make_store

SUFFIXES = (".parquet", ".csv", ".tsv", ".npz", ".h5ad")


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """Five samples with awkward texts, gaps everywhere, and numbers that take all digits of a float32."""
    samples = {
        "id": ["ä b", "007", "c,d", 'e"f', "NA"],
        "label": ["x", "NA", "y, z", None, "x"],
        "slide": ["P;1", "Q", "Q", "P;1", "true"],
        "image": [["a.png"], ["b/1.png", "b/2.png"], ["[c].png"], ["d.png"], []],
        "box": [[0, -1, 5, 6], None, None, None, None],
        "part": [None, "page 2", None, None, None],
        "mpp": [0.25, None, 0.5, None, None],
        "age": [30, 40, None, 60, 2**60 + 1],
        "dose": [0.1, None, 1e-7, 2.5, 3.0],
        "fresh": [True, None, False, True, True],
        "grade": ["01", "2", None, "3", "1e3"],
        "well/row": ["a", "b", "c", None, "e"],
        "note": ["line\nbreak", "tab\there", "plain", None, "10"],
        "empty": pa.nulls(5, pa.string()),
    }
    bits = np.random.default_rng(0).integers(0, 2**32, 2_000, dtype=np.uint32).view(np.float32)
    X = bits[np.isfinite(bits)][: 5 * 300].reshape(5, 300)
    return make_store(tmp_path / "store", samples, {"one": X}, group="slide")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_lost(toy: FeatureStore, tmp_path: Path, suffix: str) -> None:
    features = toy.features("toy", "net/one")
    path = export_features(features, tmp_path / f"out{suffix}")
    done = import_features(toy, "back", path, name="mine", version="1", create=True, group="slide")
    back = toy.features("back", "mine/last")
    np.testing.assert_array_equal(back.X, features.X)
    assert back.column_names == [f"mine/imported[{name}]" for name in features.column_names]
    kept = features.samples.drop_columns(["content"])
    found = back.samples.drop_columns(["content"])
    assert set(found.column_names) == set(kept.column_names)
    for name in kept.column_names:
        assert found.column(name).to_pylist() == kept.column(name).to_pylist(), name
        assert found.column(name).type == kept.column(name).type, name
    record = toy.dataset("back")
    assert (record.classes, record.labels) == (("NA", "x", "y, z"), {"": 1, "NA": 1, "x": 2, "y, z": 1})
    assert record.group == "slide"
    again = import_features(toy, "back", path, name="mine", version="1", create=True, group="slide")
    assert again.inserted == 0
    assert done.missing == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_export_comes_back_to_the_dataset_itself(toy: FeatureStore, tmp_path: Path, suffix: str) -> None:
    path = export_features(toy.features("toy", "net/one"), tmp_path / f"out{suffix}")
    assert import_features(toy, "toy", path, name="mine", version="1").width == 300
    np.testing.assert_array_equal(toy.features("toy", "mine/last").X, toy.features("toy", "net/one").X)


def test_an_export_less_a_column_is_told_of(tmp_path: Path) -> None:
    vectors, new = np.arange(600.0).reshape(2, 300), {"name": "m", "version": "1"}
    toy = make_store(tmp_path / "store", {"id": ["a", "b"], "label": ["x", "y"]}, {"one": vectors})
    whole = toy.features("toy", "net/one")
    export_features(whole, tmp_path / "o.parquet")
    table = parquet.read_table(tmp_path / "o.parquet").drop_columns(["net/one[7]", "net/one[90]"])
    parquet.write_table(table, tmp_path / "o.parquet")
    for create in (False, True):
        with pytest.raises(DataError, match=r"written with 300 features and lacks 2 of them: .*\[7\], net/one\[90\]"):
            import_features(toy, "new" if create else "toy", tmp_path / "o.parquet", create=create, **new)
    # A text file says nothing of what it was written with: the store does, and where it does not, the numbers do.
    for absent in ([7, 90], [299]):
        frame = pd.read_csv(export_features(whole, tmp_path / "o.csv"), dtype=str, keep_default_na=False)
        frame = frame.drop(columns=[f"net/one[{k}]" for k in absent])
        frame.to_csv(tmp_path / "less.csv", index=False)
        listed = ", ".join(map(str, absent))
        verb = "is" if len(absent) == 1 else "are"
        told = f"{len(absent)} of the 300 columns of net/one {verb} not in the file: {listed}"
        done = import_features(toy, "toy", tmp_path / "less.csv", name="m", version=listed)
        assert [note for note in done.notes if "columns of" in note] == [told]
        other = FeatureStore(tmp_path / f"other{len(absent)}")
        done = import_features(other, "new", tmp_path / "less.csv", name="m", version="1", create=True)
        assert [note for note in done.notes if "columns of" in note] == ([told] if absent == [7, 90] else [])
    done = import_features(toy, "toy", tmp_path / "o.csv", name="m", version="whole")
    assert not any("columns of" in note for note in done.notes)


def test_the_group_of_an_export_is_known(toy: FeatureStore, tmp_path: Path) -> None:
    path = export_features(toy.features("toy", "net/one"), tmp_path / "out.parquet")
    import_features(toy, "back", path, name="mine", version="1", create=True)
    assert toy.dataset("back").group == "slide"


def test_a_csv_is_as_other_programs_read_it(toy: FeatureStore, tmp_path: Path) -> None:
    features = toy.features("toy", "net/one").columns([0, 1])
    frame = pd.read_csv(export_features(features, tmp_path / "o.csv"), keep_default_na=False, dtype={"grade": str})
    assert frame.columns[0] == "id"
    assert frame.columns[-1] == "net/one[1]"
    assert frame["id"].tolist() == features.sample_ids
    assert frame["label"].tolist() == ["x", "NA", "y, z", "", "x"]
    assert frame["image"].tolist() == ["a.png", '["b/1.png", "b/2.png"]', '["[c].png"]', "d.png", ""]
    assert frame["box"][0] == "[0, -1, 5, 6]"
    np.testing.assert_array_equal(frame["net/one[1]"].to_numpy().astype(np.float32), features.X[:, 1])


def test_columns_of_anndata_are_renamed_where_it_needs_that(toy: FeatureStore, tmp_path: Path) -> None:
    samples = {"id": ["a", "b"], "label": ["x", "y"], "_index": ["r0", "r1"], "p/q": [1, 2], "p_q": [3, 4]}
    store = make_store(toy.uri, samples, {"one": [[1.0], [2.0]]}, name="odd")
    path = export_features(store.features("odd", "net/one"), tmp_path / "o.h5ad")
    obs = anndata.read_h5ad(path).obs
    assert obs["index_"].tolist() == ["r0", "r1"]
    assert (obs["p_q"].tolist(), obs["p_q_"].tolist()) == ([3, 4], [1, 2])
    done = import_features(store, "back", path, name="mine", version="1", create=True)
    back = store.samples("back")
    assert back.column("index_").to_pylist() == ["r0", "r1"]
    assert back.column("p/q").to_pylist() == [1, 2]
    assert any("'_index' is called 'index_'" in note for note in done.notes)


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **{"X": np.eye(3, dtype=np.float32), "sample_ids": ["a", "b", "c"], **arrays})
    return path


def bring(store: FeatureStore, path: Path, **options: Any) -> Any:
    return import_features(store, "new", path, **{"name": "mine", "version": "1", "create": True, **options})


def test_arrays_of_other_programs(store: FeatureStore, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "v.npz", labels=["x", "", "y"], groups=["g", "g", "h"])
    done = bring(store, path, group="group")
    features = store.features("new", "mine/last")
    assert features.X.tolist() == np.eye(3).tolist()
    assert features.labels.tolist() == ["x", None, "y"]
    assert features.groups().tolist() == ["g", "g", "h"]
    assert (done.columns, done.notes) == (("f0", "f1", "f2"), ("1 row has no label, for example 'b'",))


@pytest.mark.parametrize(
    ("labels", "right"),
    [
        (np.array(["é".encode(), b"y", b""]), ["é", "y", None]),
        (np.array([1.0, 0.0, 1.0]), ["1", "0", "1"]),
        (np.array([1.0, np.nan, 0.0], ">f8"), ["1", None, "0"]),
        (np.array([0.5, 1.0, 0.5]), ["0.5", "1.0", "0.5"]),
        (np.array([True, False, True]), ["True", "False", "True"]),
        (np.array(["2020-01-02"] * 3, "datetime64[D]"), ["2020-01-02"] * 3),
    ],
)
def test_labels_and_ids_of_arrays_mean_what_they_mean_in_tables(
    store: FeatureStore, tmp_path: Path, labels: Any, right: list[str | None]
) -> None:
    X = np.array([[1, 2], [3, 4], [5, 6]], ">f4")
    bring(store, write_npz(tmp_path / "v.npz", X=X, labels=labels, sample_ids=np.array([b"a", b"b", b"c"])))
    features = store.features("new", "mine/last")
    assert features.labels.tolist() == right
    assert (features.sample_ids, features.X.tolist()) == (["a", "b", "c"], X.tolist())


def test_labels_in_a_column_of_their_own_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "v.npz", labels=np.array([["x"], ["y"], ["x"]]))
    with pytest.raises(DataError, match=r"The array labels of .* has the shape \(3, 1\)"):
        bring(store, path)


def test_an_anndata_of_other_programs(store: FeatureStore, tmp_path: Path) -> None:
    obs = pd.DataFrame({"kind": pd.Categorical(["x", None, "y"]), "n": [1.0, np.nan, 3.0]}, index=["a", "b", "c"])
    obs["id"] = ["c", "b", "a"]
    var = pd.DataFrame(index=["g1", "g2", "g3"])
    anndata.AnnData(np.eye(3, dtype=np.float32), obs=obs, var=var).write_h5ad(tmp_path / "v.h5ad")
    done = bring(store, tmp_path / "v.h5ad", label="kind")
    assert done.columns == ("g1", "g2", "g3")
    assert "The column 'id' was passed over: the ids are the names of the rows (obs_names)" in done.notes
    features = store.features("new", "mine/last")
    assert features.sample_ids == ["a", "b", "c"]
    assert (features.labels.tolist(), features.column("n").tolist()) == (["x", None, "y"], [1, None, 3])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.eye(3) * 1j}, "of the type complex128, which is no real number"),
        ({"X": np.array([["a", "b"]] * 3)}, "of the type <U1"),
        ({"X": np.eye(3, dtype=bool)}, "of the type bool"),
        ({"X": np.zeros(3)}, r"have the shape \(3,\)"),
        ({"sample_ids": ["a", "b"]}, "3 vectors of 3 numbers, 2 ids"),
        ({"column_names": ["f", "g"]}, "2 names of columns"),
        ({"labels": ["x"]}, "has 3 vectors"),
        ({"column_names": ["label", "g", "h"], "labels": ["x", "y", "z"]}, "both a feature and a column of samples"),
        ({"X": np.array([[1.0, 2, 3], [4, np.inf, 6], [7, 8, 9]])}, "infinite in float32, such as that of 'b' in 'f1'"),
        ({"X": np.array([[1.0, 2, 3], [4, 5, np.nan], [7, 8, 9]])}, "such as that of 'b' in 'f2'"),
    ],
)
def test_arrays_that_are_refused(store: FeatureStore, tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        bring(store, write_npz(tmp_path / "v.npz", **arrays))
    assert store.datasets() == []


def test_objects_and_files_without_ids_are_refused(store: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        bring(store, write_npz(tmp_path / "v.npz", X=np.array([[1, None]] * 3, object)))
    np.savez(tmp_path / "w.npz", Y=np.eye(3))
    with pytest.raises(DataError, match="has the arrays Y"):
        bring(store, tmp_path / "w.npz")
    np.save(tmp_path / "v.npy", np.eye(3))
    with pytest.raises(UsageError, match=r"suffix '\.npy'") as caught:
        bring(store, tmp_path / "v.npy")
    assert "no ids" in caught.value.next
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(DataError, match="no archive of arrays"):
        bring(store, tmp_path / "x.npz")


def test_files_that_are_no_archives_of_arrays(store: FeatureStore, tmp_path: Path) -> None:
    file = tmp_path / "v.npz"
    for content in (b"", b"\1" * 5_000, b"id,a\nx,1\n"):
        file.write_bytes(content)
        with pytest.raises(DataError, match="no archive of arrays") as caught:
            bring(store, file)
        assert "sample_ids" in caught.value.next
    with file.open("wb") as opened:
        np.save(opened, np.eye(3))
    with pytest.raises(DataError, match="no archive of arrays"):
        bring(store, file)


def test_archives_of_arrays_that_changed_on_disk(tmp_path: Path) -> None:
    file = tmp_path / "v.npz"
    np.savez_compressed(file, X=np.arange(300.0).reshape(100, 3), sample_ids=np.arange(100).astype(str))
    whole = file.read_bytes()
    for place in range(30, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        file.write_bytes(bytes(changed))
        with suppress(DataError):
            read_arrays(file, "id", [])
        file.write_bytes(whole[:-place])
        with pytest.raises(DataError):
            read_arrays(file, "id", [])


def test_small_whole_numbers_are_said(store: FeatureStore, tmp_path: Path) -> None:
    done = bring(store, write_npz(tmp_path / "v.npz", X=np.eye(3, dtype=np.int8)))
    assert "of the type int8" in done.notes[0]
    table = pa.table({"id": ["a"], "vec": pa.array([[1, -2]], pa.list_(pa.int8()))})
    parquet.write_table(table, tmp_path / "v.parquet")
    done = import_features(store, "lists", tmp_path / "v.parquet", name="mine", version="1", create=True)
    assert "of the type int8" in done.notes[0]
    assert store.features("lists", "mine/last").X.tolist() == [[1, -2]]


def test_the_command_writes_csv(
    toy: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(toy.uri))
    out = tmp_path / "o.csv"
    assert cli.run(["export", "toy", "--features", "net/one", "--out", str(out)]) == 0
    command = ["import-features", "back", str(out), "--name", "mine", "--version", "1", "--create"]
    assert cli.run([*command, "--group", "slide", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out.split("\n", 1)[1])["width"] == 300
    assert "A class is called 'NA' (1)" in captured.err


def test_a_cell_of_an_export_that_was_broken_since_is_named(toy: FeatureStore, tmp_path: Path) -> None:
    path = export_features(toy.features("toy", "net/one").columns([0, 1]), tmp_path / "o.csv")
    lines = path.read_text().splitlines()
    last = next(row for row, line in enumerate(lines) if line.startswith('"NA"'))
    lines[last] = lines[last].rpartition(",")[0] + ",#REF!"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"Row 5 of the table .* has net/one\[1\]='#REF!'"):
        import_features(toy, "toy", path, name="mine", version="1")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_numbers_stored_as_texts_are_no_metadata(store: FeatureStore, tmp_path: Path, kind: pa.DataType) -> None:
    texts = pa.array(["0.5", "1.5", "x"]).cast(kind)
    table = pa.table({"id": ["a", "b", "c"], "f": texts, "g": [1.0, 2.0, 3.0], "plate": ["1", "2", "3"]})
    parquet.write_table(table, tmp_path / "v.parquet")
    with pytest.raises(DataError, match=r"has f='x', a text, but that column seems to hold numbers") as caught:
        bring(store, tmp_path / "v.parquet")
    assert "Store it as numbers" in caught.value.next
    assert bring(store, tmp_path / "v.parquet", metadata=["f"]).columns == ("g",)
    assert store.samples("new").column("plate").to_pylist() == ["1", "2", "3"]


@pytest.mark.parametrize("header", ["", "Unnamed: 0", "__index_level_0__"])
def test_numbers_of_rows_are_no_feature_unless_they_are_the_ids(
    store: FeatureStore, tmp_path: Path, header: str
) -> None:
    (tmp_path / "v.csv").write_text(f"{header},id,f\n0,a,0.5\n1,b,1.5\n")
    done = bring(store, tmp_path / "v.csv")
    assert done.columns == ("f",)
    assert "was passed over" in done.notes[0]
    assert store.samples("new").column_names[-1] == "mpp"


def test_no_field_of_samples_is_passed_over_without_a_word(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("key,id,content,part,f\na,1,2,3,0.5\nb,4,5,6,1.5\n")
    done = bring(store, tmp_path / "v.csv", id="key")
    assert done.columns == ("f",)
    assert [note.split("'")[1] for note in done.notes] == ["id", "content", "part"]


def test_an_index_of_pandas_may_hold_the_ids(store: FeatureStore, tmp_path: Path) -> None:
    pd.DataFrame({"f": [0.5, 1.5]}, index=["a", "b"]).to_parquet(tmp_path / "v.parquet")
    assert bring(store, tmp_path / "v.parquet", id="__index_level_0__").columns == ("f",)
    assert store.features("new", "mine/last").sample_ids == ["a", "b"]


FORMULAS = ["=1+1", "+cmd|'/c calc'!A0", "-x", "@SUM(A1)", "'=z", "''-a", "-0.5", "+3e-7", "plain", "it's"]


@pytest.fixture
def odd(toy: FeatureStore) -> FeatureStore:
    vectors = [[-0.5 - i, float(i)] for i in range(len(FORMULAS))]
    samples = {"id": FORMULAS, "label": ["=a", "-b"] * 5, "=meta": FORMULAS[::-1], "n": [-1.5] * len(FORMULAS)}
    return make_store(toy.uri, samples, {"one": vectors}, name="odd")


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_no_cell_is_run_by_a_spreadsheet_and_all_come_back(odd: FeatureStore, tmp_path: Path, suffix: str) -> None:
    features = odd.features("odd", "net/one")
    path = export_features(features, tmp_path / f"out{suffix}")
    header, *rows = cells(path)
    assert [c for row in [header, *rows] for c in row if c[:1] in tuple("=+-@\t\r") and not is_number(c)] == []
    assert [row[0] for row in rows] == [
        "'=1+1", "'+cmd|'/c calc'!A0", "'-x", "'@SUM(A1)", "''=z", "'''-a", "-0.5", "+3e-7", "plain", "it's"
    ]  # fmt: skip
    assert [float(row[-2]) for row in rows] == features.X[:, 0].tolist()
    assert "'=meta" in header
    done = import_features(odd, "back", path, name="mine", version="1", create=True)
    assert done.inserted == len(FORMULAS)
    back, kept = odd.samples("back"), odd.samples("odd")
    assert back.column("id").to_pylist() == FORMULAS
    for name in ("label", "=meta", "n"):
        assert back.column(name).to_pylist() == kept.column(name).to_pylist(), name
    assert import_features(odd, "odd", path, name="again", version="1").missing == 0
    # A split by somebody who began with the file.
    split = tmp_path / "split.csv"
    with split.open("w", newline="", encoding="utf-8") as file:
        places = [["id", "role"], *([row[0], "train" if i % 2 else "test"] for i, row in enumerate(rows))]
        csv.writer(file).writerows(places)
    assert cli.run(["split", "odd", "--name", "s", "--from", str(split), "--store", str(odd.uri)]) == 0
    assert sorted(odd.split("odd", "s").rows.column("id").to_pylist()) == sorted(FORMULAS)


def test_texts_are_as_they_are_where_that_is_asked_for(odd: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert (
        cli.run(["export", "odd", "--features", "net/one", "--out", str(path), "--raw", "--store", str(odd.uri)]) == 0
    )
    assert [row[0] for row in cells(path)[1:]] == FORMULAS


def test_predictions_are_not_run_either(tmp_path: Path) -> None:
    table = pa.table({"id": ["=1", "a", None], "score:=b": [-0.5, 1.0, 2.0], "true": ["-1", "-b", "@c"]})
    write_table(table, tmp_path / "p.csv")
    assert cells(tmp_path / "p.csv")[1:] == [["'=1", "-0.5", "-1"], ["a", "1", "'-b"], ["", "2", "'@c"]]
    write_table(table, tmp_path / "p.csv", raw=True)
    assert cells(tmp_path / "p.csv")[3] == ["", "2", "@c"]
