from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_plugin import TinyPlugin

import histokit
from histokit.errors import HistokitError, PluginError, StoreError, UsageError
from histokit.study.study_file import Study
from histokit.study.study_reader import read_study

DRAWN = '[datasets.drawn]\nplugin = "synthetic"\noptions = { slides = 2, per_slide = 2, size = 16 }\n'


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HISTOKIT_STORE", raising=False)


def read(folder: Path, text: str, **options: Path) -> Study:
    (folder / "study.toml").write_text(text)
    return read_study(folder / "study.toml", **options)


def wrong(folder: Path, text: str, kind: type[HistokitError] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        read(folder, text)
    assert not (folder / "histokit-store").exists()
    return f"{caught.value.message}\n{caught.value.next}"


def test_little_needs_to_be_said(tmp_path: Path) -> None:
    study = read(tmp_path, f"{DRAWN}[backbones.texture]\n")
    assert study.store.uri == tmp_path / "histokit-store"
    assert [method.name for method in study.methods] == [
        "last layer",
        "feature selection",
        "merged layers",
        "inner layers",
        "et-fl",
    ]
    assert {method.name: method.classifiers for method in study.methods}["last layer"] == ("svm", "et", "fc")
    assert study.methods[-1].classifiers == ("et-fl",)
    (network,) = study.networks
    assert (network.layers, network.inner, network.last) == (("all",), ("all",), "joined")
    assert study.common == {"seed": 0, "inner_folds": 5}
    assert study.datasets[0].split is None
    assert not (tmp_path / "histokit-store").exists()


def test_only_the_layers_that_strategies_need_are_extracted(tmp_path: Path, tiny: TinyPlugin) -> None:
    text = f'strategies = ["last layer"]\n{DRAWN}[backbones.tiny]\n'
    assert read(tmp_path, text).networks[0].layers == ("3",)
    text = f'strategies = ["last layer", "merged layers"]\n{DRAWN}[backbones.tiny]\nlayers = ["0", "1:max"]\n'
    network = read(tmp_path, text).networks[0]
    assert (network.layers, network.inner) == (("0", "1:max", "3"), ("0", "1:max"))
    text = f'strategies = ["last layer"]\n{DRAWN}[backbones.tiny]\nlast = "last:max"\n'
    assert read(tmp_path, text).networks[0].layers == ("3:max",)
    assert tiny.built == 0


def test_paths_are_relative_to_the_file(
    tmp_path: Path, images: Path, tiny: TinyPlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "papers" / "one"
    folder.mkdir(parents=True)
    (folder / "w.pth").touch()
    text = 'store = "../kept"\n[datasets.cells]\nplugin = "folder"\nroot = "../../images"\n'
    text += 'options.pattern = "{patient}/{label}/*.png"\n[backbones.tiny]\nweights = "w.pth"\n'
    monkeypatch.chdir(tmp_path)
    study = read(Path("papers/one"), text)
    assert study.store.uri.resolve() == tmp_path / "papers" / "kept"
    assert study.datasets[0].opened is not None
    assert study.datasets[0].opened.root.resolve() == images
    assert study.networks[0].options["weights"] == str(folder / "w.pth")


def test_the_command_line_and_the_environment_name_the_store_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'store = "kept"\n{DRAWN}[backbones.texture]\n'
    assert read(tmp_path, text).store.uri == tmp_path / "kept"
    monkeypatch.setenv("HISTOKIT_STORE", str(tmp_path / "other"))
    assert read(tmp_path, text).store.uri == tmp_path / "other"
    assert read(tmp_path, text, store=tmp_path / "given").store.uri == tmp_path / "given"


def test_what_stands_at_the_top_is_for_all_and_a_dataset_may_differ(tmp_path: Path) -> None:
    text = 'split = { folds = 3 }\nmetric = "roc_auc"\n[backbones.texture]\n' + DRAWN
    text += DRAWN.replace("drawn", "more") + 'split = "holdout"\nallow_missing = true\n'
    first, second = read(tmp_path, text).datasets
    assert (first.split, first.made, first.metric, first.allow_missing) == ("study", {"folds": 3}, "roc_auc", False)
    assert (second.split, second.made, second.metric, second.allow_missing) == ("holdout", None, "roc_auc", True)


def test_strategies_may_have_networks_and_classifiers_of_their_own(tmp_path: Path, tiny: TinyPlugin) -> None:
    text = 'strategies = ["Last_Layer", "Merged networks"]\nclassifiers = ["svm", "knn"]\n'
    text += f"{DRAWN}[backbones]\ntiny = {{}}\ntexture = {{}}\n[classifier.et]\ngrid = {{ trees = 10 }}\n"
    text += '[strategy."last-layer"]\nbackbones = ["tiny"]\nclassifiers = ["et"]\n'
    study = read(tmp_path, text)
    assert [(m.name, m.networks, m.classifiers) for m in study.methods] == [
        ("last layer", ("tiny",), ("et",)),
        ("merged networks", ("tiny", "texture"), ("svm", "knn")),
    ]
    assert study.classifiers["et"] == {"grid": {"trees": 10}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('strategys = ["last layer"]\n', "line 1, strategys: There is no key 'strategys' here.\nDid you mean 'strateg"),
        ('strategies = ["last layr"]\n', "no strategy 'last layr'.\nDid you mean 'last layer'?"),
        ('classifiers = ["smv"]\n', "line 1, classifiers: There is no classifier 'smv'.\nDid you mean 'svm'?"),
        ('classifiers = ["svm", "et-fl"]\n', "et-fl is no classifier of other strategies"),
        ('classifiers = "svm"\n', "'svm' is not a list of texts.\nWrite classifiers = "),
        ("inner_folds = 1\n", "1 is not a whole number from 2 to 1,000"),
        ("seed = -1\n", "-1 is not a whole number from 0 to 4,294,967,295"),
        ("seed = 4294967296\n", "line 1, seed: 4294967296 is not a whole number from 0"),
        ("split = { folds = 3, seed = -1 }\n", "-1 is not a whole number from 0"),
        ("split = { folds = 3, repeats = 40000 }\n", "40000 is not a whole number from 1 to 1,000"),
        ("split = { folds = 40000 }\n", "40000 is not a whole number from 2 to 32,767"),
        ("split = { test = nan }\n", "nan is not a number between 0 and 1"),
        ("split = { folds = 3, train_groups = 0 }\n", "0 is not a whole number from 1"),
        ("split = { folds = 3, train_per_class = 0 }\n", "0 is not a whole number from 1"),
        ('split = { within = "random" }\n', "line 1, [split]: The split would be 'random' once more"),
        (
            'split = { within = "randm", train_per_class = 2 }\n',
            "[split] within: The dataset 'drawn' has no split 'randm'.\nDid you mean 'random'",
        ),
        ("[compare]\nbootstrap = 0\n", "0 is not a whole number of at least 1"),
        ('strategies = ["feature selection"]\n[strategy."feature selection"]\ntolerance = -1\n', "-1 is not a"),
        ('strategies = ["feature selection"]\n[strategy."feature selection"]\nstep = nan\n', "nan is not a share"),
        ('metric = "acuracy"\n', "no metric 'acuracy'.\nDid you mean 'accuracy'?"),
        ('device = "tpu"\n', "line 1, device: There is no device 'tpu'"),
        ('split = "tenfold"\n', "The dataset 'drawn' has no split 'tenfold'.\nUse one of random, cv"),
        ("split = { fold = 3 }\n", "There is no key 'fold' here.\nDid you mean 'folds'?"),
        ("split = { folds = 3, test = 0.2 }\n", "line 1, [split]: A split needs one of"),
        ("split = true\n", "line 1, split: True is not the name of a split, or a table"),
        ('split = { name = "cv", folds = 3 }\n', "The split name 'cv' is taken"),
        (
            "[classifier.svm]\ngrid = { c = 1 }\n",
            "line 2, [classifier.svm.grid]: The classifier svm has no parameter 'c'",
        ),
        ("[classifier.knn]\ngrid = { k = 1 }\n", "The study has no classifier 'knn'"),
        ('[classifier.fc]\nclass_weight = "balanced"\n', "takes no class weights"),
        ('strategies = ["last layer"]\n[strategy."merged layers"]\n', "does not use the strategy 'merged layers'"),
        ('[strategy."inner layers"]\nchoose = "best"\n', "A layer cannot be chosen by 'best'"),
        ('[strategy."last layer"]\nbackbones = ["textur"]\n', "no backbone 'textur'.\nDid you mean 'texture'?"),
        ('strategies = ["merged networks"]\n', "needs two backbones or more"),
        (
            "[compare]\nbootstrp = 3\n",
            "[compare] bootstrp: There is no key 'bootstrp' here.\nDid you mean 'bootstrap'?",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    assert says in wrong(tmp_path, f"{text}{DRAWN}[backbones.texture]\n")


@pytest.mark.parametrize(
    ("text", "says", "kind"),
    [
        (
            '[datasets.d]\nplugin = "foldr"\nroot = "."\n',
            "line 2, [datasets.d] plugin: There is no dataset pl",
            PluginError,
        ),
        ('[datasets.d]\nplugin = "folder"\n', "The dataset 'd' names no root", UsageError),
        (
            '[datasets.d]\nplugin = "folder"\nroot = "no"\n',
            "line 3, [datasets.d] root: There is no folder ",
            UsageError,
        ),
        ('[datasets.d]\nroot = "."\n', "line 1, [datasets.d]: The dataset 'd' names no plugin", UsageError),
        ("[datasets.d]\n", "names no plugin, and the store", UsageError),
        (DRAWN.replace("slides", "slide"), "line 3, [datasets.drawn.options]: dataset plugin 'synthetic'", UsageError),
        (DRAWN.replace("2,", '"x",'), "slides='x' is not a whole number", UsageError),
        (DRAWN + "where = \"slide = 'a' ORR TRUE\"\n", "line 4, [datasets.drawn] where: The filter", UsageError),
        (DRAWN + 'where = ""\n', "line 4, [datasets.drawn] where: '' is not a text in quotes", UsageError),
        (DRAWN + "split = 3\n", "line 4, [datasets.drawn] split: 3 is not the name of a split", UsageError),
        (f'split = {{ fold = 3 }}\n{DRAWN}split = "cv"\n', "line 1, [split] fold: There is no key 'fold'", UsageError),
        (f'metric = "f2"\n{DRAWN}metric = "accuracy"\n', "line 1, metric: There is no metric 'f2'", UsageError),
        (DRAWN + "seed = 3\n", "Above the first [table] it is for the whole study", UsageError),
        (DRAWN.replace("drawn", '"a b"'), "The dataset name 'a b' is not allowed", UsageError),
    ],
)
def test_a_mistake_in_a_dataset(tmp_path: Path, text: str, says: str, kind: type[HistokitError]) -> None:
    assert says in wrong(tmp_path, f"{text}[backbones.texture]\n", kind)


@pytest.mark.parametrize(
    ("text", "says", "kind"),
    [
        ("[backbones.textur]\n", "line 4, [backbones.textur]: There is no backbone 'textur'.\nDid you", PluginError),
        (
            '[backbones.tiny]\nlayers = ["0", "4"]\n',
            "line 5, [backbones.tiny] layers: The backbone 'tiny' has no la",
            UsageError,
        ),
        ('[backbones.tiny]\nlayers = "0:mean"\n', "Pooling 'mean' of tiny/0:mean is unknown", UsageError),
        ('[backbones.texture]\nweights = "random"\n', "neither weights nor builder options", UsageError),
        ("[backbones.tiny]\npreprocess = { sise = 3 }\n", "no field 'sise'.\nDid you mean 'size'", UsageError),
        ('[backbones.tiny]\nprecision = "float8"\n', "precision 'float8' is unknown", UsageError),
        ('[backbones.tiny]\nstore_dtype = "float8"\n', "stored as 'float8'", UsageError),
        ("", "The study names no backbones.\nAdd a table: [backbones.NAME]", UsageError),
        (
            '[backbones."timm:test_resnet"]\n',
            'these stand in [backbones."timm:test_resnet"]: weights = "FILE" and preprocess = { mean = [',
            StoreError,
        ),
        ('[backbones."timm:test_resnet,a"]\n', "not of the form KEY=VALUE", PluginError),
    ],
)
def test_a_mistake_in_a_backbone(
    tmp_path: Path, tiny: TinyPlugin, text: str, says: str, kind: type[HistokitError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert says in wrong(tmp_path, f"{DRAWN}{text}", kind)


def test_what_is_no_toml_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing.toml cannot be read: No such file"):
        read_study(tmp_path / "nothing.toml")
    both = wrong(tmp_path, 'backbones = ["a"]\n[backbones.a]\nweights = "random:1"')
    assert "either in a list" in both
    assert re.search(r"study.toml is no TOML: .*line 1", wrong(tmp_path, "classifiers = [svm]"))


def test_a_dataset_in_the_store_needs_no_plugin(tmp_path: Path) -> None:
    histokit.ingest(histokit.open_store(tmp_path / "histokit-store"), "synthetic", name="kept")
    text = '[datasets.kept]\nsplit = "random"\n[backbones.texture]\n'
    assert read(tmp_path, text).datasets[0].opened is None
    with pytest.raises(UsageError, match="has no split 'rando'"):
        read(tmp_path, text.replace("random", "rando"))
    with pytest.raises(UsageError, match="names no plugin") as caught:
        read(tmp_path, "[datasets.kep]\n[backbones.texture]\n")
    assert caught.value.next.startswith("Did you mean 'kept'?")


def test_a_filter_has_to_fit_a_dataset_that_is_in_the_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    histokit.ingest(store, "synthetic", name="here", options={"slides": "2", "per_slide": "2", "size": "16"})
    text = 'strategies = ["last layer"]\n[datasets.here]\nwhere = "slid = 1"\n[backbones.texture]\n'
    with pytest.raises(UsageError, match=r"line 3, \[datasets.here\] where: .*there is no column 'slid'"):
        read(tmp_path, text, store=store)
    assert read(tmp_path, text.replace("slid = 1", "slide <> 'slide01'"), store=store).datasets[0].where


def test_a_study_draws_within_a_split_of_the_data(tmp_path: Path) -> None:
    text = 'classifiers = ["knn"]\nstrategies = ["last layer"]\n'
    text += 'split = { name = "few", within = "random", train_per_class = 1, repeats = 3 }\n'
    text += DRAWN.replace("per_slide = 2", "per_slide = 20") + "[backbones.texture]\n[classifier.knn.grid]\nk = 1\n"
    (tmp_path / "study.toml").write_text(text)
    store = histokit.open_store(tmp_path / "histokit-store")
    histokit.study.run(tmp_path / "study.toml")
    folds, random = (store.split("drawn", name).folds() for name in ("few", "random"))
    assert [fold.test for fold in folds] == [fold.test for _ in range(3) for fold in random]
    assert {len(fold.train) for fold in folds} == {len(store.dataset("drawn").classes)}
    (run,) = store.runs()
    assert (run.split, len(run.folds)) == ("few", 3 * len(random))
    assert {piece.done for piece in histokit.study.plan(tmp_path / "study.toml").pieces} == {True}
