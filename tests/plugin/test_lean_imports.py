"""Networks are imported without torch's compiler and built without drawing what is replaced, with the same values."""

import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

from histokit.plugin.lean_imports import uninitialised
from histokit.plugin.manager import registry


def test_the_compiler_is_not_imported_for_a_network_and_is_there_when_it_is_wanted():
    code = (
        "import sys\n"
        "from histokit.plugin.lean_imports import compiler_deferred, library\n"
        "from histokit.plugin.manager import registry\n"
        "for name in ('timm:mobilenetv2_035,pad_type=same', 'torchvision:squeezenet1_1'):\n"
        "    assert registry().backbone(name, 'random').layers\n"
        "    assert not {'torch._dynamo', 'torch._inductor'} & set(sys.modules)\n"
        "import torch\n"
        "with compiler_deferred():\n"
        "    library('timm.scheduler')\n"
        "    sums = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])\n"
        "    sums.zero_grad()\n"
        "    sums.step()\n"
        "assert not {'torch._dynamo', 'torch._inductor'} & set(sys.modules)\n"
        "from torchvision.ops.roi_align import is_compile_supported\n"
        "assert is_compile_supported('cpu') in (True, False)\n"
        "import torch._dynamo\n"
        "assert torch._dynamo.config and torch._dynamo.__file__\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_is_drawn_inside_and_all_is_drawn_outside():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with uninitialised():
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 2))
        timm.create_model("test_vit")
    assert torch.equal(before, torch.get_rng_state())
    torch.nn.Linear(4, 2)
    assert not torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "mobilenetv2_035"])
def test_every_value_of_a_built_network_is_the_files(name, tmp_path):
    torch.manual_seed(1)
    plain = timm.create_model(name).eval()
    save_file({k: v.contiguous() for k, v in plain.state_dict().items()}, tmp_path / "net.safetensors")
    network = registry().backbone(f"timm:{name}", str(tmp_path / "net.safetensors")).build()
    # Buffers that a file does not hold are made by the network itself.
    values = dict(plain.named_parameters()) | dict(plain.named_buffers())
    found = dict(network.named_parameters()) | dict(network.named_buffers())
    assert found.keys() == values.keys()
    assert all(torch.equal(found[key], value) for key, value in values.items())


def test_nothing_is_drawn_until_it_fits_whatever_was_in_the_memory():
    from torch.nn.init import trunc_normal_

    weights = [torch.nn.Parameter(torch.full((50,), 1e9)) for _ in range(2)]
    with uninitialised():
        trunc_normal_(weights[0], std=0.02)
        torch.nn.init.trunc_normal_(weights[1], mean=5.0, std=1.0, a=4.0, b=6.0)
        plain = torch.full((4,), 1e9).normal_()
        timm.layers.trunc_normal_(weights[1], mean=5.0, std=1.0, a=4.0, b=6.0)
        table = timm.layers.trunc_normal_(torch.full((4,), 1e9))
    assert plain.tolist() == table.tolist() == [0.0] * 4
    # Not even what timm does to what it would have drawn, which takes seconds for large networks.
    assert weights[1].tolist() == [1e9] * 50
    assert timm.layers.trunc_normal_(torch.empty(1000)).abs().max() > 1.0
    drawn = trunc_normal_(torch.empty(1000), std=1.0, a=-1.0, b=1.0)
    assert 0.3 < drawn.std() < 0.7
