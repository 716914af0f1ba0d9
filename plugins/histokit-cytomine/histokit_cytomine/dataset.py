"""Crops of annotated objects, in folders of sets and classes, named by the slide that they come from."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from histokit.plugin import DataError, Dataset, PublishedSplit, Sample, UsageError, counted
from histokit.plugin.dataset import Role
from histokit_cytomine.known import CITATION, KNOWN_SETS, KnownSet, known_set

#: What folders of sets are called, in small letters.
_ROLES: dict[str, Role] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_VAL_IS_TESTED = "the data have train and val, but no test samples: those of val are tested"
_LAYOUT = "train/CLASS/SLIDE_ANNOTATION.png, with val and test likewise; or CLASS/SLIDE_ANNOTATION.png"


class _Folder(NamedTuple):
    """A folder of one class in one set."""

    path: str
    role: Role | None
    label: str


class Cytomine(Dataset):
    """Crops of annotated objects, of any size and aspect ratio, as they are exported from Cytomine.

    The slide that an object comes from is what its file is called before the first underscore: no fold cuts through
    one. Folders of sets are the split that the data come with.

    Parameters
    ----------
    root : path
        The folder that holds the folders of sets, or of classes.
    dataset : str
        One of the eight sets of Mormont et al. 2018, by its name or its folder's, of which metric, classes and
        numbers are known; ``auto`` where the root is called so, ``none`` for other data.
    metric : str, optional
        What scores are judged by; where not given that of the set, else accuracy.
    positive : str, optional
        The positive one of two classes; the last one where not given.
    mpp : float, optional
        Micrometres per pixel of all images.

    Raises
    ------
    UsageError
        If the set is unknown.

    References
    ----------
    Mormont, Geurts & Marée, Comparison of Deep Transfer Learning Strategies for Digital Pathology. CVPR Workshops 2018.
    """

    name = "cytomine"
    version = "1"
    columns: Mapping[str, type] = {"slide": str, "annotation": str, "split": str}
    group: str | None = "slide"
    pixel_options: Sequence[str] | None = ()

    def __init__(
        self,
        root: str | Path,
        dataset: str = "auto",
        metric: str | None = None,
        positive: str | None = None,
        mpp: float | None = None,
    ):
        super().__init__(root)
        called = Path(os.path.abspath(root)).name if dataset == "auto" else dataset
        self.known = None if dataset == "none" else known_set(called)
        if self.known is None and dataset not in ("auto", "none"):
            names = ", ".join(known.name for known in KNOWN_SETS)
            raise UsageError(f"The option dataset={dataset!r} is none of the known sets.", next=f"They are: {names}.")
        self.recognised = self.known is not None and dataset == "auto"
        self.metric = metric or (self.known.metric if self.known else "accuracy")
        self.positive, self.mpp = positive, mpp
        if self.known:
            self.licence, self.citation = "not published; ask the authors", CITATION
            self.expected = _expected(self.known)

    def samples(self) -> Iterator[Sample]:
        """Yield the images, set by set and class by class, in the order of their names.

        Raises
        ------
        DataError
            If the root is absent, or holds no image where it should.
        """
        self.warnings.clear()
        folders = self._folders()
        labels = sorted({folder.label for folder in folders})
        terms = self.known.terms if self.known else ()
        self.classes = terms if terms and set(labels) <= set(terms) else None
        slides: dict[str, set[Role | None]] = defaultdict(set)
        others = whole = count = 0
        for folder in folders:
            deeper, names = _listed(self.root / folder.path)
            self._pass_over(folder.path, deeper)
            for name in names:
                if not _is_image(name):
                    others += 1
                    continue
                slide, underscore, rest = name.rpartition(".")[0].partition("_")
                whole += not (underscore and slide)
                sample = self._sample(folder, name, slide or name, rest)
                slides[sample.metadata["slide"]].add(folder.role)
                count += 1
                yield sample
        if not count:
            raise DataError(
                f"The folder {str(self.root)!r} holds no image where it should: {_LAYOUT}.",
                next="Give the folder that holds train, val and test.",
            )
        if others:
            files = counted(others, "file that is no image was", "files that are no images were")
            self.warnings.append(f"{files} passed over")
        if whole:
            self.warnings.append(
                f"{whole} names have no slide before an underscore; what they are called is their slide"
            )
        self.warnings.extend(self._remarks(labels, slides))

    def _sample(self, folder: _Folder, name: str, slide: str, annotation: str) -> Sample:
        path = f"{folder.path}/{name}"
        metadata = {"slide": slide, "annotation": annotation or None, "split": folder.role}
        return Sample(path, (path,), label=folder.label, mpp=self.mpp, metadata=metadata)

    def _folders(self) -> list[_Folder]:
        """Return the folders of classes, in the sets where there are any, else in the root."""
        if not self.root.is_dir():
            raise DataError(f"The folder {str(self.root)!r} does not exist.", next="Give the folder of the data.")
        top, files = _listed(self.root)
        sets = {name: _ROLES[name.lower()] for name in top if name.lower() in _ROLES}
        self._pass_over("the root", [*(n for n in top if sets and n not in sets), *filter(_is_image, files)])
        if not sets:
            return [_Folder(name, None, self._label(name)) for name in top]
        found = []
        for name, role in sorted(sets.items(), key=lambda each: (list(_ROLES).index(each[1]), each[0])):
            classes, files = _listed(self.root / name)
            self._pass_over(name, filter(_is_image, files))
            found += [_Folder(f"{name}/{inner}", role, self._label(inner)) for inner in classes]
        return found

    def _pass_over(self, where: str, names: Iterable[str]) -> None:
        if passed := list(names):
            self.warnings.append(f"{len(passed)} passed over in {where}, such as {passed[0]}; it should be {_LAYOUT}")

    def _label(self, folder: str) -> str:
        """Return the class of a folder, which may be called ``ulg_lbtd_lba_4768`` as well as ``4768``."""
        return folder.removeprefix(f"{self.known.folder}_") if self.known else folder

    def _remarks(self, labels: Sequence[str], slides: Mapping[str, set[Role | None]]) -> Iterator[str]:
        several = sorted(slide for slide, roles in slides.items() if len(roles) > 1)
        if several:
            where = ", ".join(sorted(map(str, slides[several[0]])))
            there = counted(len(several), "slide is", "slides are")
            yield f"{there} in several sets, for example {several[0]} in {where}"
        if self.known is None:
            return
        found = {role: sum(role in roles for roles in slides.values()) for role in self.known.slides}
        differ = [
            f"{found[r]:,} slides in {r} in place of {n:,}" for r, n in self.known.slides.items() if found[r] != n
        ]
        unknown = [label for label in labels if self.known.terms and label not in self.known.terms]
        if differ:
            yield f"the sets are not the published ones: {', '.join(differ)}"
        if unknown:
            yield f"classes are called {', '.join(unknown)}; the published ones are {', '.join(self.known.terms)}"
        if self.recognised and (differ or unknown):
            yield f"by its folder's name this is {self.known.name} of Mormont et al. 2018; -o dataset=none if it is not"

    def splits(self) -> Mapping[str, PublishedSplit]:
        """Return the split of the folders, where there are some of training and of test; it tells if it cuts slides.

        Without a test set, the validation set is tested.
        """
        told = list(self.warnings)
        samples = [sample for sample in self.samples() if sample.metadata["split"] is not None]
        self.warnings[:] = told
        tested = "test" if any(sample.metadata["split"] == "test" for sample in samples) else "val"
        rows: dict[Role, list[str]] = {"train": [], "val": [], "test": []}
        sides: dict[str, set[bool]] = defaultdict(set)
        for sample in samples:
            role: Role = "test" if sample.metadata["split"] == tested else sample.metadata["split"]
            rows[role].append(sample.id)
            sides[sample.metadata["slide"]].add(role == "test")
        if not (rows["train"] and rows["test"]):
            return {}
        cut = sorted(slide for slide, met in sides.items() if len(met) > 1)
        slides = counted(len(cut), "slide is", "slides are")
        leaks = f"{slides} in the test set and outside it, for example {cut[0]}" if cut else None
        split = PublishedSplit.holdout(**rows, group=None if cut else self.group, leaks=leaks)
        self.warnings += split.warnings(self.name)
        return {self.name: split if tested == "test" else replace(split, notes=(_VAL_IS_TESTED,))}


def _expected(known: KnownSet) -> Mapping[str, int | Mapping[str, int]]:
    slides = sum(known.slides.values())
    return {
        "samples": sum(known.images.values()),
        "labels": known.classes,
        "slide": slides,
        "split": {str(role): count for role, count in known.images.items()},
    }


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files in a folder, in order; hidden ones are passed over."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((e.name, e.is_dir()) for e in entries if not e.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"The folder {str(folder)!r} cannot be opened ({error.strerror}).", next="Mend its permissions."
        ) from error
    # A name that is not valid UTF-8 is put aside by ingestion.
    texts = [(os.fsencode(name).decode("utf-8", "backslashreplace"), is_folder) for name, is_folder in found]
    return [name for name, is_folder in texts if is_folder], [name for name, is_folder in texts if not is_folder]
