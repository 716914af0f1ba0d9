"""A JSON file beside weights."""

import pytest

from histokit.errors import StoreError
from histokit.plugin.backbone import Preprocess
from histokit.plugin.sidecar import beside, preprocess_from

BASE = Preprocess(size=160, interpolation="bicubic")


@pytest.mark.parametrize("name", ["net.json", "net.safetensors.json"])
def test_both_names_are_found(tmp_path, name):
    (tmp_path / name).write_text('{"size": 96}')
    assert beside(tmp_path / "net.safetensors") == {"size": 96}


def test_without_a_file_nothing_changes(tmp_path):
    assert preprocess_from(beside(tmp_path / "net.pth"), BASE, "x") == BASE


@pytest.mark.parametrize(
    "document",
    [
        {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "size": 299, "licence": "MIT"},
        {"preprocess": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "size": 299}},
        {
            "architecture": "net",
            "num_classes": 5,
            "pretrained_cfg": {
                "mean": [0.5, 0.5, 0.5],
                "std": [0.5, 0.5, 0.5],
                "input_size": [3, 299, 299],
                "interpolation": "bicubic",
                "crop_pct": 0.9,
            },
        },
    ],
)
def test_fields_are_set_in_each_form(document):
    found = preprocess_from(document, BASE, "net.json")
    assert found == Preprocess(size=299, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.mark.parametrize(
    ("document", "message"),
    [({"meen": [0.5]}, "no field 'meen'"), ({"interpolation": "cubic"}, "cubic"), ({"size": "big"}, "net.json")],
)
def test_mistakes_are_named(document, message):
    with pytest.raises(StoreError, match=message):
        preprocess_from(document, BASE, "net.json")


@pytest.mark.parametrize("text", ["[1]", "{"])
def test_broken_files(tmp_path, text):
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(StoreError, match=r"net\.json"):
        beside(tmp_path / "net.pth")
