"""Plugins as users meet them: listed, broken, claimed twice, checked."""

import json

import numpy
import pytest

from histokit.errors import ExitCode
from histokit.plugin import Dataset, Sample, hookimpl, manager
from histokit.plugin.testing import added_plugin
from tests.cli.command_line import run_process
from tests.toy import make_samples, make_store


class Second:
    """Claims the name ``folder`` as well."""

    @hookimpl
    def register_datasets(self, register):
        register("folder", lambda: None)


@pytest.fixture
def broken(monkeypatch):
    """A plugin that does not import, of the distribution ``histokit-broken 0.3``."""

    def load():
        raise ImportError("no module named 'openslide'")

    monkeypatch.setattr(manager, "_ADDED", [*manager._ADDED, ("histokit_broken", "histokit-broken 0.3", load)])
    manager.registry.cache_clear()
    yield
    manager.registry.cache_clear()


def test_a_broken_plugin_is_named_and_the_rest_works(broken, histokit, images):
    made = histokit.ok("ingest", "folder", images, "--name", "cells")
    assert made.out == "cells\n"
    for result in (made, histokit.ok("list", "plugins")):
        (line,) = [line for line in result.err.splitlines() if line.startswith("warning: Plugin")]
        for words in ("'histokit_broken'", "histokit-broken 0.3", "openslide", "pip uninstall histokit-broken"):
            assert words in line
    document = histokit.ok("list", "plugins", "--json").document
    (left_out,) = document["broken"]
    assert (left_out["module"], left_out["distribution"]) == ("histokit_broken", "histokit-broken 0.3")
    assert "folder" in {p["name"] for p in document["plugins"]}
    result = histokit.fails("ingest", "openslide", images, "--name", "x", code=ExitCode.PLUGIN)
    assert "histokit_broken" in result.err.splitlines()[-2]


class Ungrouped(Dataset):
    """The images of a folder, and no option to group them by."""

    name = "ungrouped"

    def samples(self):
        for path in sorted(self.root.rglob("*.png")):
            place = path.relative_to(self.root).as_posix()
            yield Sample(place, (place,), label=path.parent.name)


class Third:
    """Registers it."""

    @hookimpl
    def register_datasets(self, register):
        register("ungrouped", lambda: Ungrouped)


def test_the_options_label_and_group_are_named_where_there_are_such(histokit, images):
    paths = sorted(each.relative_to(images).as_posix() for each in images.rglob("*.png"))
    (images / "t.csv").write_text("\n".join(["image,kind", *(f"{each},dark" for each in paths)]))
    for label, told in (
        ([], f"(no label {len(paths)}; give them with -o label=COLUMN), "),
        (["-o", "label=kind"], "k 24)"),
    ):
        assert told in histokit.ok("ingest", "table", images, "--name", "listed", "-o", "table=t.csv", *label).err
    told = "without groups: folds may put images of one patient both in training and in test"
    with added_plugin(Third(), "histokit-third"):
        for plugin, hint in (
            ("folder", " (such as -o pattern='{label}/{patient}/**' -o group=patient)"),
            ("ungrouped", ""),
        ):
            err = histokit.ok("ingest", plugin, images, "--name", plugin).err
            (line,) = [line for line in err.splitlines() if "without groups" in line]
            assert line.endswith(told + hint)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({}, "in an archive, such as -o pattern='{label}/{patient}/**' -o group=patient"),
        ({"patient": ["a", "b"], "age": [1, 2]}, "-o group=COLUMN, of patient, age"),
        ({"split": ["train", "test"], "patient": ["a", "b"]}, "-o group=COLUMN, of patient"),
        ({"split": ["train", "test"]}, "in an archive, such as -o pattern='{label}/{patient}/**' -o group=patient"),
    ],
)
def test_columns_that_may_be_groups_are_named(columns, hint, histokit, tmp_path):
    numpy.savez(tmp_path / "a.npz", images=numpy.zeros((2, 8, 8, 3), "uint8"), labels=[0, 1], **columns)
    assert histokit.ok("ingest", "arrays", tmp_path / "a.npz", "--name", "a").err.rstrip().endswith(f"({hint})")


def test_a_broken_plugin_is_not_spoken_of_where_no_plugin_matters(broken, histokit, tmp_path):
    make_store(tmp_path / "store", make_samples()[0], {})
    assert histokit.ok("list", "runs", "--quiet").err == ""


def test_a_name_that_two_plugins_claim_names_both(histokit, images):
    with added_plugin(Second(), "histokit-second"):
        result = histokit.fails("ingest", "folder", images, "--name", "cells", code=ExitCode.PLUGIN)
        assert "registered twice" in result.err
        assert "histokit.datasets" in result.err
        assert "histokit-second" in result.err
        states = {p["name"]: p["state"] for p in histokit.ok("list", "plugins", "--json").document["plugins"]}
        assert (states["folder"], states["table"]) == ("registered twice", "ok")
        assert histokit.ok("ingest", "synthetic", ".", "--name", "drawn").out == "drawn\n"


def test_backbones_are_listed_with_licence_and_what_they_are(histokit):
    found = {b["name"]: b for b in histokit.ok("list", "backbones", "--json").document["backbones"]}
    assert found["resnet50"]["licence"].startswith("BSD-3-Clause")
    assert "ResNet-50" in found["resnet50"]["about"]
    assert (found["uni"]["gated"], found["resnet50"]["gated"], found["texture"]["gated"]) == (True, False, False)
    assert found["timm:"]["about"] == "a prefix: histokit list backbones timm:"
    assert "timm:resnet18" in histokit.ok("list", "backbones", "timm").out.split()


def test_layers_are_listed_in_depth_order(histokit):
    layers = histokit.ok("list", "layers", "resnet50", "--json").document["layers"]
    assert len(layers) == 17
    assert (layers[0]["name"], layers[-1]["name"], layers[-1]["alias"]) == ("act1", "layer4.2", "last")
    modules = histokit.ok("list", "layers", "timm:test_resnet", "--modules").out.split()
    assert "layer1.0" in modules


@pytest.mark.parametrize("name", ["synthetic", "texture", "timm:test_resnet"])
def test_plugins_pass_their_checks_without_an_option(histokit, name):
    document = histokit.ok("plugins", "check", name, "--json").document
    assert document["passed"] is True
    assert len(document["checks"]) > 10
    assert all(check["passed"] for check in document["checks"])


def test_a_dataset_plugin_is_checked_on_data(histokit, images):
    options = ["-o", "pattern={patient}/{label}/*.png", "-o", "group=patient"]
    assert histokit.ok("plugins", "check", "folder", images, *options).out.count("\n ok ") == 29
    assert "ROOT" in histokit.fails("plugins", "check", "folder", code=ExitCode.USAGE).err
    assert "resnet18" in histokit.fails("plugins", "check", "timm:resnet188", code=ExitCode.PLUGIN).err


@pytest.mark.parametrize(
    ("given", "untaken"),
    [
        ((".png", "ROOT", "-o", "bits=12"), "-o"),
        ((".png", "ROOT", "--weights", "random"), "--weights"),
        (("texture", "ROOT"), "ROOT"),
        (("timm:test_resnet", "ROOT", "-o", "size=3"), "ROOT and -o"),
        (("synthetic", "--weights", "random"), "--weights"),
    ],
)
def test_what_a_plugin_of_its_kind_does_not_take_is_not_passed_over(histokit, images, given, untaken):
    asked = [images if word == "ROOT" else word for word in given]
    refused = histokit.fails("plugins", "check", *asked, code=ExitCode.USAGE).err
    assert f"which takes no {untaken}.\nLeave out {untaken}. " in refused


def test_a_plugin_that_fails_a_check_is_code_3(histokit, images):
    options = ["-o", "pattern={patient}/{label}/*.png", "-o", "classes=dark"]
    result = histokit("plugins", "check", "folder", images, *options)
    assert result.code == ExitCode.PLUGIN
    assert "FAILED" in result.out


def test_doctor_finds_this_machine_in_order(histokit):
    findings = histokit.ok("doctor", "--json").document["findings"]
    topics = {finding["topic"] for finding in findings}
    assert {"version", "device", "weights", "dataset plugin", "backbone"} <= topics
    wrong = [finding for finding in findings if not finding["ok"]]
    assert all(f["topic"] == "backbone" and "weights are not on this machine" in f["value"] for f in wrong)


PRINTING = """
import os, subprocess, sys
from histokit import cli
from histokit.datasets.synthetic import Synthetic
from histokit.plugin import hookimpl
from histokit.plugin.testing import added_plugin

def shout(what):
    print("python", what)
    os.write(1, f"file {what}\\n".encode())
    subprocess.run(["sh", "-c", f"echo process {what}"], check=True)

class Loud(Synthetic):
    name = "loud"

    def samples(self):
        shout("samples")
        yield from super().samples()

    def read(self, sample):
        shout("read")
        return super().read(sample)

class Plugin:
    @hookimpl
    def register_datasets(self, register):
        shout("register")
        register("loud", lambda: Loud)

if __name__ == "__main__":
    with added_plugin(Plugin()):
        cli.main(sys.argv[1:])
"""


def test_what_plugins_and_their_processes_print_goes_to_stderr(tmp_path):
    environment = {"HISTOKIT_STORE": str(tmp_path / "store")}
    made = ["ingest", "loud", ".", "--name", "d", "-o", "slides=2", "-o", "per_slide=2", "--json"]
    for command in (made, ["extract", "d", "--backbone", "texture", "--layers", "stain", "--json"]):
        # The plugin is registered before the command line begins: what it says then is the script's.
        done = run_process(*command, code=PRINTING, environment=environment)
        assert done.returncode == 0, done.stderr
        head, brace, rest = done.stdout.partition("{\n")
        assert json.loads(brace + rest)
        assert "samples" not in head
        assert "read" not in head
        what = "samples" if command is made else "read"
        assert {f"file {what}", f"process {what}"} <= set(done.stderr.splitlines())
    assert "python read" in done.stderr


CLOSING = """
import contextlib, os, sys
from histokit import cli
from histokit.datasets.synthetic import Synthetic
from histokit.plugin import hookimpl
from histokit.plugin.manager import _ADDED

def spoil():
    for close in (
        lambda: sys.stdout.close(),
        lambda: sys.stderr.close(),
        lambda: sys.stdout.buffer.close(),
        lambda: sys.stderr.buffer.close(),
        lambda: sys.__stdout__.close(),
        lambda: sys.__stderr__.close(),
        lambda: os.close(1),
        lambda: os.close(2),
    ):
        with contextlib.suppress(Exception):
            close()
    sys.stdout = sys.stderr = None

class Closing(Synthetic):
    name = "closing"

    def samples(self):
        spoil()
        yield from super().samples()

    def read(self, sample):
        spoil()
        return super().read(sample)

class Plugin:
    @hookimpl
    def register_datasets(self, register):
        register("closing", lambda: Closing)

def load():
    spoil()
    return Plugin()

if __name__ == "__main__":
    _ADDED.append(("closing", "closing 1", load))
    cli.main(sys.argv[1:])
"""


def test_streams_that_plugins_close_are_opened_again(tmp_path):
    environment = {"HISTOKIT_STORE": str(tmp_path / "store")}
    made = ["ingest", "closing", ".", "--name", "d", "-o", "slides=2", "-o", "per_slide=2", "--json"]
    for command in (made, ["extract", "d", "--backbone", "texture", "--layers", "stain", "--json"]):
        done = run_process(*command, code=CLOSING, environment=environment)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
        assert ("4 samples" if command is made else "stain") in done.stderr
    done = run_process("extract", "nothing", "--backbone", "texture", "--json", code=CLOSING, environment=environment)
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["code"] == 5
    assert "error: " in done.stderr
