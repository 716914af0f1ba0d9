"""Numbers that were published of a dataset, against the copy at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from histokit.plugin import Sample
from histokit.store import Store
from tests import lab_plugin
from tests.lab_plugin import Lab, draw_images


class Published(Lab):
    """Two slides, of which one was cut into two samples."""

    licence = "CC BY 4.0"
    citation = "Someone (2020), Slides of two kinds."
    columns: ClassVar[dict[str, type]] = {"slide": str}
    expected: ClassVar[dict[str, Any]] = {
        "samples": 3,
        "images": 2,
        "labels": {"a": 2, "b": 1},
        "slide": 2,
    }

    def samples(self) -> Iterator[Sample]:
        yield Sample("a1", ("a.png",), box=(0, 0, 8, 8), label="a", metadata={"slide": "s"})
        yield Sample("a2", ("a.png",), box=(8, 8, 8, 8), label="a", metadata={"slide": "s"})
        yield Sample("b", ("b.png",), label="b", metadata={"slide": "t"})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_images(tmp_path)


def ingested(images: Path, cls: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    assert lab_plugin.ingest(images, cls) == 0
    return json.loads(capsys.readouterr().out)


def test_a_whole_copy_is_passed_in_silence(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = ingested(images, Published, capsys)
    assert record["warnings"] == []
    assert (record["licence"], record["citation"]) == ("CC BY 4.0", "Someone (2020), Slides of two kinds.")
    assert record["expected"] == Published.expected
    assert Store(images / "store").dataset("d").licence == "CC BY 4.0"


def test_what_is_missing_or_too_much_is_told(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Part(Published):
        def samples(self) -> Iterator[Sample]:
            yield Sample("a1", ("a.png",), label="a", metadata={"slide": "s"})
            yield Sample("c", ("a.png",), label="c", metadata={"slide": "s"})

    told = (
        "this copy does not hold what was published: 2 samples in place of 3, 1 images in place of 2, 1 of a in place "
        "of 2, 0 of b in place of 1, 1 of c in place of 0, 1 values of slide in place of 2"
    )
    assert lab_plugin.ingest(images, Part) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["warnings"] == [told]
    assert f"warning: {told}" in " ".join(err.split())


def test_what_it_may_be_used_for_is_listed(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from histokit import cli

    for cls, shown in ((Lab, False), (Published, True)):
        ingested(images, cls, capsys)
        assert cli.run(["list", "datasets", "--store", str(images / "store")]) == 0
        out = capsys.readouterr().out
        assert ("licence" in out, "CC BY" in out) == (shown, shown)


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ({"slides": 2}, "'slides', which is none of samples, images, labels, slide"),
        ({"samples": -1}, "a mapping of names → numbers"),
        ({"samples": "3"}, "a mapping of names → numbers"),
        ({"labels": {"a": 1.5}}, "a mapping of names → numbers"),
        ([3], "a mapping of names → numbers"),
    ],
)
def test_what_cannot_be_expected(images: Path, capsys: pytest.CaptureFixture[str], expected: Any, reason: str) -> None:
    wrong = type("Wrong", (Published,), {"expected": expected})
    assert lab_plugin.ingest(images, wrong) == 3
    assert reason in json.loads(capsys.readouterr().out)["error"]["message"]
