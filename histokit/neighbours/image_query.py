"""An image file as a query: read as the images of a dataset are, and pushed through the network of stored features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from histokit.errors import DataError, StoreError, UsageError
from histokit.features import FeatureSet, FeatureStore
from histokit.features.run_tables import variants
from histokit.files import require_file
from histokit.neighbours.exact import Vectors
from histokit.neighbours.question import Queries
from histokit.networks.cut_network import CutNetwork
from histokit.networks.devices import choose_device
from histokit.networks.image_batches import ImageBatches, InputImage, vectors_of
from histokit.networks.resolve import resolve_backbone
from histokit.networks.transform import Transform
from histokit.plugin import Preprocess
from histokit.plugin.digests import digest_file
from histokit.plugin.manager import registry
from histokit.plugin.remarks import RemarkTally, collected_remarks
from histokit.reading.images_given import GivenImage, GivenImages, reading_of
from histokit.store import DatasetRecord
from histokit.store.fingerprints import spec_differences, spec_fingerprint
from histokit.store.records import IMPORT_PLUGIN
from histokit.store.repeat_commands import make_again
from histokit.store.vectors import FeatureTable

#: Rows of a forward pass: one alone would come out in other bits than among others.
_ROWS = 2


def file_query(store: FeatureStore, samples: FeatureSet, path: Path, device: str, notes: list[str]) -> Queries:
    """Return an image file as the query.

    Parameters
    ----------
    store : FeatureStore
    samples : FeatureSet
        Whose features it is to have.
    path : Path
    device : str
    notes : list of str
        Takes what is to be known of the image.

    Raises
    ------
    DataError
        If it cannot be read.
    StoreError
        If the features cannot be made anew, because the network, its weights or its preprocessing are others.
    UsageError
        If the dataset was made from vectors.
    """
    require_file(path, "image", next="Check the path.")
    record = samples.record
    tables = {table.name: table for table in store.feature_tables(record.name)}
    wanted = [tables[part.table] for part in samples.parts]
    for table in wanted:
        if table.imported or record.plugin == IMPORT_PLUGIN:
            raise UsageError(
                f"The features {table.address} of {record.name!r} were computed elsewhere: no network is known that "
                "makes them of an image.",
                next="Ask with --query ID for a sample, or bring in the vectors of the image as another dataset.",
            )
    read = _read(samples, path, _mpp(samples, wanted, notes), notes)
    content = _identical(store, samples, path, notes)
    columns: dict[str, Vectors] = {}
    for variant in variants(wanted):
        columns |= _vectors(store, record, variant, read, device, path)
    vector: Vectors = np.concatenate([columns[table.name] for table in wanted])[None]
    nothing = np.full(1, None, object)
    own = np.array([-1])
    return Queries(
        "file", str(path), [str(path)], nothing, nothing, [content], own, lambda rows: vector[rows], read.pixels
    )


def _mpp(samples: FeatureSet, tables: Sequence[FeatureTable], notes: list[str]) -> float | None:
    """Return the micrometres per pixel that all samples have, for what files do not say."""
    found = pc.unique(samples.samples.column("mpp")).to_pylist()
    mpp = found[0] if len(found) == 1 else None
    if any((table.spec.get("preprocess") or {}).get("target_mpp") is not None for table in tables):
        if mpp is None:
            raise UsageError(
                f"The file does not say its micrometres per pixel, and those of {samples.record.name!r} differ.",
                next="Ingest the file as a dataset with -o mpp=, then: --query DATASET",
            )
        notes.append(f"the file is taken to have {mpp:g} µm per pixel, as all samples of {samples.record.name} have")
    return None if mpp is None else float(mpp)


def _read(samples: FeatureSet, path: Path, mpp: float | None, notes: list[str]) -> GivenImage:
    """Read a file as the dataset's are: by the same channels, bits and scale, also where its plugin reads its own."""
    record = samples.record
    instead = f"histokit neighbours {record.name} --features {samples.address} --query DATASET"
    how = reading_of(record, samples.samples)
    if how["parts"] > 1:
        # A file of one plane needs no name of it; others say so themselves.
        how |= {"part": None, "parts": 1}
    given = GivenImages(how, record.channels, f"the dataset {record.name!r}", instead)
    tally = RemarkTally()
    try:
        with collected_remarks() as remarks:
            read = given.read(path, mpp, 1)
    except DataError as error:
        raise DataError(f"The image {path} cannot be read: {error.message}", next="Give another file.") from error
    tally.add(remarks)
    notes += [line for _, _, line in tally.lines()]
    return read


def _identical(store: FeatureStore, samples: FeatureSet, path: Path, notes: list[str]) -> bytes | None:
    """Return the content of the sample that is a file with the same bytes; of one that is a piece of it, say so."""
    files = store.files(samples.record.name)
    if files is None:
        return None
    same = files.filter(pc.equal(files.column("digest"), digest_file(path))).column("path").to_pylist()
    images = samples.samples.column("image").combine_chunks()
    there = pc.is_in(pc.list_flatten(images), value_set=pa.array(same, pa.string()))
    rows = pc.list_parent_indices(images).filter(there)
    if not len(rows):
        return None
    (sample,) = samples.samples.take(rows[:1]).to_pylist()
    if len(sample["image"]) == 1 and sample["box"] is None and sample["part"] is None:
        content: bytes = sample["content"]
        return content
    notes.append(f"{path} is byte-identical to the image of {sample['id']}, which is to be found")
    return None


def _vectors(
    store: FeatureStore,
    record: DatasetRecord,
    tables: Sequence[FeatureTable],
    read: GivenImage,
    device_name: str,
    path: Path,
) -> dict[str, Vectors]:
    """Return table → the vector of an image, of the tables that one network fills."""
    spec, info = tables[0].spec, tables[0].info
    preprocess = Preprocess.from_json(spec["preprocess"])
    layers = [table.layer for table in tables]
    resolved = resolve_backbone(store, str(spec["backbone"]), str(info["weights_request"]), preprocess, layers)
    how = (preprocess.channels or record.channels, str(spec["precision"]), tables[0].dtype, spec.get("engine", "torch"))
    by_print = {spec_fingerprint(made := resolved.spec(layer, *how)): (layer, made) for layer in resolved.chosen}
    for table in tables:
        if table.fingerprint not in by_print:
            other = next(made for layer, made in by_print.values() if layer.name == table.layer)
            raise StoreError(
                f"The file cannot be made into {table.address} as the samples were: "
                f"{'; '.join(spec_differences(table.spec, other))}.",
                next=f"Bring back what they were made with, or make them anew: {make_again(table)}",
            )
    device = choose_device(device_name)
    transform = Transform(preprocess, record.channels, device)
    backbone = registry().backbone(resolved.name, resolved.request, resolved.store)
    inputs = transform.depth if preprocess.adapter == "inflate" else None
    network = CutNetwork(backbone, list(resolved.chosen), device, str(spec["precision"]), inputs)
    found: dict[str, Vectors] = {}

    def take(_: Sequence[int], result: dict[str, Vectors]) -> None:
        found.update(result)

    def fail(_: int, reason: str) -> None:
        raise DataError(f"The image {path} cannot go into {resolved.name}: {reason}", next="Give another file.")

    batches: ImageBatches[int, dict[str, Vectors]] = ImageBatches(
        transform,
        resolved.name,
        _ROWS,
        network.batch_size,
        lambda pixels: {n: v[0].cpu().numpy() for n, v in vectors_of(network, transform, pixels).items()},
        take,
        fail,
    )
    batches.add([InputImage(0, read.pixels, read.mpp)])
    batches.finish()
    return {t.name: found[t.layer].astype(t.dtype).astype(np.float32) for t in tables}
