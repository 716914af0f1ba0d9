"""The training of one network on one training set: stages, epochs and steps, and what is kept of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histokit.errors import DataError
from histokit.finetune.augment import Augmenter
from histokit.finetune.checkpoint import Checkpoint
from histokit.finetune.curve import TEST_SERIES, TRAIN, VAL, Curve, CurvePoint
from histokit.finetune.drawing import cut, drawing_at, shuffled_batches
from histokit.finetune.inputs import ImageInputs, Inputs, VectorInputs, frozen_vectors
from histokit.finetune.judging import Best, Judged, judge_rows
from histokit.finetune.kept_state import TrainingPlace, optimizer_state, restore_optimizer, split_by_part
from histokit.finetune.optimisers import RateSchedule, make_optimiser, parameter_groups, set_modes
from histokit.finetune.recipe import TEST, VALIDATION_LOSS, Augment, NetworkRecipe, Stage
from histokit.finetune.steps import GradientSteps, TrainingMeans
from histokit.networks.devices import whole_float32
from histokit.networks.trainable import TrainableNetwork
from histokit.plugin.checkpoint import fill_network
from histokit.plugin.lean_imports import compiler_deferred

Rows = NDArray[np.intp]

#: Seconds between two checkpoints.
CHECKPOINT_EVERY = 30.0

#: Points of the training loss in an epoch.
_POINTS = 50


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """What a network is trained on, as rows of an experiment.

    Parameters
    ----------
    fit : array of int
        Whose gradients are followed.
    val : array of int
        By which the epoch is chosen; empty where it is not.
    test : array of int
        Whose curve is recorded; empty where it is not.
    place : tuple
        Seed, repeat and fold: what is drawn depends on it.
    """

    fit: Rows
    val: Rows
    test: Rows
    place: tuple[int | str, ...]


class Training:
    """Trains a network.

    Parameters
    ----------
    network : TrainableNetwork
        On the device.
    recipe : NetworkRecipe
    given : TrainingSet
    means : TrainingMeans
    checkpoint : Checkpoint
    report : callable
        ``report(done, total, detail)`` in steps.
    """

    def __init__(
        self,
        network: TrainableNetwork,
        recipe: NetworkRecipe,
        given: TrainingSet,
        means: TrainingMeans,
        checkpoint: Checkpoint,
        report: Callable[..., None] = lambda *_: None,
    ):
        self.network, self.recipe, self.given, self.means = network, recipe, given, means
        self.checkpoint, self.report = checkpoint, report
        self.at, self.best = TrainingPlace(), Best()
        self.curve = Curve(means.judge.metric)
        self.notes: list[str] = []
        self.steps = GradientSteps(network, recipe, means, given.fit)
        self._scaler = self._new_scaler()
        #: Tensors and plain data of the optimiser of an interrupted stage.
        self._accumulated: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self._saved = self._started = time.monotonic()

    def run(self) -> dict[str, Tensor]:
        """Train, and return the tensors of the network by their names, of the epoch that was chosen.

        Raises
        ------
        DataError
            If the loss, a weight or what the network gives is no longer a number.
        UsageError
            If memory is too short; it says how many images fit in one pass.
        """
        with compiler_deferred(), whole_float32(self.means.device):
            # Optimisers would import it only to be left as they are.
            self._resume()
            if self.means.computed_in not in self.at.computed_in:
                self.at.computed_in.append(self.means.computed_in)
            while self.at.stage < len(self.recipe.stages):
                self._stage(self.recipe.stages[self.at.stage])
        chosen = self.best.tensors or self.steps.judged.state_dict()
        return {name: tensor.detach().cpu().clone() for name, tensor in chosen.items()}

    @property
    def chosen_epoch(self) -> int:
        """The epoch whose network was chosen, of all stages."""
        return self.best.epoch or self.at.epochs

    @property
    def seconds(self) -> float:
        """That training took, interrupted or not."""
        return self.at.seconds + time.monotonic() - self._started

    def _stage(self, stage: Stage) -> None:
        optimizer = make_optimiser(stage, parameter_groups(self.network, stage))
        if self._accumulated is not None:
            restore_optimizer(optimizer, *self._accumulated)
            self._accumulated = None
        inputs = self._inputs(stage)
        schedule = RateSchedule(stage, len(cut(self.given.fit, self.recipe.batch_size)))
        while self.at.epoch < stage.epochs and not (0 < self.recipe.patience <= self.best.waited):
            self._epoch(stage, inputs, optimizer, schedule)
        if self.recipe.validates and self.best.tensors:
            self.steps.take(self.best.tensors)
        self.at.stage, self.at.epoch, self.at.step, self.at.of_stage, self.best.waited = self.at.stage + 1, 0, 0, 0, 0
        self._scaler = self._new_scaler()
        self._keep(None)

    def _new_scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.means.device.type, enabled=self.means.dtype == torch.float16)

    def _inputs(self, stage: Stage) -> Inputs:
        augment = self.recipe.augment if stage.augment else Augment()
        size, depth = self.means.transform.preprocess.size, self.means.transform.depth
        augmenter = None if augment == Augment() else Augmenter(augment, size, depth)
        images = ImageInputs(self.network, self.means.images, self.means.transform, augmenter)
        if not self.recipe.by_vectors(stage):
            return images
        passed = self.recipe.stages[: self.at.stage]
        # A network that begins at random does so for each training set on its own.
        shared = not self.recipe.from_scratch and all(earlier.leaves_base for earlier in passed)
        rows = np.concatenate([self.given.fit, self.given.val, self.given.test])
        return self._by_vectors(images, self.means.vectors if shared else {}, rows)

    def _by_vectors(self, images: ImageInputs, vectors: dict[int, Tensor], rows: Rows) -> Inputs:
        missing = np.array([row for row in rows.tolist() if row not in vectors], np.intp)
        size = self.means.micro_batch or self.recipe.batch_size
        vectors |= frozen_vectors(self.network, images, missing, size, self.means.dtype)
        return VectorInputs(self.network, vectors)

    def inputs_of_test(self, rows: Rows) -> Inputs:
        """Return what rows are predicted by when the training has ended."""
        images = ImageInputs(self.network, self.means.images, self.means.transform, None)
        if not self.recipe.frozen or self.recipe.from_scratch:
            return images
        with whole_float32(self.means.device):
            return self._by_vectors(images, self.means.vectors, rows)

    def _groups(self, rows: Rows) -> list[Rows]:
        return cut(rows, self.means.micro_batch or self.recipe.batch_size)

    def _epoch(self, stage: Stage, inputs: Inputs, optimizer: Any, schedule: RateSchedule) -> None:
        place, at = (*self.given.place, self.at.stage, self.at.epoch), self.at
        groups = shuffled_batches(self.given.fit, self.recipe.batch_size, *place)
        first, every = at.step, max(1, len(groups) // _POINTS)
        set_modes(self.network, stage)
        for step, (rows, batch) in enumerate(inputs.training(groups[first:], first, *place), first):
            schedule.apply(optimizer, at.of_stage)
            with drawing_at("step", *place, step):
                self.curve.losses.append(self.steps.step(inputs.module, rows, batch, optimizer, self._scaler))
            at.step, at.of_stage, at.steps = step + 1, at.of_stage + 1, at.steps + 1
            passed = at.epochs + at.step / len(groups)
            if at.step % every == 0 and at.step < len(groups):
                self._record(TRAIN, passed, self._recent_loss(), None, optimizer)
            self.report(
                at.steps,
                len(groups) * self.recipe.epochs,
                f"epoch {passed:.1f} of {self.recipe.epochs}{self.curve.told}",
            )
            self._keep_now_and_then(optimizer)
        at.epochs, at.epoch, at.step = at.epochs + 1, at.epoch + 1, 0
        self._record(TRAIN, at.epochs, self._recent_loss(), None, optimizer)
        # The last step of an epoch has no loss after it.
        # Together, because a device is waited for once.
        finite = [torch.isfinite(each).all() for each in self.network.state_dict().values()]
        if not bool(torch.stack(finite).all()):
            raise self._diverged("Weights are no longer finite numbers", at.epochs)
        self._judge(inputs, optimizer)
        self._keep_now_and_then(optimizer)

    def _judge(self, inputs: Inputs, optimizer: Any) -> None:
        """Score the network after an epoch, and keep it where it is the best."""
        judge, chosen_by = self.means.judge, self.recipe.choose_epoch
        by = VAL if self.recipe.validates else TEST_SERIES if chosen_by == TEST else None
        by_metric = None if chosen_by == VALIDATION_LOSS else judge
        for series, rows in ((VAL, self.given.val), (TEST_SERIES, self.given.test)):
            if len(rows):
                found = self.judged(inputs, rows)
                self._record(series, self.at.epochs, found.loss, found.metric, optimizer)
                if series == by:
                    self.best.offer(found, self.at.epochs, self.steps.judged, by_metric)

    def judged(self, inputs: Inputs, rows: Rows) -> Judged:
        """Predict rows by the network as it is.

        Raises
        ------
        DataError
            If it gives no finite numbers.
        """
        means, steps = self.means, self.steps
        with whole_float32(means.device):
            found = judge_rows(
                steps.judged, inputs, self._groups(rows), means.y, steps.outputs, steps.loss, means.judge
            )
        if not np.isfinite(found.scores).all():
            raise self._diverged("What the network gives is no longer finite", self.at.epochs)
        return found

    def _record(self, series: str, epoch: float, loss: float | None, metric: float | None, optimizer: Any) -> None:
        lr, at = optimizer.param_groups[0]["base_lr"], self.at
        loss = loss if loss is None or math.isfinite(loss) else None
        point = CurvePoint(series, at.stage + 1, epoch, at.steps, loss, metric, lr, round(self.seconds, 3))
        self.curve.points.append(point)

    def _recent_loss(self) -> float | None:
        """Return the mean loss since it was last asked for.

        Raises
        ------
        DataError
            If it is no number: what is kept of the training is of before.
        """
        mean = self.curve.recent_loss()
        if mean is None or math.isfinite(mean):
            return mean
        raise self._diverged(f"The loss is {mean}", self.at.epochs + 1)

    def _diverged(self, what: str, epoch: int) -> DataError:
        lr = self.recipe.stages[min(self.at.stage, len(self.recipe.stages) - 1)].lr
        kept = f" The network of before is in {self.checkpoint.folder}." if self.checkpoint.there else ""
        return DataError(
            f"{what} after {self.at.steps} iterations, in epoch {epoch}: the training has diverged at a learning rate "
            f"of {lr:g}.",
            next=f"Use a lower one, such as --set lr={lr / 10:g}, or --set clip=1.{kept}",
        )

    def _keep_now_and_then(self, optimizer: Any) -> None:
        if time.monotonic() - self._saved > CHECKPOINT_EVERY:
            self._keep(optimizer)

    def _keep(self, optimizer: Any | None) -> None:
        """Write a checkpoint, from which all goes on as if nothing had happened; of a stage's end without optimiser."""
        at, best = self.at, self.best
        losses = [float(loss) for loss in self.curve.losses]
        if not all(map(math.isfinite, losses)):
            self._recent_loss()
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in best.tensors.items()}
        if self.steps.average is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.steps.judged.state_dict().items()}
        accumulated, plain = ({}, None) if optimizer is None else optimizer_state(optimizer)
        at.seconds, self._started = self.seconds, time.monotonic()
        state = {
            "at": asdict(at),
            "best": [best.metric, best.loss, best.epoch, best.waited],
            "curve": [point.to_json() for point in self.curve.points],
            "losses": losses,
            "optimizer": plain,
            "scaler": self._scaler.state_dict(),
            "unreadable": {str(row): reason for row, reason in self.means.images.unreadable.items()},
        }
        kept = {name: tensor.detach().cpu() for name, tensor in (tensors | accumulated).items()}
        self.checkpoint.save(kept, state)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        found = self.checkpoint.load()
        if found is None:
            if self.checkpoint.there:
                self.notes.append("what was kept of an interrupted training was damaged: it began anew")
            return
        tensors, state = found
        parts = split_by_part(tensors, self.means.device)
        fill_network(self.network, parts["network"])
        if self.steps.average is not None:
            fill_network(self.steps.judged, parts["ema"])
        self.at = TrainingPlace(**state["at"])
        metric, loss, epoch, waited = state["best"]
        self.best = Best(metric, loss, epoch, waited, parts.get("best", {}))
        self.curve.points = [CurvePoint(**point) for point in state["curve"]]
        self.curve.losses = [torch.tensor(loss, device=self.means.device) for loss in state["losses"]]
        self.means.images.unreadable |= {int(row): reason for row, reason in state["unreadable"].items()}
        if state.get("scaler"):
            self._scaler.load_state_dict(state["scaler"])
        if state["optimizer"] is not None:
            self._accumulated = parts.get("optimizer", {}), state["optimizer"]
