"""What kept columns stand for: the samples with the highest values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_plugin import TinyPlugin

import histokit
from histokit.errors import StoreError
from histokit.explain.columns import kept_columns
from histokit.features import FeatureSet, FeatureStore
from histokit.features.feature_set import Objects
from histokit.reading.thumbnails import as_square
from tests.cli.command_line import CommandLine


@pytest.fixture
def data(store: FeatureStore, images: Path, tiny: TinyPlugin) -> FeatureStore:
    pattern = {"pattern": "{patient}/{label}/*.png", "group": "patient"}
    histokit.ingest(store, "folder", images, name="d", options=pattern)
    histokit.extract(store, "d", "tiny")
    return store


def test_the_samples_with_the_highest_values_of_the_most_important_columns(
    data: FeatureStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = histokit.select(data, "d", "tiny/0+tiny/3", step=0.5, inner_folds=2)
    assert selection.kept is not None
    found = kept_columns(data, selection.id, columns=2, per_column=3)
    importances, kept = np.array(selection.kept["importances"]), selection.kept["columns"]
    assert [each.column for each in found.columns] == sorted(kept, key=lambda c: -importances[c])[:2]
    features = data.features("d", "tiny/0+tiny/3")
    for each in found.columns:
        values = features.X[:, each.column]
        assert [sample.value for sample in each.samples] == sorted(values.tolist(), reverse=True)[:3]
        assert each.name == features.column_names[each.column]
        assert (each.mean, each.std) == pytest.approx((values.mean(), values.std()))
        for sample in each.samples:
            row = features.sample_ids.index(sample.id)
            assert (sample.label, sample.group) == (features.labels[row], features.column("patient")[row])
            assert values[row] == sample.value
            assert sample.square is not None
            assert sample.square.shape == as_square(np.zeros((4, 4, 3), np.uint8)).shape
    assert found.notes == []
    groups = len(set(features.column("patient")))
    assert f"selection {selection.id}, split {selection.split} · " in found.sheet.title
    assert found.sheet.title.endswith(f"among {len(features)} samples of {groups} groups")
    assert [len(row) for row in found.sheet.rows] == [3] * len(found.columns)
    line = CommandLine(capsys)
    figure = tmp_path / "columns.png"
    shown = line.ok("explain", "columns", selection.id, "--figure", figure, "--store", data.uri)
    assert found.columns[0].name in shown.out
    assert figure.read_bytes()[1:4] == b"PNG"


def test_not_all_samples_are_listed_for_each_one_that_is_shown(
    data: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = histokit.select(data, "d", "tiny/0+tiny/3", step=0.5, inner_folds=2)
    listed: list[int] = []
    column = FeatureSet.column

    def counted(self: FeatureSet, name: str) -> Objects:
        listed.append(len(self))
        return column(self, name)

    monkeypatch.setattr(FeatureSet, "column", counted)
    found = kept_columns(data, selection.id, columns=2, per_column=4)
    shown = sum(len(each.samples) for each in found.columns)
    assert shown >= 4
    assert listed.count(len(data.samples("d"))) < shown


def test_of_a_selection_of_some_samples_these_are_shown(data: FeatureStore) -> None:
    where = "id NOT LIKE '%2.png'"
    selection = histokit.select(data, "d", "tiny/3", step=0.5, inner_folds=2, where=where)
    found = kept_columns(data, selection.id, columns=1, per_column=16)
    (column,) = found.columns
    assert {sample.id for sample in column.samples} == {*data.samples("d", ["id"], where).column("id").to_pylist()}
    values = np.array([sample.value for sample in column.samples])
    assert (found.count, column.mean, column.std) == pytest.approx((16, values.mean(), values.std()))
    above = (values[0] - values.mean()) / values.std()
    assert found.sheet.rows[0][0].facts == f"#{column.column}: {above:+.1f} σ"


def test_a_selection_that_is_not_there(data: FeatureStore) -> None:
    with pytest.raises(StoreError):
        kept_columns(data, "abcdef")


@pytest.mark.usefixtures("tiny", "few_trees")
def test_labels_are_those_of_the_target_and_what_is_otherwise_is_told(store: FeatureStore, images: Path) -> None:
    (images / "p2" / "dark" / "1.png").write_bytes(b"no image")
    histokit.ingest(store, "folder", images, name="d", options={"pattern": "{site}/{label}/*.png"})
    histokit.extract(store, "d", "tiny", layers="last")
    how = {"target": "site", "normalise": "standardise", "controls": "label = 'dark'", "allow_missing": True}
    histokit.split(store, "d", "two", folds=2, target="site")
    selection = histokit.select(store, "d", "tiny/3", step=0.5, inner_folds=2, split="two", **how)
    found = kept_columns(store, selection.id, columns=1, per_column=30)
    (column,) = found.columns
    assert len(column.samples) == found.count == 23
    assert [(sample.label, sample.group) for sample in column.samples] == [(s.id[:2], None) for s in column.samples]
    assert found.sheet.title.endswith("among 23 samples")
    assert found.notes == [
        "1 of 24 samples has no features, and is not shown",
        "values are those of the features as they are stored, not normalised (standardise) as the selection had them",
    ]
