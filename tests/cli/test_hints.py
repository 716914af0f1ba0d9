"""What a message says to type works when it is typed: it holds the weights, the preprocessing and the precision."""

import html
import re
import shlex
import shutil

import pytest
import timm
from safetensors.torch import save_file

from histokit.errors import ExitCode
from histokit.plugin.weights import seeded
from histokit.store.repeat_commands import make_again
from histokit.store.vectors import FeatureTable

NET = "timm:test_resnet"
ASKED = ["--preprocess", "size=32", "--preprocess", "mean=0.5,0.25,0.5", "--store-dtype", "float16"]
FAST = ["--classifier", "knn", "--grid", "k=1", "--split", "cv"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my weights.safetensors"
    with seeded(5):
        save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.fixture
def filled(ingested, images, file):
    """Features of ``cells`` with weights and preprocessing of their own, and ``more``, a dataset without."""
    ingested.ok("extract", "cells", "--backbone", NET, "--layers", "last", "--weights", file, *ASKED)
    options = ["-o", "pattern={patient}/{label}/*.png", "-o", "group=patient"]
    ingested.ok("ingest", "folder", images, "--name", "more", *options)
    return ingested


def specs(command_line):
    listed = command_line.ok("list", "features", "--json").document["features"]
    return [{k: v for k, v in table["spec"].items() if k not in ("layer", "module")} for table in listed]


def typed(result):
    """The command that a message ends with."""
    found = re.search(r"histokit (extract .*?)(\.|; .*)?\n", result.err)
    assert found, result.err
    return shlex.split(found[1])


@pytest.mark.parametrize(
    ("dataset", "address"), [("more", f"{NET}/last"), ("cells", f"{NET}/layer2"), ("cells", f"{NET}/all")]
)
def test_the_extraction_that_is_missing_can_be_pasted(filled, dataset, address):
    command = ["train", dataset, "--features", address, *FAST]
    hint = typed(filled.fails(*command, code=ExitCode.STORE))
    assert [word for word in hint if word in ("--weights", "--preprocess", "--precision", "--store-dtype")] == [
        "--weights",
        "--preprocess",
        "--preprocess",
        "--store-dtype",
    ]
    filled.ok(*hint)
    filled.ok(*command)
    found = specs(filled)
    assert all(spec == found[0] for spec in found)


def test_missing_rows_are_made_by_what_the_message_says(filled, images):
    (images / "p1" / "dark" / "more.png").write_bytes((images / "p1" / "dark" / "0.png").read_bytes() + b"\0")
    options = ["-o", "pattern={patient}/{label}/*.png", "-o", "group=patient"]
    filled.ok("ingest", "folder", images, "--name", "cells", *options)
    command = ["train", "cells", "--features", f"{NET}/last", *FAST]
    filled.ok(*typed(filled.fails(*command, code=ExitCode.STORE)))
    filled.ok(*command)
    assert len(specs(filled)) == 1


def test_precision_is_said_and_what_the_first_version_did_not_keep():
    spec = {"backbone": "net", "layer": "last", "weights": "random:3", "precision": "bfloat16"}
    spec["preprocess"] = {"size": 64, "std": [0.5, 0.5, 0.5]}
    said = shlex.split(make_again(FeatureTable("t", "d", spec, 4, {"weights_request": "random:3"})))
    assert said[:9] == ["histokit", "extract", "d", "--backbone", "net", "--layers", "last", "--weights", "random:3"]
    assert said[-2:] == ["--precision", "bfloat16"]
    changes = {said[i + 1] for i, word in enumerate(said) if word == "--preprocess"}
    assert changes == {
        *("size=64", "std=0.5,0.5,0.5", "mean=0.485,0.456,0.406", "resize=squash", "interpolation=bilinear")
    }
    kept = {"weights_request": "pretrained", "preprocess_request": {}}
    spec = {**spec, "precision": "float32"}
    assert make_again(FeatureTable("t", "d", spec, 4, kept)) == "histokit extract d --backbone net --layers last"


def test_prediction_says_what_to_do_where_the_weights_are_gone(filled, file, tmp_path):
    run = filled.ok("train", "cells", "--features", f"{NET}/last", *FAST).out.strip()
    copy = file.rename(tmp_path / "copy.safetensors")
    result = filled.fails("predict", run, "more", code=ExitCode.STORE)
    assert f"are gone: {file}" in result.err
    hint = typed(result)
    assert hint[hint.index("--weights") + 1] == "FILE"
    filled.ok(*[copy if word == "FILE" else word for word in hint])
    filled.ok("predict", run, "more")


def commands(text):
    """The commands of a text, as a shell reads them."""
    return [shlex.split(found) for found in re.findall(r"histokit (.*?)(?:\.?\n|\. |</)", html.unescape(text))]


def test_versions_and_files_with_blanks_in_their_names_are_one_word(ingested, images, tmp_path):
    file, version = tmp_path / "my vectors.csv", "2 of May"
    listed = [row["id"] for row in ingested.ok("list", "samples", "cells", "--json").document["samples"]]
    file.write_text("id,a,b\n" + "".join(f"{name},{n},{n % 2}\n" for n, name in enumerate(listed)))
    ingested.ok("import-features", "cells", file, "--name", "mine", "--version", version)
    options = ["-o", "pattern={patient}/{label}/*.png", "-o", "group=patient"]
    ingested.ok("ingest", "folder", images, "--name", "more", *options)
    told = ingested.fails("train", "more", "--features", "mine/imported", *FAST, code=ExitCode.STORE).err
    assert [words[-1] for words in commands(told) if "--version" in words] == ["imported"]
    assert [words[words.index("--version") + 1] for words in commands(told) if "--version" in words] == [version]

    run = ingested.ok("train", "cells", "--features", "mine/imported", *FAST).out.strip()
    ingested.ok("import-features", "more", file, "--name", "mine", "--version", version)
    seen = ingested.ok("predict", run, "more").out.strip()
    folder = tmp_path / "my model"
    told = ingested.fails("export-model", seen, "--out", folder, code=ExitCode.USAGE).err
    assert commands(told)[-1] == ["export-model", run, "--out", str(folder)]

    mine = tmp_path / "my split.csv"
    mine.write_text("id,role\n" + "".join(f"{n},{'test' if n.startswith('p1') else 'train'}\n" for n in listed))
    ingested.ok("split", "cells", "--name", "own", "--from", mine)
    (images / "p2" / "dark" / "0.png").unlink()
    ingested.ok("ingest", "folder", images, "--name", "cells", *options)
    told = ingested.fails("train", "cells", "--features", "mine/imported", "--split", "own", code=ExitCode.STORE).err
    assert commands(told)[-1] == ["split", "cells", "--name", "own", "--from", str(mine), "--group", "patient"]

    study = tmp_path / "my study.toml"
    study.write_text(
        'datasets = ["cells"]\nstrategies = ["last layer"]\nclassifiers = ["knn"]\n'
        f'[backbones.mine]\nversion = "{version}"\n[backbones.texture]\n'
    )
    page = tmp_path / "page.html"
    ingested.ok("report", "--study", study, "--out", page, "--bootstrap", 0, "--samples", 0)
    assert ["study", "run", str(study)] in commands(page.read_text())
    again = shutil.copytree(tmp_path / "store", tmp_path / "my store")
    told = ingested.ok("study", "run", study, "--store", again).err
    assert ["list", "runs", "--store", str(again)] in commands(told)

    ingested.ok("ingest", "folder", images, "--name", "bare", *options)
    study.write_text(study.read_text().replace("cells", "bare"))
    told = ingested("study", "run", study).err
    assert "import-features bare FILE --name mine --version '2 of May'" in told


def test_features_of_a_run_that_has_no_network_are_told_as_those_that_it_was_trained_on(extracted):
    run = extracted.ok("train", "cells", "--features", "tiny/3", *FAST).out.strip()
    for address in (f"run:{run}/last", f"run:{run[:6]}/each", f"tiny/3+run:{run}.1/last"):
        told = extracted.fails("train", "cells", "--features", address, *FAST, code=ExitCode.STORE).err
        assert f"The run {run} is of the kind 'train', and has no network." in told
        (features,) = re.findall("--features ([^ ;]+)", told)
        assert extracted.ok("train", "cells", "--features", features, *FAST).out.strip() == run
    told = extracted.fails("train", "cells", "--features", "run:absent/last", *FAST, code=ExitCode.STORE).err
    assert "There is no run 'absent'" in told


def test_a_split_that_takes_the_place_of_another_one_tells_what_is_on_that(extracted):
    made = ["split", "cells", "--name", "two", "--folds", "2", "--seed"]
    extracted.ok(*made, 1)
    assert "took the place" not in extracted.ok(*made, 2).err, "nothing is on it"
    asked = ["--features", "tiny/3", "--split"]
    run = extracted.ok("train", "cells", *asked, "two", "--classifier", "knn", "--grid", "k=1").out.strip()
    selection = extracted.ok("select", "cells", *asked, "two", "--inner-folds", 2).out.strip()
    assert "took the place" not in extracted.ok(*made, 2).err, "it is the same"
    told = extracted.ok(*made, 3, "--json")
    (note,) = [note for note in told.document["params"]["notes"] if "took the place" in note]
    assert f"1 run ({run}) and 1 selection ({selection})" in note
    listed = extracted.ok("list", "splits", "cells", "--json").document["splits"]
    assert "took the place" not in str(listed)
    # What the note says to type gives the former folds, on which the run is.
    extracted.ok(*shlex.split(note.rpartition("to have both: histokit ")[2]))
    assert extracted.ok("train", "cells", *asked, "OTHER", "--classifier", "knn", "--grid", "k=1").out.strip() == run


def test_draws_that_splits_of_other_seeds_share_are_told(extracted):
    made = ["split", "cells", "--folds", 2, "--repeats", 3, "--name"]
    extracted.ok(*made, "zero")
    told = extracted.ok(*made, "one", "--seed", 1).err
    assert "2 of 3 draws test the same samples as draws of the split 'zero'" in told.replace("\n", " ")
    found = extracted.ok("list", "splits", "cells", "--json").document["splits"]
    assert {"zero", "one"} <= {each["name"] for each in found}
    assert "test the same samples" not in str(found)
    assert "to draw others, --seed 3" in told
    assert "test the same samples" not in extracted.ok(*made, "three", "--seed", 6).err
    # A seed that shares draws with no other of them either.
    assert "to draw others, --seed 9" in extracted.ok(*made, "two", "--seed", 2).err
    assert "test the same samples" not in extracted.ok(*made, "nine", "--seed", 9).err


def test_filters_over_what_was_predicted_are_told_as_such(extracted, tmp_path):
    run = extracted.ok("train", "cells", "--features", "tiny/3", *FAST).out.strip()
    for column in ("predicted", "fold"):
        told = extracted.fails("predictions", run, "--where", f"{column} = 'dark'", code=ExitCode.USAGE).err
        assert f"{column} is of the predictions, and filters are over the columns of the samples." in told
    command = shlex.split(re.search("histokit (predictions .*?[.]csv)[.] ", told)[1].replace("FILE", "p"))
    extracted.ok(*command[:-1], tmp_path / command[-1])
    told = extracted.fails("predictions", run, "--where", "patien = 'p1'", code=ExitCode.USAGE).err
    assert "of the predictions" not in told
    told = extracted.fails("list", "samples", "cells", "--where", "predicted = 'dark'", code=ExitCode.USAGE).err
    assert "of the predictions" not in told
