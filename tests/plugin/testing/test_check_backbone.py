"""`check_backbone`: every clause passes for a good backbone, and finds the backbone that breaks it."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

from histokit.errors import StoreError
from histokit.plugin.backbone import Backbone, Layer
from histokit.plugin.manager import registry
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.testing import CheckFailure, check_backbone, iter_backbone_checks, run_checks
from histokit.plugin.weights import local_file, normalise_weights, random_seed, seeded

LAYERS = (Layer("conv1", "conv1"), Layer("conv2", "conv2", "max"))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8))

    def forward(self, x):
        return self.conv2(self.conv1(x))


@dataclass
class Good(Backbone):
    """A backbone that keeps its contract; tests override one thing each."""

    layers: tuple = LAYERS
    preprocess: Preprocess = field(default_factory=lambda: Preprocess(size=16))

    def weights_file(self):
        if self.weights == "pretrained":
            raise StoreError("Nobody has published any.", next="Give random ones.")
        return local_file(self.weights)

    def build(self):
        if self.weights_file() is not None:
            raise StoreError("These weights are of another network.", next="Give others.")
        with seeded(random_seed(self.weights)):
            return Net().eval()


def loader(cls=Good, **changes):
    return lambda request: cls(name=request.name, weights=normalise_weights(request.weights), **changes)


def failing(cls=Good, **changes):
    results = run_checks(iter_backbone_checks(loader(cls, **changes), "mine"))
    return {result.name: result.reason for result in results if not result.passed}


def test_a_good_backbone_passes_every_check():
    results = check_backbone(loader(), "mine")
    assert len(results) == 23
    assert all(result.passed for result in results)
    assert len(check_backbone(Good(name="mine", weights="random:0"))) == 18


def test_a_version_is_advised_to_third_parties():
    def advice(**changes):
        return {r.name: r.reason for r in check_backbone(loader(**changes), "mine")}["stated version"]

    assert advice().startswith("advised: set `version`")
    assert advice(version="2") == ""
    own = check_backbone(registry().backbones["texture"][0].load, "texture", "none")
    assert {r.name: r.reason for r in own}["stated version"] == ""


def test_a_failure_names_backbone_and_clause():
    with pytest.raises(CheckFailure, match=r"(?s)'mine'.*last exists|'mine'.*cut points exist"):
        check_backbone(Good(name="mine", weights="random:0", layers=(Layer("conv9", "conv9"),)))


@pytest.mark.parametrize(
    ("layers", "clause", "reason"),
    [
        ((), "named cut points", "no cut points"),
        ((*LAYERS, LAYERS[0]), "named cut points", "conv1"),
        ((Layer("all", "conv1"),), "named cut points", "'all'"),
        ((Layer("a/b", "conv1"),), "named cut points", "'a/b'"),
        ((Layer("", "conv1"),), "named cut points", "''"),
        ((Layer("conv1", "conv1", "mean"),), "known poolings", "conv1: 'mean'"),
        ((Layer("conv3", "conv3"),), "cut points exist", "'conv3'"),
        (LAYERS[::-1], "depth order", "reached as conv1, conv2"),
        ((Layer("conv1", "conv1", "cls"),), "one vector an image", "pooling 'cls'"),
    ],
)
def test_cut_points_that_break_the_contract(layers, clause, reason):
    assert reason in failing(layers=layers)[clause]


class Forgetful(Good):
    def build(self):
        super().build()


def test_a_build_that_returns_no_network_is_told_as_such():
    results = run_checks(iter_backbone_checks(Forgetful(name="mine", weights="random:0")))
    said = {result.name: result.reason for result in results}
    for clause in ("cut points exist", "depth order"):
        assert said[clause] == "build() returned NoneType None in place of a torch.nn.Module"


class Training(Good):
    def build(self):
        return super().build().train()


class Noisy(Good):
    def build(self):
        network = super().build()
        network.conv1.register_forward_hook(lambda _m, _i, output: output + torch.rand(1))
        return network


class Infinite(Good):
    def build(self):
        network = super().build()
        network.conv1.weight.data.fill_(float("inf"))
        return network


class Blind(Good):
    def build(self):
        network = super().build()
        network.conv1.weight.data.zero_()
        return network


class Unseeded(Good):
    def build(self):
        return Net().eval()


class Fallback(Good):
    def build(self):
        with seeded(0):
            return Net().eval()


class Foreign(Good):
    def weights_file(self):
        return None


FILE = Path(__file__)


class Filed(Good):
    """Gives weights that do not depend on a seed; they stand for those of a file."""

    licence = "MIT"

    def weights_file(self):
        return FILE if self.weights == "pretrained" else super().weights_file()

    def build(self):
        if self.weights != "pretrained":
            return super().build()
        network = Net().eval()
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.5)
        return network


class Drawn(Filed):
    def build(self):
        return Net().eval() if self.weights == "pretrained" else super().build()


class HalfDrawn(Filed):
    def build(self):
        network = super().build()
        if self.weights == "pretrained":
            nn.init.normal_(network.conv2[0].bias)
        return network


class Disguised(Filed):
    def build(self):
        with seeded(0 if self.weights == "pretrained" else random_seed(self.weights)):
            return Net().eval()


class Unfiled(Filed):
    def weights_file(self):
        return None if self.weights == "pretrained" else super().weights_file()


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Filed, None),
        (Good, None),
        (Drawn, "change with the seed"),
        (HalfDrawn, "change with the seed"),
        (Disguised, "those of random:0"),
        (Unfiled, "weights_file() is None"),
    ],
)
def test_pretrained_weights_that_are_random(cls, reason):
    found = failing(cls).get("pretrained is not random")
    assert (found is None) if reason is None else (reason in found)


def test_random_weights_in_place_of_pretrained_ones():
    def lenient(request):
        return Good(name=request.name, weights="random:0" if request.weights == "pretrained" else request.weights)

    results = run_checks(iter_backbone_checks(lenient, "mine"))
    failed = {result.name: result.reason for result in results if not result.passed}
    assert "'random:0' instead of an error" in failed["pretrained is not random"]


@pytest.mark.parametrize(
    ("cls", "clauses"),
    [
        (Training, {"evaluation mode", "companions do not matter"}),
        (Noisy, {"two passes identical", "companions do not matter"}),
        (Infinite, {"finite output"}),
        (Blind, {"extreme images"}),
        (Unseeded, {"two builds identical"}),
        (Fallback, {"seeds honoured", "foreign weights refused"}),
    ],
)
def test_networks_that_break_the_contract(cls, clauses):
    assert clauses <= set(failing(cls))


def test_weights_that_are_not_what_they_say(tmp_path):
    def checked(backbone):
        results = run_checks(iter_backbone_checks(backbone))
        return {result.name: result.reason for result in results if not result.passed}

    assert "weights_file() is None" in checked(Foreign(name="mine", weights="pretrained"))["stated weights"]
    gone = type("Gone", (Foreign,), {"weights_file": lambda self: tmp_path / "gone.pth"})
    assert "gone.pth" in checked(gone(name="mine", weights="pretrained"))["stated weights"]
    assert "random:0" in checked(Good(name="mine", weights="random"))["stated weights"]
    assert "licence is empty" in checked(Good(name="mine"))["licence of pretrained"]
    assert "licence of pretrained" not in checked(Good(name="mine", licence="MIT"))


def test_missing_weights_are_refused():
    def lenient(request):
        return Good(name=request.name, weights="random:0")

    results = run_checks(iter_backbone_checks(lenient, "mine"))
    failed = {result.name for result in results if not result.passed}
    assert failed == {
        "seeds honoured",
        "pretrained is not random",
        "foreign weights refused",
        "missing weights refused",
        "incomplete weights refused",
    }


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_resnet,num_classes=0", "torchvision:squeezenet1_1"])
def test_built_in_backbones_keep_the_contract(name):
    prefix = name.partition(":")[0] + ":"
    check_backbone(registry().backbones[prefix][0].load, name)


class Behind(nn.Module):
    """Does something with what another module gives."""

    def __init__(self, work):
        super().__init__()
        self.work = work

    def forward(self, x):
        return self.work(x)


def giving(work, **changes):
    """Return the failures and the advice on a backbone whose last cut point gives something else."""

    class Giving(Good):
        def build(self):
            network = super().build()
            network.conv2.append(Behind(work).eval())
            return network

    layers = (Layer("conv1", "conv1"), Layer("conv2", "conv2", **changes))
    results = run_checks(iter_backbone_checks(loader(Giving, layers=layers, version="2"), "mine"))
    return {result.name: result.reason for result in results if result.reason}


def test_channels_that_come_last_are_to_be_declared():
    told = giving(lambda maps: maps.permute(0, 2, 3, 1))
    assert told == {
        "channels where declared": "conv2 gives (1, 12, 12, 8), whose channels are taken to be 12: declare it with "
        "channels_last=True"
    }
    assert giving(lambda maps: maps.permute(0, 2, 3, 1), channels_last=True) == {}
    assert "channels_last=False" in giving(lambda maps: maps, channels_last=True)["channels where declared"]


def test_vectors_that_hang_on_the_number_of_images():
    def flat(maps, count):
        return maps.flatten(1)[:, :count]

    told = giving(lambda maps: flat(maps, 10 * len(maps)), pool="none")
    assert told["one vector an image"] == "conv2 gives 10 features for 1 image and 30 for 3"
    told = giving(lambda maps: flat(maps, 10)[:1], pool="none")
    assert told["one vector an image"] == "conv2 gives 1 vectors for 3 images"


def test_one_layer_may_be_blind_where_others_see():
    assert giving(lambda maps: maps * 0) == {}


def test_images_without_contrast_may_not_break_a_network():
    class Stretching(Good):
        def build(self):
            network = super().build()

            def stretched(_, inputs):
                low, high = inputs[0].amin((2, 3), keepdim=True), inputs[0].amax((2, 3), keepdim=True)
                return ((inputs[0] - low) / (high - low),)

            network.register_forward_pre_hook(stretched)
            return network

    assert failing(Stretching) == {"extreme images": "infinite or not a number: conv1, conv2"}


def test_rows_of_channels_are_no_tokens():
    class Rows(Good):
        def build(self):
            return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(2), nn.Conv1d(8, 4, 1)).eval()

    results = run_checks(iter_backbone_checks(loader(Rows, layers=(Layer("2", "2"),), version="2"), "mine"))
    told = {result.name: result.reason for result in results if not result.passed}
    assert "whose channels come first: Conv1d" in told["channels where declared"]


def test_patch_tokens_that_make_no_square_are_advised():
    def tokens(maps):
        return maps.flatten(2).transpose(1, 2)

    (told,) = giving(tokens).items()
    assert told[0] == "channels where declared"
    assert told[1].startswith("advised: conv2 gives 144 tokens, the first 1 no patches as prefix_tokens() says; 143")
    assert giving(lambda maps: torch.cat([tokens(maps)[:, :1], tokens(maps)], dim=1)) == {}


def test_statistics_of_another_scale():
    wrong = Preprocess(size=16, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    assert "scale of 0 to 1: divide a mean" in failing(preprocess=wrong)["valid preprocess"]


def test_a_network_that_writes_into_its_input():
    class Writing(Good):
        def build(self):
            network = super().build()
            network.register_forward_pre_hook(lambda _module, inputs: (inputs[0].sub_(0.5),))
            return network

    assert failing(Writing) == {"input stays": "the network writes into its input; work on a copy, or not in place"}


def test_a_network_is_run_as_it_is_for_features():
    class Viewing(Good):
        def build(self):
            network = super().build()
            network.register_forward_pre_hook(lambda _module, inputs: (inputs[0].view(-1).view(inputs[0].shape),))
            return network

    assert "view size is not compatible" in failing(Viewing)["one vector an image"]


def test_a_file_that_lacks_weights_is_refused():
    from histokit.plugin.checkpoint import read_state

    class Partial(Good):
        """Takes what there is of a file, and leaves the rest at random."""

        def build(self):
            with seeded(random_seed(self.weights)):
                network = Net().eval()
            if (file := self.weights_file()) is not None:
                there = {k: v for k, v in read_state(file).items() if k in network.state_dict()}
                if not there:
                    raise StoreError("These weights are of another network.", next="Give others.")
                network.load_state_dict(there, strict=False)
            return network

    assert failing(Partial) == {"incomplete weights refused": "it builds with a file that lacks conv1.weight"}
