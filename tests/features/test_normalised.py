"""Features normalised by controls, by the formulas of pycytominer written out."""

import json
import shlex
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from histokit import scatter
from histokit.errors import DataError, UsageError
from histokit.features import export_features
from tests.cli.command_line import CommandLine
from tests.toy import make_store

DMSO = "compound = 'DMSO'"


def make(folder, *, controls=30, others=10, columns=5, plates=1, **changes):
    """A store with controls and other wells on plates, each with a shift and a scale of its own; controls first."""
    rng = np.random.default_rng(7)
    n = controls + others
    plate = np.arange(n) % plates
    X = rng.normal(size=(n, columns)) @ rng.normal(size=(columns, columns)) * (1 + plate[:, None]) + 10 * plate[:, None]
    compounds = ["DMSO" if i < controls else f"C{i % 3}" for i in range(n)]
    samples = {"id": [f"w{i}" for i in range(n)], "label": [None if c == "DMSO" else c for c in compounds]}
    samples |= {"compound": compounds, "plate": [f"P{number}" for number in plate], **changes}
    store = make_store(folder, samples, {"other": X + 1, "last": X}, classes=("C0", "C1", "C2"), group=None)
    return store, X.astype(np.float32).astype(float), plate


def whitened(X, controls, epsilon):
    """The ZCA-cor transform of pycytominer: all directions, those beyond the rank with the last singular value."""
    centre, spread = controls.mean(0), controls.std(0)
    scaled = (controls - centre) / spread
    n, d = scaled.shape
    rank = np.linalg.matrix_rank(scaled)
    _, sigma, Vt = np.linalg.svd(scaled, full_matrices=True)
    if n <= d:
        sigma = np.concatenate([sigma[:rank], np.repeat(sigma[rank - 1], d - rank)])
    W = (Vt / (sigma + epsilon)[:, None]).T * np.sqrt(n - 1) @ Vt
    return (X - centre) / spread @ W


def robust(X, controls, epsilon):
    centre = np.median(controls, axis=0)
    return (X - centre) / (1.4826 * np.median(np.abs(controls - centre), axis=0) + epsilon)


def standard(X, controls, epsilon):
    return (X - controls.mean(0)) / (controls.std(0) + epsilon)


@pytest.mark.parametrize(
    ("asked", "formula", "epsilon"),
    [
        ("standardise", standard, 0.0),
        ("standardise:0.5", standard, 0.5),
        ("mad-robustise", robust, 1e-18),
        ("mad-robustise:0.25", robust, 0.25),
        ("sphering", whitened, 1e-6),
        ("sphering:2", whitened, 2.0),
    ],
)
@pytest.mark.parametrize("per", [None, "plate"])
def test_formulas(tmp_path, asked, formula, epsilon, per):
    store, X, plate = make(tmp_path, plates=2)
    found = store.features("toy", "net/last").normalise(asked, DMSO, per)
    control = np.arange(40) < 30
    parts = [plate == 0, plate == 1] if per else [np.ones(40, bool)]
    for part in parts:
        assert_allclose(found.X[part], formula(X[part], X[part & control], epsilon), rtol=1e-4, atol=1e-5)
    assert found.X.dtype == np.float32
    (step,) = found.steps
    assert (step["method"], step["epsilon"], step["without_spread"]) == (asked.split(":")[0], epsilon, [])
    assert step["count"] == ({"P0": 15, "P1": 15} if per else {"all": 30})
    if asked == "sphering" and not per:
        assert_allclose(np.cov(found.X[control].T), np.eye(5), atol=1e-3)


def test_sphering_by_fewer_controls_than_columns(tmp_path):
    store, X, _ = make(tmp_path, controls=6, columns=9)
    found = store.features("toy", "net/last").normalise("sphering", DMSO)
    assert_allclose(found.X, whitened(X, X[:6], 1e-6), rtol=1e-3, atol=1e-3)
    # Six controls less their mean span five directions.
    notes = scatter(store, "toy", "net/last", normalise="sphering", controls=DMSO).notes
    told = "the controls span 5 of 9 directions; all others are scaled as the weakest of those"
    assert [told in note for note in notes] == [True]


def test_only_controls_of_the_plate_are_looked_at(tmp_path):
    store, _, plate = make(tmp_path / "a", plates=2)
    features = store.features("toy", "net/last")
    changed = features.X.copy()
    changed[35:] = 1e6
    changed[1] = -1e6
    assert plate[1] == 1
    other = type(features)(changed, features.samples, features.record, features.parts)
    for method in ("standardise", "mad-robustise", "sphering"):
        first, second = (given.normalise(method, DMSO, "plate").X for given in (features, other))
        same = (plate == 0) & (np.arange(40) < 35)
        assert_allclose(first[same], second[same], rtol=1e-6)
        assert not np.allclose(first[plate == 1][5:10], second[plate == 1][5:10])


def test_what_normalised_is_another_one_where_the_image_of_a_control_is(tmp_path):
    store, *_ = make(tmp_path)
    features = store.features("toy", "net/last")

    def digest(changed=None):
        content = [bytes(16) if i == changed else each for i, each in enumerate(features.content)]
        place = features.samples.column_names.index("content")
        samples = features.samples.set_column(place, "content", pa.array(content, pa.binary(16)))
        return replace(features, samples=samples).normalise("standardise", DMSO).steps[-1]["digest"]

    # The first thirty are controls.
    assert digest(29) != digest() == digest(30)


def test_columns_without_spread_are_zero_and_told(tmp_path):
    store, _, plate = make(tmp_path, plates=2)
    features = store.features("toy", "net/last")
    # On the second plate all controls have 0.1 here, of which the mean is not exact; others have not.
    features.X[(plate == 1) & (np.arange(40) < 30), 3] = 0.1
    for method in ("standardise", "standardise:0", "mad-robustise", "sphering", "sphering:0.5"):
        found = features.normalise(method, DMSO, "plate")
        assert found.steps[-1]["without_spread"] == ["net/last[3]"]
        assert not found.X[:, 3].any()
        assert np.isfinite(found.X).all()
        assert np.abs(found.X).max() < 1e3
    assert features.normalise("mad-robustise:0.5", DMSO, "plate").X[:, 3].any()
    features.X[plate == 1] = 1
    with pytest.raises(DataError, match=r"5 of 5 columns have no spread among controls .*of the plate 'P1'\): none is"):
        features.normalise("standardise", DMSO, "plate")


def test_bad_input(tmp_path):
    store, *_ = make(tmp_path / "a", plates=2)
    features = store.features("toy", "net/last")
    for method, text in {
        "zscore": "no way 'zscore'",
        "standardise:x": "'x' is no number",
        "sphering:-1": "'-1' is no",
        "mad-robustise:inf": "'inf' is no number",
    }.items():
        with pytest.raises(UsageError, match=text):
            features.normalise(method, DMSO)
    with pytest.raises(UsageError, match="compund"):
        features.normalise("standardise", "compund = 'DMSO'")
    with pytest.raises(UsageError, match="no column 'plat'"):
        features.normalise("standardise", DMSO, "plat")
    with pytest.raises(UsageError, match="needs to know which samples are controls"):
        features.normalise("standardise", "")
    with pytest.raises(DataError, match="No sample of 'toy' is a control"):
        features.normalise("standardise", "compound = 'water'")
    with pytest.raises(DataError, match="1 of 2 values of plate has no control, such as P1"):
        features.normalise("standardise", f"{DMSO} AND plate = 'P0'", "plate")
    with pytest.raises(DataError, match=r"the plate 'P1' has no more \('w1'\)"):
        features.normalise("standardise", f"{DMSO} AND (plate = 'P0' OR id = 'w1')", "plate")
    with pytest.raises(DataError, match=r"'toy' has no more \('w1'\)"):
        features.normalise("standardise", "id = 'w1'")
    gap, *_ = make(tmp_path / "b", plate=[None, *["P0"] * 39])
    with pytest.raises(DataError, match="1 sample has no plate, such as 'w0'"):
        gap.features("toy", "net/last").normalise("standardise", DMSO, "plate")
    gap, *_ = make(tmp_path / "c", **{"plate no": [None, *["P0"] * 39]})
    with pytest.raises(DataError, match="1 sample has no plate no, such as 'w0'") as caught:
        gap.features("toy", "net/last").normalise("standardise", DMSO, "plate no")
    (where,) = shlex.split(caught.value.next.rstrip("."))[-1:]
    assert "w0" not in gap.features("toy", "net/last").where(where).sample_ids
    features.X[0, 0] = np.nan
    with pytest.raises(DataError, match="1 sample are not finite, such as 'w0'"):
        features.normalise("standardise", DMSO)


def test_merging_comes_before_normalising(tmp_path):
    store, X, _ = make(tmp_path)
    last, other = (store.features("toy", f"net/{layer}") for layer in ("last", "other"))
    with pytest.raises(UsageError, match="not normalised alike"):
        last.normalise("standardise", DMSO) + other
    with pytest.raises(UsageError, match="not normalised alike"):
        last.normalise("standardise", DMSO) + other.normalise("mad-robustise", DMSO)
    both = (last + other).normalise("standardise", DMSO)
    assert_allclose(both.X[:, :5], standard(X, X[:30], 0), rtol=1e-4, atol=1e-5)


def test_exports_are_normalised_by_controls_that_they_need_not_hold(tmp_path, capsys, monkeypatch):
    store, X, plate = make(tmp_path / "store", plates=2)
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    histokit = CommandLine(capsys)
    asked = ["--normalise", "mad-robustise", "--controls", DMSO, "--per", "plate"]
    file = tmp_path / "p.npz"
    histokit.ok("export", "toy", "--features", "net/last", "--out", file, "--where", "label IS NOT NULL", *asked)
    with np.load(file) as found:
        assert found["sample_ids"].tolist() == [f"w{i}" for i in range(30, 40)]
        for number in (0, 1):
            here = plate == number
            expected = robust(X[here], X[here & (np.arange(40) < 30)], 1e-18)
            assert_allclose(found["X"][plate[30:] == number], expected[15:], rtol=1e-4, atol=1e-5)
        (step,) = json.loads(str(found["provenance"]))["steps"]
    assert (step["controls"], step["per"], step["count"]) == (DMSO, "plate", {"P0": 15, "P1": 15})
    plain = export_features(store.features("toy", "net/last"), tmp_path / "plain.npz")
    with np.load(plain) as found:
        assert "steps" not in json.loads(str(found["provenance"]))
    histokit.fails("export", "toy", "--features", "net/last", "--out", file, "--per", "plate", code=2)
    histokit.fails("export", "toy", "--features", "net/last", "--out", file, *asked[:2], code=2)
