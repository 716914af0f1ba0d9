"""Draw the images and tables that the pages of the documentation work on: ``python docs/example_data.py FOLDER``.

Nothing is downloaded; drawn again, everything is the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from histokit.datasets.synthetic import Synthetic

GLASS = (244, 243, 245)


def draw_patches(folder: Path) -> None:
    """Draw ``patches/{slide}/{label}/*.png``, some of them in ``flat``, and tables of labels."""
    drawn = Synthetic(folder, slides=5, per_slide=8, size=32)
    (folder / "flat").mkdir(exist_ok=True)
    listed, slides, mine = ["file,kind,slide,cellularity"], {}, ["id,role"]
    for sample in drawn.samples():
        slide, number = sample.id.split("/")
        target = folder / "patches" / slide / str(sample.label) / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = drawn.read(sample)
        Image.fromarray(pixels).save(target)
        listed.append(f"{target.relative_to(folder)},{sample.label},{slide},{(pixels[..., 0] < 150).mean():.4f}")
        mine.append(f"{target.relative_to(folder / 'patches')},{'test' if slide == 'slide01' else 'train'}")
        if number in ("0001", "0002"):
            slides.setdefault(slide, sample.label)
            Image.fromarray(pixels).save(folder / "flat" / f"{slide}_{number}.png")
    (folder / "images.csv").write_text("\n".join(listed))
    (folder / "mine.csv").write_text("\n".join(mine))
    (folder / "flat" / "slides.csv").write_text("\n".join(["slide,label", *(f"{s},{v}" for s, v in slides.items())]))


def draw_slides(folder: Path) -> None:
    """Draw ``scans``: pyramidal slides of four patients at 0.5 µm per pixel, half of each tissue, and a table."""
    (folder / "scans").mkdir(exist_ok=True)
    rows = ["slide,label,patient"]
    for number, label in enumerate(("tumour", "normal") * 2):
        colour = (205, 120, 170) if label == "normal" else (150, 100, 190)
        pixels = np.full((192, 256, 3), GLASS, np.uint8)
        pixels[:, 64:192] = colour + np.random.default_rng(number).integers(0, 32, (192, 128, 3))
        with tifffile.TiffWriter(folder / "scans" / f"s{number}.tif") as file:
            for level in range(3):
                side = 2**level
                smaller = pixels.reshape(192 // side, side, 256 // side, side, 3).mean(axis=(1, 3)).astype(np.uint8)
                told = {"subfiletype": 1} if level else {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}
                file.write(smaller, tile=(64, 64), photometric="rgb", metadata=None, **told)
        rows.append(f"s{number},{label},p{number}")
    (folder / "scans" / "labels.csv").write_text("\n".join(rows))


def draw_fluorescence(folder: Path) -> None:
    """Draw ``plates`` (a file for each channel), ``stacks`` (channels and planes in a file), ``cells16`` (16 bits)."""
    values = np.random.default_rng(0).integers(0, 4096, (2, 3, 3, 32, 32), dtype=np.uint16)
    (folder / "plates" / "P1").mkdir(parents=True, exist_ok=True)
    (folder / "stacks").mkdir(exist_ok=True)
    for well, image in zip(("B02", "C03"), values, strict=True):
        for place, channel in enumerate((1, 2, 4)):
            tifffile.imwrite(folder / "plates" / "P1" / f"{well}_s1_w{channel}.tif", image[0, place])
    facts = {"Channel": {"Name": ["Hoechst", "GFP", "Mito"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(folder / "stacks" / "a.ome.tif", values[0], metadata={"axes": "ZCYX", **facts})
    for label, image in zip(("dim", "bright"), values, strict=True):
        (folder / "cells16" / label).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / "cells16" / label / "a.tif", image[0, 0])


def draw_profiles(folder: Path) -> None:
    """Draw ``profiles.csv``: 36 wells of six compounds of two mechanisms in two doses, six controls on each plate."""
    rng = np.random.default_rng(0)
    lines = ["id,compound,treatment,moa,concentration,replicate,plate,area,texture,count"]
    for well in range(48):
        plate = 1 + well % 2 if well >= 36 else 1 + well % 12 // 6
        compound, dose, moa = f"c{well % 6}", float(plate), ("actin", "tubulin")[well % 6 // 3]
        if well >= 36:
            compound, dose, moa = "DMSO", 0.0, ""
        shift = 3 * (well % 6 // 3) if moa else 0
        numbers = rng.normal([shift, -shift, 0]).round(3).tolist()
        values = [f"A{well}", compound, f"{compound}@{dose}", moa, dose, 1 + well // 12, plate, *numbers]
        lines.append(",".join(map(str, values)))
    (folder / "profiles.csv").write_text("\n".join(lines))


def draw_regions(folder: Path) -> None:
    """Draw ``regions`` (an image with outlines and one with points, in GeoJSON as QuPath's) and ``coco``."""
    pixels = np.random.default_rng(1).integers(120, 250, (4, 128, 128, 3), dtype=np.uint8)
    corners = {"Tumor": (8, 8, 56, 48), "Stroma": (72, 60, 120, 120), "Lymphocytes": (16, 80, 48, 112)}
    shapes, points, boxes = [], [], []
    for number, (label, (x, y, right, down)) in enumerate(corners.items()):
        told = {"objectType": "annotation", "classification": {"name": label}}
        outline = [[x, y], [right, y], [right, down], [x, down], [x, y]]
        shapes.append(
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [outline]}, "properties": told}
        )
        middle = {"type": "Point", "coordinates": [(x + right) / 2, (y + down) / 2]}
        points.append({"type": "Feature", "geometry": middle, "properties": told})
        boxes.append({"id": number, "category_id": number, "bbox": [x, y, right - x, down - y], "iscrowd": 0})
    (folder / "regions").mkdir(exist_ok=True)
    for name, features in (("slide1", shapes), ("points", points)):
        Image.fromarray(pixels[0]).save(folder / "regions" / f"{name}.png")
        document = {"type": "FeatureCollection", "features": features}
        (folder / "regions" / f"{name}.geojson").write_text(json.dumps(document))
    (folder / "coco" / "images").mkdir(parents=True, exist_ok=True)
    (folder / "coco" / "annotations").mkdir(exist_ok=True)
    categories = [{"id": number, "name": label} for number, label in enumerate(corners)]
    for part, image in (("train", 1), ("val", 2)):
        Image.fromarray(pixels[image]).save(folder / "coco" / "images" / f"{image}.png")
        images = [{"id": image, "file_name": f"{image}.png", "width": 128, "height": 128}]
        marked = [{**box, "image_id": image} for box in boxes]
        document = {"images": images, "annotations": marked, "categories": categories}
        (folder / "coco" / "annotations" / f"instances_{part}.json").write_text(json.dumps(document))


def draw_arrays(folder: Path) -> None:
    """Draw ``pathmnist.npz``, images and labels in arrays as MedMNIST saves them."""
    rng = np.random.default_rng(2)
    arrays = {}
    for part, number in (("train", 12), ("val", 6), ("test", 6)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (number, 28, 28, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(number, dtype=np.uint8)[:, None] % 3
    np.savez(folder / "pathmnist.npz", **arrays)


def draw(folder: Path) -> None:
    """Draw everything into a folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_patches(folder)
    draw_slides(folder)
    draw_fluorescence(folder)
    draw_profiles(folder)
    draw_regions(folder)
    draw_arrays(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    draw(Path(sys.argv[1]))
