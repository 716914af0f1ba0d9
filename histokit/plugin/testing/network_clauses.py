"""Clauses of a backbone's contract about its network, cut points and preprocessing."""

from __future__ import annotations

import json
from math import isqrt

from histokit.plugin.backbone import POOLINGS
from histokit.plugin.names import SEPARATORS, WORDS
from histokit.plugin.pooling import is_turned, refuse_rows
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.testing.checks import Advice, require
from histokit.plugin.testing.probed import Probed

_TOLERANCE = 1e-4


def named_cut_points(probed: Probed) -> None:
    """Cut points have names that are unique and usable in addresses."""
    names = [layer.name for layer in probed.layers]
    require(names, "it has no cut points")
    doubled = sorted({name for name in names if names.count(name) > 1})
    require(not doubled, f"cut points have one name: {', '.join(doubled)}")
    bad = [name for name in names if not name or name in WORDS or any(c in name for c in SEPARATORS)]
    require(not bad, f"names that addresses cannot hold: {', '.join(map(repr, bad))}")


def known_poolings(probed: Probed) -> None:
    """Every cut point names a pooling that exists."""
    bad = [f"{layer.name}: {layer.pool!r}" for layer in probed.layers if layer.pool not in POOLINGS]
    require(not bad, f"unknown poolings: {', '.join(bad)}; known are {', '.join(POOLINGS)}")


def cut_points_exist(probed: Probed) -> None:
    """Every cut point is a module of the network."""
    absent = [layer.module for layer in probed.layers if layer.module not in probed.modules]
    require(not absent, f"the network has no module {', '.join(map(repr, absent))}")


def depth_order(probed: Probed) -> None:
    """Cut points are listed in the order in which the network comes to them, and it comes to all."""
    listed = [layer.name for layer in probed.layers]
    reached = list(probed.first_pass)
    skipped = [name for name in listed if name not in reached]
    require(not skipped, f"a forward pass never comes to {', '.join(skipped)}")
    require(reached == listed, f"listed as {', '.join(listed)}, but reached as {', '.join(reached)}")


def last_exists(probed: Probed) -> None:
    """``last`` is the last cut point."""
    require(probed.layers, "it has no cut points")
    found = probed.backbone.layer("last")
    require(found == probed.layers[-1], f"last is {found.name!r} instead of {probed.layers[-1].name!r}")


def valid_preprocess(probed: Probed) -> None:
    """Preprocessing is data that survive being stored."""
    preprocess = probed.backbone.preprocess
    require(isinstance(preprocess, Preprocess), f"preprocess is {preprocess!r}")
    again = Preprocess.from_json(json.loads(json.dumps(preprocess.to_json())))
    require(again == preprocess, f"preprocess {preprocess} is stored as {again}")
    preprocess.check_scale("preprocess")


def evaluation_mode(probed: Probed) -> None:
    """All modules are in evaluation mode."""
    training = [name or "the network" for name, module in probed.modules.items() if module.training]
    require(not training, f"in training mode: {', '.join(training[:5])}")


def one_vector_an_image(probed: Probed) -> None:
    """Every cut point gives one vector for each image, of a width that does not depend on their number."""
    single = probed.vectors(probed.batch(count=1))
    for name, vectors in probed.first_pass.items():
        require(vectors.shape[0] == 3, f"{name} gives {vectors.shape[0]} vectors for 3 images")
        require(vectors.shape[1] > 0, f"{name} gives vectors without elements")
        widths = single[name].shape[1], vectors.shape[1]
        require(widths[0] == widths[1], f"{name} gives {widths[0]} features for 1 image and {widths[1]} for 3")


def channels_where_declared(probed: Probed) -> None:
    """The channels of a map are where its cut point says; patch tokens make a square, else it is advised.

    Of square images, a map whose channels come first is square in its last two sides.
    """
    prefix = probed.backbone.prefix_tokens(probed.network)
    for layer in probed.layers:
        shape = probed.shapes[layer.name]
        depth = shape[-1] if layer.channels_last else shape[1]
        reason = f"{layer.name} gives {shape}, whose channels are taken to be {depth}"
        require(not is_turned(shape, layer), f"{reason}: declare it with channels_last={not layer.channels_last}")
        refuse_rows(probed.modules[layer.module], shape, layer)
        if len(shape) == 3 and layer.pool != "none":
            patches = shape[1] - prefix
            if isqrt(max(0, patches)) ** 2 != patches:
                told = f"{layer.name} gives {shape[1]} tokens, the first {prefix} no patches as prefix_tokens() says"
                raise Advice(f"{told}; {patches} make no square: see whether it returns what it should")


def input_stays(probed: Probed) -> None:
    """A forward pass leaves its input as it was."""
    import torch

    batch = probed.batch()
    before = batch.clone()
    probed.vectors(batch)
    require(torch.equal(batch, before), "the network writes into its input; work on a copy, or not in place")


def finite_output(probed: Probed) -> None:
    """No feature is infinite or not a number."""
    bad = [name for name, vectors in probed.first_pass.items() if not vectors.isfinite().all()]
    require(not bad, f"infinite or not a number: {', '.join(bad)}")


def extreme_images(probed: Probed) -> None:
    """Black and white images, preprocessed, give finite features, and the network tells them apart."""
    import torch

    shape = probed.batch(count=2).shape
    pixels = torch.zeros(shape)
    pixels[1] = 1
    found = probed.vectors(probed.normalise(pixels))
    bad = [name for name, vectors in found.items() if not vectors.isfinite().all()]
    require(not bad, f"infinite or not a number: {', '.join(bad)}")
    alike = all(torch.equal(vectors[0], vectors[1]) for vectors in found.values())
    require(not alike, "black and white images have the same features in every layer")


def two_passes_identical(probed: Probed) -> None:
    """The same batch gives the same features, bit for bit."""
    import torch

    second = probed.vectors(probed.batch())
    differing = [name for name, vectors in probed.first_pass.items() if not torch.equal(vectors, second[name])]
    require(not differing, f"a second pass differs in {', '.join(differing)}")


def companions_do_not_matter(probed: Probed) -> None:
    """The features of an image do not depend on the other images of its batch."""
    import torch

    other = probed.batch(seed=1)
    other[0] = probed.batch()[0]
    found = probed.vectors(other)
    for name, vectors in probed.first_pass.items():
        close = torch.allclose(vectors[0], found[name][0], rtol=_TOLERANCE, atol=_TOLERANCE)
        require(close, f"{name} of an image changes with the other images of its batch")
