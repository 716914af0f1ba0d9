from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import histokit
from histokit.datasets.arrays import Arrays
from histokit.errors import DataError, UsageError
from histokit.plugin.testing import check_dataset
from tests.datasets.arrays_files import pixels

ONE_OF_2 = "1 file is missing of the 2 that train-*-of-00002.parquet should be:"
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["stroma", "tumour", "fat"], "_type": "ClassLabel"},
    "stain": {"names": ["HE", "IHC"], "_type": "ClassLabel"},
    "slide": {"dtype": "string", "_type": "Value"},
}


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def hugging_face(file: Path, images: np.ndarray, labels: list[int], group_rows: int = 4, **columns: Any) -> Path:
    """A shard as ``Dataset.to_parquet`` writes it."""
    rows = [{"bytes": encoded(image), "path": f"{i}.png"} for i, image in enumerate(images)]
    given = {"image": pa.array(rows, IMAGE), "label": pa.array(labels, pa.int64()), **columns}
    info = {"info": {"features": {name: FEATURES[name] for name in given if name in FEATURES}}}
    table = pa.table({name: column for name, column in given.items() if column is not None})
    table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, file, row_group_size=group_rows)
    return file


def opened(root: Path, **options: str):
    dataset = Arrays.from_options(root, options)
    return dataset, list(dataset.samples())


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    root = tmp_path / "hub"
    for number, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")):
        slides = pa.array([f"{name[:2]}{number}{i // 3:03d}" for i in range(10)])
        stain = pa.array([0, 1] * 5)
        path = root / "data" / f"{name}.parquet"
        hugging_face(path, pixels(10, 8, 8, 3, seed=number), [0, 1, 2, -1, 0] * 2, slide=slides, stain=stain)
    return root


def test_shards_of_hugging_face(shards):
    dataset, samples = opened(shards, group="slide")
    assert len(samples) == 30
    sample = next(sample for sample in samples if sample.id == "data/train-00001-of-00002.parquet/7")
    assert (sample.label, sample.metadata) == ("tumour" if 7 % 5 == 1 else "fat", {"slide": "tr1002", "stain": "IHC"})
    assert [s.label for s in samples[:5]] == ["stroma", "tumour", "fat", None, "stroma"]
    assert dataset.classes == ("stroma", "tumour", "fat")
    expected = {0: pixels(10, 8, 8, 3, seed=0), 1: pixels(10, 8, 8, 3, seed=1), 2: pixels(10, 8, 8, 3, seed=2)}
    order = [2, 0, 1]
    for place, sample in reversed(list(enumerate(samples))):
        assert (dataset.read(sample) == expected[order[place // 10]][place % 10]).all()
    roles = {row.sample_id: row.role for row in dataset.splits()["arrays"].rows}
    assert roles["data/train-00001-of-00002.parquet/7"] == "train"
    assert roles["data/test-00000-of-00001.parquet/7"] == "test"
    assert dataset.warnings == [
        "6 images have no label, for example "
        + ", ".join(
            repr(f"data/{name}/{row}")
            for name, row in (
                ("test-00000-of-00001.parquet", 3),
                ("test-00000-of-00001.parquet", 8),
                ("train-00000-of-00002.parquet", 3),
            )
        )
    ]
    check_dataset(Arrays, shards, group="slide")


def test_a_group_of_rows_is_not_read_anew_for_every_image(tmp_path, monkeypatch):
    import histokit.datasets.containers.parquet_images as module

    monkeypatch.setattr(module, "_MOST_ROWS", 7)
    images = pixels(100, 4, 4, 3)
    file = hugging_face(tmp_path / "a.parquet", images, [0, 1] * 50, group_rows=60)
    begun = []
    blocks = module._RowGroups.blocks
    monkeypatch.setattr(module._RowGroups, "blocks", lambda self, group: begun.append(group) or blocks(self, group))
    dataset, samples = opened(file)
    for row in [*range(0, 100, 3), 99, 98, 1]:
        assert (dataset.read(samples[row]) == images[row]).all()
    assert begun == [0, 1]


def test_plain_columns_of_bytes_and_names_by_option(tmp_path):
    table = pa.table(
        {"picture": [encoded(p, "BMP") for p in pixels(3, 4, 4, 3)], "kind": [1.0, 0.0, None], "x": [1, 2, 3]}
    )
    parquet.write_table(table, tmp_path / "a.pq")
    dataset, samples = opened(tmp_path / "a.pq", labels="kind", names="normal,tumour")
    assert [(s.label, s.metadata) for s in samples] == [("tumour", {"x": 1}), ("normal", {"x": 2}), (None, {"x": 3})]
    assert (dataset.read(samples[1]) == pixels(3, 4, 4, 3)[1]).all()


def test_a_split_column(tmp_path):
    words = pa.array(["training", "valid", "testing", None] * 2)
    file = hugging_face(tmp_path / "train.parquet", pixels(8, 4, 4, 3), [0, 1] * 4, split=words)
    dataset, _ = opened(file)
    assert {row.sample_id[-1]: row.role for row in dataset.splits()["arrays"].rows} == {
        **{"0": "train", "1": "val", "2": "test"},
        **{"4": "train", "5": "val", "6": "test"},
    }
    for words, told in (
        (["train", "test", "dev", None], "'dev' beside train, val and test: such samples are in no part of the split"),
        (["train", "rest", "train", None], "only 'rest' beside train, and makes no split"),
        (["a", "a", "it's", None], "none of train, val and test, but 'a', \"it's\", and makes no split"),
    ):
        hugging_face(file, pixels(4, 4, 4, 3), [0, 1] * 2, split=pa.array(words))
        dataset, _ = opened(file)
        splits = dataset.splits()
        assert [row.role for row in splits["arrays"].rows] == ["train", "test"] if "dev" in words else splits == {}
        assert any(f"The column split holds {told}" in warning for warning in dataset.warnings)
    hugging_face(file, pixels(4, 4, 4, 3), [0, 1] * 2, split=pa.array([7, 7, 0, None]))
    dataset, _ = opened(file)
    assert dataset.splits() == {}
    assert any("but '0', '7', and makes no split" in w and '"split = 0"' in w for w in dataset.warnings), "no texts"
    hugging_face(file, pixels(4, 4, 4, 3), [0, 1] * 2, subset=pa.array(["train", "test", "dev", "train"]))
    with pytest.raises(DataError, match=r"'train.parquet/2' has subset='dev'"):
        opened(file, split="subset")


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        ({"label": [0]}, {}, DataError, r"no column of encoded images; its columns are: label \(int64\)"),
        ({"a": [b"x"], "b": [b"x"], "label": [0]}, {}, DataError, r"several columns of encoded images \(a, b\)"),
        ({"image": [b"x"], "grade": [0]}, {}, DataError, r"no column of labels; .*grade \(int64\)"),
        ({"image": [b"x"], "label": [[0, 1]]}, {}, DataError, "'label' .* several labels for each image"),
        ({"image": [b"x"], "label": [0.5]}, {}, DataError, "Row 0 of the column 'label' .* label 0.5"),
        ({"image": [b"x"], "label": [2]}, {"names": "a,b"}, DataError, "label 2, but there are 2 names"),
        ({"image": [b"x"], "label": [0]}, {"images": "imag"}, UsageError, "no column of images 'imag'.*\nDid you mean"),
        ({"image": [b"x"], "label": [0]}, {"labels": "lable"}, UsageError, "no column 'lable' of labels.*\nDid you"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, table, options, error, message):
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(error, match=message) as raised:
        opened(tmp_path / "a.parquet", **options)
    assert "a.parquet" in str(raised.value)


def test_shards_whose_columns_contradict_each_other_are_refused(tmp_path):
    hugging_face(tmp_path / "train-0.parquet", pixels(2, 4, 4), [0, 1], stage=pa.array([1, 2]))
    hugging_face(tmp_path / "train-1.parquet", pixels(2, 4, 4), [0, 1], stage=pa.array(["I", "II"]))
    with pytest.raises(DataError, match=r"'stage' is int in 'train-0.parquet' and str in 'train-1.parquet'"):
        opened(tmp_path)
    _, samples = opened(tmp_path, text="stage")
    assert [sample.metadata["stage"] for sample in samples] == ["1", "2", "I", "II"]


def test_images_that_are_not_there_are_put_aside(tmp_path):
    file = tmp_path / "a.parquet"
    rows = [{"bytes": encoded(pixels(1, 4, 4, 3)[0]), "path": "a"}, {"bytes": None, "path": "b.png"}]
    rows.append({"bytes": rows[0]["bytes"][:60], "path": "c"})
    parquet.write_table(pa.table({"image": pa.array(rows, IMAGE), "label": [0, 1, 1]}), file)
    kit = histokit.open_store(tmp_path / "s")
    record = histokit.ingest(kit, "arrays", file, name="d")
    assert (record.count, record.problems) == (3, 1)
    (problem,) = kit.problems("d").to_pylist()
    assert problem["id"] == "a.parquet/1"
    assert "Row 1 of" in problem["reason"]
    assert "has no bytes in the column 'image'" in problem["reason"]
    dataset, samples = opened(file)
    with pytest.raises(DataError, match=r"Row 2 of a.parquet "):
        dataset.read(samples[2])


def test_a_changed_image_changes_one_content(tmp_path, shards):
    kit = histokit.open_store(tmp_path / "s")

    def contents() -> dict[str, bytes]:
        histokit.ingest(kit, "arrays", shards, name="d")
        return {row["id"]: row["content"] for row in kit.samples("d", ["id", "content"]).to_pylist()}

    before = contents()
    images = pixels(10, 8, 8, 3, seed=2)
    images[4, 0, 0] ^= 1
    slides = pa.array([f"te2{i // 3:03d}" for i in range(10)])
    path = shards / "data" / "test-00000-of-00001.parquet"
    hugging_face(path, images, [1] * 10, slide=slides, stain=pa.array([0] * 10))
    after = contents()
    assert [name for name in before if before[name] != after[name]] == ["data/test-00000-of-00001.parquet/4"]


def test_a_truncated_file_is_named(shards):
    file = shards / "data" / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet' cannot be read"):
        opened(shards)


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ((0, 1), None),
        (
            (0,),
            "1 file is missing of the 2 that train-*-of-00002.parquet should be: 'data/train-00001-of-00002.parquet'",
        ),
        (
            (1,),
            "1 file is missing of the 2 that train-*-of-00002.parquet should be: 'data/train-00000-of-00002.parquet'",
        ),
    ],
)
def test_missing_shards_are_named(shards: Path, there: tuple[int, ...], told: str | None) -> None:
    for number in {0, 1} - set(there):
        (shards / "data" / f"train-0000{number}-of-00002.parquet").unlink()
    dataset, _ = opened(shards)
    assert [warning for warning in dataset.warnings if "missing" in warning] == [told] * bool(told)
    # Those that are there and were not asked for are not missing.
    dataset, _ = opened(shards, files="data/train-*")
    assert [warning for warning in dataset.warnings if "missing" in warning] == [told] * bool(told)
    dataset, _ = opened(shards, files=f"data/train-0000{there[0]}-of-00002.parquet")
    assert [warning for warning in dataset.warnings if "missing" in warning] == [told] * bool(told)


def test_shards_beyond_the_number_that_is_declared_are_named(tmp_path: Path) -> None:
    for number in (0, 1, 2, 5):
        hugging_face(tmp_path / f"train-0000{number}-of-00002.parquet", pixels(3, 8, 8, 3), [0, 1, 0])
    dataset, samples = opened(tmp_path)
    assert len(samples) == 12
    assert dataset.warnings == [
        "2 files are beyond the 2 that train-*-of-00002.parquet should be, counted from 0: "
        "'train-00002-of-00002.parquet', 'train-00005-of-00002.parquet'"
    ]


def test_the_first_of_many_missing_shards_are_named(tmp_path: Path) -> None:
    hugging_face(tmp_path / "train-00002-of-00123-a1b2.parquet", pixels(3, 8, 8, 3), [0, 1, 0])
    dataset, _ = opened(tmp_path / "train-00002-of-00123-a1b2.parquet")
    assert (
        "122 files are missing of the 123 that train-*-of-00123.parquet should be: for example "
        "'train-00000-of-00123.parquet', 'train-00001-of-00123.parquet', 'train-00003-of-00123.parquet'"
    ) in dataset.warnings


def test_images_in_columns_of_views(tmp_path):
    images = pixels(3, 8, 8, 3)
    held = pa.array([encoded(image) for image in images], pa.binary_view())
    parquet.write_table(pa.table({"image": held, "label": [0, 1, 2]}), tmp_path / "a.parquet")
    dataset, samples = opened(tmp_path / "a.parquet")
    assert [(dataset.read(s) == images[int(s.label)]).all() for s in samples] == [True] * 3


@pytest.mark.parametrize("plain", [False, True])
def test_images_that_are_kept_once_for_many_rows(tmp_path, plain):
    images = pixels(2, 8, 8, 3)
    data = pa.array([encoded(images[number]) for number in (0, 1, 1, 0)]).dictionary_encode()
    held = data if plain else pa.StructArray.from_arrays([data, pa.array(["x"] * 4)], ["bytes", "path"])
    parquet.write_table(pa.table({"image": held, "label": [0, 1, 1, 0]}), tmp_path / "a.parquet", row_group_size=2)
    dataset, samples = opened(tmp_path / "a.parquet")
    assert [(dataset.read(s) == images[int(s.label)]).all() for s in samples] == [True] * 4


def test_options_name_columns_that_are_there(tmp_path):
    hugging_face(tmp_path / "a.parquet", pixels(2, 4, 4), [0, 1], stage=pa.array([1, 2]))
    with pytest.raises(UsageError, match="are its column 'label', not 'stage'"):
        opened(tmp_path, label_column="stage")
    with pytest.raises(UsageError, match="text='stag' names no column: there are image, label, stage"):
        opened(tmp_path, text="stag")
