"""What a study will take: expected numbers are worked out by hand from the table of typical seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from toy import make_samples, make_store

from histokit.classifiers.grids import make_grid
from histokit.classifiers.row import Cost
from histokit.classifiers.table import CLASSIFIERS
from histokit.features import FeatureStore
from histokit.plugin import Dataset, Sample
from histokit.select.select import select
from histokit.store.split_records import Split, split_rows
from histokit.study import cost
from histokit.study.cost import Workload, effort, foreseen, history
from histokit.study.pace import StudyPace
from histokit.study.plan import plan_study
from histokit.study.problem_size import ProblemSize, problem_size
from histokit.study.study_file import Data
from histokit.train.train import train


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that can be followed in the head."""
    monkeypatch.setitem(CLASSIFIERS, "knn", replace(CLASSIFIERS["knn"], cost=Cost(8.0, 1.0, 2.0, 1.0)))
    monkeypatch.setattr(cost, "SELECTION", Cost(3.0, 0.0, 0.0, 0.0))


@pytest.mark.usefixtures("rates")
def test_seconds_grow_with_the_powers_of_the_size() -> None:
    assert foreseen("knn", Workload(rows=2000, columns=1000, classes=2, sets=1)) == pytest.approx(0.3 + 8)
    # Half the rows, twice the columns, thrice the classes, half the grid, in ten sets: 8 × ½ × 4 × 3 × ½ × 10.
    assert foreseen("knn", Workload(1000, 2000, 6, 10, 0.5)) == pytest.approx(0.3 + 240)


def test_effort_counts_the_fits_of_the_grid() -> None:
    assert effort("svm", make_grid("svm"), 5) == pytest.approx(1)
    # Twelve values in five folds and a refit are 61 fits; three in two folds 7; a single one is not tuned.
    assert effort("svm", make_grid("svm", {"C": "1,2,3"}), 2) == pytest.approx(7 / 61)
    assert effort("svm", make_grid("svm", {"C": "1"}), 5) == pytest.approx(1 / 61)


def test_effort_counts_trees() -> None:
    assert effort("et", make_grid("et", {"trees": "10"}), 5) == pytest.approx(0.1)
    assert effort("et-fl", make_grid("et-fl", {"windows": "10000"}), 5) == pytest.approx(0.01)


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize("classes", ["ab", "abcd"])
def test_what_runs_took_corrects_what_the_next_will_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: str
) -> None:
    # So much that the size counts beside what each run takes whatever its size.
    monkeypatch.setitem(CLASSIFIERS, "knn", replace(CLASSIFIERS["knn"], cost=Cost(8e7, 1.0, 2.0, 1.0)))
    samples, X = make_samples(classes=classes)
    store = make_store(tmp_path / "s", samples, {"last": X})
    assert history(store) == {}
    (run,) = train(store, "toy", "net/last", "knn", grid={"k": 1, "metric": "cosine"}, split="holdout")
    # 48 of 60 rows, 8 columns, one outer fold: no second set; one of eight settings is not tuned, 1 of 41 fits.
    (fold,) = run.folds
    typical = 0.3 + 8e7 * (fold["train"] / 2000) * (8 / 1000) ** 2 * (len(classes) / 2) / 41
    assert history(store)["knn"] == pytest.approx(run.seconds / typical)
    # What eliminates columns first says nothing of what a run without that takes.
    train(store, "toy", "net/last", "knn", grid={"k": 3, "metric": "cosine"}, split="holdout", rfe=True)
    assert history(store)["knn"] == pytest.approx(run.seconds / typical)
    chosen = select(store, "toy", "net/last", split="holdout")
    assert history(store)["select"] == pytest.approx(chosen.seconds / (0.3 + 3), rel=1e-6)
    # The last ones count, by when they were made.
    monkeypatch.setattr(cost, "_LAST", 1)
    store.save_selection(replace(chosen, id="0" * 12, seconds=99.0, created="2020-01-01"))
    assert history(store)["select"] == pytest.approx(chosen.seconds / (0.3 + 3), rel=1e-6)
    (last,) = train(store, "toy", "net/last", "knn", grid={"k": 5, "metric": "cosine"}, split="holdout")
    assert history(store)["knn"] == pytest.approx(last.seconds / typical)


def given(name: str, **values: Any) -> Data:
    return Data(**{"name": name, "opened": None, "split": None, "made": None} | values)


def test_the_size_of_a_problem_follows_from_groups_and_split(tmp_path: Path) -> None:
    samples, X = make_samples(classes="abc")  # 60 samples of 6 slides
    store = make_store(tmp_path / "s", samples, {"last": X})
    assert problem_size(store, given("toy")) == ProblemSize(60, 60, 3, 6, 50)
    assert problem_size(store, given("toy", split="holdout")) == ProblemSize(60, 60, 3, 1, 48)
    assert problem_size(store, given("toy", made={"folds": 3, "repeats": 2})) == ProblemSize(60, 60, 3, 6, 40)
    rows = split_rows([(0, 0, f"s{i}", "test" if i < 15 else "train") for i in range(60)])
    store.save_split(Split("toy", "mine", rows))
    assert problem_size(store, given("toy", split="mine")) == ProblemSize(60, 60, 3, 1, 45)
    # Five of each class; what validates is trained on, too; a split of the data is taken unless it leaks.
    drawn = problem_size(store, given("toy", made={"folds": 3, "train_per_class": 5}))
    assert drawn == ProblemSize(60, 60, 3, 3, 15)
    within = problem_size(store, given("toy", made={"within": "mine", "repeats": 3, "train_per_class": 4}))
    assert within == ProblemSize(60, 60, 3, 3, 12)
    rows = split_rows([(0, 0, f"s{i}", "test" if i < 12 else "val" if i < 30 else "train") for i in range(60)])
    store.save_split(Split("toy", "theirs", rows, leaks="of two slides", source="published"))
    assert problem_size(store, given("toy")) == ProblemSize(60, 60, 3, 6, 50)
    store.save_split(Split("toy", "fair", rows, source="published"))
    assert problem_size(store, given("toy")) == ProblemSize(60, 60, 3, 1, 48)


class Marked(Dataset):
    """60 samples of 6 slides: slide P0 has no label, and P1 is all that is used for testing."""

    columns: ClassVar = {"slide": str, "dose": float}
    group = "slide"
    needs_data = False

    def samples(self) -> Iterator[Sample]:
        for i in range(60):
            label = None if i % 6 == 0 else "abc"[i % 3]
            yield Sample(f"s{i}", (f"{i}.png",), label=label, metadata={"slide": f"P{i % 6}", "dose": i / 7})


class Equal(Marked):
    """Equal to others, and so without a hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)


class Wrong(Marked):
    def samples(self) -> Iterator[Sample]:
        for sample in super().samples():
            yield replace(sample, metadata={**sample.metadata, "dose": "high"})


@pytest.mark.parametrize("stored", [True, False])
def test_only_samples_that_are_used_are_counted(tmp_path: Path, stored: bool) -> None:
    slides = [f"P{i % 6}" for i in range(60)]
    labels = [None if i % 6 == 0 else "abc"[i % 3] for i in range(60)]
    columns = {"id": [f"s{i}" for i in range(60)], "label": labels, "slide": slides, "dose": [i / 7 for i in range(60)]}
    store = make_store(tmp_path / "s", columns, {}) if stored else FeatureStore(tmp_path / "s")
    data = partial(given, "toy", opened=None if stored else Marked(tmp_path))
    assert problem_size(store, data()) == ProblemSize(60, 50, 3, 5, 40)
    # Of three slides of ten samples; P3 has the class a alone, P1 and P4 are of b.
    kept = data(where="slide IN ('P1', 'P3', 'P4')")
    assert problem_size(store, kept) == ProblemSize(60, 30, 2, 3, 20)
    made = {"test_where": "slide = 'P1'", "repeats": 2}
    assert problem_size(store, data(made=made)) == ProblemSize(60, 50, 3, 2, 40)
    assert problem_size(store, data(made=made, where="slide <> 'P3'")) == ProblemSize(60, 40, 2, 2, 30)
    assert problem_size(store, data(target="slide", split="holdout")) == ProblemSize(60, 60, 6, 1, 48)
    assert problem_size(store, data(target="dose", split="holdout")) == ProblemSize(60, 60, 2, 1, 48)
    assert problem_size(store, data(target="doze")) is None
    if not stored:
        # A plugin whose datasets are data classes; and one that gives what it did not declare.
        assert problem_size(store, given("toy", opened=Equal(tmp_path))) == ProblemSize(60, 50, 3, 5, 40)
        assert problem_size(store, given("toy", opened=Wrong(tmp_path), where="dose > 1")) is None
    assert problem_size(store, data(made={"from_file": "folds.csv"})) is None


@pytest.mark.usefixtures("rates")
def test_classifiers_are_foreseen_on_the_units_that_vectors_are_aggregated_to(tmp_path: Path) -> None:
    samples, X = make_samples()  # 60 samples of 6 slides
    make_store(tmp_path / "s", samples, {"last": X}, spec={"weights": "import:1"})
    file, seconds = tmp_path / "study.toml", []
    for aggregate in ("", 'aggregate = "slide:mean"'):
        file.write_text(
            f"store = '{tmp_path}/s'\nstrategies = ['last layer']\nclassifiers = ['knn']\nsplit = 'holdout'\n"
            f"[classifier.knn.grid]\nk = 1\n[backbones.net]\n[datasets.toy]\n{aggregate}\n"
        )
        seconds += [piece.seconds for piece in plan_study(file).missing]
    on_samples, on_units = seconds
    assert on_samples is not None
    assert on_units is not None
    # Four fifths of 60 samples, and of 6 slides.
    assert (on_units - 0.3) / (on_samples - 0.3) == pytest.approx(5 / 48)


def piece(seconds: float | None, done: bool = False) -> Any:
    return SimpleNamespace(seconds=seconds, done=done)


def test_the_time_left_is_corrected_by_how_it_went() -> None:
    pieces = [piece(10.0), piece(20.0), piece(30.0, done=True), piece(4.0)]
    pace = StudyPace(pieces)
    assert pace.left(pieces, 1, 0.5) == pytest.approx(5 + 20 + 4)
    pace.took(pieces[0], 30.0)
    assert pace.left(pieces[1:], 1, 0.25) == pytest.approx(3 * (15 + 4)), "three times as slow as was thought"


def test_a_little_corrects_nothing_and_the_unknown_stays_unknown() -> None:
    pieces = [piece(1.0), piece(20.0)]
    pace = StudyPace(pieces)
    pace.took(pieces[0], 60.0)
    assert pace.left(pieces[1:], 1, 0.0) == pytest.approx(20)
    unknown = [*pieces, piece(None)]
    assert StudyPace(unknown).left(unknown, 1, 0.0) == inf
