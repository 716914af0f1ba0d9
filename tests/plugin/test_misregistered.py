"""What plugins register, and how those that cannot be loaded, listed or checked are told of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from histokit import cli
from histokit.plugin import Backbone, Layer, Preprocess, hookimpl, manager
from histokit.plugin.manager import added_plugin, discover
from histokit.study.doctor import examine
from tests.lab_plugin import OWNER, Lab, draw_images, last_message, raising, run


class Hooks:
    """Calls `register` with what it is given."""

    def __init__(self, *datasets: tuple[Any, ...], backbones: tuple[tuple[Any, ...], ...] = ()):
        self.datasets, self.backbones = datasets, backbones

    @hookimpl
    def register_datasets(self, register: Any) -> None:
        for arguments in self.datasets:
            register(*arguments)

    @hookimpl
    def register_backbones(self, register: Any) -> None:
        for arguments in self.backbones:
            register(*arguments)


def load() -> Any:
    return Lab


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((None, load), "name=NoneType None, which is not a text"),
        ((5, 5), "name=int 5, which is not a text"),
        (("x", 5), "load=int 5, which is not a function"),
        (("x", None), "load=NoneType None, which is not a function"),
        (("", load), "which is empty"),
        (("a b", load), "which holds ' '"),
        (("a/b", load), "which holds '/'"),
        (("a\n", load), "control characters"),
        (("x:", load, 5), "names=int 5, which is not a function, or None"),
        (("x", load, None, 5), "about=int 5, which is not a mapping of texts"),
        (("x", load, None, {"about": 5}), "which is not a mapping of texts"),
        (("x", load, None, {"seen": {1}}), "which is not a mapping of texts"),
        ((), "missing 2 required positional arguments"),
    ],
)
@pytest.mark.parametrize("kind", ["datasets", "backbones"])
def test_a_plugin_that_registers_wrongly_is_left_out(arguments: tuple[Any, ...], said: str, kind: str) -> None:
    hooks = Hooks(arguments) if kind == "datasets" else Hooks(backbones=(arguments,))
    found = discover([("odd", "odd 1", lambda: hooks)])
    (broken,) = found.broken
    assert said in broken.reason
    assert not found.datasets
    assert not found.backbones


def passed_over(register: Any) -> None:
    register("x", load)


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"register_datasets": passed_over}, "register_datasets is not marked as a hook: write @hookimpl above it"),
        (
            {"register_datasets": hookimpl(lambda register: None), "register_readers": passed_over},
            "register_readers is not marked as a hook",
        ),
    ],
)
def test_a_plugin_whose_hooks_would_be_passed_over_is_left_out(hooks: dict[str, Any], said: str) -> None:
    module = ModuleType("odd")
    vars(module).update(hooks)
    found = discover([("odd", "odd 1", lambda: module)])
    (broken,) = found.broken
    assert said in broken.reason
    assert str(broken).endswith("pip uninstall odd")


def test_what_comes_with_histokit_and_is_broken_is_not_to_be_uninstalled() -> None:
    module = ModuleType("odd")
    vars(module).update(register_datasets=passed_over)
    (broken,) = discover([("histokit.datasets", "histokit 1", lambda: module)]).broken
    assert "uninstall" not in str(broken)
    assert str(broken).endswith("Install it again.")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail() -> None:
        raise ImportError("no module named 'openslide'")

    monkeypatch.setattr(manager, "_ADDED", [*manager._ADDED, ("labslides", "histokit-slides 0.3", fail)])
    manager.registry.cache_clear()
    yield
    manager.registry.cache_clear()


@pytest.mark.parametrize(
    "command",
    [
        ("plugins", "check", "labslides"),
        ("ingest", "labslides", ".", "--name", "d"),
        ("list", "layers", "labslides"),
    ],
)
def test_errors_tell_why_a_plugin_is_left_out(
    broken: None, tmp_path: Path, capsys: Any, command: tuple[str, ...]
) -> None:
    assert cli.run([*command, "--store", str(tmp_path / "store"), "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    reason = "ImportError: no module named 'openslide'"
    assert f"labslides of histokit-slides 0.3: {reason}" in error["message"]
    known = {"module": "labslides", "distribution": "histokit-slides 0.3", "reason": reason}
    assert error["details"] == {"broken": [known]}


def test_lists_tell_why_a_plugin_is_left_out_and_debug_shows_where(broken: None, capsys: Any) -> None:
    assert cli.run(["list", "plugins", "--json"]) == 0
    captured = capsys.readouterr()
    (left_out,) = json.loads(captured.out)["broken"]
    assert left_out["reason"] == "ImportError: no module named 'openslide'"
    assert "Traceback" not in captured.err
    assert cli.run(["list", "plugins", "--json", "--debug"]) == 0
    assert "in fail\n" in capsys.readouterr().err


@pytest.mark.parametrize("error", [SystemExit(0), KeyError("k"), ValueError("no")], ids=repr)
@pytest.mark.parametrize("method", ["samples", "read", "splits", "fit", "pixel_key", "__init__"])
def test_a_check_of_a_plugin_that_misbehaves_fails(
    tmp_path: Path, capsys: Any, method: str, error: BaseException
) -> None:
    images = draw_images(tmp_path)
    cls = type("Wrong", (Lab,), {method: raising(error)})
    assert run(images, cls, "plugins", "check", "lab", str(images)) == 3
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    document = json.loads(captured.out)
    reasons = [check["reason"] for check in document.get("checks", ())] or [document["error"]["message"]]
    assert any(type(error).__name__ in reason for reason in reasons)


def test_options_whose_types_are_unknown_are_the_plugins(tmp_path: Path, capsys: Any) -> None:
    class Wrong(Lab):
        def __init__(self, root: Path, stain: "Stain" = None):  # noqa: F821, UP037
            super().__init__(root)

    for command in (("ingest", "lab", str(tmp_path), "--name", "d"), ("plugins", "check", "lab", str(tmp_path))):
        assert run(tmp_path, Wrong, *command) == 3
        message = last_message(capsys)
        assert message.startswith(OWNER)
        assert "NameError" in message


def names_of(value: Any) -> Any:
    yield "one"
    yield value


@pytest.mark.parametrize("names", [raising(SystemExit(0)), lambda: 5, lambda: [5], lambda: names_of(None)])
def test_names_behind_a_prefix_are_the_plugins(capsys: Any, names: Any) -> None:
    with added_plugin(Hooks(backbones=(("lab:", load, names),)), "labplugin"):
        assert cli.run(["list", "backbones", "lab:", "--json"]) == 3
    message = last_message(capsys)
    assert message.startswith("The backbone 'lab:' of labplugin 0")
    assert "names()" in message


class Quiet(Backbone):
    """Has weights somewhere."""


BROKEN = {
    "weights-file": {"weights_file": raising(SystemExit(0))},
    "no-file": {"weights_file": lambda self: "/nope"},
    "path-of-none": {"weights_file": lambda self: type("P", (), {"__fspath__": raising(KeyError("p"))})()},
    "layers": {"layers": property(raising(KeyError("l")), lambda self, value: None)},
    "licence": {"licence": property(lambda self: 5, lambda self, value: None)},
    "weights": {"weights": property(raising(SystemExit(0)), lambda self, value: None)},
}


def test_doctor_names_backbones_that_misbehave() -> None:
    def loading(members: dict[str, Any]) -> Any:
        cls = type("Broken", (Quiet,), members)
        return lambda request: cls(request.name, [Layer("0", "0")], Preprocess(size=16), licence="MIT")

    registered = tuple((name, loading(members)) for name, members in BROKEN.items())
    with added_plugin(Hooks(backbones=registered), "labplugin"):
        findings = {finding.name: finding for finding in examine() if finding.topic == "backbone"}
    for name in BROKEN:
        assert not findings[name].ok
        assert f"The backbone '{name}' of labplugin 0 (labplugin) " in findings[name].value
