"""A cut network as a graph of OpenVINO, which is faster than torch on processors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from histokit.networks.compiling import CutVectors, quiet


class _Ordered(nn.Module):
    """Gives the vectors as a tuple, which is what a traced graph can give."""

    def __init__(self, vectors: CutVectors):
        super().__init__()
        self.vectors = vectors

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return the vectors."""
        return tuple(self.vectors(batch).values())


def converted(vectors: CutVectors) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return a function from batches to vectors that converts the network for each shape of them once.

    Parameters
    ----------
    vectors : CutVectors
        Of a network on the processor, at float32 and without hooks of its own.
    """
    known: dict[torch.Size, tuple[list[str], Any]] = {}

    def run(batch: Tensor) -> dict[str, Tensor]:
        if batch.shape not in known:
            with quiet():
                known[batch.shape] = list(vectors(batch)), _graph(_Ordered(vectors), batch.shape)
        names, request = known[batch.shape]
        found = request.infer({0: batch.contiguous().numpy()}, share_inputs=True)
        # Copies, because the next batch overwrites them.
        return {name: torch.from_numpy(found[place].copy()) for place, name in enumerate(names)}

    return run


# In inference mode, nothing can be traced.
@torch.inference_mode(False)
@torch.no_grad()
def _graph(module: nn.Module, shape: torch.Size) -> Any:
    import openvino

    example = torch.zeros(*shape)
    # By itself the library would trace several times, to compare them; vectors are compared with the network's own.
    traced = torch.jit.trace(module, example, check_trace=False, strict=False)
    model = openvino.convert_model(traced, example_input=example, input=[list(shape)])
    # Of float32 alone: the library would round to what a processor computes fastest in.
    how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    return openvino.Core().compile_model(model, "CPU", how).create_infer_request()
