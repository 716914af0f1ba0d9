from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from histokit.datasets.synthetic import Synthetic
from histokit.errors import UsageError
from histokit.plugin.digests import digest_bytes
from histokit.plugin.testing import check_dataset


def test_contract():
    check_dataset(Synthetic, slides=2, per_slide=5, size=32)


def test_the_root_need_not_exist(tmp_path):
    check_dataset(Synthetic, tmp_path / "nowhere", slides=1, per_slide=2)


def test_samples():
    samples = list(Synthetic(slides=3, per_slide=4).samples())
    assert [sample.id for sample in samples][:5] == [f"slide01/000{i}" for i in (1, 2, 3, 4)] + ["slide02/0001"]
    assert [sample.metadata["slide"] for sample in samples[3:5]] == ["slide01", "slide02"]
    assert {sample.image for sample in samples} == {()}
    assert len(samples) == 12


def test_more_slides_and_patches_leave_the_others_as_they_are():
    few, many = Synthetic(slides=2, per_slide=3), Synthetic(slides=3, per_slide=5)
    labels = {sample.id: sample.label for sample in many.samples()}
    for sample in few.samples():
        assert labels[sample.id] == sample.label
        assert few.pixel_key(sample) == many.pixel_key(sample)
        assert np.array_equal(few.read(sample), many.read(sample))


def test_seed_and_size_change_pixels_and_key():
    sample = next(Synthetic().samples())
    plain = Synthetic()
    for other in (Synthetic(seed=1), Synthetic(size=48)):
        assert other.pixel_key(sample) != plain.pixel_key(sample)
        assert not np.array_equal(other.read(sample), plain.read(sample))


def test_the_same_pixels_in_another_process():
    code = (
        "from histokit.datasets.synthetic import Synthetic; from histokit.plugin.digests import digest_bytes;"
        "d = Synthetic(slides=2, per_slide=2);"
        "print(digest_bytes(*(d.read(s).tobytes() for s in d.samples())).hex())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    dataset = Synthetic(slides=2, per_slide=2)
    here = digest_bytes(*(dataset.read(sample).tobytes() for sample in dataset.samples())).hex()
    assert there.stdout.strip() == here


def test_it_looks_like_haematoxylin_and_eosin():
    dataset = Synthetic(slides=4, per_slide=10)
    pixels = np.concatenate([dataset.read(sample).reshape(-1, 3) for sample in dataset.samples()]).astype(float)
    red, green, blue = pixels.mean(axis=0)
    # Pink and violet: less green than red and blue; neither black nor white.
    assert green < min(red, blue) - 20
    assert 60 < pixels.mean() < 220
    assert pixels.min() < 90
    assert pixels.max() > 220


def statistics(pixels: np.ndarray) -> np.ndarray:
    """Colour and coarse texture of a patch: quantiles, spread and neighbour differences of each channel."""
    values = pixels.astype(float)
    steps = [np.abs(np.diff(values, axis=axis, n=n)).mean(axis=(0, 1)) for axis in (0, 1) for n in (1, 2)]
    far = [np.abs(values[k:] - values[:-k]).mean(axis=(0, 1)) for k in (4, 8, 12)]
    middle = values[20:44, 20:44].mean(axis=(0, 1))
    spread = values.std(axis=(0, 1))
    return np.concatenate(
        [np.percentile(values, (5, 25, 50, 75, 95), axis=(0, 1)).ravel(), spread, middle, *steps, *far]
    )


def test_random_folds_overestimate():
    from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    dataset = Synthetic(slides=8, per_slide=40)
    samples = list(dataset.samples())
    X = np.array([statistics(dataset.read(sample)) for sample in samples])
    y = np.array([sample.label for sample in samples])
    slides = np.array([sample.metadata["slide"] for sample in samples])
    model = make_pipeline(StandardScaler(), LinearSVC(C=0.01))
    random = cross_val_score(model, X, y, cv=StratifiedKFold(8, shuffle=True, random_state=0)).mean()
    by_slide = cross_val_score(model, X, y, groups=slides, cv=LeaveOneGroupOut()).mean()
    chance = max(np.mean(y == label) for label in set(y))
    assert chance + 0.15 < by_slide < random - 0.05
    assert 0.8 < random < 0.99


@pytest.mark.parametrize("option", ["slides", "per_slide", "size", "seed"])
def test_numbers_that_are_too_small(option):
    with pytest.raises(UsageError, match=f"option {option}=-1"):
        Synthetic(**{option: -1})


def test_slides_differ_in_stain():
    dataset = Synthetic(slides=6, per_slide=8)
    means: dict[str, list] = {}
    for sample in dataset.samples():
        means.setdefault(sample.metadata["slide"], []).append(dataset.read(sample).mean(axis=(0, 1)))
    between = np.var([np.mean(values, axis=0) for values in means.values()], axis=0)
    within = np.mean([np.var(values, axis=0) for values in means.values()], axis=0)
    # Were slides alike, the variance of the means of 8 would be an eighth of the variance within.
    assert (between > 2 * within / 8).all()
