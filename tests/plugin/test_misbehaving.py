"""Kinds of plugins that misbehave: each is told as the plugin's fault, in one document, whatever it does."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histokit import cli
from histokit.datasets.folder import Folder
from histokit.plugin import DataError, PublishedSplit, Sample, SplitRow
from histokit.plugin.manager import added_plugin
from tests.lab_plugin import OWNER, Lab, Plugin, draw_images, ingest, last_message, raising, run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_images(tmp_path)


class Odd:
    """An object that can be asked nothing."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(0)

    __repr__ = __str__ = __hash__ = __eq__ = __bool__ = __len__ = __iter__ = raising(SystemExit(0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("columns", None),
        ("columns", {5: str}),
        ("columns", {"slide": list}),
        ("columns", {"label": str}),
        ("columns", {"a\nb": str}),
        ("columns", {"a.b": str}),
        ("group", 7),
        ("group", "patient"),
        ("levels", 5),
        ("levels", "slide"),
        ("levels", ["well"]),
        ("classes", 5),
        ("classes", [1, 2]),
        ("classes", "ab"),
        ("classes", ["a", "a"]),
        ("metric", None),
        ("metric", "loveliness"),
        ("positive", 1),
        ("positive", "c"),
        ("channels", None),
        ("channels", 5),
        ("channels", ()),
        ("version", 2),
        ("version", object()),
        ("name", 5),
        ("name", "folder"),
        ("bits", "12"),
        ("bits", 40),
        ("needs_data", "yes"),
        ("pixel_options", 5),
        ("options", None),
        ("options", {"n": {1}}),
        ("warnings", "careful"),
        ("warnings", [5]),
        ("root", "here"),
        *((name, Odd) for name in ("columns", "group", "levels", "classes", "metric", "channels", "version", "root")),
    ],
)
def test_an_attribute_of_another_kind_is_the_plugins(images: Path, capsys: Any, name: str, value: Any) -> None:
    def __init__(self: Lab, root: Path) -> None:  # noqa: N807 - put into a class below
        Lab.__init__(self, root)
        setattr(self, name, Odd() if value is Odd else value)

    assert ingest(images, type("Wrong", (Lab,), {"__init__": __init__})) == 3
    message = last_message(capsys)
    assert message.startswith(OWNER)
    assert f"its attribute {name}" in message


@pytest.mark.parametrize("where", ["fit()", "the call of samples()", "the first sample", "the last sample"])
@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("bits", 12, True),
        ("scale", "minmax", True),
        ("channels", ("x", "y", "z"), True),
        ("columns", {"slide": str, "well": int}, True),
        ("version", "2", True),
        ("classes", 7, True),
        ("levels", ["well"], True),
        ("citation", b"x", True),
        ("channels", ["R", "G", "B"], False),
        ("classes", ("b", "a"), False),
        ("citation", "x", False),
    ],
)
def test_an_attribute_that_reading_does_not_find_again_is_refused(
    images: Path, capsys: Any, name: str, value: Any, refused: bool, where: str
) -> None:
    class Finding(Lab):
        def set_in(self, place: str) -> None:
            if place == where:
                setattr(self, name, value)

        def fit(self):
            self.set_in("fit()")

        def samples(self):
            self.set_in("the call of samples()")
            return self.found()

        def found(self):
            self.set_in("the first sample")
            yield from super().samples()
            self.set_in("the last sample")

    assert ingest(images, Finding) == (3 if refused else 0)
    if refused:
        message = last_message(capsys)
        assert message.startswith(OWNER)
        assert f"its attribute {name}" in message


@pytest.mark.parametrize("name", ["columns", "group", "classes", "metric", "channels", "version", "bits", "needs_data"])
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(0)], ids=repr)
def test_an_attribute_that_raises_is_the_plugins(images: Path, capsys: Any, name: str, error: BaseException) -> None:
    assert ingest(images, type("Wrong", (Lab,), {name: property(raising(error))})) == 3
    assert f"{OWNER} failed in its attribute {name}: {type(error).__name__}" in last_message(capsys)


def test_a_constructor_that_leaves_out_the_root_is_named(images: Path, capsys: Any) -> None:
    assert ingest(images, type("Wrong", (Lab,), {"__init__": lambda self, root: None})) == 3
    assert "failed in its attribute root: AttributeError" in last_message(capsys)


def test_an_attribute_that_the_user_gave_is_the_users(images: Path, capsys: Any) -> None:
    class Asked(Lab):
        def __init__(self, root: Path, metric: str = "accuracy"):
            super().__init__(root)
            self.metric = metric

    assert run(images, Asked, "ingest", "lab", str(images), "--name", "d", "-o", "metric=accurracy") == 2
    assert "There is no metric 'accurracy'" in last_message(capsys)


class Number(int):
    __index__ = __int__ = __float__ = __repr__ = raising(RuntimeError("no number"))


class Word(str):
    __hash__ = __eq__ = __repr__ = __str__ = raising(RuntimeError("no word"))


def sample(**fields: Any) -> Sample:
    return Sample(**{"id": "a", "image": ("a.png",), "label": "a", "metadata": {"slide": "a"}, **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"id": ""}, "the id '', which is empty"),
        ({"id": "\ud800"}, "surrogate"),
        ({"id": "a\nb"}, "control characters"),
        ({"id": "x" * 200_000}, "which is of 200,000 characters"),
        ({"label": ""}, "the label '', which is empty"),
        ({"label": "\ud800"}, "surrogate"),
        ({"part": "\x1b[2J"}, "control characters"),
        ({"image": ()}, "has no read() of its own"),
        ({"image": ("",)}, "no path that can be stored"),
        ({"image": ("\ud800.png",)}, "no path that can be stored"),
        ({"mpp": 10**400}, "which is too large"),
        ({"mpp": True}, "which is no number"),
        ({"box": (0, 0, Number(4), 4)}, "failed in samples() for sample 0: RuntimeError: no number"),
        ({"metadata": {"slide": 5}}, "metadata slide=5, which are not of the declared types (str)"),
        ({"metadata": {"slide": "\ud800"}}, "declared types"),
        ({"metadata": {"slide": b"\xff"}}, "declared types"),
        ({"metadata": {"slide": Odd()}}, "declared types"),
        ({"metadata": {"n": 10**30}}, "declared types (int)"),
        ({"metadata": {"n": 10**400}}, "declared types (int)"),
        ({"metadata": {"x": "1.5"}}, "declared types (float)"),
        ({"metadata": {"x": 10**400}}, "declared types (float)"),
        ({"metadata": {"f": "yes"}}, "declared types (bool)"),
        ({"metadata": {"stain": "HE"}}, "the metadata 'stain', which `columns` does not declare"),
        ({"metadata": {5: "HE"}}, "the metadata 5, which"),
    ],
)
def test_a_sample_that_cannot_be_kept_is_the_plugins(
    images: Path, capsys: Any, fields: dict[str, Any], said: str
) -> None:
    class Wrong(Lab):
        columns = {"slide": str, "n": int, "x": float, "f": bool}  # noqa: RUF012 - as plugins write it

        def samples(self):
            yield sample(**fields)

    assert ingest(images, Wrong) == 3
    message = last_message(capsys)
    assert message.startswith(OWNER)
    assert "in samples() for " in message
    assert said in message
    assert len(message) < 500


def test_words_and_numbers_of_other_libraries_are_taken(images: Path, capsys: Any) -> None:
    class Fine(Lab):
        columns = {"slide": str, "n": int, "x": float, "f": bool}  # noqa: RUF012 - as plugins write it

        def samples(self):
            values = {"slide": np.str_("s"), "n": np.int16(3), "x": np.float32(0.5), "f": np.bool_(True)}
            yield sample(id=np.str_("a"), label=Word("a"), mpp=np.float32(0.25), metadata=values)
            yield sample(id="b", metadata=dict.fromkeys(values))

    assert ingest(images, Fine) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == {"a": 2}


@pytest.mark.parametrize("mpp", [0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_no_image_has_is_of_the_data_and_names_the_plugin(images: Path, capsys: Any, mpp: float) -> None:
    assert ingest(images, type("Wrong", (Lab,), {"samples": lambda self: [sample(mpp=mpp)]})) == 4
    assert f"{OWNER} gave it in samples()" in last_message(capsys)


ROWS = [SplitRow(0, 0, "a", "train"), SplitRow(0, 0, "b", "test")]


@pytest.mark.parametrize("name", ["", "a/b", "../x", "-x", ".x", "a b", "x" * 65, "\ud800", "a\n", 5, None, Word])
def test_splits_of_plugins_and_of_users_have_one_rule_for_names(images: Path, capsys: Any, name: Any) -> None:
    given = Word("x") if name is Word else name
    assert ingest(images, type("Wrong", (Lab,), {"splits": lambda self: {given: PublishedSplit(ROWS)}})) == 3
    message = last_message(capsys)
    assert message.startswith(OWNER)
    assert "splits()" in message
    # What is empty or cannot be typed never comes so far.
    if type(name) is str and name not in ("", "\ud800"):
        assert ingest(images, Lab) == 0
        capsys.readouterr()
        assert run(images, Lab, "split", "d", f"--name={name}", "--folds", "2") == 2
        assert "is not allowed" in last_message(capsys)


@pytest.mark.parametrize("name", ["s", "paper.2-fold_1", "Prüfung"])
def test_names_of_splits_that_are_allowed(images: Path, capsys: Any, name: str) -> None:
    assert ingest(images, type("Fine", (Lab,), {"splits": lambda self: {name: PublishedSplit(ROWS)}})) == 0
    assert run(images, Lab, "list", "splits", "d") == 0
    assert f'"name": "{name}"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no train and no test samples in fold 0 of repeat 0"),
        ([(0, 0, "a", "train")], "no test samples in fold 0 of repeat 0"),
        ([*ROWS, (0, 1, "a", "test")], "no train samples in fold 1"),
        ([*ROWS, (0, 0, "a", "test")], "the sample 'a' twice in fold 0 of repeat 0"),
        ([*ROWS, (0, 0, "c", "test")], "the id 'c', which no sample has"),
        ([*ROWS, (0, 0, "\ud800", "test")], "which no sample has"),
        ([(0, -1, "a", "train"), (0, -1, "b", "test")], "the row (0, -1, 'a', 'train')"),
        ([(0, 10**20, "a", "train")], "the row"),
    ],
)
def test_a_split_that_is_none_is_the_plugins(images: Path, capsys: Any, rows: list[Any], said: str) -> None:
    assert ingest(images, type("Wrong", (Lab,), {"splits": lambda self: {"s": PublishedSplit(rows)}})) == 3
    message = last_message(capsys)
    assert message.startswith(OWNER)
    assert "in splits() for the split 's'" in message
    assert said in message


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"fit": lambda self: Odd()}, "what JSON cannot hold"),
        ({"fit": lambda self: {"a": "\ud800"}}, "what JSON cannot hold"),
        ({"state": property(lambda self: None)}, "failed in its attribute state"),
        ({"pixel_key": lambda self, sample: Odd()}, "in place of bytes"),
        ({"samples": lambda self: [Odd()]}, "in place of a Sample"),
        ({"samples": lambda self: Odd()}, "failed in samples()"),
        ({"splits": lambda self: Odd()}, "failed in splits()"),
        ({"splits": lambda self: {"s": Odd()}}, "in place of a PublishedSplit"),
        ({"__new__": lambda cls, *_, **__: 5}, "in place of a Dataset in its constructor"),
    ],
)
def test_objects_that_cannot_be_asked_are_the_plugins(
    images: Path, capsys: Any, members: dict[str, Any], said: str
) -> None:
    assert ingest(images, type("Wrong", (Lab,), members)) == 3
    message = last_message(capsys)
    assert message.startswith(OWNER)
    assert said in message


def test_a_reason_is_no_longer_than_a_page(images: Path, capsys: Any) -> None:
    class Wordy(Lab):
        def read(self, sample: Sample) -> Any:
            raise DataError("x" * 1_000_000, next="")

    assert ingest(images, Wordy) == 0
    capsys.readouterr()
    assert run(images, Wordy, "extract", "d", "--backbone", "texture", "--layers", "stain") == 4
    assert len(capsys.readouterr().out) < 10_000


class MadeUpError(DataError):
    code = 0  # type: ignore[assignment]


class Interrupt(KeyboardInterrupt):
    pass


@pytest.mark.parametrize(
    "error",
    [
        MadeUpError("all is well", next="nothing"),
        DataError(5, next="?"),  # type: ignore[arg-type]
        DataError("x", next="?", details={"a": {1}}),
        DataError("\ud800", next="?"),
        Interrupt(),
        GeneratorExit(),
        ValueError("\ud800" + "x" * 100_000),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_is_only_like_an_error_of_histokit_or_of_the_user(images: Path, capsys: Any, error: BaseException) -> None:
    assert ingest(images, type("Wrong", (Lab,), {"samples": raising(error)})) == 3
    message = last_message(capsys)
    assert message.startswith(f"{OWNER} failed in samples(): {type(error).__name__}")
    assert len(message) < 2_000


def test_a_class_derived_from_a_built_in_one_is_not_histokits(images: Path, capsys: Any) -> None:
    class Derived(Folder):
        def samples(self):
            raise KeyError("slide")

    assert ingest(images, Derived) == 3
    assert f"{OWNER} failed in samples(): KeyError" in last_message(capsys)


def test_a_class_derived_from_a_built_in_one_is_read_by_itself(images: Path, capsys: Any) -> None:
    class Derived(Folder):
        def __init__(self, root: Path):
            super().__init__(root, pattern="{label}.png")

        def read(self, sample: Sample) -> Any:
            return np.zeros((16, 16), np.float32)

    assert ingest(images, Derived) == 0
    assert json.loads(capsys.readouterr().out)["plugin"] == "lab"
    assert run(images, Derived, "extract", "d", "--backbone", "texture", "--layers", "stain") == 4
    reasons = {problem["reason"] for problem in json.loads(capsys.readouterr().out)["problems"]}
    assert all(OWNER in reason and "in read()" in reason for reason in reasons)


GIVEN = {
    "None": None,
    "text": "pixels",
    "ragged": [[1, 2], [3]],
    "odd": Odd(),
    "float": np.zeros((16, 16, 3)),
    "flat": np.zeros((16, 16), np.uint8),
    "empty": np.zeros((0, 16, 3), np.uint8),
    "channels": np.zeros((16, 16, 4), np.uint8),
    "huge": np.broadcast_to(np.zeros(1, np.uint8), (100_000, 100_000, 3)),
    "objects": np.full((4, 4, 3), None),
    "a class of its own": np.zeros((4, 4), np.uint8).view(type("A", (np.ndarray,), {"ndim": 3, "shape": (4, 4, 3)})),
}


@pytest.mark.parametrize("given", GIVEN)
def test_pixels_of_another_kind_put_a_sample_aside(images: Path, capsys: Any, given: str) -> None:
    class Wrong(Lab):
        def read(self, sample: Sample) -> Any:
            return GIVEN[given] if sample.id == "a" else np.zeros((16, 16, 3), np.uint8)

    assert ingest(images, Wrong) == 0
    capsys.readouterr()
    assert run(images, Wrong, "extract", "d", "--backbone", "texture", "--layers", "stain") == 4
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["id"] == "a"
    assert problem["reason"].startswith(f"{OWNER} gave ")
    assert "in read() for the sample 'a'" in problem["reason"]


@pytest.mark.parametrize("where", ["its constructor", "samples()", "fit()", "splits()"])
def test_streams_that_a_plugin_closes_or_replaces_stay(images: Path, capsys: Any, where: str) -> None:
    def spoil() -> None:
        sys.stdout.close()
        sys.stderr.close()
        sys.stdout.detach()
        sys.stdout = sys.stderr = None  # type: ignore[assignment]

    class Spoiling(Lab):
        def __init__(self, root: Path):
            super().__init__(root)
            if where == "its constructor":
                spoil()

        def samples(self):
            if where == "samples()":
                spoil()
            yield from super().samples()

        def fit(self):
            if where == "fit()":
                spoil()

        def splits(self):
            if where == "splits()":
                spoil()
            return {}

    before = sys.stdout, sys.stderr
    assert ingest(images, Spoiling) == 0
    assert (sys.stdout, sys.stderr) == before
    captured = capsys.readouterr()
    assert json.loads(captured.out)["name"] == "d"
    assert "2 samples" in captured.err


def test_a_plugin_that_goes_to_another_folder_takes_no_file_of_a_command_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images := tmp_path / "images").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    draw_images(images)

    class Wandering(Lab):
        def __init__(self, root: Path):
            os.chdir(elsewhere)
            super().__init__(root)

        def samples(self):
            os.chdir(elsewhere)
            yield from super().samples()

        def read(self, sample):
            os.chdir(elsewhere)
            return super().read(sample)

    monkeypatch.chdir(tmp_path)
    common = ("--store", "store", "--json")
    with added_plugin(Plugin(Wandering), "labplugin"):
        assert cli.run(["ingest", "lab", "images", "--name", "d", *common]) == 0
        assert cli.run(["extract", "d", "--backbone", "texture", *common]) == 0
        assert cli.run(["show", "d", "--figure", "sheet.png", *common]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "images", "sheet.png", "store"]
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("walk", ["os.walk", "rglob"])
def test_a_plugin_that_walks_over_its_folder_from_within_finds_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, walk: str, before: bool
) -> None:
    for name in "abc":
        (folder := tmp_path / "images" / name).mkdir(parents=True)
        draw_images(folder)

    class Inside(Lab):
        def files(self):
            if walk == "rglob":
                yield from Path().rglob("*.png")
            else:
                # Folders that it does not find are passed over.
                for folder, _, names in os.walk("."):
                    yield from (Path(folder, name) for name in names)

        def found(self):
            os.chdir("." if before else self.root)
            for file in self.files():
                yield Sample(file.as_posix(), (file.as_posix(),), label=file.parent.name)

        def samples(self):
            os.chdir(self.root if before else ".")
            return self.found()

    monkeypatch.chdir(tmp_path)
    with added_plugin(Plugin(Inside), "labplugin"):
        assert cli.run(["ingest", "lab", "images", "--name", "d", "--store", "store", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["labels"], record["problems"]) == ({"a": 2, "b": 2, "c": 2}, 0)
    assert Path.cwd() == tmp_path
