"""What a plugin raises or gives wrongly is told as the plugin's fault, whatever it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from histokit import cli
from histokit.plugin import Dataset, PublishedSplit, Sample, SplitRow, calls, hookimpl
from histokit.plugin.manager import added_plugin


class Lab(Dataset):
    """Two images of a lab."""

    columns: ClassVar[dict[str, type]] = {"slide": str}

    def samples(self):
        for name in "ab":
            yield Sample(name, (f"{name}.png",), label=name, metadata={"slide": name})


class Plugin:
    def __init__(self, cls: type):
        self.cls = cls

    @hookimpl
    def register_datasets(self, register: Any) -> None:
        register("lab", lambda: self.cls)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number, name in enumerate("ab"):
        pixels = np.full((16, 16, 3), 50 + 100 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def run(images: Path, cls: type, *command: str) -> int:
    with added_plugin(Plugin(cls), "labplugin"):
        return cli.run([*command, "--store", str(images / "store"), "--json"])


def ingest(images: Path, cls: type) -> int:
    return run(images, cls, "ingest", "lab", str(images), "--name", "d")


def raising(error: BaseException) -> Callable[..., Any]:
    def method(*_: Any, **__: Any) -> Any:
        raise error

    return method


class Strange(BaseException):
    pass


METHODS = ("samples", "splits", "fit", "file_digest", "pixel_key")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "error", [ValueError("bad"), SystemExit(0), Strange("odd"), KeyError("k"), StopIteration()], ids=repr
)
def test_what_a_method_raises_is_the_plugins(images: Path, capsys: Any, method: str, error: BaseException) -> None:
    cls = type("Broken", (Lab,), {method: raising(error)})
    assert ingest(images, cls) == 3
    captured = capsys.readouterr()
    message = json.loads(captured.out)["error"]["message"]
    assert "The dataset plugin 'lab' of labplugin 0 failed in" in message
    assert f"{method}()" in message
    assert type(error).__name__ in message
    assert "Traceback" not in captured.err


def test_an_error_in_the_midst_of_samples_and_in_the_constructor(images: Path, capsys: Any) -> None:
    class Half(Lab):
        def samples(self):
            yield from list(super().samples())[:1]
            raise SystemExit(0)

    class Closed(Lab):
        def __init__(self, root):
            raise RuntimeError("no licence")

    assert ingest(images, Half) == 3
    assert "failed in samples(): SystemExit: 0" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert ingest(images, Closed) == 3
    assert (
        "failed in its constructor: RuntimeError: no licence" in json.loads(capsys.readouterr().out)["error"]["message"]
    )


A = ("a.png",)


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("samples", lambda self: [("a", A)], "in place of a Sample"),
        ("samples", lambda self: None, "failed in samples()"),
        ("samples", lambda self: [Sample(7, A, metadata={"slide": "a"})], "the id 7, which is no text"),
        ("samples", lambda self: [Sample("a", "a.png", metadata={"slide": "a"})], "no tuple of paths"),
        ("samples", lambda self: [Sample("a", (Path("a.png"),))], "no tuple of paths"),
        ("samples", lambda self: [Sample("a", A, label=1)], "the label 1, which is no text"),
        ("samples", lambda self: [Sample("a", A, mpp="0.5")], "the mpp '0.5', which is no number"),
        ("samples", lambda self: [Sample("a", A, box=(0, 0, 1.5, 2))], "whole pixels"),
        ("samples", lambda self: [Sample("a", A, box=(0, 0, 0, 2))], "holds no pixel"),
        ("samples", lambda self: [Sample("a", A, box=(0, 0, 9))], "whole pixels"),
        ("samples", lambda self: [Sample("a", A, metadata=None)], "no mapping"),
        ("splits", lambda self: [1], "in place of name → PublishedSplit"),
        ("splits", lambda self: {"s": [("a", "test")]}, "in place of a PublishedSplit"),
        ("splits", lambda self: {"s": PublishedSplit([SplitRow(0, "x", "a", "test")])}, "gave the row"),
        ("splits", lambda self: {"s": PublishedSplit([(0,)])}, "failed in splits()"),
        ("fit", lambda self: {"mean": np.ones(3)}, "what JSON cannot hold"),
        ("file_digest", lambda self, path: "0" * 16, "in place of 16 bytes"),
        ("file_digest", lambda self, path: b"12", "in place of 16 bytes"),
        ("pixel_key", lambda self, sample: None, "in place of bytes"),
    ],
)
def test_what_a_method_gives_wrongly_is_the_plugins(
    images: Path, capsys: Any, method: str, given: Callable[..., Any], said: str
) -> None:
    assert ingest(images, type("Wrong", (Lab,), {method: given})) == 3
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "lab" in message
    assert said in message


def test_what_a_plugin_prints_goes_to_stderr(images: Path, capsys: Any) -> None:
    class Loud(Lab):
        def samples(self):
            for sample in super().samples():
                print("reading", sample.id)
                yield sample

        def read(self, sample):
            print("pixels of", sample.id)
            return super().read(sample)

    assert ingest(images, Loud) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["name"] == "d"
    assert "reading a\nreading b" in captured.err
    assert run(images, Loud, "extract", "d", "--backbone", "texture", "--layers", "stain") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["dataset"] == "d"
    assert "pixels of a" in captured.err
    print("afterwards")
    assert capsys.readouterr().out == "afterwards\n"


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(0), Strange("odd")], ids=repr)
def test_a_sample_that_a_plugin_cannot_read_is_put_aside(images: Path, capsys: Any, error: BaseException) -> None:
    class Picky(Lab):
        def read(self, sample):
            if sample.id == "a":
                raise error
            return super().read(sample)

    assert ingest(images, Picky) == 0
    capsys.readouterr()
    assert run(images, Picky, "extract", "d", "--backbone", "texture", "--layers", "stain") == 4
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["id"] == "a"
    assert "The dataset plugin 'lab' of labplugin 0 failed in read() for the sample 'a'" in problem["reason"]


def test_a_call_that_hangs_is_named(images: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    class Slow(Lab):
        def fit(self):
            time.sleep(0.8)

    monkeypatch.setattr(calls, "PATIENCE", 0.1)
    monkeypatch.setattr(calls, "_watch", calls._Watch())
    assert ingest(images, Slow) == 0
    assert "fit() of the dataset plugin 'lab' of labplugin 0 has not come back" in capsys.readouterr().err


def test_a_plugin_that_exits_when_it_is_imported_is_left_out(images: Path, capsys: Any) -> None:
    from histokit.plugin.manager import discover

    for error in (SystemExit(0), Strange("odd"), ImportError("no lib")):
        found = discover([("bad", "bad 1", raising(error))])
        assert [(b.module, type(error).__name__ in b.reason) for b in found.broken] == [("bad", True)]
    assert sys.stdout.__class__.__name__ != "_Router"
