"""What a plugin raises or gives wrongly is told as the plugin's fault, whatever it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histokit import cli
from histokit.plugin import Backbone, Layer, Preprocess, PublishedSplit, Sample, SplitRow, calls, hookimpl
from histokit.plugin.manager import added_plugin
from tests.lab_plugin import Lab, Plugin, draw_images, ingest, last_message, raising, run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_images(tmp_path)


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


@pytest.mark.parametrize(("needs", "root"), [(True, " ROOT"), (False, "")])
def test_the_check_that_is_advised_is_typed_with_what_it_needs(
    images: Path, capsys: Any, needs: bool, root: str
) -> None:
    class Odd(Lab):
        needs_data = needs

        def samples(self):
            yield from (replace(sample, metadata={"slide": 1}) for sample in super().samples())

    assert ingest(images, Odd) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["next"] == f"Tell its author, or see: histokit plugins check lab{root}"


A = ("a.png",)
ROWS = [(0, 0, "a", "train"), (0, 0, "b", "test")]


class Mute:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


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
        ("splits", lambda self: {"s": PublishedSplit([SplitRow(0, 0, "a", 5)])}, "the role 5"),
        ("splits", lambda self: {"s": PublishedSplit(ROWS, leaks=0.5)}, "leaks=0.5, which is no text"),
        ("splits", lambda self: {"s": PublishedSplit(ROWS, notes="so")}, "notes='so', which are no texts"),
        ("splits", lambda self: {"s": PublishedSplit(ROWS, notes=[1])}, "notes=[1], which are no texts"),
        ("splits", lambda self: {"s": PublishedSplit(ROWS, group="well")}, "the group 'well', which is no column"),
        ("splits", lambda self: {"s": PublishedSplit([SplitRow(0, 0, "a", "trian")])}, "the role 'trian'"),
        ("samples", lambda self: [Mute()], "in place of a Sample"),
        ("samples", lambda self: [Sample(Mute(), A)], "which is no text"),
        ("fit", raising(SilentError()), "failed in fit(): SilentError"),
        ("fit", lambda self: {"mean": np.ones(3)}, "what JSON cannot hold"),
        ("fit", lambda self: {"plates": [{7: 0.5}]}, "the key 7, which JSON makes the text '7': write texts"),
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


def test_a_function_that_finds_nothing_does_not_end_the_samples(images: Path, capsys: Any) -> None:
    known = {"a": "x"}

    class Mapped(Lab):
        def samples(self):
            return map(self.sample, super().samples())

        def sample(self, sample):
            return replace(sample, label=next(label for name, label in known.items() if name == sample.id))

    class Stepping(Lab):
        def samples(self):
            self.left = list(super().samples())
            return self

        def __iter__(self):
            return self

        def __next__(self):
            return self.step()

        def step(self):
            if not self.left:
                raise StopIteration
            return self.left.pop()

    class Pooled(Lab):
        def samples(self):
            return pool.imap(lambda name: Sample(name, (f"{name}.png",), label=name), "ab")

    assert ingest(images, Mapped) == 3
    assert "failed in samples(): RuntimeError: StopIteration before the end" in last_message(capsys)
    with ThreadPool(1) as pool:
        for ending in (Stepping, Pooled):
            assert ingest(images, ending) == 0
            assert json.loads(capsys.readouterr().out)["count"] == 2


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


def test_what_is_fitted_is_ingested_with_as_the_store_gives_it_back(images: Path, capsys: Any) -> None:
    class Fitted(Lab):
        def fit(self):
            return {"limits": (1, 2)}

        def samples(self):
            for sample in super().samples():
                yield Sample(sample.id, sample.image, label=repr(self.state["limits"]), metadata=sample.metadata)

        def splits(self):
            return {}

    assert ingest(images, Fitted) == 0
    capsys.readouterr()
    assert run(images, Fitted, "list", "samples", "d") == 0
    found = json.loads(capsys.readouterr().out)["samples"]
    assert {sample["label"] for sample in found} == {"[1, 2]"}


def test_rows_as_tuples_and_numbers_of_numpy_are_taken(images: Path, capsys: Any) -> None:
    class Plain(Lab):
        def samples(self):
            for sample in super().samples():
                yield Sample(sample.id, sample.image, box=tuple(np.array([0, 0, 8, 8])), metadata=sample.metadata)

        def splits(self):
            return {"s": PublishedSplit([(np.int64(0), 0, "a", "train"), (0, 0, "b", "test")], leaks="all of it")}

    assert ingest(images, Plain) == 0
    capsys.readouterr()
    assert run(images, Plain, "list", "splits", "d") == 0
    (split,) = json.loads(capsys.readouterr().out)["splits"]
    assert (split["name"], split["leaks"]) == ("s", "all of it")


class Tiny(Backbone):
    """One convolution."""

    @property
    def network(self):
        import torch

        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))

    def build(self):
        return self.network


class BackbonePlugin(Plugin):
    @hookimpl
    def register_backbones(self, register: Any) -> None:
        register("tiny", self.made)

    def made(self, request: Any) -> Backbone:
        made = self.backbone(request.name, [Layer("0", "0")], Preprocess(size=16), weights="none")
        for name, value in self.values.items():
            setattr(made, name, value)
        return made

    def __init__(self, backbone: type[Backbone], **values: Any):
        super().__init__(Lab)
        self.backbone, self.values = backbone, values


def extract(images: Path, capsys: Any, plugin: BackbonePlugin, layers: str = "last") -> int:
    assert ingest(images, Lab) == 0
    capsys.readouterr()
    command = ["extract", "d", "--backbone", "tiny", "--layers", layers, "--device", "cpu"]
    with added_plugin(plugin, "labplugin"):
        return cli.run([*command, "--store", str(images / "store"), "--json"])


def forward_of(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that builds a network whose convolution comes before something else."""

    def build(self: Tiny) -> Any:
        import torch

        return torch.nn.Sequential(type("Odd", (torch.nn.Module,), {"forward": forward})(), *self.network)

    return build


@pytest.mark.parametrize(
    "error", [SystemExit(0), Strange("odd"), KeyError("k"), SilentError()], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize(
    "method", ["build", "weights_file", "prefix_tokens", "layer", "forward", "layers", "weights_notes"]
)
def test_what_a_backbone_raises_is_the_plugins(images: Path, capsys: Any, method: str, error: BaseException) -> None:
    given = raising(error)
    if method in ("layers", "weights_notes"):
        # Written by the base class's constructor: so it may be set.
        members: dict[str, Any] = {method: property(given, lambda self, value: None)}
    else:
        members = {"build": forward_of(given)} if method == "forward" else {method: given}
    assert extract(images, capsys, BackbonePlugin(type("Broken", (Tiny,), members))) == 3
    message = last_message(capsys)
    assert "The backbone 'tiny' of labplugin 0 (labplugin) failed in " in message
    assert method in message
    assert type(error).__name__ in message


@pytest.mark.parametrize(
    ("method", "value", "said"),
    [
        ("build", None, "gave NoneType None in place of a torch.nn.Module in build()"),
        ("build", 5, "gave int 5 in place of a torch.nn.Module in build()"),
        ("build", Tiny, "in place of a torch.nn.Module in build()"),
        ("weights_file", 5, "gave int 5 in place of a path or None in weights_file()"),
        ("weights_file", "/nope", "gave '/nope', which is no file in weights_file()"),
        ("prefix_tokens", "1", "gave str '1' in place of a count in prefix_tokens()"),
        ("layer", None, "gave NoneType None in place of a Layer in layer('last')"),
        ("layers", None, "gave NoneType None in place of a sequence of Layer in layers"),
        ("layers", 5, "gave int 5 in place of a sequence of Layer in layers"),
        ("layers", [], "gave no layers"),
        ("layers", ["0"], "gave str '0' in place of a Layer in layers"),
        ("layers", [Layer(None, "0")], "whose name, module and pool are not all texts in layers"),
        ("preprocess", None, "gave NoneType None in place of a Preprocess in preprocess"),
        ("preprocess", 5, "gave int 5 in place of a Preprocess in preprocess"),
        ("name", 5, "gave int 5 in place of a text, 'tiny' or another name of tiny in its attribute name"),
        ("name", "resnet18", "gave str 'resnet18' in place of a text, 'tiny'"),
        ("licence", {1}, "gave set {1} in place of a text, or None in its attribute licence"),
        ("weights", 5, "in its attribute weights"),
        ("preprocess_origin", None, "in its attribute preprocess_origin"),
        ("preprocess", Preprocess(size=16.5), "whose fields are of the types that it documents"),  # type: ignore[arg-type]
        ("notes", 5, "gave int 5 in place of a sequence of texts in its attribute notes"),
        ("undeclared", ["meen"], "in its attribute undeclared"),
        ("layers", [Layer("0", "0"), Layer("0", "0", "max")], "gave two layers of the name '0' in layers"),
        ("layers", [Layer("a/b", "0")], "gave the name 'a/b', which no address can hold in layers"),
        ("layers", [Layer("all", "0"), Layer("0", "0")], "gave the name 'all', which no address can hold"),
        ("layers", [Layer("0", "0", "average")], "the layer '0' with the pooling 'average', not avg, max"),
        ("layers", [Layer("head", "head")], "gave 'head', whose module 'head' the network does not have in layers"),
    ],
)
@pytest.mark.parametrize("layers", ["last", "all"])
def test_what_a_backbone_gives_wrongly_is_the_plugins(
    images: Path, capsys: Any, method: str, value: Any, said: str, layers: str
) -> None:
    given = (lambda *_: value) if callable(getattr(Tiny, method, None)) else value
    if method == "layer" and layers == "all":
        pytest.skip("all asks for last as well")
    assert extract(images, capsys, BackbonePlugin(Tiny, **{method: given}), layers) == 3
    message = last_message(capsys)
    assert "The backbone 'tiny' of labplugin 0" in message
    assert said in message


def test_a_network_that_does_not_run_names_its_plugin_and_prints_to_stderr(images: Path, capsys: Any) -> None:
    def loud(_: Any, batch: Any) -> Any:
        print("forward")
        return batch

    class Loud(Tiny):
        def build(self):
            print("building")
            return forward_of(loud)(self)

    assert extract(images, capsys, BackbonePlugin(Loud), "1") == 0
    captured = capsys.readouterr()
    assert "building" not in captured.out
    assert "forward" not in captured.out
    assert "building\nforward" in captured.err
    assert (
        extract(
            images,
            capsys,
            BackbonePlugin(type("Refusing", (Tiny,), {"build": forward_of(raising(ValueError("small")))})),
        )
        == 3
    )
    assert "The backbone 'tiny' of labplugin 0 (labplugin) failed in forward(): ValueError: small" in last_message(
        capsys
    )


def module_of(**members: Any) -> Callable[..., Any]:
    """Return a method that builds the convolution as a module with members of its own."""

    def build(self: Tiny) -> Any:
        import torch

        return type("Odd", (torch.nn.Sequential,), members)(*self.network)

    return build


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"eval": raising(SystemExit(0))}, "failed in build(): SystemExit"),
        ({"train": raising(KeyError("k"))}, "failed in build(): KeyError"),
        ({"requires_grad_": raising(KeyError("k"))}, "failed in build(): KeyError"),
        ({"named_modules": raising(KeyError("k"))}, "failed in build(): KeyError"),
        ({"to": raising(KeyError("k"))}, "failed in to(): KeyError"),
        ({"column_names": property(lambda self: iter("abcd"))}, "in place of a sequence of texts"),
        ({"column_names": 5}, "gave int 5 in place of a sequence of texts in column_names"),
        ({"column_names": [5]}, "in place of a sequence of texts in column_names"),
        ({"column_names": ["a"]}, "gave 1 names of the 4 features of 'top' in column_names"),
        ({"column_names": property(raising(KeyError("k")))}, "column_names"),
    ],
)
def test_what_a_network_does_wrongly_is_the_plugins(
    images: Path, capsys: Any, members: dict[str, Any], said: str
) -> None:
    plugin = BackbonePlugin(type("Wrong", (Tiny,), {"build": module_of(**members)}), layers=[Layer("top", "")])
    assert extract(images, capsys, plugin) == 3
    message = last_message(capsys)
    assert "The backbone 'tiny' of labplugin 0" in message
    assert said in message


@pytest.mark.parametrize("wrapped", [False, True])
def test_rows_of_channels_of_a_cut_point_are_the_plugins(images: Path, capsys: Any, wrapped: bool) -> None:
    """A mean over (N, C, L) as over (N, T, C) would be one over channels."""
    from torch import nn

    def turned() -> nn.Module:
        row = nn.Conv1d(4, 6, 1)
        return nn.Sequential(row, nn.BatchNorm1d(6), nn.ReLU()) if wrapped else row

    network = property(lambda _: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2), turned()))
    plugin = BackbonePlugin(type("Rows", (Tiny,), {"network": network}), layers=[Layer("2", "2")])
    assert extract(images, capsys, plugin) == 3
    message = last_message(capsys)
    assert "The backbone 'tiny' of labplugin 0" in message
    assert "whose channels come first: Conv1d computes along the last axis" in message


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda _, batch: batch[:1], "gave 1 vectors for "),
        (lambda _, batch: batch[:1].repeat(700, 1, 1, 1), "gave 700 vectors for "),
        (lambda _, batch: batch[:, :0], "gave vectors of 0 features in the layer '0'"),
        (lambda _, batch: batch.to("meta"), "gave vectors on the device meta"),
        (lambda _, batch: "map", "gives a str, not a tensor"),
        (lambda _, batch: endless(), "gives a list, not a tensor"),
        (lambda _, batch: batch * 1j, "gives complex numbers"),
        (lambda _, batch: batch.sum(), "gives shape ()"),
        (lambda _, batch: batch.permute(0, 2, 3, 1), "whose channels come last"),
    ],
)
def test_what_a_cut_point_gives_wrongly_is_the_plugins(
    images: Path, capsys: Any, forward: Callable[..., Any], said: str
) -> None:
    def build(_: Tiny) -> Any:
        import torch

        return torch.nn.Sequential(type("Odd", (torch.nn.Module,), {"forward": forward})())

    assert extract(images, capsys, BackbonePlugin(type("Wrong", (Tiny,), {"build": build}))) == 3
    message = last_message(capsys)
    assert message.startswith("The backbone 'tiny' of labplugin 0")
    assert "in forward()" in message
    assert said in message


def endless() -> list[Any]:
    """Return a list that holds itself."""
    found: list[Any] = []
    found.append(found)
    return found


class Word(str):
    __hash__ = __eq__ = __str__ = __repr__ = raising(RuntimeError("no word"))


@pytest.mark.parametrize("name", ["name", "version", "licence", "weights", "preprocess_origin"])
def test_a_text_that_misbehaves_is_the_plugins(images: Path, capsys: Any, name: str) -> None:
    assert extract(images, capsys, BackbonePlugin(Tiny, **{name: Word("tiny")})) == 3
    message = last_message(capsys)
    assert f"The backbone 'tiny' of labplugin 0 (labplugin) failed in its attribute {name}" in message
