"""The whole path, as a script and as a person would go it."""

import json
import re

from PIL import Image

from tests.cli.conftest import PATTERN

QUICK = ["--inner-folds", 2, "--step", 0.7]
FAST = ["--grid", "C=0.01,1", "--inner-folds", "2"]


def test_a_script_of_the_steps_parses_every_stdout_as_one_document(histokit, images, tiny):
    def run(*arguments):
        return histokit.ok(*arguments, "--json").document

    made = run("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient")
    assert (made["count"], made["classes"]) == (24, ["bright", "dark"])
    assert run("split", "cells", "--name", "two", "--folds", 2)["folds"] == 2
    addresses = run("extract", "cells", "--backbone", "tiny", "--layers", "1,last")["addresses"]
    assert addresses == ["tiny/1", "tiny/3"]
    assert [f["rows"] for f in run("list", "features", "cells")["features"]] == [24, 24]
    merged = "+".join(addresses)
    selection = run("select", "cells", "--features", merged, "--split", "two", *QUICK)["selection"]
    (plain,) = run("train", "cells", "--features", merged, "--split", "two", *FAST)["runs"]
    options = ["--features", "tiny/each", "--split", "two", *FAST]
    each = [entry["run"] for entry in run("train", "cells", *options)["runs"]]
    assert len({plain["run"], *each}) == 3
    found = run("evaluate", plain["run"], "--by", "patient:mean", "--bootstrap", 20)["runs"][0]
    assert (found["n"], found["by"]["patient:mean"]["units"]) == (24, 4)
    assert found["metrics"]["accuracy"] == 1.0, "dark and bright are far apart"
    predicted = run("predict", plain["run"], "cells")["run"]
    assert run("predictions", predicted)["count"] == 24
    assert run("predictions", plain["run"], "--wrong")["predictions"] == []
    assert len(run("compare", plain["run"], *each, "--bootstrap", 10)["rows"]) == 3
    assert {r["run"] for r in run("list", "runs")["runs"]} == {plain["run"], predicted, *each}
    assert [s["selection"] for s in run("list", "selections")["selections"]] == [selection]
    assert {s["split"] if "split" in s else s["name"] for s in run("list", "splits")["splits"]} == {"two"}
    assert run("list", "problems", "cells")["problems"] == []


def test_stdout_is_what_a_shell_variable_takes(histokit, images, tiny):
    made = histokit.ok("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient")
    assert made.out == "cells\n"
    assert "24 samples (bright 12, dark 12), grouped by patient" in made.err
    made = histokit.ok("split", "cells", "--name", "two", "--folds", 2)
    assert made.out == "two\n"
    assert "Folds: 2; the first trains on 12 samples and tests on 12" in made.err
    made = histokit.ok("extract", "cells", "--backbone", "tiny")
    assert made.out == "tiny/0\ntiny/1\ntiny/3\n"
    assert "computed" in made.err
    made = histokit.ok("select", "cells", "--features", "tiny/all", "--split", "two", *QUICK)
    assert re.fullmatch(r"[0-9a-f]{12}\n", made.out)
    assert "k_min" in made.err
    made = histokit.ok("train", "cells", "--features", "tiny/last", "--split", "two", *FAST)
    assert re.fullmatch(r"[0-9a-f]{12}\n", made.out)
    assert "mean over folds" in made.err
    run = made.out.strip()
    assert "1.0000" in histokit.ok("evaluate", run).out
    assert re.fullmatch(r"[0-9a-f]{12}\n", histokit.ok("predict", run, "cells").out)
    assert "p1/bright/0" in histokit.ok("predictions", run).out
    assert run in histokit.ok("list", "runs").out


def test_quiet_leaves_the_result_and_the_warnings(histokit, images, tiny):
    made = histokit.ok("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient", "--quiet")
    assert (made.out, made.err) == ("cells\n", "")
    made = histokit.ok("-q", "extract", "cells", "--backbone", "tiny", "--layers", "last")
    assert (made.out, made.err) == ("tiny/3\n", "")
    made = histokit.ok("train", "cells", "--features", "tiny/last", *FAST, "-q")
    assert made.err.startswith("warning: ")
    assert "4 folds instead of 10" in made.err


def test_common_options_may_stand_before_the_command(histokit, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    made = histokit.ok("--json", "--store", elsewhere, "ingest", "synthetic", ".", "--name", "drawn")
    assert json.loads(made.out)["name"] == "drawn"
    assert "There is no store" in histokit.fails("list", "datasets", code=5).err
    listed = histokit.ok("list", "datasets", "--json", "--store", elsewhere).document["datasets"]
    assert [d["name"] for d in listed] == ["drawn"]


def test_an_unreadable_image_ends_with_code_4_after_the_rest_is_done(histokit, images, tiny):
    def ingest():
        histokit.ok("ingest", "folder", images, "--name", "cells", "-o", PATTERN, "-o", "group=patient")

    bad = images / "p1/dark/0.png"
    bad.write_bytes(b"no image at all")
    ingest()
    extract = ["extract", "cells", "--backbone", "tiny", "--layers", "last"]
    for _ in range(2):
        result = histokit(*extract)
        assert (result.code, result.out) == (4, "tiny/3\n")
        assert "Samples that could not be used: 1 " in result.err
        assert "p1/dark/0.png is not an image" in result.err
    document = histokit(*extract, "--json")
    assert document.code == 4
    assert [p["id"] for p in document.document["problems"]] == ["p1/dark/0.png"]
    listed = histokit.ok("list", "problems", "cells", "--json").document["problems"]
    assert [p["id"] for p in listed] == ["p1/dark/0.png"]
    train = ["train", "cells", "--features", "tiny/last", *FAST]
    refused = histokit.fails(*train, code=5).err
    assert "(1 sample is known to be unreadable: histokit list problems cells)" in refused
    assert "Go on without them with --allow-missing; or mend the files, ingest them again, and: histokit ext" in refused
    assert "1 of 24 samples is left out" in histokit.ok(*train, "--allow-missing").err
    Image.new("RGB", (16, 16), (60, 60, 60)).save(bad)
    ingest()
    assert histokit.ok(*extract, "--json").document["tables"][0]["computed"] == 1
    assert histokit.ok(*train).out
