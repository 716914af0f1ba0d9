"""Features normalised by the controls of each plate, or by all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histokit.errors import DataError, counted, some
from histokit.features.finite import check_finite
from histokit.features.normalisation import METHODS, Fit, Normalisation, sphere
from histokit.plugin.digests import digest_bytes
from histokit.store.filter_tokens import name_text, typed

if TYPE_CHECKING:
    from histokit.features.feature_set import FeatureSet

_EVERYTHING = ""


def normalise(
    features: FeatureSet, controls: FeatureSet, asked: Normalisation, *, outline: bool = False
) -> tuple[FeatureSet, list[str]]:
    """Normalise samples by the statistics of controls.

    Parameters
    ----------
    features : FeatureSet
        The n samples to be normalised, controls among them or not.
    controls : FeatureSet
        What the statistics are of, of the same tables.
    asked : Normalisation
    outline : bool
        Look at no vector; what is asked is checked as far as it can be.

    Returns
    -------
    features : FeatureSet
        Its ``steps`` end with what was done.
    notes : list of str
        Which columns have no spread among controls; they are 0.

    Raises
    ------
    DataError
        If there are no controls, a plate has none or a single one, a sample has no plate, or vectors are not finite.
    UsageError
        If there is no such column.
    """
    units, own, members = _plates(features, controls, asked)
    step = {**asked.to_json(), "count": {unit or "all": len(rows) for unit, rows in sorted(members.items())}}
    step["digest"] = _digest(features, controls, units, own)
    if outline:
        return replace(features, steps=(*features.steps, step)), []
    found = plate_fits(features, controls, asked)
    X = np.empty(features.X.shape, np.float32)
    for unit, fit in found.fits.items():
        rows = np.flatnonzero(units == unit)
        X[rows] = fit.apply(features.X[rows].astype(np.float64), found.kept, asked.added)
    step["without_spread"] = [features.column_names[column] for column in np.flatnonzero(~found.kept)]
    return replace(features, X=X, steps=(*features.steps, step)), found.notes


class PlateFits(NamedTuple):
    """By what samples are normalised.

    Parameters
    ----------
    units : (n,) array
        The plate of each sample.
    fits : dict
        Plate → what its controls tell.
    kept : (d,) array of bool
        Columns that have a spread among the controls of every plate.
    notes : list of str
    """

    units: NDArray[np.object_]
    fits: dict[str, Fit]
    kept: NDArray[np.bool_]
    notes: list[str]


def plate_fits(features: FeatureSet, controls: FeatureSet, asked: Normalisation) -> PlateFits:
    """Return by what `normalise` normalises samples, whose parameters and errors these are."""
    units, _, members = _plates(features, controls, asked)
    for given in (features, controls):
        check_finite(given, ", of controls with --controls")
    fits = {unit: METHODS[asked.method].fit(_of(controls, rows)) for unit, rows in members.items()}
    kept, notes = _kept(fits, features.column_names, asked)
    if METHODS[asked.method].whitens:
        fits = {unit: sphere(fit, _of(controls, members[unit]), kept, asked.added) for unit, fit in fits.items()}
        notes += _unspanned(fits, kept)
    return PlateFits(units, fits, kept, notes)


def _of(controls: FeatureSet, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    return controls.X[rows].astype(np.float64)


def _plates(
    features: FeatureSet, controls: FeatureSet, asked: Normalisation
) -> tuple[NDArray[np.object_], NDArray[np.object_], dict[str, NDArray[np.intp]]]:
    """Return the plate of each sample and of each control, and the rows of the controls of each plate of samples."""
    units, own = _units(features, asked.per), _units(controls, asked.per)
    members = {unit: np.flatnonzero(own == unit) for unit in dict.fromkeys(units)}
    _check_controls(members, controls, asked)
    return units, own, members


def _units(features: FeatureSet, per: str | None) -> NDArray[np.object_]:
    """Return the plate of each sample."""
    if per is None:
        return np.full(len(features), _EVERYTHING, object)
    found = features.column(per)
    absent = [i for i, unit in zip(features.sample_ids, found, strict=True) if unit is None]
    if absent:
        raise DataError(
            f"{counted(len(absent), 'sample has', 'samples have')} no {per}, such as {absent[0]!r}: by which "
            "controls they are to be normalised is not known.",
            next="Complete the column and ingest again, or leave them out with --where "
            f"{typed(f'{name_text(per)} IS NOT NULL')}.",
        )
    found[:] = [str(unit) for unit in found]
    return found


def _check_controls(members: dict[str, NDArray[np.intp]], controls: FeatureSet, asked: Normalisation) -> None:
    if not len(controls):
        raise DataError(
            f"No sample of {controls.record.name!r} is a control: none is kept by {asked.controls!r}.",
            next="Mend --controls, or ingest the controls with the other samples; they need no label.",
        )
    what = asked.per or "control group"
    lacking = sorted(unit for unit, rows in members.items() if not len(rows))
    if lacking:
        raise DataError(
            counted(
                len(lacking), *(f"of {len(members):,} values of {what} {has} no control" for has in ("has", "have"))
            )
            + f", such as {some(lacking, 3)}.",
            next=f"Leave their samples out with --where, mend --controls, or leave out --per {asked.per}.",
        )
    single = sorted(unit for unit, rows in members.items() if len(rows) == 1)
    if single:
        where = f"the {asked.per} {single[0]!r} has" if asked.per else f"{controls.record.name!r} has"
        raise DataError(
            f"One control has no spread: {where} no more ({controls.sample_ids[int(members[single[0]][0])]!r}).",
            next="Leave its samples out with --where, or normalise over coarser units, or all, with --per.",
        )


def _kept(fits: dict[str, Fit], names: Sequence[str], asked: Normalisation) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which columns have a spread among the controls of every plate, and what is to be known of the others."""
    tolerated = asked.epsilon is not None and asked.epsilon > 0 and not METHODS[asked.method].whitens
    flat = {unit: fit.spread <= 0 for unit, fit in fits.items()}
    kept = ~np.any(list(flat.values()), axis=0)
    if tolerated:
        return np.ones(len(kept), bool), []
    if kept.all():
        return kept, []
    unit = next(unit for unit, columns in flat.items() if columns.any())
    worst = names[int(np.flatnonzero(flat[unit])[0])]
    place = f" of the {asked.per} {unit!r}" if asked.per else ""
    of, count = f"of {len(kept)} columns", int((~kept).sum())
    text = f"{counted(count, f'{of} has', f'{of} have')} no spread among controls (such as {worst}{place})"
    if not kept.any():
        raise DataError(
            f"{text}: none is left.",
            next="Look at the controls; or name another --normalise, or what is added to spreads: mad-robustise:0.01",
        )
    return kept, [f"{text}: {'it is' if count == 1 else 'they are'} 0 in all samples"]


def _unspanned(fits: dict[str, Fit], kept: NDArray[np.bool_]) -> list[str]:
    """Say where there are fewer controls than columns."""
    width = int(kept.sum())
    least = min(fit.rotation.shape[1] for fit in fits.values() if fit.rotation is not None)
    if least == width:
        return []
    return [f"sphering: the controls span {least} of {width} directions; all others are scaled as the weakest of those"]


def _digest(features: FeatureSet, controls: FeatureSet, units: NDArray[np.object_], own: NDArray[np.object_]) -> str:
    """Return a digest of which controls normalise which samples."""
    samples = sorted(zip(features.sample_ids, units.tolist(), strict=True))
    by = sorted(zip(controls.sample_ids, controls.content, own.tolist(), strict=True))
    return digest_bytes(repr(samples).encode(), repr(by).encode()).hex()


def as_control_mask(features: FeatureSet, controls: FeatureSet) -> NDArray[np.bool_]:
    """Return which samples are controls."""
    known: set[Any] = set(controls.sample_ids)
    return np.array([i in known for i in features.sample_ids], bool)
