"""How channels meet networks of three colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import histokit
from histokit import cli
from histokit.errors import UsageError
from histokit.features import FeatureStore

NAMES = ("DAPI", "GFP", "Actin", "Mito", "ER")


@pytest.fixture
def cells(store: FeatureStore, tmp_path: Path, tiny: Any) -> FeatureStore:
    """Six images of five channels of 16 bits in the dataset ``d``, of two wells."""
    generator = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for number in range(6):
        values = generator.integers(0, 65536, (5, 16, 16), dtype=np.uint16)
        tifffile.imwrite(tmp_path / "data" / f"w{number % 2}_{number}.tif", values, photometric="minisblack")
    options = {"pattern": "{label}_*.tif", "channels": ",".join(f"{name}:{k}" for k, name in enumerate(NAMES, 1))}
    histokit.ingest(store, "folder", tmp_path / "data", name="d", options=options)
    return store


def pixels(store: FeatureStore, tmp_path: Path) -> list[np.ndarray]:
    """The intensities of the channels of each image, (5, 16, 16) from 0 to 1."""
    ids = store.samples("d").column("id").to_pylist()
    return [tifffile.imread(tmp_path / "data" / sample_id) / 65535 for sample_id in ids]


def extracted(store: FeatureStore, channels: str, layer: str = "0") -> np.ndarray:
    (address,) = histokit.extract(store, "d", "tiny", layers=[layer], channels=channels).addresses
    return store.features("d", address).X


def first_map(inputs: np.ndarray, weight: Any, bias: Any) -> np.ndarray:
    import torch

    batch = torch.from_numpy((inputs[None] - 0.5) / 0.5).float()
    return torch.nn.functional.conv2d(batch, weight, bias, stride=2).mean((2, 3))[0].numpy()


def first_convolution() -> Any:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Conv2d(3, 4, 3, stride=2).requires_grad_(False)


def test_named_channels_go_in_in_their_order(cells: FeatureStore, tmp_path: Path) -> None:
    conv = first_convolution()
    found = extracted(cells, "Mito,DAPI,Actin")
    wanted = [first_map(image[[3, 0, 2]], conv.weight, conv.bias) for image in pixels(cells, tmp_path)]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_each_channel_on_its_own_gives_joined_vectors(cells: FeatureStore, tmp_path: Path) -> None:
    joined = extracted(cells, "each")
    assert joined.shape == (6, 20)
    conv = first_convolution()
    wanted = [
        np.concatenate([first_map(np.repeat(plane[None], 3, 0), conv.weight, conv.bias) for plane in image])
        for image in pixels(cells, tmp_path)
    ]
    np.testing.assert_allclose(joined, wanted, atol=1e-5)
    # The same as one channel at a time, which is repeated.
    np.testing.assert_array_equal(joined[:, 8:12], extracted(cells, "Actin"))
    features = cells.features("d", histokit.extract(cells, "d", "tiny", layers=["0"], channels="each").addresses[0])
    assert [name.partition("[")[2] for name in features.column_names][7:9] == ["GFP:3]", "Actin:0]"]
    assert all(name.startswith("tiny/0") for name in features.column_names)


def test_a_convolution_inflated_to_all_channels(cells: FeatureStore, tmp_path: Path) -> None:
    conv = first_convolution()
    weight = conv.weight[:, [0, 1, 2, 0, 1]] * 3 / 5
    wanted = [first_map(image, weight, conv.bias) for image in pixels(cells, tmp_path)]
    np.testing.assert_allclose(extracted(cells, "inflate"), wanted, atol=1e-5)
    # Deeper layers come from it as well.
    assert extracted(cells, "inflate", "3").shape == (6, 6)


def test_each_way_has_a_table_of_its_own(cells: FeatureStore) -> None:
    for channels in ("each", "inflate", "DAPI", "DAPI,GFP,Actin"):
        extraction = histokit.extract(cells, "d", "tiny", layers=["0"], channels=channels)
        assert [table["computed"] for table in extraction.tables] == [6]
        again = histokit.extract(cells, "d", "tiny", layers=["0"], channels=channels)
        assert [(table["cached"], table["computed"]) for table in again.tables] == [(6, 0)]
    assert len(cells.feature_tables("d")) == 4
    described = histokit.extract(cells, "d", "tiny", layers=["0"], channels="each").networks[0]["described"]
    assert described.endswith("; each channel on its own")


def test_what_was_trained_on_each_channel_predicts(cells: FeatureStore, tmp_path: Path, capsys: Any) -> None:
    uri = str(cells.uri)

    def run(*command: str) -> str:
        assert cli.run([*command, "--store", uri]) == 0
        return capsys.readouterr().out.strip()

    address = run("extract", "d", "--backbone", "tiny", "--layers", "last", "--channels", "each")
    made = run("train", "d", "--features", address, "--classifier", "knn", "--grid", "k=1", "--split", "cv")
    histokit.ingest(
        cells,
        "folder",
        tmp_path / "data",
        name="new",
        options={"pattern": "*_{label}.tif", "channels": ",".join(f"{name}:{k}" for k, name in enumerate(NAMES, 1))},
    )
    run("predict", made, "new")
    assert cells.features("new", "tiny/last").X.shape == (6, 30)


@pytest.mark.parametrize(
    ("channels", "told"),
    [
        ("DAP,GFP,Actin", r"has no channel 'DAP'.*\n.*'DAPI'"),
        ("eahc", r"has no channel 'eahc'.*\n.*'each'"),
        ("replicate", r"One channel is repeated, but the dataset has 5"),
        ("DAPI,GFP", r"mean and std are given for 3 channels; 2 go in"),
        ("", r"5 go in: DAPI, GFP.*\n.*--channels each"),
    ],
)
def test_channels_that_do_not_fit(cells: FeatureStore, channels: str, told: str) -> None:
    for dry_run in (False, True):
        with pytest.raises(UsageError, match=told):
            histokit.extract(cells, "d", "tiny", layers=["0"], channels=channels, dry_run=dry_run)


def test_channels_are_said_once(cells: FeatureStore) -> None:
    with pytest.raises(UsageError, match="says what becomes of channels, and --channels does so too"):
        histokit.extract(cells, "d", "tiny", channels="each", preprocess=["channels=DAPI"])


def test_the_only_channel_is_repeated(store: FeatureStore, tmp_path: Path, tiny: Any) -> None:
    (tmp_path / "data").mkdir()
    tifffile.imwrite(tmp_path / "data" / "a.tif", np.arange(256, dtype=np.uint16).reshape(16, 16) * 200)
    options = {"pattern": "*.tif", "channels": "DAPI:1"}
    histokit.ingest(store, "folder", tmp_path / "data", name="d", options=options)
    found = extracted(store, "replicate")
    conv = first_convolution()
    image = tifffile.imread(tmp_path / "data" / "a.tif")[None].repeat(3, 0) / 65535
    np.testing.assert_allclose(found[0], first_map(image, conv.weight, conv.bias), atol=1e-5)


def test_a_network_without_a_convolution_of_colours_is_not_inflated(cells: FeatureStore) -> None:
    with pytest.raises(UsageError, match="has no first convolution of 3 channels that could be inflated"):
        histokit.extract(cells, "d", "texture", channels="inflate")
