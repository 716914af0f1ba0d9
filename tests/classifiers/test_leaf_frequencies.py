import numpy as np
import pyarrow as pa
import pytest
from sklearn.svm import LinearSVC

from histokit.classifiers.estimators import dump, fit, load, scores
from histokit.classifiers.grids import make_grid
from histokit.classifiers.leaf_frequencies import LeafFrequencySVM
from histokit.errors import DataError, UsageError
from histokit.features.images import Images
from histokit.plugin import Dataset
from histokit.plugin.digests import digest_bytes
from histokit.plugin.remarks import RemarkTally
from histokit.reading.ingested_files import IngestedFiles
from tests.classifiers.earlier_models import as_before

SMALL = {"trees": 3, "min_leaf": 20, "k": 50, "windows": 640, "C": 1.0}


class Textures(Dataset):
    """Images of two classes with the same grey levels, in stripes or scattered; read from memory."""

    def __init__(self, pixels):
        super().__init__(".")
        self.pixels, self.read_ids = pixels, []

    def read(self, sample):
        """Return the pixels, and remember whose they were."""
        self.read_ids.append(sample.id)
        return self.pixels[sample.id]


def textures(n=32, size=20, channels=3):
    rng = np.random.default_rng(0)
    pixels = {}
    for number in range(n):
        striped = np.broadcast_to(np.arange(size) % 4 < 2, (size, size))
        scattered = rng.permuted(striped.ravel()).reshape(size, size)
        image = np.where(striped if number % 2 else scattered, 200, 60)[:, :, None]
        noisy = image + rng.integers(-20, 20, (size, size, channels))
        pixels[f"s{number}"] = noisy.astype(np.uint8)
    return pixels


def as_images(pixels, channels=("R", "G", "B")):
    dataset = Textures(pixels)
    dataset.channels = channels
    columns = {"id": list(pixels), "content": [digest_bytes(p.tobytes()) for p in pixels.values()]}
    columns |= {name: [None] * len(pixels) for name in ("part", "label", "mpp")}
    table = pa.table(columns | {"image": [[] for _ in pixels], "box": [None] * len(pixels)})
    return Images(IngestedFiles(dataset, None), table)


@pytest.fixture(scope="module")
def images():
    return as_images(textures())


@pytest.fixture(scope="module")
def fitted(images):
    return LeafFrequencySVM(**SMALL).fit(images[:20], np.arange(20) % 2)


def test_textures_are_told_apart(images, fitted):
    found = fitted.decision_function(images[20:]) > 0
    assert (found == np.arange(20, 32) % 2).mean() >= 10 / 12


def test_frequencies_add_up_to_one_in_each_tree(images, fitted):
    found = fitted.leaf_frequencies(images)
    nodes = [tree.tree_.node_count for tree in fitted.trees_.estimators_]
    assert found.shape == (32, sum(nodes))
    for columns in np.split(np.arange(sum(nodes)), np.cumsum(nodes)[:-1]):
        np.testing.assert_allclose(found[:, columns].sum(axis=1), 1)
    counts = found.toarray() * fitted.windows_per_image_
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)


def test_only_leaves_are_reached_and_they_hold_enough(images, fitted):
    trees = [tree.tree_ for tree in fitted.trees_.estimators_]
    leaves = np.concatenate([tree.children_left == -1 for tree in trees])
    total = (fitted.leaf_frequencies(images[:20]) * fitted.windows_per_image_).sum(axis=0)
    total = np.asarray(total).ravel()
    np.testing.assert_array_equal(total > 0, leaves)
    assert total[leaves].min() >= 20
    np.testing.assert_allclose(total, np.concatenate([tree.n_node_samples for tree in trees]) * leaves)


def test_the_machine_is_scikit_learns_on_scaled_frequencies(images, fitted):
    found = fitted.leaf_frequencies(images).toarray()
    largest = found[:20].max(axis=0)
    scaled = found / np.where(largest > 0, largest, 1)
    expected = LinearSVC(C=1.0, random_state=0).fit(scaled[:20], np.arange(20) % 2)
    np.testing.assert_allclose(fitted.decision_function(images), expected.decision_function(scaled), rtol=1e-3)


def test_raw_frequencies_are_left_as_they_are(images):
    raw = LeafFrequencySVM(**SMALL, frequencies="raw").fit(images[:20], np.arange(20) % 2)
    found = raw.leaf_frequencies(images)
    expected = LinearSVC(C=1.0, random_state=0).fit(found[:20], np.arange(20) % 2).decision_function(found)
    np.testing.assert_allclose(raw.decision_function(images), expected, rtol=1e-3)


def test_an_images_frequencies_depend_on_no_other_image(images, fitted, monkeypatch):
    whole = fitted.leaf_frequencies(images).toarray()
    backwards = fitted.leaf_frequencies(images[np.arange(32)[::-1]]).toarray()
    np.testing.assert_array_equal(backwards[::-1], whole)
    monkeypatch.setattr("histokit.classifiers.leaf_frequencies._CHUNK", 3 * fitted.windows_per_image_)
    np.testing.assert_array_equal(fitted.leaf_frequencies(images).toarray(), whole)
    np.testing.assert_array_equal(fitted.leaf_frequencies(images[[7]]).toarray(), whole[[7]])


def test_the_same_seed_gives_the_same_bytes(images, fitted):
    again = LeafFrequencySVM(**SMALL).fit(images[:20], np.arange(20) % 2)
    assert again.svm_.coef_.tobytes() == fitted.svm_.coef_.tobytes()
    assert again.leaf_frequencies(images).data.tobytes() == fitted.leaf_frequencies(images).data.tobytes()
    other = LeafFrequencySVM(**SMALL, random_state=1).fit(images[:20], np.arange(20) % 2)
    assert (other.decision_function(images) != fitted.decision_function(images)).any()


def test_it_is_stored_without_pickle(images, fitted):
    data = dump({"estimator": fitted})
    for stored in (load(data)["estimator"], load(as_before(data))["estimator"]):
        assert type(stored) is LeafFrequencySVM
        np.testing.assert_array_equal(stored.decision_function(images), fitted.decision_function(images))


def test_every_training_image_gets_its_share_of_windows(images):
    (setting,) = make_grid("et-fl", {"windows": "650", "min_leaf": 20, "trees": 2})
    machine = fit("et-fl", setting, images[:20], np.arange(20) % 2, seed=0)
    assert machine.facts["windows_per_image"] == 33
    assert machine.facts["leaves"] == sum(tree.get_n_leaves() for tree in machine.trees_.estimators_)
    assert scores("et-fl", machine, images[20:], 3).shape == (12, 3)


def test_published_defaults_are_handed_to_the_trees():
    (setting,) = make_grid("et-fl")
    assert LeafFrequencySVM(**setting).get_params() == LeafFrequencySVM().get_params()
    published = {"trees": 20, "min_leaf": 1000, "k": 384, "C": 0.01, "windows": 1_000_000}
    assert {name: setting[name] for name in published} == published


def test_the_trees_get_what_was_asked_for(fitted):
    parameters = fitted.trees_.get_params()
    assert (parameters["n_estimators"], parameters["min_samples_leaf"], parameters["max_features"]) == (3, 20, 50)
    assert parameters["bootstrap"] is False


def test_weights_of_classes(images):
    y = (np.arange(20) % 5 == 0).astype(int)
    found = {w: LeafFrequencySVM(**SMALL, class_weight=w).fit(images[:20], y) for w in (None, "balanced")}
    mean = {w: machine.decision_function(images[20:]).mean() for w, machine in found.items()}
    assert mean["balanced"] > mean[None]


def test_other_channels():
    images = as_images(textures(8, channels=2), ("DAPI", "Actin"))
    with pytest.raises(DataError, match="DAPI, Actin"):
        LeafFrequencySVM(**SMALL).fit(images, np.arange(8) % 2)
    machine = LeafFrequencySVM(**SMALL, colour="trgb").fit(images, np.arange(8) % 2)
    assert machine.trees_.n_features_in_ == 512


def test_too_few_windows_are_refused(images):
    with pytest.raises(UsageError, match="No tree can split 1000 windows") as caught:
        LeafFrequencySVM(windows=1000).fit(images[:20], np.arange(20) % 2)
    assert "min_leaf=1" in caught.value.next


@pytest.mark.parametrize("windows", [10**14, 10**19])
def test_windows_beyond_any_memory_are_refused(images, windows):
    with pytest.raises(UsageError, match=r"windows take [0-9,]+ GB") as caught:
        LeafFrequencySVM(windows=windows).fit(images[:20], np.arange(20) % 2)
    assert "--grid windows=" in caught.value.next


def test_a_single_class(images):
    (setting,) = make_grid("et-fl")
    machine = fit("et-fl", setting, images[:3], np.ones(3, int))
    np.testing.assert_array_equal(scores("et-fl", machine, images[:2], 2), [[-np.inf, 0], [-np.inf, 0]])


def test_the_published_search():
    grid = make_grid("et-fl", {"search": "published", "trees": 5})
    assert len(grid) == 20
    assert {(s["w_min"], s["w_max"]) for s in grid} == {
        *((0.0, high) for high in (0.25, 0.5, 0.75, 1.0)),
        *((0.25, high) for high in (0.5, 0.75, 1.0)),
        *((0.5, high) for high in (0.75, 1.0)),
        (0.75, 1.0),
    }
    assert {s["colour"] for s in grid} == {"trgb", "hsv"}
    assert {s["trees"] for s in grid} == {5}
    assert len(make_grid("et-fl", {"search": "published", "colour": "hsv"})) == 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"w_min": "0.5"}, "w_min=0.5 and w_max=0.5 there is no setting"),
        ({"colour": "rgb"}, "colour of et-fl cannot be 'rgb'"),
        ({"windows": "0"}, "windows of et-fl cannot be '0'"),
        ({"w_max": "1.5"}, "w_max of et-fl cannot be '1.5'"),
        ({"search": "mine"}, "no search 'mine'"),
        ({"max_features": "1"}, "no parameter 'max_features'"),
    ],
)
def test_senseless_settings_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        make_grid("et-fl", given)


def test_images_are_read_once(images):
    fresh = as_images(textures(6))
    fresh[:4].unreadable(RemarkTally())
    assert [pixels.shape for pixels in fresh[[1, 0]]] == [(20, 20, 3)] * 2
    list(fresh)
    assert sorted(fresh.files.dataset.read_ids) == sorted(fresh.ids)


def test_images_beyond_the_memory_are_read_again(monkeypatch):
    monkeypatch.setattr("histokit.features.images.HELD_BYTES", 3000)
    fresh = as_images(textures(6))
    first = [p.sum() for p in fresh[[3, 1, 5]]]
    second = [p.sum() for p in fresh[[1, 5, 3]]]
    assert first == second[2:] + second[:2]
    assert len(fresh.files.dataset.read_ids) == 4
