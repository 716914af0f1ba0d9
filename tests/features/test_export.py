from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pytest
from pyarrow import parquet

from histokit import cli
from histokit.errors import UsageError
from histokit.features import FeatureSet, FeatureStore, export, export_features
from tests.toy import make_store


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """Five samples with gaps in labels and metadata; ``b`` has no features of the layer ``two``."""
    samples = {
        "id": ["ä b", "b", "c", "d", "e"],
        "label": ["x", "y", "y", "x", None],
        "slide": ["P", "Q", "Q", "P", "R"],
        "age": [30, 40, 50, 60, None],
        "fresh": [True, None, False, True, True],
    }
    two = np.arange(15.0).reshape(5, 3) + 100
    two[1] = np.nan
    return make_store(tmp_path / "store", samples, {"one": np.arange(10).reshape(5, 2) / 3, "two": two})


@pytest.fixture
def merged(toy: FeatureStore) -> FeatureSet:
    return toy.features("toy", "net/one+net/two", allow_missing=True).columns([0, 3])


def check_provenance(document: dict, features: FeatureSet) -> None:
    assert document["columns"] == ["net/one[0]", "net/two[1]"]
    assert (document["dataset"], document["address"], document["group"]) == ("toy", "net/one+net/two", "slide")
    assert [part["filters"] for part in document["parts"]] == [[0], [1]]
    assert [part["fingerprint"] for part in document["parts"]] == [part.fingerprint for part in features.parts]


def test_parquet(merged: FeatureSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_ROWS_AT_ONCE", 3)
    path = export_features(merged, tmp_path / "out.parquet")
    table = parquet.read_table(path)
    assert table.column("id").to_pylist() == ["ä b", "c", "d", "e"]
    assert table.column("label").to_pylist() == ["x", "y", "x", None]
    assert table.column("slide").to_pylist() == ["P", "Q", "P", "R"]
    assert table.column("age").to_pylist() == [30, 50, 60, None]
    assert table.column("image").to_pylist() == [["ä b.png"], ["c.png"], ["d.png"], ["e.png"]]
    assert table.column("net/one[0]").to_pylist() == [0.0, np.float32(4 / 3), 2.0, np.float32(8 / 3)]
    assert table.column("net/two[1]").to_pylist() == [101, 107, 110, 113]
    assert str(table.schema.field("net/two[1]").type) == "float"
    # Lists of a fixed size that are missing are not read by earlier versions of pyarrow, and of pandas with these.
    assert (str(table.schema.field("box").type), table.column("box").null_count) == ("list<element: int32>", 4)
    check_provenance(json.loads(table.schema.metadata[b"histokit.provenance"]), merged)


def test_npz_loads_without_pickle(merged: FeatureSet, tmp_path: Path) -> None:
    path = export_features(merged, str(tmp_path / "out.npz"))
    with np.load(path, allow_pickle=False) as found:
        arrays = {name: found[name] for name in found.files}
    np.testing.assert_array_equal(arrays["X"], merged.X)
    assert arrays["X"].dtype == np.float32
    assert arrays["sample_ids"].tolist() == ["ä b", "c", "d", "e"]
    assert arrays["labels"].tolist() == ["x", "y", "x", ""]
    assert arrays["groups"].tolist() == ["P", "Q", "P", "R"]
    assert arrays["column_names"].tolist() == ["net/one[0]", "net/two[1]"]
    assert json.loads(str(arrays["metadata"]))["fresh"] == [True, False, True, True]
    check_provenance(json.loads(str(arrays["provenance"])), merged)


def test_npz_without_group(toy: FeatureStore, tmp_path: Path) -> None:
    store = make_store(toy.uri, {"id": ["a"], "label": ["x"]}, {"one": [[1.0]]}, name="plain")
    with np.load(export_features(store.features("plain", "net/one"), tmp_path / "o.npz")) as found:
        assert "groups" not in found.files


def test_h5ad(toy: FeatureStore, merged: FeatureSet, tmp_path: Path) -> None:
    found = anndata.read_h5ad(export_features(merged, tmp_path / "out.h5ad"))
    np.testing.assert_array_equal(found.X, merged.X)
    assert list(found.obs_names) == merged.sample_ids
    assert found.obs["slide"].tolist() == ["P", "Q", "P", "R"]
    assert found.obs["age"].tolist()[:3] == [30, 50, 60]
    assert found.obs["age"].isna().tolist() == [False, False, False, True]
    assert found.var["layer"].tolist() == ["one", "two"]
    check_provenance(json.loads(found.uns["histokit"]), merged)
    gaps = toy.features("toy", "net/one")
    again = anndata.read_h5ad(export_features(gaps, tmp_path / "gaps.h5ad"))
    assert again.obs["fresh"].isna().tolist() == [False, True, False, False, False]
    assert again.obs["label"].isna().tolist() == [False, False, False, False, True]


@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".h5ad"])
def test_no_samples(merged: FeatureSet, tmp_path: Path, suffix: str) -> None:
    path = export_features(merged.take([]), tmp_path / f"out{suffix}")
    assert path.stat().st_size > 0


@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".h5ad"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    merged: FeatureSet, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out" / f"features{suffix}"
    path.parent.mkdir()
    path.write_text("old")

    def full(_features: FeatureSet, part: Path, _raw: bool) -> None:
        part.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(export._WRITERS, suffix, full)
    with pytest.raises(UsageError, match=r"cannot be written: No space left on device\.") as caught:
        export_features(merged, path)
    assert caught.value.next.startswith("Free some space, then")
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "old"


def test_an_absent_folder_is_a_clear_error(merged: FeatureSet, tmp_path: Path) -> None:
    for suffix in (".parquet", ".npz", ".h5ad"):
        with pytest.raises(UsageError, match="none does not exist"):
            export_features(merged, tmp_path / "none" / f"out{suffix}")


def test_columns_of_one_name_are_refused(merged: FeatureSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Two columns are called 'net/one\[0\]'"):
        export_features(merged + merged, tmp_path / "out.parquet")


def test_the_command_prints_the_path(
    toy: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(toy.uri))
    out = tmp_path / "out.npz"
    command = ["export", "toy", "--features", "net/two", "--out", str(out)]
    assert cli.run(command) == 5
    assert not out.exists()
    capsys.readouterr()
    assert cli.run([*command, "--allow-missing", "--where", "slide = 'P'"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    with np.load(out) as found:
        assert found["sample_ids"].tolist() == ["ä b", "d"]
    assert cli.run([*command, "--allow-missing", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"file": str(out), "dataset": "toy", "address": "net/two", "samples": 4, "columns": 3}
    assert cli.run([*command[:-1], str(tmp_path / "out.parqet")]) == 2
    assert "Did you mean '.parquet'?" in capsys.readouterr().err
