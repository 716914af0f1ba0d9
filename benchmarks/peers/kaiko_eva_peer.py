"""kaiko-eva: its trainer predicts, its writer writes; one vector for each image."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from eva.core.callbacks import ClassificationEmbeddingsWriter
from eva.core.data import dataloaders, datamodules
from eva.core.models import modules
from eva.core.trainers import Trainer
from eva.vision.data.datasets import VisionDataset
from PIL import Image
from serve import arguments, build, pooled, preparation, serve


class Patches(VisionDataset[Any, Any]):
    """All images of a folder PATIENT/LABEL."""

    def __init__(self, root: Path, transforms: Any) -> None:
        super().__init__(transforms=None)
        self.root, self.prepare = root, transforms
        self.paths = sorted(root.rglob("*.png"))

    def filename(self, index: int) -> str:
        """Name of an image."""
        return self.paths[index].relative_to(self.root).as_posix()

    def load_data(self, index: int) -> Any:
        """The prepared image."""
        with Image.open(self.paths[index]) as image:
            return self.prepare(image.convert("RGB"))

    def load_target(self, index: int) -> Any:
        """The label."""
        return torch.tensor(int(self.paths[index].parent.name))

    def _apply_transforms(self, image: Any, target: Any) -> Any:
        return image, target

    def __len__(self) -> int:
        return len(self.paths)


def main() -> None:
    """Serve rounds."""
    options = arguments()
    (layer,) = options.layers
    backbone = pooled(build(options.network, options.weights), layer)
    dataset = Patches(options.images, preparation(options))

    def extract() -> dict[str, Any]:
        shutil.rmtree(options.out, ignore_errors=True)
        writer = ClassificationEmbeddingsWriter(output_dir=str(options.out), overwrite=True)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
        trainer = Trainer(accelerator="cpu", callbacks=[writer], default_root_dir=str(options.out / "logs"), **quiet)
        data = datamodules.DataModule(
            datasets=datamodules.DatasetsSchema(predict=dataset),
            dataloaders=datamodules.DataloadersSchema(predict=dataloaders.DataLoader(batch_size=64, num_workers=2)),
        )
        trainer.predict(modules.InferenceModule(backbone=backbone), datamodule=data, return_predictions=False)
        return {"images": len(dataset), "files": sum(1 for _ in options.out.rglob("*.pt"))}

    serve(extract)


if __name__ == "__main__":
    main()
