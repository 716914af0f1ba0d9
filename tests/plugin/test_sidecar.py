"""A JSON file beside weights."""

import pytest

from histokit.errors import DataError
from histokit.plugin.preprocess import Preprocess
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
    [
        ({"meen": [0.5]}, r"no field 'meen'"),
        ({"interpolation": "cubic"}, r'interpolation is "cubic", not one of bilinear'),
        ({"resize": ["squash"]}, r'resize is \["squash"\], not one of squash'),
        ({"size": "big"}, r'size is "big", not a whole number'),
        ({"size": True}, r"size is true, not a whole number"),
        ({"size": 0}, r"size is 0, not a whole number"),
        ({"size": 10**8}, r"size is 100000000, not a whole number of 1 to 8,192"),
        (
            {"mean": [123.7, 116.3, 103.5]},
            r"mean is \[123\.7, 116\.3, 103\.5\]\. .* divide a mean .* 255",
        ),
        ({"mean": [1.7, 0.2, 0.1]}, r"divide a mean .* by 255"),
        ({"mean": [0.5] * 3, "std": [58.4, 57.1, 57.4]}, r"divide a std .* by 255"),
        ({"pretrained_cfg": {"mean": [128, 128, 128]}}, r"divide a mean .* by 255"),
        ({"architecture": "net", "input_size": [3, 10**8, 10**8]}, r"input_size is 100000000, not a whole number"),
        ({"architecture": "net", "input_size": [3, 224, 448]}, r"\[3, 224, 448\], not of an equal height and width"),
        ({"architecture": "net", "resize": "stretch"}, r'resize is "stretch", not one of'),
        ({"size": [224, 224]}, r"size is \[224, 224\], not a whole number"),
        ({"mean": 0.5}, r"mean is 0\.5, not a list of numbers"),
        ({"mean": "0.5,0.5,0.5"}, r'mean is "0\.5,0\.5,0\.5", not a list of numbers'),
        ({"std": ["1", "1", "1"]}, r'std is \["1", "1", "1"\], not a list of numbers'),
        ({"std": []}, r"std is \[\], not a list of numbers"),
        ({"mean": [10**400] * 3}, r"mean is \[1000"),
        ({"std": [0.0, 1.0, 1.0]}, r"std=\(0\.0, 1\.0, 1\.0\) is impossible"),
        ({"mean": [0.5]}, r"is impossible"),
        ({"channels": "DNA"}, r'channels is "DNA", not a list of names'),
        ({"transforms": ["greyscale"]}, r'transforms is \["greyscale"\], not a list such as'),
        ({"transforms": 5}, r"transforms is 5, not a list such as"),
        ({"target_mpp": "fine"}, r'target_mpp is "fine", not a number'),
        ({"target_mpp": -1}, r"is impossible"),
        ({"preprocess": [1, 2]}, r"preprocess is \[1, 2\], not a JSON object"),
        ({"preprocess": {"mean": 1}}, r"mean is 1, not a list"),
        ({"pretrained_cfg": 5}, r"pretrained_cfg is 5, not a JSON object"),
        ({"pretrained_cfg": {"mean": 0.5}}, r"mean is 0\.5, not a list"),
        ({"pretrained_cfg": {"input_size": 224}}, r"input_size is 224, not channels, height and width"),
        ({"architecture": "net", "interpolation": "sinc"}, r'interpolation is "sinc", not one of'),
    ],
)
def test_mistakes_are_named_with_file_and_field(document, message):
    with pytest.raises(DataError, match=rf"net\.json: .*{message}") as caught:
        preprocess_from(document, BASE, "net.json")
    assert caught.value.next


@pytest.mark.parametrize(
    "document",
    [
        {"mean": [0.0, 0.0, 0.0], "std": [1 / 255, 1 / 255, 1 / 255]},
        {"mean": [1.0, 0.0, -1.0], "std": [1.0, 2.0, 1.0]},
        {"size": 4096},
    ],
)
def test_statistics_that_may_be_meant_are_taken(document):
    found = preprocess_from(document, BASE, "net.json").to_json()
    assert {name: found[name] for name in document} == document


def test_timms_form_may_hold_fields_of_ours_and_a_mark_of_its_encoding(tmp_path):
    path = tmp_path / "net.json"
    path.write_text('{"architecture": "net", "input_size": [3, 64, 64], "size": 96, "resize": "none"}', "utf-8-sig")
    found = preprocess_from(beside(tmp_path / "net.pth"), BASE, "net.json")
    assert (found.size, found.resize) == (96, "none")


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 50_000, "0.5", '"x"', "null"])
def test_broken_files(tmp_path, text):
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(DataError, match=r"net\.json"):
        beside(tmp_path / "net.pth")
