"""How a network is trained, as frozen data: the head, the stages one after the other, what is done to images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any

#: What a stage trains, beside names of modules joined by ``+``: the new layers alone, or all of the network.
HEAD, ALL = "head", "all"

#: How many epochs are worth: the best by validation, the last, or, as some papers read their curves, the best by test.
VALIDATION, VALIDATION_LOSS, LAST, TEST = "validation", "validation-loss", "last", "test"

CROSS_ENTROPY, SQUARED, HUBER = "cross-entropy", "squared", "huber"

#: The losses of targets that are numbers; the first one where a recipe names none.
OF_NUMBERS = (SQUARED, HUBER)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The new layers, on the vector of one layer of the network.

    Parameters
    ----------
    layer : str
        Where the network is cut, as in addresses: ``last``, a curated name or a module path, with ``:POOL``;
        ``:flatten`` takes all positions of a map.
    hidden : tuple of int
        Widths of fully connected layers with ReLU between the vector and the outputs.
    dropout : float
        Share of the inputs of the outputs' layer that are dropped in training.
    initialisation : str
        Of the new layers: ``library`` (torch's own), ``keras`` (Glorot's uniform one, biases 0), ``xavier`` (Caffe's,
        which counts the inputs alone; biases 0) or ``gaussian`` (a deviation of 0.01, biases 0, as in Caffe's files).
    """

    layer: str = "last"
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    initialisation: str = "library"


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What is done to the images of each training batch at random; nothing where not said.

    Parameters
    ----------
    crop : str
        ``centre`` as in prediction, or ``random``: where images are brought to more than the network's input
        (``resize_size`` or ``resize=shortest-crop`` of the preprocessing), the place of the crop is drawn.
    flip : str
        ``none``, ``horizontal`` or ``both``, each with a probability of one half.
    rotate : bool
        By a multiple of 90 degrees.
    shading : tuple of float
        Each channel is multiplied by one of these.
    blur : float
        Probability of a box filter of 3 × 3 pixels.
    noise : float
        Variance of additive Gaussian noise, on a scale of 0 to 255, with the probability `noise_probability`.
    noise_probability : float
    stain : float
        Deviation by which haematoxylin, eosin and the rest are scaled and shifted in the space of optical densities.
    """

    crop: str = "centre"
    flip: str = "none"
    rotate: bool = False
    shading: tuple[float, ...] = ()
    blur: float = 0.0
    noise: float = 0.0
    noise_probability: float = 0.5
    stain: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Some epochs in which the same part of the network is trained in the same way.

    Parameters
    ----------
    train : str
        ``head``, ``all``, or modules of the network joined by ``+``, which are trained with the head.
    epochs : int
    optimiser : str
        ``sgd``, ``adam``, ``adamw`` or another of timm's.
    lr : float
        The base learning rate.
    momentum : float
    momentum_form : str
        ``torch``: the rate multiplies what has been accumulated; ``caffe`` (and Keras): what is accumulated, so that a
        falling rate acts on new gradients alone.
    betas : tuple of float
        Of Adam.
    weight_decay : float
    schedule : str
        ``constant``; ``inv``: lr · (1 + gamma · iteration)^(-power), as in Caffe; ``step``: times gamma every
        `step_epochs` epochs; ``cosine``: after `warmup_epochs` of a linear rise, down to `lr_minimum`.
    gamma, power, step_epochs, warmup_epochs, lr_minimum : float
    head_lr, head_bias_lr, bias_lr : float
        Multiples of the rate for the weights and the biases of the head's last layer, and for other biases.
    bias_decay : float
        Multiple of the weight decay for biases and for the weights of normalisations.
    layer_decay : float
        Multiple of the rate from each layer of the network to the one before it.
    augment : bool
        Whether images are augmented.
    frozen_statistics : str
        ``eval``: batch normalisation in what is not trained keeps its statistics; ``train``: it uses and follows those
        of batches, as Keras did up to 2.1.
    """

    train: str = ALL
    epochs: int = 10
    optimiser: str = "sgd"
    lr: float = 1e-3
    momentum: float = 0.9
    momentum_form: str = "torch"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: str = "constant"
    gamma: float = 0.1
    power: float = 0.75
    step_epochs: float = 10.0
    warmup_epochs: float = 0.0
    lr_minimum: float = 0.0
    head_lr: float = 1.0
    head_bias_lr: float = 1.0
    bias_lr: float = 1.0
    bias_decay: float = 1.0
    layer_decay: float = 1.0
    augment: bool = True
    frozen_statistics: str = "eval"

    @property
    def leaves_base(self) -> bool:
        """Whether nothing below the head changes."""
        return self.train == HEAD and self.frozen_statistics == "eval"


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe:
    """How a network is trained.

    Parameters
    ----------
    name : str
        Of the preset that it came from.
    from_scratch : bool
        Start from random weights.
    initialisation : str
        Of a network that is trained from scratch; see `histokit.networks.initialisation`.
    preprocess : mapping
        Changes to the preprocessing that comes with the weights, as texts.
    batch_size : int
    loss : str
        ``cross-entropy``; of numbers ``squared``, or ``huber``, which grows only linearly beyond `huber_delta`.
    huber_delta : float
        In standard deviations of the training targets.
    class_weight : str
        ``none`` or ``balanced``: n / (K · n_k).
    label_smoothing : float
    mixup, cutmix : float
        Alpha of the beta distribution; 0 for none.
    ema : float
        Decay of the moving average of the weights that is validated and kept; 0 for none.
    clip : float
        Largest norm of the gradient; 0 for none.
    choose_epoch : str
        ``validation``, by the metric; ``validation-loss``; ``last`` or ``test``, for which no training sample is kept
        from the gradients.
    patience : int
        Epochs without a better one, by what chooses the epoch, after which a stage ends; 0 for none.
    head : Head
    augment : Augment
    stages : tuple of Stage
    """

    name: str = ""
    from_scratch: bool = False
    initialisation: str = "library"
    preprocess: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 32
    loss: str = CROSS_ENTROPY
    huber_delta: float = 1.0
    class_weight: str = "none"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0
    clip: float = 0.0
    choose_epoch: str = VALIDATION
    patience: int = 0
    head: Head = field(default_factory=Head)
    augment: Augment = field(default_factory=Augment)
    stages: tuple[Stage, ...] = (Stage(),)

    @property
    def epochs(self) -> int:
        """Of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def validates(self) -> bool:
        """Whether samples are kept from the gradients to choose the epoch."""
        return self.choose_epoch in (VALIDATION, VALIDATION_LOSS)

    def by_vectors(self, stage: Stage) -> bool:
        """Return whether a stage trains the head on images that are always the same: one pass tells their vectors.

        The average of what stages before it trained goes on changing below the head.
        """
        augmented = stage.augment and self.augment != Augment()
        before = takewhile(lambda each: each is not stage, self.stages)
        moving = self.ema and not all(each.leaves_base for each in before)
        return stage.leaves_base and not (augmented or self.mixup or self.cutmix or moving)

    @property
    def frozen(self) -> bool:
        """Whether all stages do so."""
        return all(self.by_vectors(stage) for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serialisable data; what came later is left out at its default, so that ids stay."""
        found = asdict(self)
        if self.huber_delta == NetworkRecipe.huber_delta:
            del found["huber_delta"]
        return found
