from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from tiny_plugin import TinyPlugin

import histokit
from histokit import cli
from histokit.errors import DataError, ExitCode, HistokitError, StoreError, UsageError
from histokit.features import FeatureStore, export_features
from histokit.ingest import vector_columns
from histokit.ingest.imports import Imported, import_features
from histokit.plugin.digests import digest_bytes
from histokit.store.care import collect_garbage
from histokit.store.records import FILE_SCHEMA
from histokit.store.removal import remove
from histokit.store.verify import verify
from tests.toy import make_samples, make_store

IDS = ["s0", "s1", "s2", "s3"]


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """Four samples with one metadata column that is a number, and features of a network."""
    samples, X = make_samples(n=4, age=[30, 40, 50, 60])
    return make_store(tmp_path / "store", samples, {"last": X}, columns={"slide": "str", "age": "int"})


def csv(path: Path, **columns: list[Any]) -> Path:
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(rows) + "\n")
    return path


def bring(store: FeatureStore, path: Path, **options: Any) -> Imported:
    return import_features(store, "toy", path, **{"name": "mine", "version": "1", **options})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return csv(tmp_path / "v.csv", id=IDS[::-1], f=[3, 2, 1, 0], g=[0.5, 1.5, 2.5, 3.5])


def test_vectors_come_in_under_their_name(toy: FeatureStore, file: Path) -> None:
    done = bring(toy, file)
    assert (done.address, done.width, done.samples, done.inserted, done.missing) == ("mine/imported", 2, 4, 4, 0)
    for address in ("mine/imported", "mine/last", "mine/all", f"mine/imported@{done.fingerprint}"):
        features = toy.features("toy", address)
        assert features.sample_ids == IDS
        assert features.X.tolist() == [[0, 3.5], [1, 2.5], [2, 1.5], [3, 0.5]]
    assert features.column_names == ["mine/imported[f]", "mine/imported[g]"]
    (table,) = (t for t in toy.feature_tables() if t.imported)
    assert table.spec["weights"] == "import:1"
    assert toy.features("toy", "net/last+mine/last").X.shape == (4, 10)
    assert verify(toy).ok


def test_the_same_again_changes_nothing_and_other_vectors_need_another_version(
    toy: FeatureStore, file: Path, tmp_path: Path
) -> None:
    first = bring(toy, file)
    assert bring(toy, file).inserted == 0
    other = csv(tmp_path / "other.csv", id=IDS, f=[0, 1, 2, 4], g=[3.5, 2.5, 1.5, 0.5])
    with pytest.raises(StoreError, match=r"Version 1 of mine/imported is in the store with other vectors, .* s3\."):
        bring(toy, other)
    swapped = csv(tmp_path / "swapped.csv", id=IDS, g=[3.5, 2.5, 1.5, 0.5], f=[0, 1, 2, 3])
    order = r"columns: in another order, from number 1 on: f → g"
    with pytest.raises(StoreError, match=rf"with other columns \(2 numbers; {order}\)"):
        bring(toy, swapped)
    fewer = csv(tmp_path / "fewer.csv", id=IDS, f=[0, 1, 2, 3], h=[3.5, 2.5, 1.5, 0.5])
    with pytest.raises(StoreError, match=r"with other columns \(2 numbers; columns: without g, with h\)"):
        bring(toy, fewer)
    second = bring(toy, other, version="2")
    assert second.fingerprint != first.fingerprint
    with pytest.raises(StoreError, match="ambiguous"):
        toy.features("toy", "mine/last")
    assert toy.features("toy", f"mine/last@{second.fingerprint}").X[3, 0] == 4
    assert bring(toy, other, layer="deep").address == "mine/deep"


def test_an_import_that_was_cut_off_goes_on(toy: FeatureStore, file: Path) -> None:
    done = bring(toy, file)
    toy.database.delete(done.table, "id IN ('s1', 's2')")
    assert bring(toy, file).inserted == 2
    assert toy.features("toy", "mine/last").X[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float32(), 2)])
def test_a_column_of_lists(
    toy: FeatureStore, tmp_path: Path, kind: pa.DataType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_columns, "_ROWS_AT_ONCE", 3)
    path = tmp_path / "v.parquet"
    vectors = pa.array([[i, i + 0.5] for i in range(4)], kind)
    parquet.write_table(pa.table({"vec": vectors, "name": IDS}), path)
    bring(toy, path, id="name")
    features = toy.features("toy", "mine/last")
    assert features.X.tolist() == [[0, 0.5], [1, 1.5], [2, 2.5], [3, 3.5]]
    assert features.column_names == ["mine/imported[0]", "mine/imported[1]"]


def test_numbers_of_every_kind_and_columns_that_the_dataset_has(toy: FeatureStore, tmp_path: Path) -> None:
    columns = {
        "age": pa.array([1, 2, 3, 4]),
        "mpp": pa.array([0.5] * 4),
        "z": pa.array([1, 2, 3, 4], pa.uint8()),
        "id": pa.array(IDS),
        "a": pa.array([0.5, 1.5, 2.5, 3.5], pa.float16()),
        "slide": pa.array(list("PQRS")),
    }
    parquet.write_table(pa.table(columns), tmp_path / "v.parquet")
    bring(toy, tmp_path / "v.parquet")
    features = toy.features("toy", "mine/last")
    assert features.column_names == ["mine/imported[z]", "mine/imported[a]"]
    assert features.X.tolist() == [[1, 0.5], [2, 1.5], [3, 2.5], [4, 3.5]]


def test_what_was_exported_comes_back(toy: FeatureStore, tmp_path: Path) -> None:
    features = toy.features("toy", "net/last")
    path = export_features(features, tmp_path / "out.parquet")
    bring(toy, path)
    back = toy.features("toy", "mine/last")
    np.testing.assert_array_equal(back.X, features.X)
    assert back.column_names[0] == "mine/imported[net/last[0]]"
    import_features(toy, "copy", path, name="mine", version="1", create=True, group="slide")
    copy = toy.features("copy", "mine/last")
    np.testing.assert_array_equal(copy.X, features.X)
    assert copy.labels.tolist() == features.labels.tolist()
    assert copy.column("age").tolist() == [30, 40, 50, 60]
    assert copy.groups().tolist() == features.groups().tolist()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["s0", "s1", "s2", "s3", "s9"], "f": [1, 2, 3, 4, 5]}, "1 of 5 ids .* are not in 'toy': s9"),
        ({"id": ["s0", "s1"], "f": [1, 2]}, "2 of 4 samples of 'toy' have no vector in .*: s2, s3"),
        ({"id": ["s0", "s1", "s2", "s3", "s1"], "f": [1, 2, 3, 4, 5]}, "The id 's1' .* comes twice, in rows 2 and 5"),
        ({"id": ["s0", "s1", "s2", ""], "f": [1, 2, 3, 4]}, "Row 4 of .* has no id"),
        ({"id": IDS, "f": [1, "nan", 3, 4]}, r"1 number of .* such as that of 's1' in 'f' \(row 2\)"),
        (
            {"id": IDS, "code": [10**15, -(10**16), 10**17, 10**15], "f": [1] * 4},
            f"'code' .* as {10**15}, of which",
        ),
        ({"id": IDS, "ean": [10**12 + k for k in range(4)], "f": [1] * 4}, "'ean' .* they look like codes"),
        ({"id": IDS, "f": [1, "inf", 3, 4]}, "Row 2 of .* has f='inf', but that column holds numbers"),
        ({"id": IDS, "f": [1, "", 3, 4]}, "1 number of .* such as that of 's1' in 'f'"),
        ({"id": IDS, "f": [1, "1e60", 3, 4]}, "1 number of .* infinite in float32, such as that of 's1' in 'f'"),
        (
            {"id": IDS, "f": [1, 2, "1e999", 4]},
            "Row 3 of .* has f='1e999', but .*\nIt is too large",
        ),
        ({"id": IDS, "f": [1, 2, "1e999", 4], "g": [1] * 4}, "Row 3 of .* has f='1e999'"),
        ({"id": IDS, "f": ["1e999"] * 4}, "has no vectors: 'f' holds '1e999', which is text"),
        ({"id": IDS, "f": [1, 2, 3, "x"]}, "Row 4 of .* has f='x', but that column holds numbers"),
        ({"id": IDS, "f": list("wxyz")}, "has no vectors: 'f' holds 'w'"),
        ({"id": IDS, "f": [1, 2, 3, 4], "t": list("wxyz")}, "neither numbers nor .*: t; 't' holds 'w'"),
        ({"id": IDS, "f": [1, 2, 3, 4], "b": ["true"] * 4}, "neither numbers nor .*: b"),
        ({"id": [], "f": []}, "has no rows"),
    ],
)
def test_bad_files_are_refused_with_examples(
    toy: FeatureStore, tmp_path: Path, columns: dict[str, list[Any]], message: str
) -> None:
    before = [table.name for table in toy.feature_tables()]
    with pytest.raises(DataError, match=message) as caught:
        bring(toy, csv(tmp_path / "v.csv", **columns))
    assert caught.value.next
    assert [table.name for table in toy.feature_tables()] == before


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (
            [[1.0, 2.0], [1.0], [1.0, 2.0], [1.0, 2.0]],
            "The vector of 's1' .* has 1 numbers; that of the first sample 2",
        ),
        ([[1.0, 2.0], None, [1.0, 2.0], [1.0, 2.0]], "The vector of 's1' .* has none"),
        ([[], [], [], []], "The vector of 's0' .* has 0 numbers"),
        ([[1.0, None], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], r"such as that of 's0' in 'vec\[1\]'"),
    ],
)
def test_bad_lists(toy: FeatureStore, tmp_path: Path, vectors: list[Any], message: str) -> None:
    parquet.write_table(pa.table({"id": IDS, "vec": pa.array(vectors, pa.list_(pa.float64()))}), tmp_path / "v.parquet")
    with pytest.raises(DataError, match=message):
        bring(toy, tmp_path / "v.parquet")


def test_two_columns_of_lists(toy: FeatureStore, tmp_path: Path) -> None:
    vectors = pa.array([[1.0]] * 4)
    parquet.write_table(pa.table({"id": IDS, "v": vectors, "w": vectors}), tmp_path / "v.parquet")
    with pytest.raises(DataError, match="several columns of lists: v, w"):
        bring(toy, tmp_path / "v.parquet")


def test_files_that_cannot_be_read(toy: FeatureStore, tmp_path: Path, file: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        bring(toy, tmp_path / "none.csv")
    broken = tmp_path / "v.parquet"
    broken.write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read"):
        bring(toy, broken)
    with pytest.raises(UsageError, match=r"suffix '\.txt'"):
        bring(toy, tmp_path / "v.txt")
    with pytest.raises(UsageError, match="no column 'idd'") as caught:
        bring(toy, file, id="idd")
    assert "Did you mean 'id'?" in caught.value.next
    with pytest.raises(DataError, match="several columns named 'f'"):
        bring(toy, _written(tmp_path / "w.csv", "id,f,f\ns0,1,2\n"))


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "a/b"}, "--name 'a/b' is not allowed"),
        ({"name": "a+b"}, r"--name 'a\+b' is not allowed"),
        ({"layer": "last"}, "--layer 'last' is not allowed"),
        ({"layer": "a@b"}, "--layer 'a@b' is not allowed"),
        ({"version": " "}, "version is empty"),
        ({"name": "net"}, "'net' is the name of a network"),
        ({"label": "f"}, "--label, --group and --level are for new datasets"),
    ],
)
def test_names_that_would_confuse(toy: FeatureStore, file: Path, options: dict[str, str], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        bring(toy, file, **options)


def test_missing_samples_on_request(toy: FeatureStore, tmp_path: Path) -> None:
    path = csv(tmp_path / "v.csv", id=["s3", "s0"], f=[3, 0])
    done = bring(toy, path, allow_missing=True)
    assert (done.inserted, done.missing) == (2, 2)
    assert toy.features("toy", "mine/last", allow_missing=True).sample_ids == ["s0", "s3"]
    assert verify(toy).findings == (), "those that the file left out are not missing"
    with pytest.raises(StoreError, match="missing for 2 of 4") as caught:
        toy.features("toy", "mine/last")
    assert "histokit import-features toy FILE --name mine --version 1 --layer imported" in caught.value.next


def test_samples_whose_images_are_unreadable_have_no_vector(toy: FeatureStore, file: Path) -> None:
    record, rows = toy.dataset("toy"), toy.samples("toy")
    contents = rows.column("content").to_pylist()
    contents[1] = None
    rows = rows.set_column(1, rows.schema.field("content"), pa.array(contents, pa.binary(16)))
    toy.save_dataset(record, rows, FILE_SCHEMA.empty_table())
    with pytest.raises(DataError, match=r"\(1 of them have images that could not be read\): s1"):
        bring(toy, file)
    assert bring(toy, file, allow_missing=True).inserted == 3
    features = toy.features("toy", "mine/last", allow_missing=True)
    assert features.sample_ids == ["s0", "s2", "s3"]
    assert features.X.tolist() == [[0, 3.5], [2, 1.5], [3, 0.5]]


def new(path: Path, **columns: list[Any]) -> Path:
    samples, X = make_samples()
    base = {"key": [f"00{i}" for i in range(60)], "label": samples["label"], "patient": [i % 6 for i in range(60)]}
    base |= {"stain": ["HE", ""] * 30, **{f"f{j}": X[:, j].round(4).tolist() for j in range(8)}}
    return csv(path, **base | columns)


NEW = {"name": "mine", "version": "1", "id": "key", "create": True, "group": "patient"}


def test_a_dataset_without_images(store: FeatureStore, tmp_path: Path) -> None:
    path = new(tmp_path / "new.csv")
    done = import_features(store, "made", path, **NEW)
    record = store.dataset("made")
    assert (record.count, record.classes, record.positive, record.group) == (60, ("a", "b"), "b", "patient")
    assert record.columns == {"patient": "str", "stain": "str"}
    assert record.levels == ()
    assert sum(record.labels.values()) == 60
    features = store.features("made", "mine/last")
    assert features.X.shape == (60, 8)
    assert features.sample_ids[7] == "007"
    assert features.groups().tolist()[:7] == ["0", "1", "2", "3", "4", "5", "0"]
    assert features.content[7] == digest_bytes(b"import", b"made", b"007")
    assert verify(store).ok
    assert import_features(store, "made", path, **NEW) == Imported(**{**done.to_json(), "inserted": 0})
    more = import_features(store, "made", path, **{**NEW, "version": "2", "create": False, "group": None})
    assert more.inserted == 60
    labels = make_samples()[0]["label"]
    for changed in (["a", "b", "c"] * 20, labels[::-1]):
        other = new(tmp_path / "other.csv", label=changed)
        with pytest.raises(StoreError, match="Another dataset 'made' is there already"):
            import_features(store, "made", other, **{**NEW, "version": "3"})


def test_the_same_file_with_another_group_gives_its_dataset_that_group(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    samples, _ = make_samples()
    slides = [f"P{i % 6}" for i in range(60)]
    pairs = [f"Q{i % 3}" for i in range(60)]
    csv(path, key=[f"00{i}" for i in range(60)], label=samples["label"], slide=slides, pair=pairs, f0=[0.5] * 60)
    for group in ("slide", "pair"):
        import_features(store, "made", path, **NEW | {"group": group})
        assert store.dataset("made").group == group


@pytest.mark.parametrize("columns", [{"x": [1.0, 2.0, 3.0, 5.0]}, {"z": [1.0, 2.0, 3.0, 4.0]}])
def test_a_dataset_stays_as_it_was_where_its_file_has_other_vectors(
    store: FeatureStore, tmp_path: Path, columns: dict[str, list[float]]
) -> None:
    file = csv(tmp_path / "v.csv", id=IDS, x=[1.0, 2.0, 3.0, 4.0], label=[*"abab"])
    import_features(store, "made", file, name="mine", version="1", create=True)
    csv(file, id=IDS, **columns, label=[*"bbaa"])
    with pytest.raises(StoreError, match="is in the store with other"):
        import_features(store, "made", file, name="mine", version="1", create=True)
    assert store.features("made", "mine/last").labels.tolist() == [*"abab"]
    import_features(store, "made", file, name="mine", version="2", create=True)
    assert store.samples("made").column("label").to_pylist() == [*"bbaa"]


def test_vectors_of_a_removed_dataset_are_not_those_of_another_one(store: FeatureStore, tmp_path: Path) -> None:
    first = csv(tmp_path / "v.csv", id=IDS, x=[1.0, 2.0, 3.0, 4.0], label=[*"abab"])
    for name in ("mine", "more"):
        import_features(store, "made", first, name=name, version="1", create=True)
    remove(store, ["made"])
    other = csv(tmp_path / "w.csv", id=IDS, x=[0.5, 0.5, 1.0, 1.0], label=[*"bbaa"])
    with pytest.raises(StoreError, match=r"'made' .* was removed, .* mine/imported, more/imported") as caught:
        import_features(store, "made", other, name="others", version="1", create=True)
    assert "histokit store gc --orphans --older-than 0" in caught.value.next
    assert store.datasets() == []
    # Those of the same samples count again.
    assert import_features(store, "made", first, name="mine", version="1", create=True).inserted == 0
    assert store.features("made", "more/last").X[:, 0].tolist() == [1, 2, 3, 4]
    # Of other ids, none is taken for one of these.
    remove(store, ["made"])
    apart = csv(tmp_path / "u.csv", id=["t0", "t1"], x=[0.5, 1.0], label=[*"ab"])
    import_features(store, "made", apart, name="others", version="1", create=True)
    remove(store, ["made"])
    collect_garbage(store, older_than=0, orphans=True)
    import_features(store, "made", other, name="others", version="1", create=True)
    assert [table.address for table in store.feature_tables("made")] == ["others/imported"]
    assert store.features("made", "others/last").labels.tolist() == [*"bbaa"]


@pytest.mark.parametrize("kind", ["fractions", "not available"])
def test_ids_are_the_same_texts_in_all_parts_of_a_file(store: FeatureStore, tmp_path: Path, kind: str) -> None:
    # More rows than are read at once, of which the first, or the last, alone would be taken for something else.
    rows = 5_000
    if kind == "fractions":
        path, ids = tmp_path / "new.parquet", [*map(str, np.arange(rows - 1, dtype=float)), "0.5"]
        given: Any = [float(text) for text in ids]
        parquet.write_table(pa.table({"id": given, "x": np.arange(rows) / 2, "y": np.ones(rows)}), path)
    else:
        ids = [*(f"s{number}" for number in range(4_096)), *map(str, range(rows - 4_097)), "NA"]
        path = tmp_path / "new.csv"
        path.write_text("id,x,y\n" + "".join(f'"{text}",{row / 2},1\n' for row, text in enumerate(ids)))
    done = import_features(store, "new", path, name="net", version="1", create=True)
    assert (done.samples, done.inserted, done.missing) == (rows, rows, 0)
    found = store.features("new", "net/imported")
    assert dict(zip(found.sample_ids, found.X[:, 0], strict=True)) == {text: row / 2 for row, text in enumerate(ids)}


def test_a_dataset_gets_other_labels_and_groups_from_its_own_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = csv(tmp_path / "v.csv", id=IDS, f=[3, 2, 1, 0], kind=[*"abab"], donor=[*"xxyy"])
    command = ["import-features", "made", str(file), "--name", "mine", "--version", "1", "--store", str(tmp_path / "s")]
    histokit.ingest(tmp_path / "s", "synthetic", name="drawn", options={"slides": 2, "per_slide": 2})
    assert cli.run(command) == ExitCode.STORE
    assert "\nMake it from the file: add --create. " in capsys.readouterr().err
    assert cli.run([*command, "--create"]) == 0
    told = capsys.readouterr().err
    assert "no sample has a label: run it again with --label COL; columns of text are kind, donor" in told
    assert cli.run([*command, "--create", "--label", "kind", "--group", "donor"]) == 0
    assert "0 vectors of 1 number are new" in capsys.readouterr().err
    store = histokit.open_store(tmp_path / "s")
    features = store.features("made", "mine/last")
    assert features.labels.tolist() == [*"abab"]
    groups = features.groups()
    assert groups is not None
    assert groups.tolist() == [*"xxyy"]
    assert features.X[:, 0].tolist() == [3, 2, 1, 0]
    assert verify(store).ok
    # Fewer rows make another dataset, and so does another file.
    for other in (csv(tmp_path / "v.csv", id=IDS[:3], f=[3, 2, 1]), csv(tmp_path / "w.csv", id=IDS, f=[3, 2, 1, 0])):
        assert cli.run([*command[:2], str(other), *command[3:], "--create"]) == ExitCode.STORE
        assert "Another dataset 'made' is there already" in capsys.readouterr().err


def test_not_available_is_no_class(store: FeatureStore, tmp_path: Path) -> None:
    labels = make_samples()[0]["label"]
    path = new(tmp_path / "new.csv", label=["NA", '"NA"', *labels[2:]])
    import_features(store, "made", path, **NEW)
    assert store.dataset("made").labels[""] == 1
    assert store.samples("made", ["label"]).column(0).to_pylist()[:2] == [None, "NA"]


def test_columns_that_stand_apart_are_named(store: FeatureStore, tmp_path: Path) -> None:
    path = new(tmp_path / "new.csv", note=["x"] * 60, plate=[3] * 60, dose=[0.5] * 60)
    assert import_features(store, "made", path, **NEW).apart == ("plate", "dose")
    assert import_features(store, "other", path, **NEW, metadata=["plate", "dose"]).apart == ()


def test_units_of_a_dataset_without_images(store: FeatureStore, tmp_path: Path) -> None:
    wells = [i // 2 for i in range(60)]
    labels = ["a", "b"] * 15
    path = new(tmp_path / "new.csv", well=wells, label=[labels[well] for well in wells], patient=[w % 3 for w in wells])
    import_features(store, "made", path, **NEW, levels=["well"])
    assert store.dataset("made").levels == ("well",)
    (run,) = histokit.train(store, "made", "mine/last", "knn", grid={"k": [1]}, split="leave-one-group-out")
    (scores,) = histokit.evaluate(store, run.id, by=["well:vote"])
    assert sum(map(sum, scores.by["well:vote"]["confusion"]["counts"])) == 30


def test_numbers_that_are_no_features(store: FeatureStore, tmp_path: Path) -> None:
    dose = [i / 4 for i in range(60)]
    path = new(tmp_path / "new.csv", dose=dose, Metadata_Plate=list(range(60)), Count_Cells=[7] * 60)
    done = import_features(store, "made", path, **NEW, metadata=["dose", "Count_*"])
    assert done.columns == tuple(f"f{j}" for j in range(8))
    record = store.dataset("made")
    assert (record.columns["dose"], record.columns["Metadata_Plate"]) == ("float", "int")
    assert store.features("made", "mine/last").where("dose > 14.5").sample_ids == ["0059"]
    again = import_features(store, "made", path, **{**NEW, "create": False, "group": None, "version": "2"})
    assert again.width == 8
    with pytest.raises(UsageError, match="no column 'doze'"):
        import_features(store, "other", path, **NEW, metadata=["doze"])


@pytest.mark.parametrize(
    ("dataset", "columns", "options", "error", "message"),
    [
        ("made", {}, {"levels": ["well"]}, UsageError, "no column 'well'"),
        ("made", {}, {"levels": ["stain"]}, DataError, "The sample '001' has no stain"),
        ("a/b", {}, {}, UsageError, "dataset name 'a/b' is not allowed"),
        ("made", {}, {"group": "slide"}, UsageError, "no column 'slide'"),
        ("made", {}, {"group": "label"}, UsageError, "group or level cannot be called 'label'"),
        ("made", {"patient": [""] * 60}, {}, DataError, "The sample '000' has no patient"),
        ("made", {"f3": ["nan"] * 60}, {}, DataError, "The column 'f3' of .* holds nothing"),
        ("made", {"f3": [0.5, "nan"] * 30}, {}, DataError, "30 numbers of .* such as that of '001' in 'f3'"),
    ],
)
def test_datasets_that_cannot_be_made(
    store: FeatureStore,
    tmp_path: Path,
    dataset: str,
    columns: dict[str, list[Any]],
    options: dict[str, Any],
    error: type[HistokitError],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        import_features(store, dataset, new(tmp_path / "new.csv", **columns), **{**NEW, **options})
    assert store.datasets() == []


@pytest.fixture
def trained(store: FeatureStore, tmp_path: Path) -> str:
    import_features(store, "made", new(tmp_path / "new.csv"), **NEW)
    (run,) = histokit.train(store, "made", "mine/last", grid={"C": [0.1]}, inner_folds=2)
    return run.id


def test_training_and_prediction_on_imported_vectors(store: FeatureStore, tmp_path: Path, trained: str) -> None:
    run = store.run(trained)
    assert run.group == "patient"
    assert len(run.folds) == 6
    import_features(store, "later", new(tmp_path / "later.csv"), **NEW)
    predicted = histokit.predict(store, trained, "later")
    assert store.predictions(predicted.id).num_rows == 60


def test_prediction_where_the_vectors_are_not(store: FeatureStore, tmp_path: Path, trained: str) -> None:
    import_features(store, "later", new(tmp_path / "later.csv"), **{**NEW, "version": "2"})
    with pytest.raises(StoreError, match=r"that 'later' does not have.*import:1 → import:2") as c:
        histokit.predict(store, trained, "later")
    assert "histokit import-features later FILE --name mine --version 1 --layer imported" in c.value.next


def test_prediction_on_vectors_of_other_columns(store: FeatureStore, tmp_path: Path, trained: str) -> None:
    path = new(tmp_path / "later.csv", f9=[0.5, 1.5] * 30)
    path.write_text(path.read_text().replace(",f3,", ",g3,"))
    import_features(store, "later", path, **NEW)
    with pytest.raises(StoreError, match=r"it has @[0-9a-f]{12}: columns: without f3, with g3, f9\)"):
        histokit.predict(store, trained, "later")


@pytest.mark.usefixtures("tiny")
def test_images_get_imported_vectors_beside_their_own(store: FeatureStore, images: Path, tmp_path: Path) -> None:
    histokit.ingest(store, "folder", images, name="toy", options={"pattern": "{patient}/{label}/*.png"})
    histokit.extract(store, "toy", "tiny", layers="last")
    path = csv(tmp_path / "v.csv", id=store.samples("toy").column("id").to_pylist(), f=list(range(24)))
    bring(store, path)
    assert store.features("toy", "tiny/last+mine/last").X.shape == (24, 7)
    assert TinyPlugin.built == 0


@pytest.mark.usefixtures("tiny")
def test_a_dataset_without_images_cannot_be_extracted(store: FeatureStore, tmp_path: Path) -> None:
    import_features(store, "made", new(tmp_path / "new.csv"), **NEW)
    with pytest.raises(UsageError, match="has no images") as caught:
        histokit.extract(store, "made", "tiny")
    assert "import-features made" in caught.value.next


def test_the_command_prints_the_address(
    toy: FeatureStore, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(toy.uri))
    command = ["import-features", "toy", str(file), "--name", "mine", "--version", "1"]
    assert cli.run(command) == 0
    assert capsys.readouterr().out == "mine/imported\n"
    other = csv(tmp_path / "w.csv", id=IDS[:3], f=[1, 2, 3])
    assert cli.run([*command[:2], str(other), "--name", "mine", "--version", "2"]) == 4
    assert "Add their rows, or go on without them with --allow-missing." in capsys.readouterr().err
    assert cli.run([*command[:2], str(other), "--name", "mine", "--version", "2", "--allow-missing", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["address"] == f"mine/imported@{document['fingerprint']}"
    assert (document["inserted"], document["missing"]) == (3, 1)
    path = new(tmp_path / "new.csv")
    options = ["--name", "mine", "--version", "1", "--id", "key", "--create", "--group", "patient"]
    assert cli.run(["import-features", "made", str(path), *options]) == 0
    assert cli.run(["train", "made", "--features", "mine/last", "--grid", "C=0.1", "--inner-folds", "2"]) == 0


def test_large_whole_numbers_are_features(toy: FeatureStore, tmp_path: Path) -> None:
    path = csv(tmp_path / "v.csv", id=IDS, time=[2**60 + 1, 2**55 + 3, 5, 7])
    bring(toy, path)
    assert toy.features("toy", "mine/all").X[:, 0].tolist() == [2.0**60, 2.0**55, 5.0, 7.0]


def test_codes_in_files_of_many_rows_are_named_with_what_to_add(
    store: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"id": [f"s{k}" for k in range(5_000)], "slide code": [8 * 10**15 + k for k in range(5_000)]}
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    table = pa.table({**columns, "f": [k / 2 for k in range(4_999)] + [float("nan")]})
    parquet.write_table(table, tmp_path / "v.parquet")
    new = ["import-features", "big", str(tmp_path / "v.parquet"), "--name", "m", "--version", "1", "--create"]
    assert cli.run(new) == ExitCode.DATA
    assert "Add --metadata 'slide code', or remove" in capsys.readouterr().err
    # A cell of a later part of the file is named by its row, too.
    assert cli.run([*new, "--metadata", "slide code"]) == ExitCode.DATA
    assert "such as that of 's4999' in 'f' (row 5000)" in capsys.readouterr().err
    table = table.set_column(2, "f", pa.array([k / 2 for k in range(5_000)]))
    parquet.write_table(table, tmp_path / "v.parquet")
    assert cli.run([*new, "--metadata", "slide code"]) == ExitCode.OK
    kept = FeatureStore(tmp_path / "store").samples("big").column("slide code")
    assert kept.to_pylist() == columns["slide code"]


def test_metadata_may_have_brackets_in_their_names(toy: FeatureStore, tmp_path: Path) -> None:
    path = csv(tmp_path / "v.csv", **{"id": IDS, "x[3]": [1, 2, 3, 4], "y": [5, 6, 7, 8]})
    assert bring(toy, path, metadata=["x[3]"]).width == 1
    assert toy.features("toy", "mine/all").column_names == ["mine/imported[y]"]


def test_texts_in_another_encoding_are_named(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    path.write_bytes("id,F\u00e4rbung,f\na,HE\u00e4,1\nb,PAS\u00e4,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"v\.csv"):
        import_features(FeatureStore(tmp_path / "s"), "new", path, name="mine", version="1", create=True)
    path.write_bytes("id,stain,f\na,HE\u00e4,1\nb,PAS\u00e4,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"v\.csv' cannot be read: line 2, 'a,HE.*1', is not valid UTF-8") as caught:
        import_features(FeatureStore(tmp_path / "s"), "new", path, name="mine", version="1", create=True)
    assert "UTF-8" in caught.value.next


@pytest.mark.parametrize("what", ["name", "version", "layer"])
def test_names_and_versions_are_text(what: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"name": "n", "version": "1", "layer": "l", what: 2}
    with pytest.raises(UsageError, match=f"The {what} 2 is no text") as caught:
        histokit.import_features(tmp_path / "store", "d", tmp_path / "v.csv", **given)
    assert caught.value.next == f'Write it in quotes: {what}="2"'
