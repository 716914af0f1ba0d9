"""A table means the same through each door: ``table``, ``folder`` with labels, vectors, and a column used later."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import histokit
from histokit import cli
from histokit.errors import DataError, PluginError, UsageError
from histokit.features import FeatureStore
from histokit.ingest.imports import import_features
from histokit.plugin import Dataset, Sample

#: Column → cells as R or pandas write them, and what they mean as classes or groups.
COLUMNS: dict[str, tuple[list[str], list[str | None]]] = {
    "r": (["a", "NA", "b", "a", "NA", "b"], ["a", None, "b", "a", None, "b"]),
    "zeros": (["007", "7", "07", "007", "7", "07"], ["007", "7", "07", "007", "7", "07"]),
    "barcode": (
        [f"1234567890123456789{i % 3}" for i in range(6)],
        [f"1234567890123456789{i % 3}" for i in range(6)],
    ),
    "large": ([f"900719925474099{3 + i % 2}" for i in range(6)], [f"900719925474099{3 + i % 2}" for i in range(6)]),
    "plate": (["1E5", "100000", "2E3", "1E5", "100000", "2E3"], ["1E5", "100000", "2E3", "1E5", "100000", "2E3"]),
    "truth": (["TRUE", "False", "true", "NA", "TRUE", "false"], ["True", "False", "True", None, "True", "False"]),
    "sex": (["T", "F", "T", "F", "F", "T"], ["T", "F", "T", "F", "F", "T"]),
    "stage": (["1.0", "2.0", "", "1.0", "2.0", "1.0"], ["1", "2", None, "1", "2", "1"]),
    "version": (["1.1", "1.10", "1.1", "1.10", "1.1", "1.10"], ["1.1", "1.10", "1.1", "1.10", "1.1", "1.10"]),
    "blank": (["x ", " x", "x", "y", "y\u00a0", " NA"], ["x", "x", "x", "y", "y", None]),
    "unseen": (["x\u00ad", "\u2060x", "x\u200e", "\u202ay", "y\u200d", "y"], ["x", "x", "x", "y", "y", "y"]),
    "letters": (["o\u0308", "\u00f6", "u", "u", "u", "u"], ["\u00f6", "\u00f6", "u", "u", "u", "u"]),
}
FILES = [f"{i}.png" for i in range(6)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    for i, name in enumerate(FILES):
        Image.fromarray(np.full((16, 16, 3), 20 * i, np.uint8)).save(root / name)
    lines = [["file", "stem", *COLUMNS]]
    lines += [[name, name[0], *(COLUMNS[c][0][i] for c in COLUMNS)] for i, name in enumerate(FILES)]
    (root / "t.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    vectors = [[*line, *(("f", "g") if not row else (f"{row}.5", f"-{row}.25"))] for row, line in enumerate(lines)]
    (root / "v.csv").write_text("\n".join(",".join(line) for line in vectors) + "\n")
    return root


def known(values: list[str | None]) -> list[str]:
    return sorted({value for value in values if value is not None})


@pytest.mark.parametrize("column", COLUMNS)
def test_labels_are_the_same_through_each_door(store: FeatureStore, root: Path, column: str) -> None:
    meant = COLUMNS[column][1]
    table = {"table": "t.csv", "image": "file"}
    labels = {"pattern": "{stem}.png", "labels": "t.csv", "on": "stem"}
    histokit.ingest(store, "table", root, name="table", options={**table, "label": column})
    histokit.ingest(store, "folder", root, name="folder", options={**labels, "label_column": column})
    new = {"name": "mine", "version": "1", "id": "file", "create": True, "metadata": list(COLUMNS)}
    import_features(store, "vectors", root / "v.csv", label=column, **new)
    for name in ("table", "folder", "vectors"):
        assert store.samples(name).column("label").to_pylist() == meant
        assert store.dataset(name).classes == tuple(known(meant))
    histokit.ingest(store, "table", root, name="later", options=table)
    values = store.samples("later").column(column).to_pylist()
    assert [None if value is None else str(value) for value in values] == meant
    import_features(store, "after", root / "v.csv", **{**new, "version": "2"})
    values = store.samples("after").column(column).to_pylist()
    assert [None if value is None else str(value) for value in values] == meant


@pytest.mark.parametrize("column", [c for c in COLUMNS if None not in COLUMNS[c][1] and c != "sex"])
def test_groups_are_the_same_named_at_once_or_later(store: FeatureStore, root: Path, column: str) -> None:
    meant = COLUMNS[column][1]
    options = {"table": "t.csv", "image": "file", "label": "sex"}
    for name, more in (("at-once", {"group": column}), ("later", {})):
        record = histokit.ingest(store, "table", root, name=name, options={**options, **more})
        split = histokit.make_split(store.samples(name), record, "s", group=column, leave_one_group_out=True)
        assert len(split.folds()) == len(known(meant))
        tests = sorted(sorted(fold.test) for fold in split.folds())
        assert tests == sorted(
            [f for f, value in zip(FILES, meant, strict=True) if value == one] for one in known(meant)
        )


def test_parquet_says_the_same_as_csv(store: FeatureStore, root: Path) -> None:
    gap = float("nan")
    columns = {
        "file": pa.array(FILES),
        "stage": pa.array([1.0, 2.0, gap, 1.0, 2.0, 1.0]),
        "truth": pa.array([True, False, True, None, True, False]),
        "f": pa.array(np.arange(6.0)),
    }
    parquet.write_table(pa.table(columns), root / "t.parquet")
    for column in ("stage", "truth"):
        options = {"table": "t.parquet", "image": "file", "label": column}
        histokit.ingest(store, "table", root, name="table", options=options)
        new = {"name": "m", "version": column, "id": "file", "create": True, "metadata": ["stage"], "label": column}
        import_features(store, column, root / "t.parquet", **new)
        for name in ("table", column):
            assert store.samples(name).column("label").to_pylist() == COLUMNS[column][1]


def test_what_is_hardly_seen_in_classes_and_groups_is_told(store: FeatureStore, root: Path) -> None:
    labels, groups = ["1", "1.0", "x\u00ady", "xy", "1", "1"], ["a", "?", "unknown", "a\u2060b", "ab", "a"]
    lines = [",".join(row) for row in zip(FILES, labels, groups, strict=True)]
    (root / "odd.csv").write_text("\n".join(["file,label,slide", *lines]) + "\n", "utf-8")
    options = {"table": "odd.csv", "image": "file", "label": "label", "group": "slide"}
    record = histokit.ingest(store, "table", root, name="table", options=options)
    vectors = [f"{line},{row}.5" for row, line in enumerate(lines)]
    (root / "v.csv").write_text("\n".join(["file,label,slide,f", *vectors]) + "\n", "utf-8")
    new = {"name": "m", "version": "1", "id": "file", "create": True, "label": "label", "group": "slide"}
    done = import_features(store, "vectors", root / "v.csv", **new)
    for notes in (record.warnings, done.notes):
        told = " ".join(notes)
        assert "Values of class differ in" in told
        assert "'1' (3) and '1.0' (1); 'xy' (1) and 'x\\xady' (1)" in told
        assert "Values of slide differ in" in told
        assert "'ab' (1) and 'a\\u2060b' (1)" in told
        assert "A slide is called '?' (1), 'unknown' (1); where that stands" in told


def test_a_sample_without_a_group_is_one_of_its_own(store: FeatureStore, root: Path) -> None:
    options = {"table": "t.csv", "image": "file", "label": "sex", "group": "r"}
    record = histokit.ingest(store, "table", root, name="table", options=options)
    labels = {"pattern": "{stem}.png", "labels": "t.csv", "on": "stem", "label_column": "sex", "group": "r"}
    folder = histokit.ingest(store, "folder", root, name="folder", options=labels)
    new = {"name": "m", "version": "1", "id": "file", "create": True, "metadata": list(COLUMNS), "label": "sex"}
    done = import_features(store, "vectors", root / "v.csv", group="r", **new)
    for name in ("table", "folder", "vectors"):
        groups = store.samples(name).column("r").to_pylist()
        assert groups == ["a", "unknown:1.png", "b", "a", "unknown:4.png", "b"]
    for notes in (record.warnings, folder.warnings, done.notes):
        assert any(note.startswith("2 samples have no r, for example '1.png', '4.png'; each counts") for note in notes)
    (root / "none.csv").write_text("file,sex,r\n" + "".join(f"{name},T,NA\n" for name in FILES))
    with pytest.raises(DataError, match="No sample has a r, which is the dataset's group"):
        histokit.ingest(store, "table", root, name="none", options={**options, "table": "none.csv"})


def test_names_with_accents_are_found_whoever_wrote_them(store: FeatureStore, tmp_path: Path) -> None:
    apart, together = "Ma\u0308r", "M\u00e4r"
    root = tmp_path / "root"
    (root / apart).mkdir(parents=True)
    for i in range(4):
        Image.fromarray(np.full((16, 16, 3), 20 * i, np.uint8)).save(root / apart / f"{apart}{i}.png")
    lines = [f"{together}/{together}{i}.png,{'xy'[i % 2]},{together}{i}" for i in range(4)]
    (root / "t.csv").write_text("\n".join(["image,label,slide", *lines]) + "\n")
    record = histokit.ingest(store, "table", root, name="table", options={"table": "t.csv"})
    assert (record.count, record.problems) == (4, 0)
    labels = {"pattern": f"{together}/{{slide}}.png", "labels": "t2.csv", "on": "slide", "group": "slide"}
    (root / "t2.csv").write_text((root / "t.csv").read_text().replace("image,", "file,"))
    record = histokit.ingest(store, "folder", root, name="folder", options=labels)
    assert record.labels == {"x": 2, "y": 2}
    for name in ("table", "folder"):
        ids = store.samples(name).column("id").to_pylist()
        assert ids == [f"{together}/{together}{i}.png" for i in range(4)]
        assert all(unicodedata.is_normalized("NFC", i) for i in ids)
        roles = "".join(f"{apart}/{apart}{i}.png ,{'train' if i < 2 else 'test'}\n" for i in range(4))
        for key in ("id", "image"):
            (tmp_path / "s.csv").write_text(f"{key},role\n{roles}")
            split = histokit.make_split(store.samples(name), store.dataset(name), "s", from_file=tmp_path / "s.csv")
            assert split.folds()[0].test == ids[2:]
        (tmp_path / "v.csv").write_text("id,f\n" + "".join(f"{apart}/{apart}{i}.png,{i}.5\n" for i in range(4)))
        import_features(store, name, tmp_path / "v.csv", name="mine", version="1")
        assert store.features(name, "mine/last").X[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5]


def test_vectors_find_ids_that_have_blanks_in_the_store(store: FeatureStore, tmp_path: Path) -> None:
    from tests.toy import make_store

    store = make_store(store.uri, {"id": ["a ", "b", "b "], "label": ["x", "y", "y"]}, {"one": [[1.0]] * 3})
    (tmp_path / "v.csv").write_text("id,f\na,1\nb,2\n")
    import_features(store, "toy", tmp_path / "v.csv", name="mine", version="1", allow_missing=True)
    features = store.features("toy", "mine/last", allow_missing=True)
    assert dict(zip(features.sample_ids, features.X[:, 0].tolist(), strict=True)) == {"a ": 1, "b": 2}


def test_one_bad_cell_is_named_at_each_door(store: FeatureStore, root: Path) -> None:
    lines = "".join(f"{name},{'xy'[i % 2]},{i}.5,{'#DIV/0!' if i == 3 else i}\n" for i, name in enumerate(FILES))
    (root / "bad.csv").write_text(f"file,label,f,age\n{lines}")
    said = r"Row 4 of the table .*bad\.csv' has age='#DIV/0!', but that column holds numbers"
    with pytest.raises(DataError, match=said):
        histokit.ingest(store, "table", root, name="a", options={"table": "bad.csv", "image": "file"})
    labels = {"pattern": "{file}", "labels": "bad.csv", "on": "file"}
    with pytest.raises(DataError, match=said):
        histokit.ingest(store, "folder", root, name="a", options=labels)
    histokit.ingest(store, "folder", root, name="a", options={"pattern": "{file}"})
    new = {"name": "m", "version": "1", "id": "file"}
    for dataset, create in (("a", False), ("new", True)):
        with pytest.raises(DataError, match=said) as caught:
            import_features(store, dataset, root / "bad.csv", create=create, **new)
        assert "--metadata 'age'" in caught.value.next
        # One number with a zero before it makes no texts of the others.
        (root / "zero.csv").write_text((root / "bad.csv").read_text().replace("#DIV/0!", "03"))
        with pytest.raises(DataError, match=r"Row 4 .* has age='03', but that column holds numbers"):
            import_features(store, dataset, root / "zero.csv", create=create, **new)
    with pytest.raises(DataError, match=said):
        import_features(store, "b", root / "bad.csv", create=True, metadata=["age"], **new)
    options: dict[str, Any] = {"table": "bad.csv", "image": "file", "text": "age"}
    histokit.ingest(store, "table", root, name="c", options=options)
    assert store.samples("c").column("age").to_pylist() == ["0", "1", "2", "#DIV/0!", "4", "5"]
    histokit.ingest(store, "folder", root, name="d", options={**labels, "text": "age"})
    assert store.samples("d").column("age").to_pylist()[3] == "#DIV/0!"


def test_names_of_columns_that_the_store_does_not_take(store: FeatureStore, root: Path) -> None:
    header = "file,patient.id,_rowid,a`b,Label,label,well/row,f,_g"
    rows = "".join(f"{name},p{i % 3},r{i},{i},L{i},{'xy'[i % 2]},w{i},{i}.5,{i}.25\n" for i, name in enumerate(FILES))
    (root / "odd.csv").write_text(f"{header}\n{rows}")
    options = {"table": "odd.csv", "image": "file", "group": "patient.id", "levels": "_rowid"}
    record = histokit.ingest(store, "table", root, name="a", options=options)
    assert (record.group, record.levels) == ("patient_id", ("rowid_",))
    assert list(record.columns) == ["patient_id", "rowid_", "a_b", "Label", "well/row", "f", "g_"]
    assert any("The column 'patient.id' is called 'patient_id'" in warning for warning in record.warnings)
    assert store.samples("a", where="patient_id = 'p1'").num_rows == 2
    new = {"name": "m", "version": "1", "id": "file", "create": True, "metadata": ["a`b"]}
    done = import_features(store, "b", root / "odd.csv", group="patient.id", levels=["_rowid"], **new)
    assert done.columns == ("f", "_g")
    assert store.dataset("b").group == "patient_id"
    assert set(store.samples("b").column_names) >= {"patient_id", "rowid_", "a_b", "Label", "well/row"}
    assert store.features("b", "m/last").X.shape == (6, 2)


def test_columns_that_differ_in_case_alone_come_through_no_door(store: FeatureStore, root: Path) -> None:
    rows = "".join(f"{name},{'xy'[i % 2]},{i},{i},{i}.5\n" for i, name in enumerate(FILES))
    (root / "twins.csv").write_text(f"file,label,Age,age,f\n{rows}")
    said = "has the columns 'Age' and 'age', which differ in case alone"
    with pytest.raises(DataError, match=said):
        histokit.ingest(store, "table", root, name="a", options={"table": "twins.csv", "image": "file"})
    labels = {"pattern": "{file}", "labels": "twins.csv", "on": "file"}
    with pytest.raises(DataError, match=said):
        histokit.ingest(store, "folder", root, name="a", options=labels)
    with pytest.raises(DataError, match=said):
        import_features(store, "a", root / "twins.csv", name="m", version="1", id="file", create=True, metadata=["?ge"])
    options = {"table": "twins.csv", "image": "file", "columns": "age"}
    assert list(histokit.ingest(store, "table", root, name="a", options=options).columns) == ["age"]


@pytest.mark.parametrize("column", ["", "patient.id", "_rowid", "a`b", "_index", "a ", "e\u0301", "Image_ID"])
def test_columns_of_a_plugin_that_the_store_does_not_take(store: FeatureStore, root: Path, column: str) -> None:
    class Odd(Dataset):
        name = "odd"
        columns: Mapping[str, type] = {"image_id": str, column: int}

        def samples(self) -> Iterator[Sample]:
            yield Sample("0", ("0.png",), metadata={"image_id": "0", column: 1})

    with pytest.raises(PluginError, match="in place of a mapping of column"):
        histokit.ingest(store, Odd(root), name="a")
    # A plugin of histokit's own is not asked, and the store takes no such column all the same.
    Odd.__module__ = "histokit.datasets.odd"
    with pytest.raises((PluginError, DataError), match=r"cannot be stored|differ in case alone"):
        histokit.ingest(store, Odd(root), name="a")


def test_a_packed_table_and_a_short_row_at_each_door(store: FeatureStore, root: Path) -> None:
    lines = [f"{name},{'xy'[i % 2]},{i}.5" for i, name in enumerate(FILES)]
    for file, rows in (("v.csv.gz", lines), ("short.csv", [*lines[:2], "2.png,x", *lines[3:]])):
        data = "\n".join(["file,label,f", *rows]).encode()
        (root / file).write_bytes(gzip.compress(data) if file.endswith(".gz") else data)
    table, labels = {"image": "file"}, {"pattern": "{file}", "on": "file"}
    new = {"name": "m", "version": "1", "id": "file", "create": True}
    doors = (
        lambda file: histokit.ingest(store, "table", root, name="a", options={**table, "table": file}),
        lambda file: histokit.ingest(store, "folder", root, name="b", options={**labels, "labels": file}),
        lambda file: import_features(store, "c", root / file, **new),
    )
    for door in doors:
        door("v.csv.gz")
        with pytest.raises(DataError, match=r"short.csv' cannot be read: row 3 has 2 cells, and the header 3: 2.png,x"):
            door("short.csv")
    for name in "abc":
        assert store.samples(name).column("label").to_pylist() == ["x", "y"] * 3


@pytest.mark.parametrize(
    ("plugin", "file", "options"),
    [
        ("table", "t.csv", {"table": "t.csv"}),
        ("table", "t.parquet", {"table": "t.parquet"}),
        ("folder", "l.csv", {"labels": "l.csv", "pattern": "{file}", "on": "file"}),
        ("arrays", "a.npz", {}),
        ("arrays", "a.npy", {}),
        ("arrays", "a.h5", {}),
        ("arrays", "a.zip", {}),
        ("arrays", "a.tar", {}),
        ("arrays", "a.parquet", {}),
        ("slides", "a.svs", {}),
        ("slides", "a.tif", {}),
        ("annotations", "a.json", {"annotations": "a.json"}),
        ("annotations", "a.geojson", {"annotations": "a.geojson"}),
        ("annotations", "a.xml", {"annotations": "a.xml"}),
        ("vectors", "v.npz", {}),
        ("vectors", "v.h5ad", {}),
        ("vectors", "v.parquet", {}),
        ("vectors", "v.csv", {}),
    ],
)
def test_a_pointer_in_the_place_of_a_file_is_told_at_each_door(
    store: FeatureStore, tmp_path: Path, plugin: str, file: str, options: dict[str, Any]
) -> None:
    (tmp_path / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
    door: Callable[[], Any] = partial(histokit.ingest, store, plugin, tmp_path, name="a", options=options)
    if plugin == "vectors":
        door = partial(import_features, store, "c", tmp_path / file, name="m", version="1", id="file", create=True)
    told = r" is a pointer of Git LFS, not the file that it stands for\.\sRun git lfs pull"
    with pytest.raises(DataError, match=rf"{file}.*{told}"):
        door()


def test_fields_of_samples_in_a_table_of_labels(store: FeatureStore, root: Path) -> None:
    rows = "".join(f"{name},{'xy'[i % 2]},{i},0.{i + 1}\n" for i, name in enumerate(FILES))
    (root / "fields.csv").write_text(f"file,kind,id,mpp\n{rows}")
    labels = {"pattern": "{file}", "labels": "fields.csv", "on": "file", "label_column": "kind"}
    record = histokit.ingest(store, "folder", root, name="a", options=labels)
    assert store.samples("a").column("mpp").to_pylist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert list(record.columns) == ["file"]
    assert "The column 'id' was left out: the name is taken by a field that every sample has" in record.warnings


def test_a_field_of_the_pattern_that_the_store_does_not_take(store: FeatureStore, root: Path) -> None:
    with pytest.raises(UsageError, match="'_x', which no column can be called"):
        histokit.ingest(store, "folder", root, name="a", options={"pattern": "{_x}.png"})


def test_the_tables_are_sought_in_the_current_folder_too(
    store: FeatureStore, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (root / "t.csv").rename(here / "t.csv")
    monkeypatch.chdir(here)
    options = {"table": "t.csv", "image": "file", "label": "sex"}
    assert histokit.ingest(store, "table", root, name="a", options=options).count == 6
    labels = {"pattern": "{stem}.png", "labels": "t.csv", "on": "stem", "label_column": "sex"}
    assert histokit.ingest(store, "folder", root, name="b", options=labels).labels == {"F": 3, "T": 3}
    (root / "t.csv").write_text("file,stem,sex\n0.png,0,T\n")
    for name, plugin, given in (("a", "table", options), ("b", "folder", labels)):
        with pytest.raises(UsageError, match="which differ"):
            histokit.ingest(store, plugin, root, name=name, options=given)


def test_what_the_command_says_of_a_table(
    store: FeatureStore, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(store.uri))
    command = ["ingest", "table", str(root), "--name", "a", "-o", "table=t.csv", "-o", "image=file", "-o", "group=r"]
    assert cli.run([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert "2 samples have no r" in captured.err
    assert json.loads(captured.out)["count"] == 6
