"""Kimia Path24: patches of 24 scans, whose class is the scan that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histokit.plugin import DataError, Dataset, PublishedSplit, Sample, UsageError, counted
from histokit.plugin.dataset import Role
from histokit_kimiapath24.colour import PatchFile, patch_files
from histokit_kimiapath24.scans import PATCHES, ScanFile
from histokit_kimiapath24.tiles import SIDE
from histokit_kimiapath24.training import Limits, corners, look_at

_SCANS = 24
_SUFFIXES = (".h5", ".hdf5")
#: Of the published copies: test patches, and training patches of the grey version and of the colour version.
_TEST, _GREY, _COLOUR = 1_325, 27_055, 22_591
_LAYOUT = "Kimia_Path24.h5, or the folders of the colour version, such as Training/s0/1.jpg and Test-patches/s0/1.jpg"
#: The largest values of options that are not below 0.
_LAST = {"homogeneity": 1, "background": 255, "holes": 1}
_SAME_SCAN = (
    "training and test patches of a class come from one scan: scores tell how well 24 scans are told apart, by tissue, "
    "stain and scanner, not how well another slide would be classified; inner folds are plain"
)
#: A file up to this size is digested as a whole.
_WHOLE = 128 << 20


class KimiaPath24(Dataset):
    """Patches of 1000 × 1000 pixels of 24 scans; the class is the scan.

    Training patches are cut from the scans: the whole tiles of a grid, but those that are homogeneous and those that
    lie over what was cut out for the test. The test patches are those of the file.

    Parameters
    ----------
    root : path
        ``Kimia_Path24.h5``, the folder that holds it, or the folder of the colour version.
    per_scan : int
        Training patches that are drawn of each scan; all of them where it is 0.
    seed : int
        Of the drawing.
    homogeneity : float
        A tile is left out if a larger share of it is all the same, see `histokit_kimiapath24.tiles.homogeneity`.
    background : int
        The grey level from which on a pixel is background.
    holes : float
        A tile is left out if a larger share of it is white where a test patch was cut out, see
        `histokit_kimiapath24.tiles.white_corner`.
    mpp : float, optional
        Micrometres per pixel.

    Raises
    ------
    UsageError
        If an option is out of its range.

    References
    ----------
    Babaie et al., Classification and Retrieval of Digital Pathology Scans: A New Dataset. CVPR Workshops, 2017.
    Kieffer et al., Convolutional Neural Networks for Histopathology Image Classification: Training vs. Using
    Pre-Trained Networks. IPTA, 2017.
    """

    name = "kimiapath24"
    version = "1"
    classes: Sequence[str] | None = tuple(map(str, range(_SCANS)))
    metric = "eta_total"
    columns: Mapping[str, type] = {"split": str, "x": int, "y": int}
    # Which patches there are is in the ids, and where they are in the boxes.
    pixel_options: Sequence[str] | None = ()
    opens_whole = False
    licence = "on request, with an agreement for research (KIMIA Lab)"
    citation = (
        "Babaie et al. (2017), Classification and Retrieval of Digital Pathology Scans: A New Dataset, CVPR Workshops, "
        "760-768."
    )

    def __init__(
        self,
        root: str | Path,
        per_scan: int = 100,
        seed: int = 0,
        homogeneity: float = 0.99,
        background: int = 230,
        holes: float = 0.01,
        mpp: float | None = 0.5,
    ):
        root = Path(root)
        self._file = root.name if root.suffix.lower() in _SUFFIXES and not root.is_dir() else None
        super().__init__(root.parent if self._file else root)
        given = {
            "per_scan": per_scan,
            "seed": seed,
            "homogeneity": homogeneity,
            "background": background,
            "holes": holes,
        }
        for name, value in given.items():
            if not 0 <= value <= _LAST.get(name, value):
                range_ = f"0 to {_LAST[name]}" if name in _LAST else "0 or more"
                raise UsageError(f"The option {name}={value} is out of its range.", next=f"Give {range_}.")
        self.per_scan, self.seed, self.mpp = per_scan, seed, mpp
        self.limits = Limits(homogeneity, background, holes)
        self._looked: dict[str, Any] | None = None
        self._few: dict[int, int] = {}

    def fit(self) -> dict[str, Any] | None:
        """Return which tiles of the scans are training patches, so that the scans are not read again to know them."""
        name = self._scan_file()
        return None if name is None else self._looked_at(name)

    def samples(self) -> Iterator[Sample]:
        """Yield the training patches, scan by scan, then the test patches.

        Of the grey version each scan is read once, a strip of tiles after the other, unless that was done.

        Raises
        ------
        DataError
            If the root does not hold the data, or the file is not as it should be.
        """
        self.warnings.clear()
        self._few = {}
        name = self._scan_file()
        yield from self._of_folders() if name is None else self._of_file(name)

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return ``published``: the test patches are those that were chosen by hand."""
        told = list(self.warnings)
        roles: dict[str, list[str]] = {"train": [], "test": []}
        for sample in self.samples():
            roles[sample.metadata["split"]].append(sample.id)
        self.warnings[:] = told
        if not (roles["train"] and roles["test"]):
            return {}
        return {"published": replace(PublishedSplit.holdout(roles["train"], roles["test"]), notes=(_SAME_SCAN,))}

    def _scan_file(self) -> str | None:
        """Return the name of the HDF5 file; none where the root holds the folders of the colour version."""
        if self._file is not None:
            return self._file
        if not self.root.is_dir():
            raise DataError(f"The folder {str(self.root)!r} does not exist.", next=f"Give {_LAYOUT}.")
        found = sorted(path.name for path in self.root.iterdir() if path.suffix.lower() in _SUFFIXES)
        if len(found) > 1:
            raise DataError(
                f"The folder {str(self.root)!r} holds {', '.join(found)}.",
                next="Give the one that is meant as the root.",
            )
        return found[0] if found else None

    def _of_file(self, name: str) -> Iterator[Sample]:
        looked = self._looked_at(name)
        if absent := sorted(set(range(_SCANS)) - {scan for scan, *_ in looked["scans"]}):
            self.warnings.append(f"{name} has no scan {', '.join(map(str, absent))}")
        kept, taken = 0, 0
        for scan, columns, marks in looked["scans"]:
            tiles = {f"scan{scan}/{x}_{y}": (x, y) for x, y in corners(columns, marks)}
            kept += len(tiles)
            drawn = self._drawn([*tiles], scan)
            taken += len(drawn)
            for sample_id, tile in tiles.items():
                if sample_id in drawn:
                    yield self._sample(sample_id, name, f"scan{scan}/data", scan, "train", tile)
        for number, scan in enumerate(self._scans[name].targets()):
            yield self._sample(f"test/{number}", name, f"{PATCHES}/{number}", scan, "test", None)
        self._expect(_GREY)
        self.warnings.append(
            f"{kept:,} tiles are training patches, of which {self._taken(taken)}; "
            f"{counted(looked['same'], 'is', 'are')} homogeneous by more than {self.limits.homogeneity}, "
            f"{counted(looked['hole'], 'lies', 'lie')} over the place of a test patch; {_GREY:,} were published, but "
            "not the measure of homogeneity that chose them"
        )

    def _looked_at(self, name: str) -> dict[str, Any]:
        """Return which tiles are training patches: as the state tells it, if it is of this file and these limits."""
        file = self._scans[name]
        if unknown := [scan for scan in file.scans() if scan >= _SCANS]:
            raise DataError(f"The file {name} has the scan {unknown[0]}: there are 0 to 23.", next="Copy it again.")
        by = [*self.limits, self.file_digest(self.root / name).hex()]
        for known in (self.state, self._looked):
            if known is not None and known["by"] == by:
                return dict(known)
        self._looked = {"by": by, **look_at(file, self.limits)}
        return self._looked

    def _of_folders(self) -> Iterator[Sample]:
        files: dict[Role, dict[int, list[str]]] = {"train": {}, "test": {}}
        unclear: list[PatchFile] = []
        for each in patch_files(self.root):
            if each.scan is None or each.role is None:
                unclear.append(each)
            else:
                files[each.role].setdefault(each.scan, []).append(each.path)
        if not (files["train"] or files["test"]):
            raise DataError(
                f"The folder {str(self.root)!r} does not hold {_LAYOUT}.", next="Give the folder above them."
            )
        if unclear:
            self.warnings.append(
                f"{counted(len(unclear), 'image was', 'images were')} passed over, such as {unclear[0].path}: their "
                "path does not tell a scan (s0 to s23), or whether they are of training or of the test"
            )
        total = sum(map(len, files["train"].values()))
        taken = 0
        for scan, paths in sorted(files["train"].items()):
            drawn = self._drawn(paths, scan)
            taken += len(drawn)
            for path in paths:
                if path in drawn:
                    yield self._sample(path, path, None, scan, "train", None)
        for scan, paths in sorted(files["test"].items()):
            yield from (self._sample(path, path, None, scan, "test", None) for path in paths)
        self._expect(_COLOUR)
        if self.per_scan:
            self.warnings.append(f"Of {total:,} training patches ({_COLOUR:,} are published) {self._taken(taken)}")

    def _drawn(self, ids: Sequence[str], scan: int) -> frozenset[str]:
        """Return the training patches of a scan that are taken: those of the lowest lots, whatever their order."""
        if not self.per_scan:
            return frozenset(ids)
        if len(ids) < self.per_scan:
            self._few[scan] = len(ids)
        return frozenset(sorted(ids, key=self._lot)[: self.per_scan])

    def _taken(self, count: int) -> str:
        """Say how many training patches were taken, and which scans had fewer than were asked for."""
        if not self.per_scan:
            return f"all {count:,} were taken"
        if not self._few:
            return f"{count:,} were taken, {self.per_scan} of each scan"
        fewest = min(self._few, key=lambda scan: self._few[scan])
        scans = counted(len(self._few), "scan has", "scans have")
        return (
            f"{count:,} were taken, up to {self.per_scan} of each scan: {scans} fewer, such as scan {fewest} with "
            f"{self._few[fewest]}"
        )

    def _lot(self, sample_id: str) -> bytes:
        # Digests, unlike a random generator's numbers, are the same in every version of every library.
        return blake2b(f"{self.seed} {sample_id}".encode(), digest_size=16).digest()

    def _sample(
        self, sample_id: str, image: str, part: str | None, scan: int, role: Role, tile: tuple[int, int] | None
    ) -> Sample:
        return Sample(
            sample_id,
            (image,),
            part=part,
            box=None if tile is None else (*tile, SIDE, SIDE),
            label=str(scan),
            mpp=self.mpp,
            metadata={"split": role, "x": tile and tile[0], "y": tile and tile[1]},
        )

    def _expect(self, training: int) -> None:
        """Say what was published of the version at hand."""
        self.expected = {"split": {"train": self.per_scan * _SCANS or training, "test": _TEST}}

    def read(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Return a patch; grey is repeated over three channels."""
        if sample.part is None:
            return super().read(sample)
        file = self._scans[sample.image[0]]
        if sample.box is None:
            grey = file.patch(int(sample.part.rpartition("/")[2]))
        else:
            grey = file.window(sample.part, sample.box)
        return np.repeat(grey[:, :, None], 3, axis=2)

    def pixel_key(self, sample: Sample) -> bytes:
        """Return nothing for a patch of the file, whose part and box say all; what the state tells are no pixels."""
        return b"" if sample.part else super().pixel_key(sample)

    def file_digest(self, path: Path) -> bytes:
        """Return a digest of a file; of a large HDF5 file see `histokit_kimiapath24.scans.ScanFile.digest`."""
        if path.suffix.lower() in _SUFFIXES and path.stat().st_size > _WHOLE:
            return self._scans[path.name].digest()
        return super().file_digest(path)

    @cached_property
    def _scans(self) -> _Scans:
        return _Scans(self.root)


class _Scans(dict[str, ScanFile]):
    """The HDF5 files in the root, each opened once."""

    def __init__(self, root: Path):
        super().__init__()
        self._root = root

    def __missing__(self, name: str) -> ScanFile:
        return self.setdefault(name, ScanFile(self._root / name))
