"""The benchmark of GPUs runs without one, on what it says, and compares the same work with what is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import histokit

#: The script forks its loader workers, here in a process that has more than a script would.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:lance is not fork-safe:UserWarning"),
]

NETWORK = "timm:test_vit"
ON_CPU = ("--device", "cpu", "--rounds", 1, "--workers", 0)


def test_it_says_that_there_is_no_gpu(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in run(gpu, "--json", tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["timings"] == {}


def test_it_waits_for_the_gpu_that_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_contenders
    import torch

    waited: list[Any] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: waited.append(device))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    gpu_contenders._free(torch.device("cuda:1"))
    assert waited == [torch.device("cuda:1")]


def test_it_compares_histokit_with_a_script_and_with_the_network(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu
    import gpu_contenders

    monkeypatch.setattr(gpu_contenders, "DRAWN", 2)
    case = gpu.Case(NETWORK, "float32", "last", "png", 40)
    monkeypatch.setitem(gpu.WANTED, case, {gpu.RATE: 0.0, gpu.ALONE: 1e9})
    file = tmp_path / "result.json"
    which = ("--backbone", NETWORK, "--precision", "float32", "--layers", "last", "--format", "png", "--side", 40)
    printed = run(gpu, *ON_CPU, *which, "--images", 5, "--json", file)
    document = json.loads(file.read_text())
    (table,) = document["tables"]
    name = f"{NETWORK}, float32, last, png 40"
    assert [row[0] for row in table["rows"]] == [f"{name}: {one}" for one in ("network alone", "script", "histokit")]
    assert all(row[2] and row[3] for row in table["rows"])
    assert (table["rows"][0][2], table["rows"][1][3]) == ("100%", "1.00")
    assert [row[4:6] for row in table["rows"]] == [["", ""]] * 2 + [
        ["0 images/s; 100000000000% to the network alone", "yes; no"]
    ]
    assert all(text in printed for text in ("network alone", "script", "histokit", "yes; no"))
    (timings,) = document["timings"].values()
    # Three of the five images are copies of two, and go through the network nevertheless.
    assert timings[2]["facts"] == [{"computed": 5, "tables": 1, "notes": []}]
    goals = document["facts"]["wanted"]
    assert [(goal["backbone"], goal["measure"], goal["wanted"]) for goal in goals] == [
        (NETWORK, "images/s", 0.0),
        (NETWORK, "to the network alone", 1e9),
    ]


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_the_script_gives_the_vectors_of_histokit(tmp_path: Path, form: str) -> None:
    import gpu_contenders
    import work

    images = tmp_path / "images"
    work.draw_images(images, 5, 40, form, distinct=2)
    case = gpu_contenders.Case(NETWORK, "float32", "all", form, 40)
    weights = gpu_contenders.weights_for(NETWORK, tmp_path)
    timed = gpu_contenders.scripted_loop(case, weights, "cpu", images, images, tmp_path)
    _, facts = timed()
    store = gpu_contenders._ingested(images, tmp_path, form)
    found = histokit.extract(store, "drawn", NETWORK, weights="random:0")
    with np.load(facts["file"]) as loop:
        assert {f"{NETWORK}/{name}" for name in loop.files if name != "ids"} == set(found.addresses)
        for address in found.addresses:
            features = histokit.open_store(store).features("drawn", address)
            vectors = dict(zip(loop["ids"], loop[address.rpartition("/")[2]], strict=True))
            for name, own in zip(features.sample_ids, features.X, strict=True):
                other = vectors[name]
                # With another interpolation, the cosine is below.
                assert own @ other / np.linalg.norm(own) / np.linalg.norm(other) > 0.99999


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_copies_have_other_bytes_and_the_same_pixels(tmp_path: Path, form: str) -> None:
    import work

    work.draw_images(tmp_path, 7, 20, form, distinct=2)
    paths = sorted(tmp_path.rglob(f"*.{form}"), key=lambda path: path.name)
    assert len({path.read_bytes() for path in paths}) == 7
    pixels = []
    for path in paths:
        with Image.open(path) as image:
            pixels.append(np.asarray(image))
            comment = image.info.get("comment") or image.info.get("Comment", "").encode()
            number = int(path.stem)
            assert comment == (f"copy {number}".encode() if number > 1 else b"")
    assert not np.array_equal(pixels[0], pixels[1])
    for number, copy in enumerate(pixels):
        assert np.array_equal(copy, pixels[number % 2])
        assert paths[number].parent.name == str(number % 2)
    work.draw_images(tmp_path / "all", 7, 20, form)
    assert len({np.asarray(Image.open(path)).tobytes() for path in (tmp_path / "all").rglob(f"*.{form}")}) == 7


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (
            (),
            [
                "resnet50, bfloat16, last, jpg 224",
                "resnet50, bfloat16, all, jpg 224",
                "resnet50, float32, all, jpg 224",
                "densenet201, bfloat16, all, jpg 224",
                "timm:vit_large_patch16_224, bfloat16, last, jpg 224",
            ],
        ),
        (
            ("--backbone", "vgg16", "--format", "png", "--format", "jpg", "--layers", "all"),
            [f"vgg16, {kind}, all, {form} 224" for form in ("png", "jpg") for kind in ("bfloat16", "float32")],
        ),
        (
            ("--side", "1000", "--precision", "float32", "--compile", "--layers", "last"),
            [
                f"{name}, float32, last, jpg 1000, compiled"
                for name in ("resnet50", "densenet201", "timm:vit_large_patch16_224")
            ],
        ),
    ],
)
def test_options_replace_what_is_wanted_without_any(
    run: Any, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], names: list[str]
) -> None:
    import gpu

    seen: list[Any] = []
    monkeypatch.setattr(gpu, "measured", lambda case, options, folder: seen.append(case) or result(gpu, case))
    run(gpu, "--device", "cpu", *words)
    assert [str(case) for case in seen] == names
    assert {gpu.count_of(case, None) for case in seen} == {8_192 if "--side" in words else 50_000}
    assert gpu.count_of(seen[0], 7) == 7


def result(gpu: Any, case: Any, seconds: tuple[float, float, float] = (4.0, 20.0, 5.0)) -> Any:
    """Made-up timings of 50,000 images: of the network alone, the script and histokit."""
    from common import Timing

    return gpu.Result(case, *(Timing(name, 50_000, seconds=[s]) for name, s in zip("asw", seconds, strict=True)))


def test_what_is_wanted_and_what_is_reached() -> None:
    import gpu

    last, all_layers, exact, _, vit = gpu.WANTED
    row = result(gpu, last).rows()[-1]
    assert row[1:6] == ["10,000", "80%", "4.00", "9,000 images/s; 3.00 to the script", "yes; yes"]
    row = result(gpu, all_layers, (4.0, 20.0, 10.0)).rows()[-1]
    assert row[1:6] == ["5,000", "40%", "2.00", "5,500 images/s; 3.00 to the script", "no; no"]
    assert result(gpu, exact).rows()[-1][4:6] == ["85% to the network alone", "no"]
    assert result(gpu, vit, (4.0, 20.0, 4.2)).rows()[-1][4:6] == ["90% to the network alone", "yes"]
    other = result(gpu, last._replace(form="png"))
    assert [r[4:6] for r in other.rows()] == [["", ""]] * 3


def test_what_was_measured_is_kept_and_told_where_the_rest_fails(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu

    seen: list[Any] = []

    def measured(case: Any, _options: Any, _folder: Any) -> Any:
        if seen:
            raise RuntimeError("out of time")
        seen.append(case)
        return result(gpu, case)

    monkeypatch.setattr(gpu, "measured", measured)
    with pytest.raises(RuntimeError, match="out of time"):
        run(gpu, "--device", "cpu", "--json", tmp_path / "result.json")
    document = json.loads((tmp_path / "result.json").read_text())
    assert [len(table["rows"]) for table in document["tables"]] == [3]
    assert [goal["reached"] for goal in document["facts"]["wanted"]] == [10_000, 4]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    wanted = "(wanted: 9,000 images/s; 3.00 to the script; reached: yes; yes)"
    assert told[-1].strip() == f"resnet50, bfloat16, last, jpg 224: w  10,000 images/s  {wanted}"


def test_a_compiled_case_compiles_histokit_and_the_network_alone(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu
    import torch

    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda module, **_: compiled.append(module) or module)
    which = ("--backbone", NETWORK, "--precision", "float32", "--layers", "last", "--side", 40, "--compile")
    file = tmp_path / "result.json"
    run(gpu, *ON_CPU, *which, "--images", 2, "--json", file)
    # The network alone; histokit to warm up and once more; not the script.
    assert len(compiled) == 3
    (timings,) = json.loads(file.read_text())["timings"].values()
    assert timings[2]["facts"][0]["notes"] == []
