"""Networks that no library has, as lists of named layers; their names are those of the authors' files.

Each takes (N, C, H, W) and gives (N, classes); its last layer is the classifier. In the files of `caffe_alexnet`,
`caffenet` and `gendernet`, the learning rate of every bias is twice that of the weights, and its weight decay is 0;
the classifier of `gendernet` learns ten times as fast as the other layers (10 and 20 in place of 1 and 2).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

Number = TypeVar("Number", int, float)

_PADDINGS = {"valid": 0, "same": 1}


def caffe_alexnet(num_classes: int = 1000, in_chans: int = 3) -> nn.Sequential:
    """Build AlexNet as Caffe has it: in two groups, normalised before each of the first two poolings; 227 pixels.

    References
    ----------
    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks" (2012);
    BVLC/caffe, models/bvlc_alexnet/train_val.prototxt.
    """
    return _alexnet(num_classes, in_chans, pooled_first=False)


def caffenet(num_classes: int = 1000, in_chans: int = 3) -> nn.Sequential:
    """Build Caffe's reference network: `caffe_alexnet`, pooled before it is normalised; 227 pixels.

    References
    ----------
    BVLC/caffe, models/bvlc_reference_caffenet/train_val.prototxt.
    """
    return _alexnet(num_classes, in_chans, pooled_first=True)


def _alexnet(num_classes: int, in_chans: int, pooled_first: bool) -> nn.Sequential:
    from torch import nn

    return _named(
        conv1=nn.Conv2d(in_chans, 96, 11, stride=4),
        relu1=nn.ReLU(inplace=True),
        **_reduced(1, pooled_first),
        conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
        relu2=nn.ReLU(inplace=True),
        **_reduced(2, pooled_first),
        conv3=nn.Conv2d(256, 384, 3, padding=1),
        relu3=nn.ReLU(inplace=True),
        conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
        relu4=nn.ReLU(inplace=True),
        conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
        relu5=nn.ReLU(inplace=True),
        pool5=_pool(),
        **_classifier(256 * 6 * 6, 4096, num_classes),
    )


def gendernet(num_classes: int = 2, in_chans: int = 3) -> nn.Sequential:
    """Build GenderNet: three convolutions of one group, pooled before they are normalised; 227 pixels.

    Maps of 56, 28, 28, 14, 14 and 7 pixels: poolings round up, or the published weights would not fit.

    References
    ----------
    Levi and Hassner, "Age and gender classification using convolutional neural networks" (2015);
    GilLevi/AgeGenderDeepLearning, gender_net_definitions.
    """
    from torch import nn

    return _named(
        conv1=nn.Conv2d(in_chans, 96, 7, stride=4),
        relu1=nn.ReLU(inplace=True),
        **_reduced(1, pooled_first=True),
        conv2=nn.Conv2d(96, 256, 5, padding=2),
        relu2=nn.ReLU(inplace=True),
        **_reduced(2, pooled_first=True),
        conv3=nn.Conv2d(256, 384, 3, padding=1),
        relu3=nn.ReLU(inplace=True),
        pool5=_pool(),
        **_classifier(384 * 7 * 7, 512, num_classes),
    )


def joyce_cnn(
    num_classes: int = 100,
    in_chans: int = 3,
    img_size: int = 128,
    filters: str = "32-64-128",
    dropout: str | float = 0.25,
    padding: str = "valid",
    dense: int = 128,
    dense_dropout: float = 0.5,
) -> nn.Sequential:
    """Build the network of three convolutions that Joyce (2024) trained on Quilt-1M.

    Stated there: three times a convolution of 3 × 3, ReLU, max-pooling of 2 × 2 and dropout, then `dense` = 128 units
    with ReLU and a `dense_dropout` of 0.5. All other numbers are assumed, because the paper has none.

    Parameters
    ----------
    num_classes : int
        Assumed: a loss of 4.63 is that of a guess among about 100.
    in_chans : int
    img_size : int
        Side of the input in pixels, on which the number of weights of the first dense layer depends. Assumed.
    filters : str
        Of the three convolutions, joined by ``-``. Assumed.
    dropout : str or float
        Behind each of them: one number, or three joined by ``-``. Assumed.
    padding : str
        ``valid`` for none, as by default in Keras, or ``same``. Assumed.
    dense : int
    dense_dropout : float
    """
    from torch import nn

    widths, drops = _numbers("filters", filters, int), _numbers("dropout", dropout, float)
    if padding not in _PADDINGS:
        raise ValueError(f"padding is {padding!r}, not one of {', '.join(_PADDINGS)}")
    layers, side = OrderedDict[str, nn.Module](), img_size
    for number, (before, width, drop) in enumerate(zip((in_chans, *widths), widths, drops, strict=False), 1):
        layers[f"conv{number}"] = nn.Conv2d(before, width, 3, padding=_PADDINGS[padding])
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        layers[f"drop{number}"] = nn.Dropout(drop)
        side = (side - 2 + 2 * _PADDINGS[padding]) // 2
    if side < 1:
        raise ValueError(f"img_size is {img_size}, of which three convolutions and poolings leave nothing")
    return _named(
        **layers,
        flatten=nn.Flatten(),
        dense=nn.Linear(widths[-1] * side * side, dense),
        relu4=nn.ReLU(inplace=True),
        drop4=nn.Dropout(dense_dropout),
        classifier=nn.Linear(dense, num_classes),
    )


#: Name → function that builds the network.
BUILDERS: Mapping[str, Callable[..., nn.Sequential]] = {
    builder.__name__: builder for builder in (caffe_alexnet, caffenet, gendernet, joyce_cnn)
}


def _numbers(name: str, text: object, kind: type[Number]) -> tuple[Number, ...]:
    try:
        found = tuple(kind(part) for part in str(text).split("-"))
    except ValueError:
        found = ()
    if len(found) == 1:
        found *= 3
    if len(found) != 3 or min(found) < 0:
        raise ValueError(f"{name} is {text!r}, not one number or three joined by '-'")
    return found


def _named(**layers: nn.Module) -> nn.Sequential:
    from torch import nn

    return nn.Sequential(OrderedDict(layers))


def _reduced(number: int, pooled_first: bool) -> dict[str, nn.Module]:
    from torch import nn

    # Caffe's alpha, too, is divided by the size.
    norm = {f"norm{number}": nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)}
    pool = {f"pool{number}": _pool()}
    return {**pool, **norm} if pooled_first else {**norm, **pool}


def _pool() -> nn.Module:
    from torch import nn

    # Caffe rounds sizes up.
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _classifier(inputs: int, width: int, num_classes: int) -> dict[str, nn.Module]:
    from torch import nn

    return {
        "flatten": nn.Flatten(),
        "fc6": nn.Linear(inputs, width),
        "relu6": nn.ReLU(inplace=True),
        "drop6": nn.Dropout(0.5),
        "fc7": nn.Linear(width, width),
        "relu7": nn.ReLU(inplace=True),
        "drop7": nn.Dropout(0.5),
        "fc8": nn.Linear(width, num_classes),
    }
