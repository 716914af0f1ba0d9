"""What holds for the arguments of all commands: none is empty, what takes one value is given once, stores are there."""

import inspect
import re
import unicodedata
from pathlib import Path

import pytest

import histokit as package
from histokit.errors import StoreError, UsageError
from histokit.store.care import collect_garbage, compact
from histokit.store.repair import repair
from histokit.store.verify import verify
from tests.cli.test_every_command import LEAVES


def called(parameter):
    return max(parameter.opts, key=len)


def options(path, multiple):
    for parameter in LEAVES[path].params:
        takes = parameter.param_type_name == "option" and not parameter.is_flag and not getattr(parameter, "count", 0)
        if takes and parameter.multiple is multiple and parameter.name != "help":
            yield called(parameter)


def arguments(path):
    return [parameter.metavar for parameter in LEAVES[path].params if parameter.param_type_name == "argument"]


def words(path):
    """A command by its words: a group that is a command itself is called by its own name."""
    return [name for place, name in enumerate(path) if not place or name != path[place - 1]]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_what_takes_one_value_is_given_once(path, histokit):
    found = list(options(path, multiple=False))
    assert "--store" in found
    for option in found:
        result = histokit.fails(*words(path), option, "1", option, "2", code=2)
        assert f"error: {option} is given 2 times; it takes one value.\nGive it once.\n" in result.err


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_no_value_is_empty(path, histokit):
    for option in [*options(path, multiple=False), *options(path, multiple=True)]:
        result = histokit.fails(*words(path), option, "", code=2)
        assert f"error: {option} is empty." in result.err
    given = []
    for name in arguments(path):
        assert f"error: {name} is empty." in histokit.fails(*words(path), *given, "", code=2).err
        given.append("x")


def test_the_store_is_named_before_the_command_or_behind_it(histokit, tmp_path):
    for command in (["--store", tmp_path, "list", "datasets", "--store", tmp_path], ["--store", "", "doctor"]):
        histokit.fails(*command, code=2)
    assert "--store is given twice" in histokit("--store", "a", "doctor", "--store", "b").err


def test_what_is_given_twice_in_a_list_counts_once_and_is_told(extracted):
    features = ["--features", "tiny/last"]
    once = extracted.ok("train", "cells", *features, "--classifier", "knn", "--quiet")
    twice = extracted.ok("train", "cells", *features, *features, "--classifier", "knn", "--quiet")
    assert once.out == twice.out
    assert "warning: --features tiny/last is given 2 times: it counts once" in twice.err
    layers = extracted.ok("extract", "cells", "--backbone", "tiny", "--layers", "last,3,last", "--quiet")
    assert layers.out == "tiny/3\n", "it is the last layer"
    assert "warning: --layers last is given 2 times: it counts once" in layers.err
    (run,) = once.out.split()
    assert f"RUN {run} is given 2 times" in extracted.ok("evaluate", run, run).err
    assert extracted.ok("evaluate", run, run).out == extracted.ok("evaluate", run).out


def test_flags_may_come_twice(extracted):
    assert extracted.ok("list", "datasets", "--json", "--json").document["datasets"]


def ways(folder):
    """Folders that are no stores."""
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("x")
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    return [folder / name for name in ("other", "empty", "file", "absent")]


def opens_a_store(path):
    """Whether a command asks for a store; some lists have none, and networks are listed without one as well."""
    return re.search(r"console\.\w*store\(", inspect.getsource(inspect.unwrap(LEAVES[path].callback)))


LOOK = [path for path in LEAVES if path[0] in ("list", "store") and opens_a_store(path)]
#: What they are given.
NEED = {
    ("list", "samples"): ["d"],
    ("list", "problems"): ["d"],
    ("store", "remove"): ["d"],
    ("evaluate",): ["r"],
    ("predictions",): ["r"],
}


@pytest.mark.parametrize("path", [*LOOK, ("evaluate",), ("predictions",), ("compare",)], ids=" ".join)
def test_a_folder_that_is_no_store_is_no_empty_store(path, histokit, tmp_path):
    for place in ways(tmp_path):
        before = sorted(tmp_path.rglob("*"))
        result = histokit.fails(*path, *NEED.get(path, []), "--store", place, code=5)
        assert f"{place} is no store" in result.err or f"There is no store {place}" in result.err
        assert sorted(tmp_path.rglob("*")) == before


def test_lists_of_stores_are_among_them():
    assert {("list", "samples"), ("list", "runs"), ("store", "verify"), ("store", "repair")} <= set(LOOK)
    assert len(LOOK) >= 12


def test_functions_of_care_need_a_store(tmp_path):
    for place in ways(tmp_path):
        for act in (verify, repair, compact, collect_garbage):
            with pytest.raises(StoreError, match="no store"):
                act(package.open_store(place))


def test_a_variable_that_is_empty_is_not_set(histokit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HISTOKIT_STORE", "")
    monkeypatch.setenv("HISTOKIT_WEIGHTS", "")
    for command in (["list", "datasets"], ["store", "verify"], ["split", "d", "--name", "s", "--folds", "2"]):
        assert f"There is no store {tmp_path / 'histokit-store'}." in histokit.fails(*command, code=5).err
    (tmp_path / "stray.safetensors").write_bytes(b"")
    found = {each["name"]: each["value"] for each in histokit.ok("doctor", "--json").document["findings"]}
    assert found["HISTOKIT_WEIGHTS"] == "not set"
    assert "stray.safetensors" not in found


def test_an_empty_name_is_not_answered_with_another_store(histokit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Path("study.toml")
    study.write_text('store = ""\n')
    assert "line 1, store: '' is not a text" in histokit("study", "plan", study).err
    assert histokit("list", "datasets", "--store", "named").code == 5, "what is named goes before"
    with pytest.raises(UsageError, match="path of the store is empty"):
        package.open_store("")
    assert [path.name for path in Path().iterdir()] == ["study.toml"]


def test_names_of_columns_may_be_typed_with_accents_apart(histokit, images):
    typed = unicodedata.normalize("NFD", "Größe")
    paths = sorted(each.relative_to(images).as_posix() for each in images.rglob("*.png"))
    rows = [f"{path},{path.split('/')[1]},{'abc'[n % 4 % 3]}" for n, path in enumerate(paths)]
    (images / "t.csv").write_text("\n".join(["image,label,Größe", *rows]))
    made = histokit.ok("ingest", "table", images, "--name", "d", "-o", "table=t.csv", "-o", f"group={typed}")
    assert "grouped by Größe" in made.err
    histokit.ok("split", "d", "--name", "s", "--folds", 3, "--group", typed)
    assert histokit.ok("list", "splits", "d", "--json").document["splits"][-1]["group"] == "Größe"
    histokit.ok("extract", "d", "--backbone", "texture", "--layers", "stain")
    usual = ["train", "d", "--features", "texture/stain", "--classifier", "knn", "--grid", "k=1", "--split", "s"]
    run = histokit.ok(*usual, "--where", f"{typed} <> 'd'").out.strip()
    composed = histokit.ok("evaluate", run, "--by", "Größe", "--json").document
    assert histokit.ok("evaluate", run, "--by", f"{typed}:mean", "--json").document == composed
    normalised = ["--normalise", "standardise", "--controls", f"{typed} IN ('a', 'b', 'c') AND id LIKE '%1.png'"]
    run = histokit.ok(*usual, *normalised, "--per", typed).out.strip()
    assert histokit.ok(*usual, *normalised, "--per", "Größe").out.strip() == run
    scatter = histokit.ok("scatter", "d", "--features", "texture/stain", "--by", typed, "--json").document
    assert list(scatter["by"]) == ["Größe"]
