"""Pages on runs, datasets and studies: what they say, and that they need nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from functools import partialmethod
from html.parser import HTMLParser
from pathlib import Path
from shlex import split as words

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tiny_plugin import TinyBackbone, TinyPlugin

import histokit as package
from histokit.errors import UsageError
from histokit.features import FeatureStore, open_store
from histokit.plugin import Backbone
from histokit.plugin.testing import added_plugin
from histokit.report.lineage import Lineage
from histokit.store import Split
from histokit.store.records import PROBLEM_SCHEMA
from histokit.store.split_records import split_rows
from tests.cli.command_line import CommandLine
from tests.durability.forks import TwoNetworks
from tests.evaluate.made_up import save, save_run
from tests.evaluate.made_up_curves import ONE, save_curves
from tests.evaluate.made_up_numbers import save_numbers
from tests.study.small_study import FILE, draw, write_study
from tests.toy import insert_vectors, make_samples, make_store

VOID = {"meta", "link", "img", "br"}
Trained = tuple[FeatureStore, list[str]]

PATTERN = "pattern={patient}/{label}/*.png"


class Read(HTMLParser):
    """What a page holds, read as a browser reads it."""

    def __init__(self, path: Path):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.titles: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.commands: list[str] = []
        self.notes: list[tuple[str, str]] = []
        self.alone: list[str] = []
        self.descriptions: list[str] = []
        self._text: list[str] = []
        self._kind = ""
        self._caption = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [str(given["id"])] if "id" in given else []
        self.links += [str(given[name]) for name in ("href", "action") if name in given]
        self.sources += [str(given[name]) for name in ("src", "srcset", "data") if name in given]
        if tag == "img":
            assert given["alt"]
            self.descriptions.append(str(given["alt"]))
            if "width" in given:
                assert f"--least: {int(0.72 * int(str(given['width'])))}px" == given["style"]
        if tag == "ul":
            self._kind = str(given.get("class", ""))
        if tag == "tr":
            self.tables[self._caption].append([])
        if tag != "span":
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        text = "".join(self._text).strip()
        if tag in ("h2", "h3"):
            self.titles.append(text)
        elif tag == "caption":
            self._caption = text
            self.tables[text] = []
        elif tag in ("td", "button"):
            self.tables[self._caption][-1].append(text)
        elif tag == "code":
            self.commands += text.splitlines()
        elif tag == "li" and self._kind.startswith("notes"):
            self.notes.append((self._kind.split()[1], text))
        if tag != "span":
            self._text = []

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def table(self, beginning: str) -> list[list[str]]:
        """The rows of a table, by the beginning of its caption; the first has the names of columns."""
        (found,) = (rows for caption, rows in self.tables.items() if caption.startswith(beginning))
        return found

    def pictures(self) -> list[Image.Image]:
        """All pictures of samples; figures are larger."""
        opened = [
            Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
            for source in self.sources
            if source.startswith("data:image/webp")
        ]
        return [picture for picture in opened if picture.size == (112, 112)]


@pytest.fixture
def trained(tmp_path: Path, tiny: object) -> Trained:
    """A store with two runs on drawn images, of which some are told wrongly: their labels are exchanged."""
    store, images = open_store(tmp_path / "store"), tmp_path / "images"
    draw(images, 0)
    for patient in "ab":
        first, second = (images / patient / kind / "0.png" for kind in ("dark", "bright"))
        pixels = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(pixels)
    options = {"pattern": PATTERN.partition("=")[2], "group": "patient"}
    package.ingest(store, "folder", images, name="cells", options=options)
    package.extract(store, "cells", "tiny")
    runs = [
        package.train(store, "cells", "tiny/1", classifier=name, split="cv", grid={key: [value]})[0].id
        for name, key, value in (("knn", "k", 1), ("svm", "C", 0.1))
    ]
    return store, runs


def test_a_page_of_a_run_tells_what_the_store_holds(trained: Trained, tmp_path: Path) -> None:
    store, (run, _) = trained
    made = package.report(store, run, out=tmp_path / "r.html", bootstrap=50)
    page = Read(made.file)
    assert made.bytes == made.file.stat().st_size < 500_000
    assert page.titles[:5] == ["What to know first", "Scores", "Classes", "Figures", "Folds"]
    (found,) = package.evaluate(store, run, bootstrap=50)
    head, *rows = page.table("Scores of 24 test predictions")
    assert head[:4] == ["metric", "pooled", "from", "to"]
    shown = {row[0]: row[1:4] for row in rows}
    low, high = found.intervals["metrics"]["accuracy"]
    assert shown["accuracy"] == [f"{value:.4f}" for value in (found.metrics["accuracy"], low, high)]
    assert len(page.table("4 folds")) == 5
    scores = [fold["metrics"]["accuracy"] for fold in found.folds["each"]]
    inside = f"{found.metrics['accuracy']:.3g} over all, {min(scores):.3g} to {max(scores):.3g} in 4 folds"
    assert page.descriptions[0] == f"Confusion matrix and accuracy by fold of the run {run}: {inside}"
    assert f": roc auc {found.metrics['roc_auc']:.3g}" in page.descriptions[1]
    assert page.table("Samples by class")[1:] == [["bright", "12", "0.5000"], ["dark", "12", "0.5000"]]


def test_a_page_tells_which_layer_each_fold_chose(trained: Trained, tmp_path: Path) -> None:
    store, _ = trained
    package.extract(store, "cells", "tiny", layers="all")
    options = {"classifier": "knn", "split": "cv", "grid": {"k": [1]}, "choose": "inner"}
    *_, run = package.train(store, "cells", "tiny/each", **options)
    page = Read(package.report(store, run.id, out=tmp_path / "r.html", bootstrap=0).file)
    told = [row[-1].split(", ")[:2] for row in page.table("4 folds")[1:]]
    assert told == [[f"features={fold['address']}", "k=1"] for fold in run.folds]


def test_a_page_asks_nothing_of_any_other_file(trained: Trained, tmp_path: Path) -> None:
    store, runs = trained
    page = Read(package.report(store, runs, out=tmp_path / "r.html", bootstrap=10).file)
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= {*page.ids}
    assert not [name for name, count in Counter(page.ids).items() if count > 1]
    text = (tmp_path / "r.html").read_text()
    outside = re.sub(r"data:[\w/+]+;base64,[\w+/=]*", "", text)
    assert not re.search(r"https?:|//\w|@import|url\(", outside)
    assert "default-src 'none'" in text


def test_samples_that_are_told_wrongly_are_shown_the_surest_first(trained: Trained, tmp_path: Path) -> None:
    store, (_, run) = trained
    page = Read(package.report(store, run, out=tmp_path / "r.html", bootstrap=0, samples=5).file)
    rows = package.predictions(store, run).to_pylist()
    wrong = [row for row in rows if row["true"] != row["predicted"]]
    margin = {row["id"]: abs(row["score:dark"] - row["score:bright"]) for row in rows}
    surest = sorted(wrong, key=lambda row: -margin[row["id"]])[:5]
    text = (tmp_path / "r.html").read_text()
    shown = re.search(rf"Wrong, the surest first \({len(surest)} of {len(wrong)}\)(.*?)</ul>", text, re.DOTALL)
    assert shown
    assert re.findall(r"<span>(\w/\w+/\d\.png)</span>", shown[1]) == [row["id"] for row in surest]
    assert re.findall(r'<li class="(\w+)">', shown[1]) == ["wrong"] * len(surest)
    assert text.count('<li class="right">') + text.count('<li class="wrong">') == len(surest) + 5
    assert len(page.pictures()) == len(surest) + 5
    assert {picture.size for picture in page.pictures()} == {(112, 112)}


def test_the_commands_of_a_page_make_its_runs_again(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, runs = trained
    commands = Read(package.report(store, runs, out=tmp_path / "r.html", bootstrap=10).file).commands
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "other"))
    line = CommandLine(capsys)
    printed = [line.ok(*words(command)[1:]).out.split() for command in commands]
    assert printed[-2:] == [[run] for run in runs]


def test_the_commands_of_a_page_make_first_what_its_runs_rest_on(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, _ = trained
    package.extract(store, "cells", "tiny", layers="all")
    package.split(store, "cells", name="half", test=0.5, seed=1)
    package.split(store, "cells", name="few", within="half", train_per_class=2)
    how = {"classifier": "knn", "grid": {"k": [1]}}
    *_, chosen = package.train(store, "cells", ["tiny/1", "tiny/3"], split="few", choose="test", **how)
    predicted = package.predict(store, chosen.id, "cells", device="cpu")
    settings = {"head.layer": "3", "epochs": 1}
    (network,) = package.finetune(
        store, "cells", "tiny", split="half", weights="random", settings=settings, workers=0, device="cpu"
    )
    package.extract(store, "cells", f"run:{network.id}", layers="last", workers=0)
    (tuned,) = package.train(store, "cells", f"run:{network.id}/last", split="half", **how)
    page = Read(package.report(store, [predicted.id, tuned.id], out=tmp_path / "r.html", bootstrap=0, samples=0).file)
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "other"))
    line = CommandLine(capsys)
    printed = [line.ok(*words(command)[1:]).out.split() for command in page.commands]
    assert {(chosen.id,), (network.id,), (tuned.id,)} <= set(map(tuple, printed))
    # The id of predictions is also of when their model was trained.
    assert [run.source_run for run in open_store(tmp_path / "other").runs() if run.kind == "predict"] == [chosen.id]
    page = Read(package.report(store, chosen.id, out=tmp_path / "r.html", bootstrap=0, samples=0).file)
    assert [row[1] for row in page.table("Tables of features")[1:]] == ["tiny/1", "tiny/3"]


@pytest.mark.usefixtures("few_trees")
def test_the_commands_of_a_page_make_the_split_of_a_selection(trained: Trained, tmp_path: Path) -> None:
    store, _ = trained
    package.split(store, "cells", name="first", test_where="patient IN ('a', 'b')")
    package.split(store, "cells", name="second", test_where="patient = 'a'")
    selection = package.select(store, "cells", "tiny/1", split="first", step=0.5, inner_folds=2)
    how = {"selection": selection.id, "grid": {"k": [1]}}
    (run,) = package.train(store, "cells", "tiny/1", classifier="knn", split="second", **how)
    page = Read(package.report(store, run.id, out=tmp_path / "r.html", bootstrap=0, samples=0).file)
    named = [next((i for i, c in enumerate(page.commands) if start in c), -1) for start in ("--name first", " select ")]
    assert -1 < named[0] < named[1]


def test_what_many_runs_were_chosen_from_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, X = make_samples()
    store = make_store(tmp_path / "store", samples, {str(layer): X for layer in range(3)})
    how = {"classifier": "knn", "split": "holdout", "grid": {"k": [1]}, "choose": "test"}
    chosen = [package.train(store, "toy", ["net/0", "net/1", "net/2"], seed=seed, **how)[-1] for seed in (1, 2, 3)]
    alone: list[str] = []
    monkeypatch.setattr(FeatureStore, "run", lambda _, name: alone.append(name))
    lineage = Lineage(store)
    assert [table.layer for table in lineage.tables_of(chosen)] == ["0", "1", "2"]
    assert lineage.generations(chosen) == [chosen]
    assert alone == []


def test_leaks_stand_first_in_what_is_to_be_known(tmp_path: Path) -> None:
    samples, X = make_samples()
    store = make_store(tmp_path / "store", samples, {"a": X})
    rows = split_rows((0, 0, i, "test" if n % 4 == 0 else "train") for n, i in enumerate(samples["id"]))
    store.save_split(Split("toy", "paper", rows, leaks="patches of one slide are on both sides"), None)
    package.train(store, "toy", "net/a", classifier="knn", split="paper", grid={"k": [1]})
    made = package.report(store, dataset="toy", out=tmp_path / "r.html", bootstrap=20)
    page = Read(made.file)
    assert page.notes[0][0] == "leak"
    assert "the split paper of toy leaks: patches of one slide are on both sides" in page.notes[0][1]
    assert made.notes[0] == page.notes[0][1]
    # A comparison tells the same: it stands there once.
    package.train(store, "toy", "net/a", classifier="knn", split="paper", grid={"k": [3]})
    two = package.report(store, dataset="toy", out=tmp_path / "r.html", bootstrap=20)
    assert [note for note in two.notes if "both sides" in note] == [two.notes[0]]
    # Of a run that had other rows under this name it is said.
    old = save(store, "toy", 15, split="paper", digest="before")
    notes = Read(package.report(store, old, out=tmp_path / "r.html", bootstrap=0, samples=0).file).notes
    assert ("note", "It is not what it was when a run used it: its rows have changed since.") in notes
    assert not any("when a run used it" in text for _, text in page.notes)


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    samples, X = make_samples(classes=("<script>alert(1)</script>", "a & b"))
    store = make_store(tmp_path / "store", samples, {"a": X})
    (run,) = package.train(store, "toy", "net/a", classifier="knn", grid={"k": [1]})
    package.report(store, run.id, out=tmp_path / "r.html", title="<b>mine</b>", bootstrap=0)
    page = Read(tmp_path / "r.html")
    assert {row[0] for row in page.table("By true class")[1:]} == {"<script>alert(1)</script>", "a & b"}
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in text
    # That of the split, and that of the run: what is 0 was asked, too.
    assert text.count("<dt>seed</dt><dd>0</dd>") == 2
    assert "<dt>rfe</dt>" not in text


def test_two_runs_are_compared_and_each_has_its_part(trained: Trained, tmp_path: Path) -> None:
    store, runs = trained
    made = package.report(store, dataset="cells", out=tmp_path / "r.html", bootstrap=20)
    page = Read(made.file)
    assert made.runs == made.detailed
    assert sorted(made.runs) == sorted(runs)
    assert "Comparison" in page.titles
    assert sum(title.split(":")[0] in runs for title in page.titles) == 2
    compared = package.compare(store, runs, bootstrap=20)
    scores = {row[1]: row[2][:6] for row in page.table("cells, cv, accuracy")[1:]}
    assert scores == {row["run"]: f"{row['score']:.4f}" for row in compared.rows}
    text = (tmp_path / "r.html").read_text()
    # Of one column there are no others.
    assert "Scores of 2 methods on cells" in text
    assert "more column" not in text


def test_of_more_runs_than_a_page_shows_it_says_which_are_left_out(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.report.report._DETAILED", 1)

    def told() -> str:
        made = package.report(trained[0], dataset="cells", out=tmp_path / "r.html", bootstrap=20)
        (text,) = (text for _, text in Read(made.file).notes if "1 more run" in text)
        return text

    assert told() == "1 more run is in the tables above only: the best of each dataset are shown."

    def refused(*_: object, **__: object) -> None:
        raise UsageError("They are of different data.", next="Name others.")

    monkeypatch.setattr("histokit.report.report.compare", refused)
    assert told() == "1 more run is not shown."


def test_images_that_are_gone_are_told(trained: Trained, tmp_path: Path) -> None:
    store, (run, _) = trained
    for path in (tmp_path / "images").rglob("*.png"):
        path.unlink()
    page = Read(package.report(store, run, out=tmp_path / "r.html", bootstrap=0).file)
    assert page.pictures() == []
    assert "the image cannot be read" in (tmp_path / "r.html").read_text()


def test_a_dataset_without_runs_has_a_page_too(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    line = CommandLine(capsys)
    line.ok("ingest", "folder", images, "--name", "cells", "-o", PATTERN)
    store = open_store(tmp_path / "store")
    for stage in ("extract", "images"):
        bad = {
            "dataset": ["cells"],
            "id": ["p1/dark/0.png"],
            "content": [bytes(16)],
            "stage": [stage],
            "reason": ["cut"],
        }
        store.replace_problems("cells", stage, pa.table(bad, PROBLEM_SCHEMA))
    # What is remarked of an image that was read is none of those.
    remark = bad | {"id": ["p2/dark/0.png"], "stage": ["remark: dark"]}
    store.replace_problems("cells", "remark: dark", pa.table(remark, PROBLEM_SCHEMA))
    document = line.ok("report", "--dataset", "cells", "--out", tmp_path / "r.html", "--json").document
    assert document == {
        "file": str(tmp_path / "r.html"),
        "bytes": (tmp_path / "r.html").stat().st_size,
        "runs": [],
        "detailed": [],
        "notes": [],
    }
    page = Read(tmp_path / "r.html")
    assert page.notes[0] == ("note", "There are no runs yet: nothing was trained.")
    assert "Data: cells" in page.titles
    assert page.table("1 sample that could not be read")[1:] == [["p1/dark/0.png", "extract, images", "cut"]]


def test_a_study_tells_what_is_missing_and_then_has_its_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    head = FILE.partition("[classifier.svm")[0].replace('["svm", "knn"]', '["knn"]')
    file = write_study(tmp_path, f'strategies = ["last layer"]\n{head}[compare]\nbootstrap = 10\n')
    pieces = [["ingest", 2], ["split", 2], ["extract", 4], ["train", 4]]
    with added_plugin(TwoNetworks(), "twonetworks"):
        before = Read(package.report(open_store(tmp_path / "store"), study=file, out=tmp_path / "r.html").file)
        result = package.study.run(file)
        made = package.report(tmp_path / "store", study=file, out=tmp_path / "r.html", bootstrap=10)
    assert before.table("Pieces of the study")[1:] == [[kind, "0", str(count)] for kind, count in pieces]
    assert before.commands == [f"histokit study run {file}"]
    page = Read(made.file)
    assert page.titles[:3] == ["What to know first", "The study", "Comparison"]
    assert page.table("Pieces of the study")[1:] == [[kind, str(count), "0"] for kind, count in pieces]
    assert sorted(made.runs) == sorted(result.runs)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "A report is about runs, about a dataset or about a study."),
        (["--dataset", "cells", "r"], "A report is about runs, about a dataset or about a study."),
        (["--dataset", "cell"], "There is no dataset 'cell'"),
        (["nosuchrun"], "nosuchrun"),
        (["--dataset", "cells", "--out", "r.pdf"], ".html"),
        (["--dataset", "cells", "--out", "nowhere/r.html"], "nowhere"),
    ],
)
def test_mistakes_are_told_before_the_work(
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    given: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    result = CommandLine(capsys)("report", *given, "--json")
    assert result.code in (2, 5)
    assert said in json.loads(result.out)["error"]["message"] + json.loads(result.out)["error"]["next"]
    assert not list(tmp_path.glob("*.html"))


def test_the_most_frequent_mistakes_stand_first(tmp_path: Path) -> None:
    samples, X = make_samples(n=90, classes="abc", seed=3)
    store = make_store(tmp_path / "store", samples, {"a": X})
    (run,) = package.train(store, "toy", "net/a", "knn", split="cv", grid={"k": 1, "metric": "cosine"})
    package.report(store, run.id, out=tmp_path / "r.html", bootstrap=0)
    (found,) = package.evaluate(store, run.id)
    counts = found.confusion["counts"]
    wrong = {(a, b): counts[i][j] for i, a in enumerate("abc") for j, b in enumerate("abc") if i != j and counts[i][j]}
    _, *rows = Read(tmp_path / "r.html").table("Mistakes, the most frequent first")
    assert {(row[0], row[1]): int(row[2]) for row in rows} == wrong
    assert [int(row[2]) for row in rows] == sorted(wrong.values(), reverse=True) != list(wrong.values())


def test_shares_are_of_what_has_a_label_and_folds_have_their_sizes(tmp_path: Path) -> None:
    samples, X = make_samples(20)
    samples = {"id": samples["id"], "label": ["a"] * 6 + ["b"] * 10 + [None] * 4}
    store = make_store(tmp_path / "store", samples, {"a": X}, labels={"a": 6, "b": 10})
    roles = {0: "test", 1: "test", 2: "val", 10: "test", 11: "test", 12: "val", 13: "val"}
    store.save_split(Split("toy", "s", split_rows((0, 0, f"s{i}", roles.get(i, "train")) for i in range(16))))
    (run,) = package.train(store, "toy", "net/a", classifier="knn", split="s", grid={"k": [1]})
    page = Read(package.report(store, run.id, out=tmp_path / "r.html", bootstrap=0).file)
    shares = [["a", "6", "0.3750"], ["b", "10", "0.6250"], ["no label", "4", "–"]]
    assert page.table("Samples by class")[1:] == shares
    assert page.table("Samples of 1 fold")[1:] == [["0", "0", "9", "3", "4"]]


def test_pictures_are_described_from_the_worst_group_and_the_first_epoch_on(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    rows = [(0, "a", "a", -1.0, "z")]
    for group, right in (("x", 1), ("y", 3), ("z", 4)):
        rows += [(0, f"{group}{i}", "b", 1.0 if i < right else -1.0, group) for i in range(4)]
    run = save_run(store, rows, created="2026-01-01")
    page = Read(package.report(store, run, out=tmp_path / "r.html", bootstrap=0, samples=0).file)
    assert any(each.endswith("from 0.25 in x to 1 in z") for each in page.descriptions)
    trained = save_curves(store, ONE)
    page = Read(package.report(store, trained, out=tmp_path / "r.html", bootstrap=0, samples=0).file)
    # Of the first epoch two batches of 3 and one of 2, of the second one of 1.5 and two of 0.5.
    (told,) = (each for each in page.descriptions if each.startswith("Training curves"))
    assert "train loss from 2.67 to 0.833" in told
    assert "val loss from 2.5 to 2" in told


def test_numbers_are_reported_as_numbers(tmp_path: Path) -> None:
    samples, X = make_samples(dose=np.linspace(0, 5, 60).tolist())
    store = make_store(tmp_path / "store", samples, {"a": X}, columns={"dose": "float"})
    (run,) = package.train(store, "toy", "net/a", classifier="ridge", target="dose", target_type="number")
    page = Read(package.report(store, run.id, out=tmp_path / "r.html", bootstrap=20).file)
    assert {row[0] for row in page.table("Scores of 60")[1:]} >= {"r2", "mae"}
    assert "Classes" not in page.titles


def test_the_licence_of_weights_that_were_fine_tuned_is_told(
    store: FeatureStore, images: Path, tiny: TinyPlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package.ingest(store, "folder", images, name="d", options={"pattern": PATTERN.partition("=")[2]})
    package.split(store, "d", name="half", test=0.25, seed=1)
    settings = {"head.layer": "3", "epochs": 1}
    how = {"split": "half", "weights": "random", "settings": settings, "workers": 0, "device": "cpu"}
    for licence, told in (("CC BY-NC 4.0", "CC BY-NC 4.0"), (None, "not stated")):
        monkeypatch.setattr(TinyBackbone, "__init__", partialmethod(Backbone.__init__, licence=licence))
        (run,) = package.finetune(store, "d", "tiny", **how, force=True)
        page = Read(package.report(store, run.id, out=tmp_path / "r.html", bootstrap=0).file)
        assert ["weights of tiny", told] in page.table("Licences")
        assert "float32 on cpu" in (tmp_path / "r.html").read_text()


def test_each_licence_of_the_weights_of_a_network_is_told(tmp_path: Path) -> None:
    samples, X = make_samples(24)
    store = make_store(tmp_path / "store", samples, {"a": X})
    for number, licence in enumerate(("MIT", "CC BY-NC 4.0")):
        header = {"backbone": "net", "layer": "b", "weights": f"w{number}"}
        table = store.create_feature_table("toy", header, 8, {"licence": licence})
        contents = store.samples("toy", ["content"]).column("content").to_pylist()
        insert_vectors(store.database, table, samples["id"], contents, X.astype(np.float32))
        package.train(store, "toy", f"net/b@{table.fingerprint}", "knn", grid={"k": [1]})
    page = Read(package.report(store, dataset="toy", out=tmp_path / "r.html", bootstrap=0, samples=0).file)
    told = [text for name, text in page.table("Licences")[1:] if name == "weights of net"]
    assert sorted(told) == ["CC BY-NC 4.0", "MIT"]


def test_a_picture_of_a_comparison_is_described_by_the_methods_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histokit.report.report._DETAILED", 1)
    store = FeatureStore(tmp_path / "store")
    rights = {"svm": 12, "et": 18, "knn": 15, "fc": 10}
    # On two splits of one dataset there are no ranks, and methods are in the order of their runs.
    for split, more in (("cv", 0), ("other", 1)):
        for name, right in rights.items():
            save(store, "A", right + more, name, split=split, digest=split)

    def described(*datasets: str) -> str:
        runs = [run.id for run in store.runs() if run.dataset in datasets]
        page = Read(package.report(store, runs, out=tmp_path / "r.html", bootstrap=10, samples=0).file)
        return next(text for text in page.descriptions if "methods" in text)

    assert described("A") == "Scores of 4 methods on A (cv), and on 1 more column: et 0.9 to fc 0.5"
    # The part of its own is that of the best.
    runs = [run.id for run in store.runs()]
    (best,) = package.report(store, runs, out=tmp_path / "r.html", bootstrap=0, samples=0).detailed
    assert (store.run(best).classifier, store.run(best).split) == ("et", "cv")
    monkeypatch.setattr("histokit.figures.ranks.MOST", 1.0)
    three = "(drawn: the best 3 of 4 methods)"
    assert described("A") == f"Scores of 4 methods on A (cv), and on 1 more column {three}: et 0.9 to svm 0.6"
    for dataset in "BC":
        for name, right in rights.items():
            save(store, dataset, right, name)
    assert described("B", "C") == f"Average ranks of 4 methods over datasets {three}: et 4 to svm 2"
    monkeypatch.setattr("histokit.compare.sheets._PAIRS", 3)
    described("B", "C")
    hidden = "12 paired differences within datasets are not shown: histokit compare --json"
    assert ("plain", hidden) in Read(tmp_path / "r.html").notes


def test_scores_with_marks_intervals_and_bounds_are_sorted_as_numbers(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    # The variance of the true numbers is 575 / 12; r2 is 1 less the square of what all are off by, over that.
    for name, off in (("ridge", 7.0), ("knn", 8.5), ("et", 9.5), ("svm", 0.5)):
        rows = [(i % 2, f"s{i}", float(i), i + off * (-1) ** i, f"P{i // 2}") for i in range(24)]
        save_numbers(store, rows, dataset="A", classifier=name)
    runs = [run.id for run in store.runs()]
    page = package.report(store, runs, out=tmp_path / "r.html", bootstrap=50, samples=0).file.read_text()
    cells = re.findall(r'data-key="([^"]*)">([^<]*)</td>', page)
    marked = {text.strip(): key for key, text in cells if re.match(r"-?\d\S* ( |\(\d|to )|&lt;", text)}
    assert {"0.9948 (1)", "-0.0226 (2)", "-0.5078", "-0.8835"} <= marked.keys()
    assert any(" to " in text for text in marked)
    for text, key in marked.items():
        assert float(key) == float(text.removeprefix("&lt;").split()[0])


def test_what_is_so_of_many_runs_is_told_once(tmp_path: Path) -> None:
    samples, X = make_samples(30)
    wide = {name: X * np.r_[np.ones(5), [10.0**power] * 3] for name, power in (("a", 4), ("b", 5))}
    store = make_store(tmp_path / "store", samples, wide)
    runs = [package.train(store, "toy", f"net/{name}", "svm", grid={"C": [1]})[0] for name in wide]
    spreads = [note for run in runs for note in run.notes if "the spread of" in note]
    assert len(set(spreads)) == 2
    made = package.report(store, [run.id for run in runs], out=tmp_path / "r.html", bootstrap=0)
    told = [note for note in made.notes if "the spread of" in note]
    more = f"; and 1 more with other numbers or names ({runs[0].id}, {runs[1].id})"
    assert told == [spreads[0] + more]
    page = Read(made.file)
    assert [text for _, text in page.notes if text in spreads] == spreads, "each stands in the part of its run"


def test_what_may_be_tried_stands_behind_what_is_to_be_known(tmp_path: Path) -> None:
    samples, X = make_samples(30)
    wide = X * np.r_[np.ones(5), [10.0**4] * 3]
    store = make_store(tmp_path / "store", {**samples, "label": [*samples["label"][:-1], "rare"]}, {"a": wide})
    (run,) = package.train(store, "toy", "net/a", "svm", grid={"C": [1]})
    (other,) = package.train(store, "toy", "net/a", "logreg", grid={"C": [1]})
    for place, runs in enumerate(([run.id], [run.id, other.id])):
        made = package.report(store, runs, out=tmp_path / f"{place}.html", bootstrap=20)
        told = [text.startswith("the spread of") for text in made.notes]
        assert told == sorted(told), made.notes
        assert told[-1]
        page = [text for _, text in Read(made.file).notes]
        assert page[: len(told)] == made.notes
        assert any("the intervals are unreliable" in text for text in made.notes)
