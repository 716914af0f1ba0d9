"""An image file as a query, and pictures of what is found."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

import histokit
from histokit import neighbours
from histokit.errors import DataError, LeakageError, StoreError, UsageError
from histokit.figures.contact import draw_contact
from histokit.layout import number_text
from histokit.neighbours.pictures import contact_sheet
from histokit.plugin import Dataset, Sample, hookimpl
from histokit.plugin.testing import added_plugin
from tests.toy import make_samples, make_store
from tests.trained_runs import a_network, a_trained_run

PATTERN = "{patient}/{label}/*.png"


@pytest.fixture
def cells(store, images, tiny):
    """A store with the images of the dataset ``cells`` and the features of all layers of ``tiny``."""
    histokit.ingest(store, "folder", images, name="cells", options={"pattern": PATTERN, "group": "patient"})
    histokit.extract(store, "cells", "tiny")
    return store


def test_a_file_has_the_vector_that_it_has_as_a_sample(cells, images, tmp_path):
    sample = "p2/bright/1.png"
    copy = shutil.copy(images / sample, tmp_path / "copy.png")
    for address in ("tiny/last", "tiny/all"):
        found = neighbours(cells, "cells", address, query=str(copy), k=24, metric="euclidean")
        assert found.queries.kind == "file"
        assert found.samples.sample_ids[found.found.places[0, 0]] == sample
        assert found.found.distances[0, 0] == pytest.approx(0, abs=1e-5)
        of_sample = neighbours(cells, "cells", address, query=sample, k=23, metric="euclidean", same_group=True)
        assert found.found.places[0, 1:].tolist() == of_sample.found.places[0].tolist()
        assert found.found.distances[0, 1:] == pytest.approx(of_sample.found.distances[0], abs=1e-5)
    (told,) = (note for note in found.notes if "byte-identical" in note)
    assert "copy.png = p2/bright/1.png" in told
    alike = dict(zip(*found.table().select(["id", "identical"]).to_pydict().values(), strict=True))
    assert [name for name, same in alike.items() if same] == [sample]
    assert found.scores is None
    path = neighbours(cells, "cells", "tiny/last", query=tmp_path / "copy.png", k=3)
    assert path.queries.kind == "file"


def test_a_file_has_the_resolution_of_all_samples_and_its_vector_their_precision(store, images, tiny, tmp_path):
    histokit.ingest(store, "folder", images, name="fine", options={"pattern": PATTERN, "mpp": "0.5"})
    histokit.extract(store, "fine", "tiny", layers="last", preprocess={"target_mpp": 1.0}, store_dtype="float16")
    sample = "p2/bright/1.png"
    copy = shutil.copy(images / sample, tmp_path / "copy.png")
    found = neighbours(store, "fine", "tiny/last", query=str(copy), k=1, metric="euclidean")
    assert found.samples.sample_ids[found.found.places[0, 0]] == sample
    assert found.found.distances[0, 0] == pytest.approx(0, abs=1e-6)
    assert "the file is taken to have 0.5 µm per pixel, as all samples of fine have" in found.notes


def test_a_file_that_samples_are_pieces_of_is_identical_to_none_of_them(store, images, tiny, tmp_path):
    table = "image,x,y,width,height\n" + "".join(f"p2/bright/1.png,{x},0,8,8\n" for x in (0, 8))
    (images / "pieces.csv").write_text(table)
    options = {"table": "pieces.csv", "box": "x,y,width,height"}
    histokit.ingest(store, "table", images, name="pieces", options=options)
    histokit.extract(store, "pieces", "tiny")
    found = neighbours(store, "pieces", "tiny/last", query=images / "p2/bright/1.png", k=2)
    assert [note for note in found.notes if "1.png is byte-identical to the image of" in note]
    assert found.table().column("identical").to_pylist() == [False, False]


def test_another_size_or_greyscale_is_prepared_as_the_network_asks(cells, tmp_path):
    Image.fromarray(np.full((40, 23), 180, np.uint8)).save(tmp_path / "grey.png")
    found = neighbours(cells, "cells", "tiny/last", query=tmp_path / "grey.png", k=3)
    assert found.queries.pixels.shape == (40, 23, 3)
    assert np.isfinite(found.found.distances).all()


def test_a_network_that_knows_samples_is_told_and_refused_where_it_knows_queries_of_a_fold(cells):
    network, described = a_network()
    ids = cells.samples("cells", ["id"]).column("id").to_pylist()
    run = a_trained_run(cells, "cells", {"final": (network, described, ids[:4])})
    histokit.extract(cells, "cells", f"run:{run.id}", layers="last")
    found = neighbours(cells, "cells", f"run:{run.id}/last", k=2)
    told = f"4 of 24 samples were in the training of the network run:{run.id}: their scores"
    assert [note.startswith(told) for note in found.notes].count(True) == 1
    with pytest.raises(LeakageError, match="has seen 4 of the 6 test samples"):
        neighbours(cells, "cells", f"run:{run.id}/last", k=2, split="leave-one-group-out")


def test_files_that_cannot_be_queries_are_told(cells, tmp_path, images):
    (tmp_path / "text.png").write_text("nothing")
    with pytest.raises(DataError, match="cannot be read"):
        neighbours(cells, "cells", "tiny/last", query=tmp_path / "text.png")
    with pytest.raises(DataError, match="is a folder"):
        neighbours(cells, "cells", "tiny/last", query=str(images))
    with pytest.raises(UsageError, match="no sample of 'cells', no file and no dataset"):
        neighbours(cells, "cells", "tiny/last", query=tmp_path / "none.png")
    samples, X = make_samples()
    make_store(cells.uri, samples, {"last": X}, plugin="import-features", name="vectors")
    with pytest.raises(UsageError, match="computed elsewhere"):
        neighbours(cells, "vectors", "net/last", query=tmp_path / "text.png")


def test_a_network_that_is_another_now_is_told(cells, tiny, tmp_path, images, monkeypatch):
    monkeypatch.setattr("histokit.networks.resolved.EXTRACTION_VERSION", 10**6)
    with pytest.raises(StoreError, match=r"cannot be made into tiny/.* as the samples were: extraction_version"):
        neighbours(cells, "cells", "tiny/last", query=images / "p1" / "dark" / "0.png")


def test_the_sheet_shows_queries_and_their_neighbours(cells, images):
    found = neighbours(cells, "cells", "tiny/last", k=4)
    sheet = contact_sheet(cells, found, queries=3)
    assert len(sheet.rows) == 3
    for line, row in zip(sheet.rows, (0, 11, 23), strict=True):
        lead, *others = line
        query = found.queries.ids[row]
        assert (lead.mark, lead.name, lead.label) == ("lead", query, query.split("/")[1])
        assert [each.name for each in others] == [found.samples.sample_ids[p] for p in found.found.places[row]]
        for each in others:
            assert each.mark == ("right" if each.label == lead.label else "wrong")
            pixels = np.asarray(Image.open(images / each.name).resize((128, 128), Image.Resampling.BICUBIC))
            assert (each.pixels == pixels).all(), "as it is, before the network's preprocessing"
        assert others[0].facts == f"1: {number_text(found.found.distances[row, 0])}"
    assert "3 of 24 queries, evenly taken" in sheet.title
    assert "own patient left out" in sheet.title
    assert "neighbours" not in sheet.title, "all are drawn"
    more = contact_sheet(cells, neighbours(cells, "cells", "tiny/last", k=8), queries=3)
    assert "6 of 8 neighbours" in more.title
    assert {len(line) for line in more.rows} == {1 + 6}
    (axis,) = draw_contact(sheet).axes
    assert len(axis.images) == 15


def test_the_sheet_of_a_file_and_of_vectors(cells, images, tmp_path):
    file = neighbours(cells, "cells", "tiny/last", query=images / "p1" / "dark" / "0.png", k=2)
    ((lead, *others),) = contact_sheet(cells, file).rows
    assert lead.pixels.shape == (128, 128, 3)
    assert [each.mark for each in others] == ["", ""]
    samples, X = make_samples()
    store = make_store(tmp_path / "v", samples, {"last": X}, plugin="import-features")
    ((_, first, *_),) = contact_sheet(store, neighbours(store, "toy", "net/last", query="s1", k=2)).rows
    assert first.pixels is None
    assert first.mark in ("right", "wrong")


def test_the_command_draws(cells, tmp_path, monkeypatch, capsys):
    from histokit import cli

    monkeypatch.setenv("HISTOKIT_STORE", str(cells.uri))
    call = ["neighbours", "cells", "--features", "tiny/last", "--k", "2"]
    assert cli.run([*call, "--figure", str(tmp_path / "n.svg")]) == 0
    assert "Drawn" in capsys.readouterr().err
    assert (tmp_path / "n.svg").stat().st_size > 1000


class Scans(Dataset):
    """Images of 12 bits that the plugin reads by itself."""

    name, version, bits = "scans", "1", 12
    channels = ("R", "G", "B")

    def samples(self):
        for path in sorted(self.root.glob("*.tif")):
            yield Sample(path.name, (path.name,), label=path.name[0])

    def read(self, sample):
        return tifffile.imread(self.root / sample.image[0])


def test_a_file_of_many_bits_is_read_as_those_that_a_plugin_reads_itself(store, tmp_path, tiny):
    root = tmp_path / "scans"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a1", "a2", "b1", "b2"):
        pixels = rng.integers(0, 4096, (16, 16, 3), dtype=np.uint16)
        tifffile.imwrite(root / f"{name}.tif", pixels, photometric="rgb")
    plugin = SimpleNamespace(register_datasets=hookimpl(lambda register: register("scans", lambda: Scans)))
    with added_plugin(plugin, "scans"):
        histokit.ingest(store, "scans", root, name="deep")
        histokit.extract(store, "deep", "tiny", layers="last")
        copy = shutil.copy(root / "a2.tif", tmp_path / "copy.tif")
        found = neighbours(store, "deep", "tiny/last", query=copy, k=4, metric="euclidean")
    assert found.samples.sample_ids[found.found.places[0, 0]] == "a2.tif"
    assert found.found.distances[0, 0] == pytest.approx(0, abs=1e-6)
    assert found.queries.pixels.dtype == np.uint16
    assert found.queries.pixels.max() == pytest.approx(65535, rel=0.01)
