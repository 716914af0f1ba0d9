from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histokit.errors import UsageError
from histokit.plugin import Dataset, PublishedSplit, Sample, SplitRow


class Plain(Dataset):
    """The least that a plugin is."""

    name = "plain"

    def samples(self):
        for path in sorted(self.root.glob("*.png")):
            yield Sample(path.name, (path.name,))


class Scaled(Plain):
    """A plugin whose pixels depend on an option and on a fitted state."""

    def __init__(self, root: str | Path, gain: float = 1.0, title: str = "x"):
        super().__init__(root)
        self.gain = gain

    def read(self, sample):
        return (super().read(sample) * self.gain).astype(np.uint8)


class Named(Scaled):
    """The same, naming the option that alters pixels."""

    pixel_options = ("gain",)


SAMPLE = Sample("a.png", ("a.png",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(tmp_path / "a.png")
    return tmp_path


def test_a_whole_image_is_read_where_there_is_no_box(root):
    assert Plain(root).read(SAMPLE).tolist() == np.arange(48).reshape(4, 4, 3).tolist()


def test_a_box_is_cut_out(root):
    pixels = Plain(root).read(Sample("a", ("a.png",), box=(1, 2, 2, 1)))
    # Row 2 starts at 24; columns 1 and 2 are 27 to 32.
    assert pixels.tolist() == [[[27, 28, 29], [30, 31, 32]]]


def test_several_files_need_a_reader_of_their_own(root):
    with pytest.raises(TypeError, match="does not define read"):
        Plain(root).read(Sample("a", ("a.png", "a.png")))


def test_options_are_recorded_with_their_defaults(root):
    assert Scaled(root, gain=2.0).options == {"gain": 2.0, "title": "x"}
    assert Scaled(root, 2.0).options == {"gain": 2.0, "title": "x"}
    assert Scaled(root=root, gain=2.0).options == {"gain": 2.0, "title": "x"}
    assert Plain(root).options == {}


def test_a_path_is_recorded_as_text(root):
    class Masked(Scaled):
        def __init__(self, root: str | Path, mask: Path = Path("mask.png")):
            super().__init__(root)

    assert Masked(root).options == {"mask": "mask.png"}
    assert Masked.from_options(root, {"mask": "a/b.png"}).options == {"mask": "a/b.png"}
    assert Masked(root).pixel_key(SAMPLE) != Masked(root, mask=Path("a/b.png")).pixel_key(SAMPLE)


def test_a_dataset_can_be_sent_to_another_process(root):
    dataset = Scaled(root, gain=2.0)
    dataset.state = {"mean": 3.0}
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.options == dataset.options
    assert copy.pixel_key(SAMPLE) == dataset.pixel_key(SAMPLE)
    assert copy.read(SAMPLE).tolist() == dataset.read(SAMPLE).tolist()


def test_options_come_from_texts(root):
    assert Scaled.from_options(root, {"gain": "0.5"}).gain == 0.5
    with pytest.raises(UsageError, match="'plain' has no option 'gian'"):
        Scaled.from_options(root, {"gian": "1"})


def test_the_pixel_key_is_empty_where_pixels_are_a_file_and_a_box(root):
    assert Plain(root).pixel_key(SAMPLE) == b""


def test_the_pixel_key_moves_with_options_version_and_state(root):
    plain = Scaled(root).pixel_key(SAMPLE)
    assert Scaled(root).pixel_key(SAMPLE) == plain
    assert Scaled(root, gain=2.0).pixel_key(SAMPLE) != plain
    assert Scaled(root, title="y").pixel_key(SAMPLE) != plain
    fitted = Scaled(root)
    fitted.state = {"mean": 3.0}
    assert fitted.pixel_key(SAMPLE) != plain
    revised = Scaled(root)
    revised.version = "2"
    assert revised.pixel_key(SAMPLE) != plain


def test_only_pixel_options_move_the_pixel_key(root):
    assert Named(root, title="y").pixel_key(SAMPLE) == Named(root).pixel_key(SAMPLE)
    assert Named(root, gain=2.0).pixel_key(SAMPLE) != Named(root).pixel_key(SAMPLE)


def test_warnings_are_not_shared_between_instances(root):
    first, second = Plain(root), Plain(root)
    first.warnings.append("x")
    assert second.warnings == []


def test_holdout():
    split = PublishedSplit.holdout(["a", "b"], ["c"], ["d"], group="slide", leaks="all")
    assert list(split.rows) == [
        SplitRow(0, 0, "a", "train"),
        SplitRow(0, 0, "b", "train"),
        SplitRow(0, 0, "d", "val"),
        SplitRow(0, 0, "c", "test"),
    ]
    assert (split.group, split.leaks) == ("slide", "all")


def test_the_pixel_key_moves_with_the_number_of_bits(root):
    keys = set()
    for kind in (Plain, Scaled):
        for bits in (None, 12, 14):
            dataset = kind(root)
            dataset.bits = bits
            keys.add(dataset.pixel_key(SAMPLE))
    assert len(keys) == 6
