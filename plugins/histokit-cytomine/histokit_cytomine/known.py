"""The eight data sets of Mormont et al. 2018, as they were published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from histokit.plugin.dataset import Role

CITATION = (
    "Mormont, Geurts & Marée (2018), Comparison of Deep Transfer Learning Strategies for Digital Pathology, "
    "CVPR Workshops, 2343-2352."
)
_AREA, _ACCURACY = "roc_auc", "accuracy"
_TWO = ("0", "1")


@dataclass(frozen=True)
class KnownSet:
    """A set as its authors describe it.

    Attributes
    ----------
    name, folder : str
        What the paper calls it, and what its folder is called.
    stain, metric : str
    terms : tuple of str
        What the folders of its classes are called; empty where that was not published.
    classes : int
    images, slides : mapping
        Part of the published split → how many.
    """

    name: str
    folder: str
    stain: str
    metric: str
    classes: int
    terms: tuple[str, ...]
    images: Mapping[Role, int]
    slides: Mapping[Role, int]


def _parts(train: int, val: int, test: int) -> Mapping[Role, int]:
    return {"train": train, "val": val, "test": test}


# fmt: off
KNOWN_SETS = (
    KnownSet("CellInclusion", "cells_no_aug", "Diff-Quik", _AREA, 2, _TWO,
             _parts(1_644, 173, 1_821), _parts(21, 2, 22)),
    KnownSet("ProliferativePattern", "patterns_no_aug", "Diff-Quik", _AREA, 2, _TWO,
             _parts(1_179, 167, 511), _parts(19, 4, 13)),
    KnownSet("Glomeruli", "glomeruli_no_aug", "Masson trichrome", _AREA, 2, _TWO,
             _parts(12_157, 2_448, 14_608), _parts(91, 12, 102)),
    KnownSet("Necrosis", "ulg_lbtd2_chimio_necrose", "immunohistochemistry", _AREA, 2, _TWO,
             _parts(695, 96, 91), _parts(9, 1, 3)),
    KnownSet("Breast", "ulg_breast", "H&E", _AREA, 2, _TWO,
             _parts(14_055, 4_206, 4_771), _parts(22, 8, 4)),
    KnownSet("MouseLba", "ulg_lbtd_lba", "May-Grünwald-Giemsa", _ACCURACY, 8,
             ("406558", "4762", "4763", "4764", "4765", "4766", "4767", "4768"),
             _parts(1_722, 716, 1_846), _parts(9, 4, 7)),
    KnownSet("Lung", "ulg_lbtd_tissus", "H&E", _ACCURACY, 10, (),
             _parts(4_881, 562, 888), _parts(669, 73, 140)),
    KnownSet("HumanLba", "ulb_anapath_lba", "May-Grünwald-Giemsa", _ACCURACY, 9,
             ("4711", "4712", "4713", "4714", "4715", "4720", "68567", "485565", "672444"),
             _parts(4_051, 346, 1_023), _parts(50, 5, 9)),
)
# fmt: on


def known_set(name: str) -> KnownSet | None:
    """Return the set that is called so, by its name or by its folder, in small letters or large ones."""
    return next((known for known in KNOWN_SETS if name.lower() in (known.name.lower(), known.folder.lower())), None)
