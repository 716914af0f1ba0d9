"""A feature table that was deleted is missed: it is told what is gone, and how to make it again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import histokit
from histokit import cli
from histokit.errors import StoreError
from histokit.features import FeatureStore, open_store
from histokit.store import Store
from histokit.store.commits import LEDGER
from histokit.store.records import PROBLEM_SCHEMA
from histokit.store.repair import repair
from histokit.store.verify import verify
from tests.toy import make_samples, make_store

AGAIN = "histokit extract toy --backbone net --layers two"


@pytest.fixture
def toy(tmp_path: Path) -> FeatureStore:
    """A store with two feature tables."""
    samples, X = make_samples()
    return make_store(tmp_path / "store", samples, {"one": X, "two": X[:, :3]})


def folder(store: FeatureStore, layer: str) -> Path:
    """Where the table of a layer is."""
    (name,) = [table.name for table in store.feature_tables() if table.layer == layer]
    return store.uri / f"{name}.lance"


@pytest.mark.parametrize("part", ["", "_versions"])
def test_a_deleted_table_is_told_with_what_makes_it_again(toy: FeatureStore, part: str) -> None:
    gone = folder(toy, "two")
    shutil.rmtree(gone / part)
    (finding,) = verify(Store(toy.uri)).findings
    assert (finding.table, finding.kind) == (gone.stem, "lost")
    assert "net/two of the dataset 'toy'" in finding.what
    assert AGAIN in finding.next


def test_what_is_asked_of_each_layer_is_not_answered_for_the_others(toy: FeatureStore) -> None:
    run = histokit.train(toy, "toy", "net/one+net/two", "knn", split="holdout", grid={"k": "1"})[0]
    assert len(toy.addresses("toy", "net/each")) == 2
    shutil.rmtree(folder(toy, "two"))
    for act in (
        lambda: toy.addresses("toy", "net/each"),
        lambda: toy.features("toy", "net/all"),
        lambda: toy.features("toy", "net/two"),
        lambda: histokit.predict(toy, run.id, "toy"),
    ):
        with pytest.raises(StoreError) as caught:
            act()
        assert "histokit extract toy --backbone net --layers" in str(caught.value.next)
    assert toy.features("toy", "net/one").X.shape == (60, 8)


def test_the_list_of_features_tells_what_is_gone(
    toy: FeatureStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(folder(toy, "two"))
    monkeypatch.setenv("HISTOKIT_STORE", str(toy.uri))
    assert cli.run(["list", "features"]) == 5
    printed = capsys.readouterr()
    assert "net/one" in printed.out
    assert "net/two" not in printed.out
    assert "The features net/two of 'toy' were in the store, and are gone." in printed.err
    assert f"Make it again: {AGAIN}" in printed.err
    assert "or go on without it, after: histokit store repair" in printed.err
    assert cli.run(["list", "features", "--json"]) == 5
    error = json.loads(capsys.readouterr().out)["error"]
    assert [table["address"] for table in error["details"]["features"]] == ["net/one"]


def test_a_table_that_is_made_again_or_done_without_is_missed_no_more(toy: FeatureStore) -> None:
    table = next(table for table in toy.feature_tables() if table.layer == "two")
    shutil.rmtree(folder(toy, "two"))
    repaired = open_store(toy.uri)
    assert [f.kind for f in repair(repaired).findings] == ["lost"]
    assert verify(repaired).ok
    assert repaired.addresses("toy", "net/each") == ["net/one"]
    repaired.create_feature_table("toy", table.spec, 3, table.info)
    assert [f.kind for f in verify(repaired).findings] == ["incomplete"]
    shutil.rmtree(folder(repaired, "two"))
    assert [f.kind for f in verify(open_store(toy.uri)).findings] == ["lost"]


def test_extracting_again_fills_a_deleted_table(store: FeatureStore, images: Path, tiny: object) -> None:
    histokit.ingest(store, "folder", images, name="d", options={"pattern": "{patient}/{label}/*.png"})
    histokit.extract(store, "d", "tiny", layers=["last"])
    before = store.features("d", "tiny/last").X
    for part in ("", "_versions"):
        shutil.rmtree(folder(store, store.feature_tables("d")[0].layer) / part)
        histokit.extract(store, "d", "tiny", layers=["last"])
        assert (before == open_store(store.uri).features("d", "tiny/last").X).all()
        assert verify(open_store(store.uri)).ok


def test_a_table_that_was_dropped_on_purpose_is_not_missed(toy: FeatureStore) -> None:
    toy.database.drop(folder(toy, "two").stem)
    assert verify(Store(toy.uri)).ok
    assert AGAIN not in (toy.uri / LEDGER).read_text()


def test_lists_of_tables_of_earlier_versions_are_read(toy: FeatureStore) -> None:
    path = toy.uri / LEDGER
    document = json.loads(path.read_text())
    path.write_text(json.dumps({name: document[name] for name in ("check", "tables")}))
    assert verify(Store(toy.uri)).ok
    shutil.rmtree(folder(toy, "two"))
    assert verify(Store(toy.uri)).ok, "it knew of no feature tables"


@pytest.mark.parametrize("change", [("net/two", "net/tvo"), ('"features": {', '"featares": {'), ("toy", "tox")])
def test_a_changed_list_of_features_is_damaged(toy: FeatureStore, change: tuple[str, str]) -> None:
    path = toy.uri / LEDGER
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    assert [(f.table, f.kind) for f in verify(Store(toy.uri)).findings] == [("(list of tables)", "unreadable")]
    repair(Store(toy.uri))
    assert verify(Store(toy.uri)).ok
    shutil.rmtree(folder(toy, "two"))
    assert [f.kind for f in verify(Store(toy.uri)).findings] == ["lost"]


def test_damaged_problems_make_no_table_of_features_useless(toy: FeatureStore) -> None:
    toy.forget_problems("toy")
    rows = PROBLEM_SCHEMA.empty_table()
    toy.database.append("problems", rows)
    (manifest,) = [min((toy.uri / "problems.lance" / "_versions").glob("*.manifest"))]
    manifest.write_bytes(b"rubbish")
    assert {f.table for f in verify(Store(toy.uri)).findings} == {"problems"}
    repair(Store(toy.uri))
    assert len(toy.feature_tables()) == 2
