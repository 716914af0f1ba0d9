"""A study as its file describes it: datasets, networks, strategies and classifiers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histokit.errors import UsageError
from histokit.features import FeatureStore
from histokit.features.feature_store import DEFAULT_URI, named_store
from histokit.files import refuse_odd, refuse_remote
from histokit.finetune.recipe import NetworkRecipe
from histokit.networks.resolved import ResolvedBackbone
from histokit.plugin import Dataset


@dataclass(frozen=True)
class Data:
    """A dataset of a study.

    Parameters
    ----------
    name : str
    opened : Dataset, optional
        As its plugin opens it; none where it has to be in the store already.
    split : str, optional
        The name of the split.
    made : mapping, optional
        Options of `make_split`, where the study makes the split itself.
    metric, target, target_type, where, aggregate, normalise, controls, per : str, optional
        As in `train`.
    allow_missing : bool
    """

    name: str
    opened: Dataset | None = None
    split: str | None = None
    made: Mapping[str, Any] | None = None
    metric: str | None = None
    target: str | None = None
    target_type: str | None = None
    where: str | None = None
    aggregate: str | None = None
    normalise: str | None = None
    controls: str | None = None
    per: str | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class Network:
    """A backbone of a study, or vectors that were computed elsewhere.

    Parameters
    ----------
    name : str
        With its options sorted.
    layers : tuple of str
        What is extracted, or has to be there.
    inner : tuple of str
        The layers that are merged, or that one is chosen from; ``all`` for all curated ones.
    last : str
        The layer that counts as the last.
    resolved : ResolvedBackbone, optional
        None where the vectors were computed elsewhere.
    options : mapping
        Of `extract`: weights, preprocess, and where given precision, store_dtype, compile, engine and batch_size.
    version : str, optional
        Of vectors that were computed elsewhere, where there are several.
    """

    name: str
    layers: tuple[str, ...]
    inner: tuple[str, ...]
    last: str
    resolved: ResolvedBackbone | None
    options: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None


@dataclass(frozen=True)
class Method:
    """A strategy of a study.

    Parameters
    ----------
    name : str
        Of `histokit.study.strategies.STRATEGIES`.
    networks, classifiers : tuple of str
        What it is done with.
    options : mapping
        Its own.
    """

    name: str
    networks: tuple[str, ...]
    classifiers: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StudyTraining:
    """A way in which a network of a study is trained on images.

    Parameters
    ----------
    network : str
    preset : str
        A name, or the path of a file.
    recipe : NetworkRecipe
        The preset with what the study sets.
    start : ResolvedBackbone
        What is trained, as far as it is known before the dataset is in the store.
    options : mapping
        Of `finetune`: weights, preprocess, settings, from_scratch, seed and what the strategy says.
    """

    network: str
    preset: str
    recipe: NetworkRecipe
    start: ResolvedBackbone
    options: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The preset, and what tells trainings of the same network by it apart."""
        scratch = ", from scratch" * self.recipe.from_scratch
        return f"{self.preset}{scratch}, seed {self.options['seed']}"


@dataclass(frozen=True)
class Study:
    """What a study file says, found to be right.

    Parameters
    ----------
    file : Path
    store : FeatureStore
    datasets : tuple of Data
    networks : tuple of Network
    methods : tuple of Method
    classifiers : mapping
        Classifier → options of `train` that are its own: grid, class_weight.
    common : mapping
        Options of `select` and `train` for all: seed, inner_folds.
    device : str
    running : mapping
        Options of `extract` that were given to the command and go before those of networks: batch_size, workers.
    compare : mapping
        Options of the comparison.
    trainings : tuple of StudyTraining
        Those of all networks, where networks are trained.
    """

    file: Path
    store: FeatureStore
    datasets: tuple[Data, ...]
    networks: tuple[Network, ...]
    methods: tuple[Method, ...]
    classifiers: Mapping[str, Mapping[str, Any]]
    common: Mapping[str, Any]
    device: str = "auto"
    running: Mapping[str, Any] = field(default_factory=dict)
    compare: Mapping[str, Any] = field(default_factory=dict)
    trainings: tuple[StudyTraining, ...] = ()

    def network(self, name: str) -> Network:
        """Return a network by name."""
        return next(network for network in self.networks if network.name == name)


class StudyStore(FeatureStore):
    """A store that planning does not make: what is found out of networks is kept only where it is there already."""

    def remember(self, key: str, document: Mapping[str, Any]) -> None:
        """Keep how a backbone was resolved."""
        if self.uri.exists():
            super().remember(key, document)


def read_toml(path: str | Path) -> tuple[Path, str, dict[str, Any]]:
    """Return a study file's path, its text and what it holds.

    Raises
    ------
    UsageError
        If it cannot be read, or is no TOML.
    """
    file = Path(path).expanduser()
    refuse_remote(path, "studies")
    refuse_odd(file, UsageError)
    try:
        text = file.read_text(encoding="utf-8")
        return file, text, tomllib.loads(text)
    except OSError as error:
        raise UsageError(
            f"The study file {file} cannot be read: {error.strerror}.", next="Give the path of a TOML file."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML: {error}.", next=_mend(str(error))) from error
    except RecursionError as error:
        what = f"{file} holds lists or tables that are nested too deeply."
        raise UsageError(what, next="No study needs more than four levels.") from error


def _mend(problem: str) -> str:
    if "twice" in problem or "overwrite" in problem:
        return (
            "Name backbones (and datasets) either in a list, backbones = ['A', 'B'], or each by a table of its own, "
            "which may be empty: [backbones.A]"
        )
    return 'Texts need quotes and tables a header: [datasets.NAME] root = "…"'


def open_study_store(file: Path, named: str | None, given: str | Path | None = None) -> FeatureStore:
    """Open the store that is given, else that of the environment, else the one that the file names.

    Parameters
    ----------
    file : Path
        What the name in it is relative to.
    named : str, optional
        ``store`` in the file.
    given : path, optional
        ``--store``.
    """
    if named == "":
        raise UsageError(f"The store that {file} names is empty.", next="Name a folder, or leave `store` out.")
    return StudyStore(named_store(given) or beside(file, named or DEFAULT_URI)).anchored()


def beside(file: Path, path: str) -> Path:
    """Return a path that is written in a file: relative to that file, wherever the command runs."""
    refuse_remote(path, "files")
    return file.absolute().parent / Path(path).expanduser()
