"""Trains the network of each training set of a run, and keeps what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from histokit.errors import counted
from histokit.features import FeatureStore
from histokit.features.images import Images, note_unreadable, unreadable_error
from histokit.finetune.checkpoint import Checkpoint
from histokit.finetune.curve import Judge
from histokit.finetune.drawing import drawing_at, generator_at
from histokit.finetune.finetune_options import ALL, AUTO
from histokit.finetune.folds import TrainingPart, counted_notes, covered, fold_facts, of_all_samples
from histokit.finetune.kept_state import TrainingPlace
from histokit.finetune.network_question import NO_IMAGE, NetworkQuestion
from histokit.finetune.optimisers import trained_modules
from histokit.finetune.pixels import TrainingImages
from histokit.finetune.recipe import TEST
from histokit.finetune.steps import TrainingMeans
from histokit.finetune.stored_vectors import FrozenVectors, stored_vectors
from histokit.finetune.training import Training, TrainingSet
from histokit.networks.devices import DTYPES, choose_device, emulation, laid_out, training_layout
from histokit.networks.initialisation import initialise
from histokit.networks.number_scale import NumberScale
from histokit.networks.trainable import NetworkDescription, TrainableNetwork, build_trainable, size_of_positions
from histokit.networks.transform import Transform
from histokit.plugin.manager import registry
from histokit.plugin.remarks import RemarkTally
from histokit.protocol.experiment import Experiment
from histokit.protocol.finished_parts import packed, unpacked
from histokit.protocol.scorers import defined
from histokit.store.networks import Networks

Rows = NDArray[np.intp]
#: What is kept of a training set that is done, until the run is.
OUTCOME = "outcome"
_FOLDED = "batch normalisation was folded into the convolutions when the weights were stored: it stays as it is"
_NO_CHOICE = "the epoch was chosen by the test samples: these scores are optimistic"


@dataclass(frozen=True, eq=False)
class PartOutcome:
    """What the training of one network gave.

    Parameters
    ----------
    document : dict
        What the run's record keeps of it.
    rows : (n,) array of int
        The test rows that have an image.
    scores : (n, K) float64 array
    curve : list of dict
    network : dict, optional
        Where its tensors are kept.
    notes : list of str
    vectors : str
        Where those of the frozen network were taken from; empty where they were computed.
    reading : list of str
        What is to be known of how images were read, for this network and those before it.
    """

    document: dict[str, Any]
    rows: Rows
    scores: NDArray[np.float64]
    curve: list[dict[str, Any]]
    network: dict[str, Any] | None
    notes: list[str]
    vectors: str = ""
    reading: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data."""
        names = ("document", "curve", "network", "notes", "vectors", "reading")
        arrays = {"rows": self.rows.tolist(), "scores": packed(self.scores)}
        return {**{name: getattr(self, name) for name in names}, **arrays}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> PartOutcome:
        """Return what `to_json` gave."""
        rows = np.array(document["rows"], np.intp)
        return cls(**{**document, "rows": rows, "scores": unpacked(document["scores"])})


class NetworkTrainer:
    """Trains the networks of a run.

    Parameters
    ----------
    store : FeatureStore
    question : NetworkQuestion
    experiment : Experiment
    parts : sequence of TrainingPart
    run_id : str
    """

    def __init__(
        self,
        store: FeatureStore,
        question: NetworkQuestion,
        experiment: Experiment,
        parts: Sequence[TrainingPart],
        run_id: str,
    ):
        self.store, self.question, self.experiment, self.run_id = store, question, experiment, run_id
        self._parts = parts
        self._networks = Networks(store.uri)
        self._folder = self._networks.unfinished(run_id)
        self._device = choose_device(question.options.device)
        self._images = cast(Images, experiment.features.X)
        self._transform = Transform(question.backbone.preprocess, self._images.channels, self._device)
        self._means: TrainingMeans | None = None
        self._vectors = ""

    def outcome(
        self, part: TrainingPart, memory: MutableMapping[str, dict[str, Any]], report: Callable[..., None]
    ) -> PartOutcome:
        """Train the network of a training set, or return what an interrupted run kept of it."""
        if (known := self.known_outcome(part, memory)) is not None:
            return known
        scale = self._scale(part)
        network, described = self._built(part, scale)
        recipe, seed = self.question.recipe, self.question.options.seed
        if self._means is None:
            # A module that is not there is told before images are read.
            for stage in recipe.stages:
                trained_modules(network, stage)
            self._means = self._prepared(report)
        means = replace(self._means, judge=Judge(self.experiment.problem, scale or NumberScale()))
        checkpoint = Checkpoint(self._folder / part.name)
        curve_of_test = recipe.choose_epoch == TEST or self.question.options.test_curve
        test = part.test if curve_of_test else part.test[:0]
        notes = [*part.notes, *self._notes_of(part, network)]
        given = TrainingSet(fit=part.fit, val=part.val, test=test, place=(seed, part.name))
        training = Training(network, recipe, given, means, checkpoint, report)
        tensors = training.run()
        training.steps.take(tensors)
        judged = training.judged(training.inputs_of_test(part.test), part.test)
        document = {
            **fold_facts(self.experiment, part, self._scored(judged.rows, judged.scores)),
            "parameters": {"epoch": training.chosen_epoch},
            "epochs": training.at.epochs,
            "iterations": training.at.steps,
            "seconds": round(training.seconds, 3),
            "computed_in": training.at.computed_in,
            **({"target": scale.to_json()} if scale else {}),
        }
        kept = None
        if self._keeps(part):
            seen = part.seen(recipe.choose_epoch == TEST)
            contents = [self.experiment.features.content[row] for row in seen]
            kept = self._networks.save(self.run_id, part.name, tensors, described.metadata(), contents)
        if lost := sum(int(row) in self._means.images.unreadable for row in part.used):
            notes.append(f"{counted(lost, 'training sample was', 'training samples were')} left out: {NO_IMAGE}")
        place = {"repeat": -1, "fold": -1}
        if part.outer is not None:
            place = {"repeat": part.outer.fold.repeat, "fold": part.outer.fold.fold}
        curve = [{**place, **point.to_json()} for point in training.curve.points]
        notes += training.notes
        outcome = PartOutcome(document, judged.rows, judged.scores, curve, kept, notes, self._vectors, self._reading())
        memory[OUTCOME] = outcome.to_json()
        checkpoint.forget()
        return outcome

    def known_outcome(self, part: TrainingPart, memory: Mapping[str, dict[str, Any]]) -> PartOutcome | None:
        """Return what an interrupted run kept of a training set; none where its network is asked for and not there."""
        known = PartOutcome.from_json(memory[OUTCOME]) if OUTCOME in memory else None
        lost = known and self._keeps(part) and not (known.network and self._networks.path(known.network).exists())
        return None if lost else known

    def _keeps(self, part: TrainingPart) -> bool:
        return part is of_all_samples(self._parts) or self.question.options.keep == ALL

    def begun(self, part: TrainingPart) -> TrainingPlace | None:
        """Return where the interrupted training of a training set stopped, if one was."""
        kept = Checkpoint(self._folder / part.name).load()
        return None if kept is None else TrainingPlace(**kept[1]["at"])

    def untrained(self) -> TrainableNetwork:
        """Build the network as it is before its training, to be looked at."""
        return self._built(self._parts[-1], None)[0]

    def known_rows(self) -> set[int]:
        """Return the rows whose vectors are stored, so that their images are not needed."""
        return set(self._known_vectors().by_row)

    def forget(self) -> None:
        """Remove what was kept for an interruption."""
        Checkpoint(self._folder).forget()

    def notes(self, parts: Sequence[TrainingPart], outcomes: Sequence[PartOutcome]) -> list[str]:
        """Return what a reader of the scores should know, each note once with the number of networks it is about."""
        texts = (note for outcome in outcomes for note in outcome.notes)
        lacking = (name for outcome in outcomes for name in outcome.document.get("classes_without_training", []))
        said = counted_notes(texts, lacking, len(parts))
        if self.question.recipe.choose_epoch == TEST:
            said.append(_NO_CHOICE)
        missed = sum(
            len(part.test) - len(outcome.rows)
            for part, outcome in zip(parts, outcomes, strict=True)
            if part.outer is not None
        )
        if missed:
            said.append(f"{counted(missed, 'test sample has', 'test samples have')} no prediction: {NO_IMAGE}")
        # Which of them a run was asked with decides on its id, ``auto`` as well: an interrupted run may have both.
        kinds = list(dict.fromkeys(how for outcome in outcomes for how in outcome.document.get("computed_in", [])))
        if len(kinds) > 1:
            said.append(f"interrupted in between: it was trained in {' and in '.join(kinds)}")
        # Where all networks had been trained before an interruption, nothing was read since.
        return [*said, *(outcomes[-1].reading if self._means is None else self._reading())]

    def _reading(self) -> list[str]:
        if (means := self._means) is None:
            return []
        lines = (line for _, _, line in means.images.tally.lines())
        notes = [*self._images.notes, *means.images.notes, *self._transform.notes]
        return [*emulation(self._device, means.dtype), *notes, *lines]

    def _prepared(self, report: Callable[..., None]) -> TrainingMeans:
        """Read the images, as many as fit into memory."""
        experiment, options = self.experiment, self.question.options
        found = TrainingImages(self._images, self._transform, options.workers)
        vectors, self._vectors = self._known_vectors()
        rows = covered(self._parts)
        if not (self.question.recipe.frozen and vectors.keys() >= set(rows.tolist())):
            found.hold(rows, lambda done, total: report(0, 1, f"reading image {done} of {total}"))
            # With --allow-missing, those that could not be read are left out already, and are among the problems.
            if not options.allow_missing:
                found.refuse = self._refuse
                if found.unreadable:
                    self._refuse(found.unreadable)
        problem = experiment.problem
        return TrainingMeans(
            images=found,
            transform=self._transform,
            y=problem.y,
            outputs=problem.classes,
            judge=Judge(problem),
            device=self._device,
            dtype=DTYPES[self._precision],
            micro_batch=options.micro_batch,
            vectors=vectors,
        )

    @property
    def _precision(self) -> str:
        asked = self.question.options.precision
        return asked if asked != AUTO else "bfloat16" if self._device.type == "cuda" else "float32"

    def _known_vectors(self) -> FrozenVectors:
        return stored_vectors(self.store, self.question, self.experiment, self._precision, self._device)

    def _refuse(self, known: Mapping[int, str]) -> NoReturn:
        """Raise with all images that cannot be read, also where not all of them are in memory."""
        features = self.experiment.features
        bad = self._images.unreadable(RemarkTally(), known)
        raise unreadable_error(features, note_unreadable(self.store, features, bad))

    def _built(self, part: TrainingPart, scale: NumberScale | None) -> tuple[TrainableNetwork, NetworkDescription]:
        question, recipe = self.question, self.question.recipe
        backbone = registry().backbone(question.backbone.name, question.backbone.request, question.backbone.store)
        place = (question.options.seed, part.name)
        facts: dict[str, Any] = {"run": self.run_id, "part": part.name, "licence": question.backbone.licence}
        facts["arguments"] = dict(backbone.building_arguments)
        if backbone.building_size is not None:
            facts["size"] = backbone.building_size
        if backbone.building_name != backbone.name:
            facts["architecture"] = backbone.building_name
        if backbone.begun_at_random:
            facts["begun_at_random"] = True
        with drawing_at("head", *place):
            network, described = build_trainable(
                backbone,
                recipe.head.layer,
                hidden=recipe.head.hidden,
                dropout=recipe.head.dropout,
                outputs=self.experiment.problem.classes,
                inputs=self._transform.depth,
                preprocess=question.backbone.preprocess,
                classes=self.experiment.classes,
                channels=self._images.channels,
                facts=facts,
                scale=scale,
            )
        if (built := size_of_positions(network.base)) not in (None, facts.get("size", described.preprocess.size)):
            facts["arguments"]["img_size"] = built
        initialise(network.head, recipe.head.initialisation, generator_at("head", *place))
        if recipe.from_scratch:
            initialise(network.base, recipe.initialisation, generator_at("base", *place))
        placed = network.to(self._device)
        laid_out(placed, training_layout(placed, self._device))
        return placed, described

    def _notes_of(self, part: TrainingPart, network: TrainableNetwork) -> list[str]:
        """Return what is to be known of a training set and of the network before it is trained."""
        problem, notes = self.experiment.problem, [_FOLDED] if network.folded else []
        if problem.numbers and np.ptp(problem.y[part.fit]) == 0:
            notes.append(f"all training values are {problem.y[part.fit][0]:g}: nothing is to be learned of them")
        return notes

    def _scale(self, part: TrainingPart) -> NumberScale | None:
        """Return by what the targets of a training set are standardised; none of classes."""
        problem = self.experiment.problem
        return NumberScale.of(problem.y[part.fit]) if problem.numbers else None

    def _scored(self, rows: Rows, scores: NDArray[np.float64]) -> dict[str, float | None]:
        problem = self.experiment.problem
        if not len(rows):
            return {problem.metric: None, problem.target.fallback: None}
        return {name: defined(value) for name, value in problem.score(problem.y[rows], scores).items()}
