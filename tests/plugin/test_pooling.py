"""Pooling: numbers worked out by hand."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from histokit.errors import UsageError
from histokit.plugin.backbone import Layer
from histokit.plugin.pooling import pool

MAP = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2)
TOKENS = torch.tensor([[[1.0, 2.0], [10.0, 20.0], [3.0, 5.0], [5.0, 9.0]]])


def of(pooling: str, channels_last: bool = False) -> Layer:
    return Layer("conv", "trunk.conv", pooling, channels_last)  # type: ignore[arg-type]


def test_average_over_a_map():
    assert pool(MAP, of("avg")).tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]


def test_maximum_over_a_map():
    assert pool(MAP, of("max")).tolist() == [[3, 7, 11], [15, 19, 23]]


def test_channels_last_equals_channels_first():
    assert torch.equal(pool(MAP.permute(0, 2, 3, 1), of("avg", True)), pool(MAP, of("avg")))


@pytest.mark.parametrize(
    ("pooling", "prefix", "expected"),
    [
        ("cls", 1, [1, 2]),
        ("avg", 1, [6, 34 / 3]),
        ("avg", 2, [4, 7]),
        ("avg", 0, [19 / 4, 9]),
        ("max", 2, [5, 9]),
        ("cls-mean", 2, [1, 2, 4, 7]),
    ],
)
def test_tokens(pooling, prefix, expected):
    assert pool(TOKENS, of(pooling), prefix)[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("prefix", [1, 5])
def test_tokens_that_are_a_square_of_patches_have_no_class_token(prefix):
    """As those of ``patch_embed``, before the class and register tokens come to them."""
    patches = torch.arange(196.0).reshape(1, 196, 1)
    assert pool(patches, of("avg"), prefix).tolist() == [[97.5]]
    assert pool(-patches, of("max"), prefix).tolist() == [[0]]
    with pytest.raises(UsageError, match="no class token"):
        pool(patches, of("cls"), prefix)
    whole = torch.cat([torch.full((1, prefix, 1), 1000.0), patches], dim=1)
    assert pool(whole, of("avg"), prefix).tolist() == [[97.5]]
    assert pool(whole, of("cls"), prefix).tolist() == [[1000]]


@pytest.mark.parametrize(("prefix", "rows", "columns"), [(1, 13, 15), (5, 10, 22)])
def test_tokens_of_an_image_that_is_not_square_are_rows_and_columns_of_its_ratio(prefix, rows, columns):
    """With the tokens before them, these patches are as many as those of a square."""
    size, patches = (16 * rows, 16 * columns), torch.arange(float(rows * columns)).reshape(1, -1, 1)
    mean = patches.mean().item()
    whole = torch.cat([torch.full((1, prefix, 1), 1000.0), patches], dim=1)
    assert pool(whole, of("avg"), prefix, size).tolist() == [[mean]]
    assert pool(whole, of("cls"), prefix, size).tolist() == [[1000]]
    assert pool(patches, of("avg"), prefix, size).tolist() == [[mean]]


@pytest.mark.parametrize("pooling", ["none", "avg", "max"])
def test_a_vector_stays_as_it_is(pooling):
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert torch.equal(pool(vectors, of(pooling)), vectors)


@pytest.mark.parametrize("pooling", ["none", "avg", "max", "cls", "cls-mean"])
@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 1, 1), (2, 1, 5), (2, 3, 5)])
def test_vectors_have_memory_of_their_own(pooling, shape):
    output = torch.ones(shape)
    try:
        vectors = pool(output, of(pooling))
    except UsageError:
        return
    assert vectors.untyped_storage().data_ptr() != output.untyped_storage().data_ptr()
    assert vectors.untyped_storage().nbytes() == vectors.numel() * 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pooling", ["avg", "max", "cls", "cls-mean"])
def test_tokens_are_pooled_while_torch_traces_a_network(pooling):
    # As for OpenVINO: lengths are tensors then.
    tokens = torch.rand(2, 17, 3, generator=torch.Generator().manual_seed(0))
    traced = torch.jit.trace(lambda given: pool(given, of(pooling)), tokens)
    assert torch.equal(traced(tokens), pool(tokens, of(pooling)))


def test_a_map_of_one_position_is_a_vector():
    assert pool(torch.ones(2, 5, 1, 1), of("none")).shape == (2, 5)


def test_the_first_of_a_tuple_is_taken():
    assert torch.equal(pool((MAP, TOKENS), of("avg")), pool(MAP, of("avg")))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_averaged_in_float32(dtype):
    ones = torch.ones(1, 1, 100, 100, dtype=dtype)
    pooled = pool(ones * 3, of("avg"))
    assert pooled.dtype == torch.float32
    assert pooled.item() == 3.0


@pytest.mark.parametrize(("pooling", "shape"), [(p, (2, 3, 5, 7)) for p in ("avg", "max")] + [
    (p, (2, 9, 3)) for p in ("avg", "max", "cls", "cls-mean")
])  # fmt: skip
def test_no_map_of_halves_is_widened_as_a_whole(pooling, shape):
    widest = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            widest.append(found.numel() * (found.dtype == torch.float32))
            return found

    halves = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    with Sizes():
        found = pool(halves, of(pooling))
    assert max(widest) == found.numel()
    assert torch.equal(found, pool(halves.float(), of(pooling)))


def test_the_input_may_change_afterwards():
    changing = MAP.clone()
    pooled = pool(changing, of("avg"))
    changing.zero_()
    assert pooled[0, 0] == 1.5


@pytest.mark.parametrize(
    ("output", "pooling", "prefix"),
    [
        (MAP, "cls", 1),
        (MAP, "none", 1),
        (TOKENS, "none", 1),
        (TOKENS, "cls", 0),
        (TOKENS, "cls-mean", 0),
        (TOKENS, "avg", 4),
        (torch.ones(3), "avg", 1),
        (torch.ones(1, 2, 0, 3), "avg", 1),
    ],
)
def test_an_unsuitable_pooling_names_layer_and_shape(output, pooling, prefix):
    with pytest.raises(UsageError) as caught:
        pool(output, of(pooling), prefix)
    assert "'conv'" in caught.value.message
    assert str(tuple(output.shape)) in caught.value.message


def test_what_is_not_a_tensor_is_named():
    with pytest.raises(UsageError, match="gives a dict"):
        pool({"a": MAP}, of("avg"))
