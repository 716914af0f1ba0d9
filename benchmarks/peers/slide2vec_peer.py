"""slide2vec: an encoder of one's own, registered, on images that are cut already; one vector for each image."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from serve import arguments, build, pooled, preparation, serve
from slide2vec.api import ExecutionOptions, ImageSpec, Model
from slide2vec.encoders.base import TorchTileEncoder
from slide2vec.encoders.registry import register_encoder

options = arguments()
(layer,) = options.layers
width = {"mobilenetv2": 1280, "squeezenet": 512}[options.network]


@register_encoder(
    "benchmark",
    encode_dim=width,
    input_size=224,
    supports_variable_input_size=False,
    supported_spacing_um=None,
    precision="fp32",
    source="a file",
)
class Encoder(TorchTileEncoder):
    """The last layer of the network."""

    def __init__(self, *, output_variant: str | None = None) -> None:
        network = pooled(build(options.network, options.weights), layer)
        scale: dict[str, Any] = {"mean": tuple(options.mean), "std": tuple(options.std)}
        super().__init__(network, encode_dim=width, input_size=224, output_variant=output_variant, **scale)

    def get_transform(self) -> Callable[..., Any]:
        """The same squash as everywhere."""
        return preparation(options)


paths = sorted(options.images.rglob("*.png"))
specs = [ImageSpec(sample_id="_".join(p.relative_to(options.images).parts), image_path=p) for p in paths]
model = Model.from_preset("benchmark", device="cpu", allow_non_recommended_settings=True)


def extract() -> dict[str, Any]:
    """Embed all images into an empty folder, one file for each image."""
    shutil.rmtree(options.out, ignore_errors=True)
    execution = ExecutionOptions(output_dir=options.out, batch_size=64, num_gpus=1)
    return {"images": len(model.embed_images(specs, execution=execution))}


if __name__ == "__main__":
    serve(extract)
