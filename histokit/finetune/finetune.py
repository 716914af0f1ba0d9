"""Training networks on the folds of a split: predictions, curves, and the network of all training samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from histokit.features import FeatureStore
from histokit.features.feature_store import StoreLike, open_store
from histokit.finetune.checkpoint import trained_alone
from histokit.finetune.finetune_options import FinetuneOptions
from histokit.finetune.folds import TrainingPart, of_all_samples, training_parts
from histokit.finetune.network_question import NetworkQuestion, ask_for_network, is_answered
from histokit.finetune.network_trainer import NetworkTrainer, PartOutcome
from histokit.protocol.experiment import Experiment
from histokit.protocol.finished_parts import FinishedParts
from histokit.protocol.predictions import rows_of_fold
from histokit.protocol.progress import nested
from histokit.protocol.run_origin import creation_time, versions_of
from histokit.ranges import check_range
from histokit.store.networks import Networks
from histokit.store.records import CURVE_SCHEMA, RunRecord
from histokit.store.removal import check_origin

_LIBRARIES = ("torch", "torchvision", "timm", "numpy")


def finetune(
    store: StoreLike,
    dataset: str,
    backbone: str | None = None,
    *,
    preset: str = "default",
    settings: Mapping[str, Any] | None = None,
    from_scratch: bool = False,
    weights: str = "pretrained",
    preprocess: Sequence[str] | Mapping[str, Any] = (),
    channels: str | Sequence[str] = (),
    split: str | None = None,
    metric: str | None = None,
    target: str | None = None,
    target_type: str | None = None,
    where: str | None = None,
    seed: int = 0,
    repeats: int = 1,
    precision: str = "auto",
    micro_batch: int | None = None,
    test_curve: bool = False,
    device: str = "auto",
    workers: int | None = None,
    keep: str = "all",
    allow_missing: bool = False,
    force: bool = False,
    progress: Callable[..., None] | None = None,
) -> list[RunRecord]:
    """Train a network on the images of a dataset, from pretrained weights or from scratch.

    In every outer fold it is trained on the training samples and predicts the test samples; then it is trained on all
    training samples: that network predicts other data, and is the backbone ``run:ID``. Targets that are numbers are
    standardised by the training samples; a preset that is made for classes has the squared loss then.

    Parameters
    ----------
    store : FeatureStore or path
    dataset : str
    backbone : str, optional
        The preset's where not given.
    preset : str
        Name of a recipe, or the path of a file; see ``histokit presets list``.
    settings : mapping, optional
        What is to be otherwise than in the preset: ``{"lr": 1e-4, "stages.2.epochs": 5, "augment.flip": "both"}``.
    from_scratch : bool
        Start from random weights.
    weights : str
        ``pretrained``, ``random``, ``random:SEED``, a file or a folder.
    preprocess : sequence of str, or mapping
        Changes to the preprocessing that comes with the weights: ``size=128``.
    channels : str or sequence of str
        Names of the channels that go in, or ``inflate`` for all.
    split, metric, target, target_type, where : str, optional
        As in `histokit.train`; the metric chooses the epoch.
    seed : int
    repeats : int
        So many runs, with this seed and those that follow it.
    precision : str
        ``float32``, ``bfloat16`` or ``float16`` by autocast; ``auto``: bfloat16 on CUDA, float32 on processors.
    micro_batch : int, optional
        Images in one pass at most; the gradients of a batch of more are accumulated.
    test_curve : bool
        Score the test samples after every epoch, for the curves; what is chosen does not depend on it.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    workers : int, optional
        Processes that read images.
    keep : str
        ``all``: the networks of all folds; ``final``: only that of all training samples.
    allow_missing : bool
        Go on without images that cannot be read.
    force : bool
        Do it again even if it is stored.
    progress : callable, optional
        ``progress(done, total, detail)``.

    Returns
    -------
    list of RunRecord
        As stored, one for each seed; with a note where networks of folds are asked for that a stored run did not keep.

    Raises
    ------
    UsageError, PluginError, StoreError, DataError, LeakageError
        A StoreError also while another process is training the same run; nothing is lost by it.
    """
    store = open_store(store)
    options = FinetuneOptions.of(locals())
    runs = []
    for number in range(check_range("repeats", repeats)):
        one = replace(options, seed=options.seed + number)
        question = ask_for_network(store, dataset, one)
        runs.append(_train_one(store, question, force, nested(progress, number, repeats)))
    return runs


def _train_one(store: FeatureStore, question: NetworkQuestion, force: bool, report: Callable[..., None]) -> RunRecord:
    experiment = question.prepare(store)
    run_id = question.run_id(store, experiment)
    if not force and is_answered(store, run_id):
        return _stored(store, run_id, question)
    parts = training_parts(experiment, question.recipe.validates, question.options.seed)
    with trained_alone(Networks(store.uri).unfinished(run_id), run_id):
        if not force and is_answered(store, run_id):
            return _stored(store, run_id, question)
        finished = FinishedParts(store, run_id, experiment.features.sample_ids)
        trainer = NetworkTrainer(store, question, experiment, parts, run_id)
        outcomes = [
            trainer.outcome(part, finished.of(number), nested(report, number, len(parts)))
            for number, part in enumerate(parts)
        ]
        record = _record(question, experiment, run_id, parts, outcomes, trainer, finished.seconds)
        predictions = _predictions(experiment, run_id, parts, outcomes)
        points = [{"run": run_id, **point} for outcome in outcomes for point in outcome.curve]
        curves = pa.Table.from_pylist(points, schema=CURVE_SCHEMA)
        record = store.save_run(record, predictions, None, again=force or store.has_run(run_id), curves=curves)
        finished.forget()
        trainer.forget()
    check_origin(store, experiment.features.record, "run", run_id)
    return record


def _stored(store: FeatureStore, run_id: str, question: NetworkQuestion) -> RunRecord:
    """Return a run that is there, and say of networks that are asked for and were not kept."""
    run = store.run(run_id)
    return replace(run, notes=[*run.notes, *question.unkept(run)])


def _record(
    question: NetworkQuestion,
    experiment: Experiment,
    run_id: str,
    parts: Sequence[TrainingPart],
    outcomes: Sequence[PartOutcome],
    trainer: NetworkTrainer,
    seconds: float,
) -> RunRecord:
    documents = [outcome.document for part, outcome in zip(parts, outcomes, strict=True) if part.outer is not None]
    last = of_all_samples(parts)
    final = outcomes[parts.index(last)]
    notes = [*experiment.notes, *trainer.notes(parts, outcomes)]
    vectors = next((outcome.vectors for outcome in outcomes if outcome.vectors), "")
    return RunRecord(
        id=run_id,
        dataset=experiment.split.dataset,
        kind="finetune",
        address=question.address,
        classifier=question.method,
        split=experiment.split.name,
        split_digest=experiment.split.digest,
        classes=experiment.classes,
        metric=experiment.problem.metric,
        parameters=question.parameters(experiment),
        found={
            "final": {**final.document, "part": last.name},
            "networks": [outcome.network for outcome in outcomes if outcome.network is not None],
            **({"vectors": vectors} if vectors else {}),
        },
        folds=documents,
        notes=list(dict.fromkeys(notes)),
        predicted=experiment.tested_digest,
        versions=versions_of(*_LIBRARIES),
        seconds=round(seconds, 3),
        created=creation_time(),
        group=experiment.group,
        levels=experiment.features.record.levels,
        features=experiment.feature_list,
    )


def _predictions(
    experiment: Experiment, run_id: str, parts: Sequence[TrainingPart], outcomes: Sequence[PartOutcome]
) -> pa.Table:
    """Return the test predictions of all folds."""
    return pa.concat_tables(
        rows_of_fold(experiment, part.outer, outcome.rows, outcome.scores, run=run_id, kind="probability")
        for part, outcome in zip(parts, outcomes, strict=True)
        if part.outer is not None
    )
