"""Each mistake of a user has its exit code, says which thing is wrong, and what to type next; no traceback."""

import errno
import json
import shlex

import pytest
from PIL import Image

from histokit import app, cli
from histokit.errors import ExitCode
from tests.cli.command_line import run_process
from tests.cli.conftest import PATTERN

FAST = ["--grid", "C=1", "--inner-folds", "2"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["trian"], "Did you mean 'train'?"),
        (["list", "dataset"], "Did you mean 'datasets'"),
        (["train", "cells"], "Missing option '--features'"),
        (["train"], "Missing argument 'DATASET'"),
        (["train", "cells", "--featurs", "a/b"], "--features"),
        (["train", "cells", "--features", "tiny"], "tiny"),
        (["train", "cells", "--features", "tiny/last", "--inner-folds", "x"], "valid integer"),
        (["extract", "cells", "--backbone", "tiny", "--workers", "-1"], "--workers"),
        (["extract", "cells", "--backbone", "tiny", "--layers", "lst"], "Did you mean 'last'?"),
        (["extract", "cells", "--backbone", "tiny", "--preprocess", "sise=3"], "Did you mean 'size'"),
        (
            ["extract", "cells", "--backbone", "tiny", "--preprocess", "mean=0.5", "--preprocess", "std=0.5"],
            "mean=0.5,0.5",
        ),
        (["extract", "cells", "--backbone", "tiny", "--device", "tpu"], "auto, cpu or cuda"),
        (["split", "cells", "--name", "s"], "--folds"),
        (["split", "cells", "--name", "s", "--folds", "2", "--test", "0.2"], "--folds"),
        (["split", "cells", "--name", "s", "--folds", "2", "--group", "slide"], "slide"),
        (["split", "cells", "--name", "cv", "--test", "0.2"], "'cv' is taken"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["evaluate", "--run", "abcd"], "option: --run\nWrite the RUN without --run: histokit evaluate RUN. See"),
        (["study", "run", "s.toml", "--dry-run"], "No such option: --dry-run\nUse histokit study plan FILE: "),
        (["train", "--dataset=cells"], "--dataset\nWrite the DATASET without --dataset: histokit train DATASET. See"),
        (["list", "runs", "--dataset", "cells"], "histokit list runs DATASET. See: histokit list runs --help"),
    ],
)
def test_wrong_options_are_code_2(ingested, tiny, arguments, says):
    assert says in ingested.fails(*arguments, code=ExitCode.USAGE).err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-o", "patern=*.png"], "Did you mean 'pattern'?"),
        (["-o", PATTERN, "-o", "group=slide"], "patient"),
        (["-o", "pattern"], "KEY=VALUE"),
        (["-o", PATTERN, "-o", "mpp=small"], "mpp"),
    ],
)
def test_wrong_options_of_a_dataset_are_code_2(histokit, images, options, says):
    assert says in histokit.fails("ingest", "folder", images, "--name", "cells", *options, code=ExitCode.USAGE).err
    assert "letters" in histokit.fails("ingest", "folder", images, "--name", "a b", code=ExitCode.USAGE).err
    assert "There is no store" in histokit.fails("list", "datasets", code=ExitCode.STORE).err


def test_an_option_of_a_dataset_without_its_o_is_told(histokit, images):
    ingest = ["ingest", "folder", images, "--name", "cells", "-o", PATTERN]
    error = histokit.fails(*ingest, "group=patient", "mpp=0.5", code=ExitCode.USAGE).err
    assert "Write -o before each: -o group=patient mpp=0.5. See: histokit ingest --help" in error
    assert "Write" not in histokit.fails(*ingest, "patient", code=ExitCode.USAGE).err


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("class", "no label 24; {label} in the pattern says the class, in the place of {class}?"),
        ("lable", "no label 24; {label} in the pattern says the class, in the place of {lable}?"),
        ("plate", "no label 24; {label} in the pattern says the class)"),
        ("x", "no label 24; {label} in the pattern says the class)"),
    ],
)
def test_a_field_that_is_called_nearly_as_the_label_is_told(histokit, images, field, says):
    pattern = PATTERN.replace("label", field)
    assert says in histokit.ok("ingest", "folder", images, "--name", "cells", "-o", pattern).err


def test_wrong_plugin_names_are_code_3(ingested, images):
    result = ingested.fails("ingest", "foldr", images, "--name", "x", code=ExitCode.PLUGIN)
    assert "no dataset plugin 'foldr'" in result.err
    assert "Did you mean 'folder'?" in result.err
    result = ingested.fails("extract", "cells", "--backbone", "resnet5", code=ExitCode.PLUGIN)
    assert "no backbone 'resnet5'" in result.err
    assert "Did you mean 'resnet50'?" in result.err
    for name, meant in (("ResNet18", "timm:resnet18 or torchvision:resnet18"), ("test_vit.r1", "timm:test_vit.r1")):
        result = ingested.fails("extract", "cells", "--backbone", name, code=ExitCode.PLUGIN)
        assert f"needs a prefix.\nWrite {meant}." in result.err
    # What networks are called in papers is the curated one, and not that of a library with other layers.
    assert "Did you mean 'resnet50'?" in ingested.fails("extract", "cells", "--backbone", "ResNet50", code=3).err
    hub = ingested.fails("extract", "cells", "--backbone", "hf-hub:paige-ai/Virchow2", code=ExitCode.PLUGIN).err
    assert "timm:hf-hub:ORGANISATION/MODEL" in hub
    assert "'timm:'" in ingested.fails("extract", "cells", "--backbone", "tim:x", code=ExitCode.PLUGIN).err
    assert "Did you mean 'folder'?" in ingested.fails("plugins", "check", "foldr", code=ExitCode.PLUGIN).err
    assert "histokit list layers resnet50" in ingested.fails("list", "backbones", "resnet50", code=ExitCode.PLUGIN).err


def test_folders_that_are_missing_or_empty_are_code_4(histokit, tmp_path):
    missing = tmp_path / "nowhere"
    result = histokit.fails("ingest", "folder", missing, "--name", "x", code=ExitCode.DATA)
    assert f"'{missing}' does not exist" in result.err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no image" in histokit.fails("ingest", "folder", empty, "--name", "x", code=ExitCode.DATA).err
    Image.new("RGB", (4, 4)).save(empty / "a.png")
    result = histokit.fails("ingest", "folder", empty, "--name", "x", "-o", PATTERN, code=ExitCode.DATA)
    assert "{patient}/{label}/*.png" in result.err
    assert "There is no store" in histokit.fails("list", "datasets", code=ExitCode.STORE).err


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("a.png", "-o pattern='*.png' for images without labels"),
        ("x/a.tif", "-o pattern='{label}/*.tif'"),
        ("p/x/a.png", "-o pattern='{patient}/{label}/*.png'"),
        ("c/p/x/a.png", "-o pattern='{level1}/{patient}/{label}/*.png'"),
    ],
)
def test_a_pattern_is_suggested_that_takes_the_images_there(histokit, tmp_path, path, suggestion):
    file = tmp_path / "data" / path
    file.parent.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(file)
    ingest = ["ingest", "folder", tmp_path / "data", "--name", "x"]
    error = histokit.fails(*ingest, "-o", "pattern=no{a}/*.png", code=ExitCode.DATA).err
    assert suggestion in error
    if "with labels in a table, " in error:
        (tmp_path / "data" / "TABLE.csv").write_text("COLUMN,label\na,dark\n")
        asked = shlex.split(error.partition("with labels in a table, ")[2])
        assert "dark 1" in histokit.ok(*ingest[:-1], "labelled", *asked).err
    pattern = suggestion.split("'")[1]
    assert histokit.ok(*ingest, "-o", f"pattern={pattern}", "--json").document["count"] == 1


def test_what_is_not_in_the_store_is_code_5(extracted):
    def fails(*arguments):
        return extracted.fails(*arguments, code=ExitCode.STORE).err

    assert "Did you mean 'cells'?" in fails("extract", "cell", "--backbone", "tiny")
    assert "Did you mean 'cells'?" in fails("train", "cell", "--features", "tiny/last")
    assert "histokit list datasets" in fails("list", "problems", "nothing")
    assert "no run 'abcdef'" in fails("evaluate", "abcdef")
    assert "no run 'abcdef'" in fails("predict", "abcdef", "cells")
    extracted.ok("split", "cells", "--name", "two", "--folds", "2")
    message = fails("train", "cells", "--features", "tiny/last", "--split", "tow")
    assert "no split 'tow'" in message
    assert "Did you mean 'two'" in message
    assert "it has 0, 1, 3." in fails("train", "cells", "--features", "tiny/9")
    assert "histokit extract cells --backbone resnet50" in fails("train", "cells", "--features", "resnet50/last")
    assert "no selection" in fails("train", "cells", "--features", "tiny/last", "--selection", "abcdef")


def test_an_ambiguous_address_lists_the_candidates(extracted):
    extracted.ok("extract", "cells", "--backbone", "tiny", "--layers", "last", "--weights", "random:1")
    result = extracted.fails("train", "cells", "--features", "tiny/last", *FAST, code=ExitCode.STORE)
    tables = extracted.ok("list", "features", "--json").document["features"]
    candidates = [f"{t['address']}@{t['fingerprint']}" for t in tables if t["address"] == "tiny/3"]
    assert len(candidates) == 2
    for candidate in candidates:
        assert candidate in result.err
        extracted.ok("train", "cells", "--features", candidate, *FAST)


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "resnet50", "timm:resnet18.tv_in1k"])
def test_absent_weights_say_how_to_supply_them(ingested, backbone, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "torch"))
    monkeypatch.setattr("socket.socket", _no_network)
    result = ingested.fails("extract", "cells", "--backbone", backbone, code=ExitCode.STORE)
    assert f"pretrained weights of '{backbone}'" in result.err
    assert "--weights FILE" in result.err
    assert f"$HISTOKIT_WEIGHTS/{backbone.replace(':', '.')}" in result.err
    assert ingested.ok("list", "features", "--json").document == {"features": []}


def _no_network(*_args, **_kwargs):
    raise OSError("no network in this test")


def test_a_weights_file_that_is_missing_is_code_2(ingested, tmp_path):
    options = ["--backbone", "squeezenet1_1", "--weights", tmp_path / "none.safetensors"]
    assert "no such file" in ingested.fails("extract", "cells", *options, code=ExitCode.USAGE).err


def test_a_split_file_with_one_patient_on_both_sides_is_code_6(ingested, tmp_path):
    path = tmp_path / "mine.csv"
    rows = ["p1/dark/0.png,train", "p1/dark/1.png,test", "p2/bright/0.png,train"]
    path.write_text("\n".join(["id,role", *rows]))
    result = ingested.fails("split", "cells", "--name", "mine", "--from", path, code=ExitCode.LEAKAGE)
    assert "patient p1" in result.err
    assert ingested.ok("list", "splits", "--json").document == {"splits": []}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,role\np1/dark/7.png,train\n", "p1/dark/7.png"),
        ("id,role\np1/dark/0.png,trian\n", "trian"),
        ("name,role\np1/dark/0.png,train\n", "id"),
    ],
)
def test_split_files_that_make_no_sense(ingested, tmp_path, text, says):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    result = ingested("split", "cells", "--name", "mine", "--from", path)
    assert result.code in (ExitCode.USAGE, ExitCode.DATA)
    assert says in result.err
    assert "Traceback" not in result.err
    assert ingested("split", "cells", "--name", "mine", "--from", tmp_path / "no.csv").code in (2, 4)


def test_debug_adds_the_traceback(histokit):
    plain, debug = (histokit("list", "splits", "nothing", *more) for more in ([], ["--debug"]))
    assert (plain.code, debug.code) == (5, 5)
    assert "Traceback" in debug.err
    assert debug.err.endswith(plain.err)


def test_an_interruption_is_130_and_a_bug_is_1_with_its_traceback(histokit, monkeypatch):
    def raising(error):
        def command():
            """Fail."""
            raise error

        monkeypatch.setattr(app, "COMMANDS", (app.Entry("", "break", command),))
        monkeypatch.setattr(app, "GROUPS", {})

    raising(KeyboardInterrupt())
    result = histokit.fails("break", code=ExitCode.INTERRUPTED)
    assert "Run the same command to resume." in result.err
    for error in (ValueError("odd"), EOFError("odd")):
        raising(error)
        result = histokit("break", "--json")
        assert (result.code, result.document["error"]["code"]) == (1, 1)
        assert result.document["error"]["message"] == f"A bug in histokit: {type(error).__name__}: odd"
        assert "Traceback" in result.err
    limits = {
        MemoryError("Unable to allocate 3 GiB"): "This machine has too little memory: Unable to allocate 3 GiB.",
        RuntimeError("x: can't allocate memory\nat"): "This machine has too little memory: x: can't allocate memory.",
        ImportError("libtorch.so: failed to map segment from shared object"): "This machine has too little memory: lib",
        OSError(errno.ENOMEM, "Cannot allocate memory"): "This machine has too little memory: [Errno 12] Cannot",
        OSError(errno.EMFILE, "Too many open files", "a.png"): "Too many open files: a.png",
        RuntimeError("lance error: Too many open files (os error 24), /root/x.rs:48:14"): "Too many open files",
        RuntimeError('Creating runtime: Os { code: 24, kind: Uncategorized, message: "x" }'): "Too many open files",
        OSError(errno.ENOSPC, "No space left on device"): "No space left on device",
    }
    for error, told in limits.items():
        raising(error)
        result = histokit("break", "--json")
        assert result.code == ExitCode.USAGE
        assert result.document["error"]["message"].startswith(told)
        assert "Traceback" not in result.err
        assert "Traceback" in histokit("break", "--debug").err
    raising(BrokenPipeError())
    with open("/dev/null", "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        assert cli.run(["break"]) == 0


def test_no_arguments_show_the_help(histokit):
    for arguments in ([], ["list"]):
        result = histokit(*arguments)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("Usage: histokit")
        assert "error:" not in result.err
    assert json.loads(histokit("--json").out)["error"]["message"] == "Missing command."


def test_the_version(histokit):
    from histokit import __version__

    assert histokit.ok("--version").out == f"{__version__}\n"
    assert histokit.ok("--version", "--json").document == {"version": __version__}


INTERRUPTED = """
import os, signal
# A shell that starts the tests in the background has them ignore the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
from histokit import cli
from histokit.datasets.synthetic import Synthetic

class Slow(Synthetic):
    def samples(self):
        yield from list(super().samples())[:3]
        os.kill(os.getpid(), signal.SIGINT)

class Plugin:
    @hookimpl
    def register_datasets(self, register):
        register("slow", lambda: Slow)

from histokit.plugin.testing import added_plugin
with added_plugin(Plugin()):
    cli.main(["ingest", "slow", ".", "--name", "drawn", "--json"])
"""


def test_ctrl_c_in_a_process_of_its_own(tmp_path):
    code = "from histokit.plugin import hookimpl" + INTERRUPTED
    done = run_process(code=code, environment={"HISTOKIT_STORE": str(tmp_path / "store")})
    assert done.returncode == ExitCode.INTERRUPTED
    assert done.stderr == "error: Interrupted.\nRun the same command to resume.\n"
    assert json.loads(done.stdout)["error"]["code"] == ExitCode.INTERRUPTED
    listed = run_process("list", "datasets", "--json", environment={"HISTOKIT_STORE": str(tmp_path / "store")})
    assert "There is no store" in json.loads(listed.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["extract", "cells", "--backbone"], "extract"),
        (["ingest", "folder", ".", "-o"], "ingest"),
        (["select", "cells", "--features"], "select"),
        (["select", "importances", "cells", "--trees"], "select importances"),
        (["list", "runs", "--limit"], "list runs"),
        (["study", "plan", "--quiet=1"], "study plan"),
        (["--store"], ""),
    ],
)
def test_what_cannot_be_parsed_leads_to_the_help_of_its_command(histokit, arguments, command):
    result = histokit(*arguments)
    assert result.code == ExitCode.USAGE
    assert result.err.endswith(f"\nSee: histokit {command} --help\n".replace("  ", " ")), result.err
