"""What decides on runs and is in no sample: statistics over other files, splits, groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from histokit import ingest, open_store
from histokit.ingest.ingest import ingested_as
from histokit.plugin import Dataset, Sample
from histokit.plugin.manager import registry


class ByControls(Dataset):
    """Images of a plate, which a file of controls tells the brightness of."""

    name = "by-controls"

    def samples(self) -> Iterator[Sample]:
        yield Sample("a", ("a.png",), label="x")

    def fit(self) -> tuple[float, ...]:
        return tuple(float(line) for line in (self.root / "controls.txt").read_text().split())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "controls.txt").write_text("1 2.5")
    return tmp_path


def test_controls_that_changed_are_seen(root):
    store = open_store(root / "store")
    ingest(store, ByControls(root), name="p")
    assert ingested_as(store, "p", ByControls(root))
    (root / "controls.txt").write_text("1 3.5")
    assert not ingested_as(store, "p", ByControls(root))


def test_a_split_that_changed_in_the_table_is_seen(root: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(root / "b.png")
    table = root / "t.csv"
    table.write_text("image,label,fold\na.png,x,train\nb.png,y,test\n")
    store, options = open_store(root / "store"), {"table": "t.csv", "split": "fold"}
    ingest(store, "table", root, name="t", options=options)

    def done() -> bool:
        return ingested_as(store, "t", registry().make_dataset("table", root, options))

    assert done()
    table.write_text("image,label,fold\na.png,x,test\nb.png,y,train\n")
    assert not done()
    ingest(store, "table", root, name="t", options=options)
    assert done()
    assert store.split("t", "table").folds()[0].test == ["a.png"]


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("group", "slide"),
        ("levels", ("slide",)),
        ("classes", ("x", "y")),
        ("positive", "x"),
        ("metric", "f1_macro"),
        ("channels", ("a", "b", "c")),
    ],
)
def test_what_a_plugin_says_of_its_samples_is_seen_where_its_version_was_not_raised(
    root: Path, fact: str, value: object
) -> None:
    class Own(Dataset):
        name, columns = "own", {"slide": str}

        def samples(self) -> Iterator[Sample]:
            yield Sample("a", ("a.png",), label="x", metadata={"slide": "s"})

    store = open_store(root / "store")
    ingest(store, Own(root), name="p")
    assert ingested_as(store, "p", Own(root))
    setattr(Own, fact, value)
    assert not ingested_as(store, "p", Own(root))
