from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from histokit_cytomine.dataset import Cytomine
from histokit_cytomine.known import KNOWN_SETS
from PIL import Image

import histokit
from histokit import cli
from histokit.plugin import DataError, UsageError
from histokit.plugin.manager import registry
from histokit.plugin.testing import check_dataset

#: Slides of each set; every slide has two objects of each class.
SETS = {"train": ("710601", "710602", "710603"), "val": ("720001",), "test": ("728783", "728784")}


def write(path: Path, seed: int = 0, size: tuple[int, int] = (12, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (*size[::-1], 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


def write_sets(root: Path, classes=("0", "1"), sets=SETS) -> Path:
    seed = 0
    for name, slides in sets.items():
        for slide in slides:
            for number, label in enumerate(classes):
                for annotation in (797946 + number, 800000 + number):
                    write(root / name / label / f"{slide}_{annotation}.png", seed := seed + 1, (8 + seed % 5, 30))
    return root


def remarks(root: Path, **options) -> list[str]:
    return list(histokit.ingest(root.parent / "store", "cytomine", root, name="c", options=options).warnings)


@pytest.mark.parametrize("options", [{}, {"dataset": "Necrosis"}, {"dataset": "none", "mpp": "0.5"}])
def test_contract(tmp_path, options):
    check_dataset(Cytomine, write_sets(tmp_path), **options)


def test_found_through_the_entry_point():
    assert registry().dataset("cytomine") is Cytomine


def test_ids_labels_groups_and_order(tmp_path):
    samples = list(Cytomine(write_sets(tmp_path)).samples())
    assert len(samples) == 24
    assert samples[0].id == "train/0/710601_797946.png"
    assert samples[0].image == (samples[0].id,)
    assert dict(samples[0].metadata) == {"slide": "710601", "annotation": "797946", "split": "train"}
    assert [s.metadata["split"] for s in samples[::4]] == ["train"] * 3 + ["val"] + ["test"] * 2
    assert {(s.id.split("/")[1], s.label) for s in samples} == {("0", "0"), ("1", "1")}


def test_the_split_of_the_folders_is_the_default_one(tmp_path):
    write_sets(tmp_path, sets={"Training": ("1",), "valid": ("2",), "TEST": ("3", "4")})
    dataset = Cytomine(tmp_path)
    split = dataset.splits()["cytomine"]
    assert Counter((row.role, row.sample_id.split("/")[0]) for row in split.rows) == {
        ("train", "Training"): 4,
        ("val", "valid"): 4,
        ("test", "TEST"): 8,
    }
    assert (split.leaks, split.group) == (None, "slide")


def test_without_a_test_set_the_validation_set_is_tested(tmp_path):
    write_sets(tmp_path, sets={"train": ("1",), "val": ("2",)})
    split = Cytomine(tmp_path).splits()["cytomine"]
    assert {(row.role, row.sample_id.split("/")[0]) for row in split.rows} == {("train", "train"), ("test", "val")}
    assert split.notes == ("the data have train and val, but no test samples: those of val are tested",)


def test_without_a_test_set_a_slide_of_training_and_validation_leaks(tmp_path):
    write_sets(tmp_path, sets={"train": ("1", "2"), "val": ("2", "3")})
    split = Cytomine(tmp_path).splits()["cytomine"]
    assert split.leaks == "1 slide is in the test set and outside it, for example 2"
    assert split.group is None


def test_slides_in_several_sets_are_told(tmp_path):
    write_sets(tmp_path)
    write(tmp_path / "test/1/710602_1.png")
    write(tmp_path / "val/1/710601_1.png")
    dataset = Cytomine(tmp_path)
    list(dataset.samples())
    assert dataset.warnings == ["2 slides are in several sets, for example 710601 in train, val"]
    split = dataset.splits()["cytomine"]
    assert split.leaks == "1 slide is in the test set and outside it, for example 710602"
    assert dataset.warnings[1:] == [
        f"The split cytomine of the data leaks, and is used only where it is named (--split cytomine): {split.leaks}"
    ]
    check_dataset(dataset)


def test_folders_of_classes_without_sets(tmp_path):
    for label in ("tumour", "stroma"):
        for slide in ("a", "b"):
            write(tmp_path / label / f"{slide}_1_2.png")
    dataset = Cytomine(tmp_path)
    samples = list(dataset.samples())
    assert [s.id for s in samples] == ["stroma/a_1_2.png", "stroma/b_1_2.png", "tumour/a_1_2.png", "tumour/b_1_2.png"]
    assert dict(samples[0].metadata) == {"slide": "a", "annotation": "1_2", "split": None}
    assert (dataset.splits(), dataset.classes, dataset.metric) == ({}, None, "accuracy")
    check_dataset(dataset)


def test_names_and_files_that_do_not_fit_are_told(tmp_path):
    write_sets(tmp_path)
    write(tmp_path / "train/0/whole.png")
    write(tmp_path / "train/0/_7.png")
    write(tmp_path / "train/loose.png")
    write(tmp_path / "train/1/deep/1_2.png")
    write(tmp_path / "extra/0/1_2.png")
    (tmp_path / "train/0/notes.txt").write_text("-")
    (tmp_path / "train/0/.hidden.png").write_text("-")
    dataset = Cytomine(tmp_path)
    samples = {s.id: s for s in dataset.samples()}
    assert len(samples) == 26
    assert samples["train/0/whole.png"].metadata["slide"] == "whole"
    assert samples["train/0/whole.png"].metadata["annotation"] is None
    told = "\n".join(dataset.warnings)
    for text in (
        "1 passed over in the root, such as extra",
        "1 passed over in train, such as loose.png",
        "1 passed over in train/1, such as deep",
        "1 file that is no image",
        "2 names have no slide before an underscore",
    ):
        assert text in told


def test_published_numbers():
    # Table 1 of the paper: images, then slides, of all parts together.
    totals = {
        "CellInclusion": (3_638, 45),
        "ProliferativePattern": (1_857, 36),
        "Glomeruli": (29_213, 205),
        "Necrosis": (882, 13),
        "Breast": (23_032, 34),
        "MouseLba": (4_284, 20),
        "Lung": (6_331, 882),
        "HumanLba": (5_420, 64),
    }
    for known in KNOWN_SETS:
        assert (sum(known.images.values()), sum(known.slides.values())) == totals[known.name]
        assert not known.terms or len(known.terms) == known.classes
        assert known.metric == ("roc_auc" if known.classes == 2 else "accuracy")


@pytest.mark.parametrize("by", ["MouseLba", "mouselba", "ulg_lbtd_lba"])
def test_a_known_set_by_its_name_or_its_folders(tmp_path, by):
    called, given = Cytomine(tmp_path / by), Cytomine(tmp_path / "data", dataset=by)
    for dataset in (called, given):
        assert (dataset.known.name, dataset.metric) == ("MouseLba", "accuracy")
        assert dataset.expected == {
            "samples": 4_284,
            "labels": 8,
            "slide": 20,
            "split": {"train": 1_722, "val": 716, "test": 1_846},
        }
    assert Cytomine(tmp_path / by, dataset="none").known is None
    assert Cytomine(tmp_path / by, dataset="Breast").metric == "roc_auc"
    assert Cytomine(tmp_path / by, dataset="Breast", metric="f1_macro").metric == "f1_macro"


def test_a_copy_that_differs_is_told(tmp_path):
    told = "\n".join(remarks(write_sets(tmp_path / "ulg_lbtd2_chimio_necrose", classes=("0", "1", "2"))))
    assert "36 samples in place of 882" in told
    assert "3 labels in place of 2" in told
    assert "3 slides in train in place of 9, 2 slides in test in place of 3" in told
    assert "classes are called 2; the published ones are 0, 1" in told
    assert "by its folder's name this is Necrosis of Mormont et al. 2018; -o dataset=none" in told
    assert not remarks(tmp_path / "ulg_lbtd2_chimio_necrose", dataset="none")


def test_classes_alone_that_differ_are_told(tmp_path):
    root = tmp_path / "ulg_lbtd2_chimio_necrose"
    counts = next(known.slides for known in KNOWN_SETS if known.name == "Necrosis")
    sets = {name: tuple(f"{name}{number}" for number in range(count)) for name, count in counts.items()}
    told = "\n".join(remarks(write_sets(root, classes=("0", "1", "2"), sets=sets)))
    assert "the sets are not the published ones" not in told
    assert "classes are called 2; the published ones are 0, 1" in told
    assert "by its folder's name this is Necrosis of Mormont et al. 2018; -o dataset=none" in told


def test_classes_are_those_that_were_published(tmp_path):
    # As other users call the folders; two of the eight classes are there.
    write_sets(tmp_path, classes=("ulg_lbtd_lba_4768", "ulg_lbtd_lba_406558"))
    dataset = Cytomine(tmp_path, dataset="MouseLba")
    assert {s.label for s in dataset.samples()} == {"4768", "406558"}
    assert dataset.classes == ("406558", "4762", "4763", "4764", "4765", "4766", "4767", "4768")


def test_bad_input(tmp_path):
    with pytest.raises(UsageError, match="dataset='Mouse' is none of the known sets") as caught:
        Cytomine(tmp_path, dataset="Mouse")
    assert "MouseLba" in caught.value.next
    for root, message in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "holds no image where it should")):
        with pytest.raises(DataError, match=message) as error:
            list(Cytomine(root).samples())
        assert str(root) in error.value.message
    write_sets(tmp_path)
    (tmp_path / "test/1/728783_800001.png").write_bytes(b"")
    dataset = Cytomine(tmp_path)
    broken = next(s for s in dataset.samples() if s.id == "test/1/728783_800001.png")
    with pytest.raises(DataError, match=r"728783_800001\.png is empty"):
        dataset.read(broken)


def test_a_study_needs_the_root_alone(tmp_path, capsys, monkeypatch):
    write_sets(tmp_path / "ulg_lbtd2_chimio_necrose")
    (tmp_path / "study.toml").write_text(
        """
        backbones = ["texture"]
        classifiers = ["svm"]
        strategies = ["last layer"]
        [classifier.svm.grid]
        C = 1.0
        [datasets.necrosis]
        plugin = "cytomine"
        root = "ulg_lbtd2_chimio_necrose"
        """
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "store"))
    assert cli.run(["study", "run", "study.toml"]) == 0, capsys.readouterr().err
    store = histokit.open_store(tmp_path / "store")
    run = store.runs()[0]
    assert (run.split, run.metric, len(run.folds)) == ("cytomine", "roc_auc", 1)
    # Of the three slides of training and the one of validation, and of the two of the test.
    assert (run.folds[0]["train"], run.folds[0]["test"]) == (16, 8)
