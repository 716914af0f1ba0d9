"""Feature addresses: ``backbone/layer``, joined by ``+``, made exact by ``@fingerprint``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from histokit.errors import StoreError, UsageError, did_you_mean
from histokit.networks.trained_runs import find_trained
from histokit.plugin.backbone_names import join_backbone_name, split_backbone_name
from histokit.plugin.weights import TRAINED
from histokit.store import Store
from histokit.store.repeat_commands import make_again
from histokit.store.table_differences import table_differences
from histokit.store.vectors import FeatureTable

#: The address that stands for the pixels themselves.
IMAGES = "images"


@dataclass(frozen=True)
class Address:
    """One part of a feature address.

    Parameters
    ----------
    backbone : str
        With its options sorted.
    layer : str
        A layer, with ``:POOL`` or without, or ``last``, ``all`` or ``each``.
    fingerprint : str
        The beginning of a spec's fingerprint, or empty.
    """

    backbone: str
    layer: str
    fingerprint: str = ""

    def __str__(self) -> str:
        return f"{self.backbone}/{self.layer}" + (f"@{self.fingerprint}" if self.fingerprint else "")


def parse_address(text: str) -> list[Address]:
    """Split an address into its parts.

    Raises
    ------
    UsageError
        If a part names no layer or stands for images, or blanks stand around one.
    """
    tidy = "+".join(part.strip() for part in text.split("+"))
    if tidy != text:
        raise UsageError(f"Blanks stand around a part of the feature address {text!r}.", next=f"Write it as {tidy}")
    return [_parse_part(part) for part in text.split("+")]


def _parse_part(text: str) -> Address:
    backbone, slash, rest = text.rpartition("/")
    layer, _, fingerprint = rest.partition("@")
    if text == IMAGES:
        raise UsageError(
            f"The address {IMAGES!r} stands for the pixels themselves, of which there is no table of vectors.",
            next=f"Train on them with --features {IMAGES} --classifier et-fl, or name a layer, such as resnet50/last.",
        )
    if not (slash and backbone and layer):
        raise UsageError(
            f"The feature address {text!r} names no layer.",
            next=f"Write backbone/layer, such as {(text.partition('@')[0].strip('/') or 'resnet50')}/last. "
            "What there is: histokit list features",
        )
    base, options = split_backbone_name(backbone)
    return Address(join_backbone_name(base, options), layer, fingerprint)


def resolve(
    address: Address,
    tables: Sequence[FeatureTable],
    dataset: str,
    store: Store | None = None,
) -> list[FeatureTable]:
    """Return the tables of one part of an address, in depth order; several only for ``all`` and ``each``.

    Parameters
    ----------
    address : Address
    tables : sequence of FeatureTable
        Of the dataset.
    dataset : str
    store : Store, optional
        Asked only to say what to do where there are none.

    Raises
    ------
    StoreError
        If there is none, or several of which one has to be named; or there is no such network of a run.
    """
    address = replace(address, backbone=_whole_name(address.backbone, {t.backbone for t in tables}))
    here = [t for t in tables if t.backbone == address.backbone]
    if not here:
        if store is not None and address.backbone.startswith(TRAINED):
            find_trained(store, address.backbone)
        raise _no_backbone(address, tables, dataset, store.feature_tables() if store else ())
    matching = [t for t in here if t.fingerprint.startswith(address.fingerprint)]
    if address.layer in ("all", "each"):
        wanted = _whole_network(address, here, matching, dataset)
    else:
        wanted = [t for t in matching if address.layer in (t.layer, *t.info.get("aliases", []))]
    if not wanted:
        raise _no_layer(address, here, dataset)
    by_layer: dict[str, list[FeatureTable]] = {}
    for table in wanted:
        # An alias may stand for several layers, where vectors were imported under one name.
        by_layer.setdefault(table.layer if address.layer in ("all", "each") else "", []).append(table)
    for candidates in by_layer.values():
        if len(candidates) > 1:
            raise _ambiguous(address, candidates)
    return wanted


def _whole_name(backbone: str, known: Collection[str]) -> str:
    """Return the whole name of a trained network: its run may be named by the beginning of its id, repeat 0 or not."""
    stem, dot, place = backbone.partition(".")
    if backbone in known or not stem.startswith(TRAINED) or len(stem) < len(TRAINED) + 4:
        return backbone
    same = {place, place.removeprefix("0.")} | ({""} if place in ("0", "0.0") else set())
    alike = sorted(n for n in known if n.startswith(stem) and n.partition(".")[2] in same)
    meant = [n for n in alike if n.partition(".")[1:] == (dot, place)] or alike
    if len(meant) > 1:
        raise StoreError(
            f"The network {backbone!r} is ambiguous: it may be {' or '.join(meant)}.", next="Give more of its id."
        )
    return meant[0] if meant else backbone


def _whole_network(
    address: Address, here: Sequence[FeatureTable], matching: Sequence[FeatureTable], dataset: str
) -> list[FeatureTable]:
    if address.fingerprint and matching:
        matching = [t for t in here if t.variant == matching[0].variant]
    which = "merged" if address.layer == "all" else "layers"
    curated = [t for t in matching if t.layer in t.info.get(which, [])] or list(matching)
    present = {t.layer for t in curated}
    absent = [name for t in curated[:1] for name in t.info.get(which, []) if name not in present]
    if absent and address.layer == "all":
        raise StoreError(
            f"Not all layers of {address.backbone} are in the store for {dataset!r}; missing: {', '.join(absent)}.",
            next=f"Extract them with: {make_again(curated[0], layers='all')}",
        )
    return curated


def _no_backbone(
    address: Address, tables: Sequence[FeatureTable], dataset: str, everywhere: Sequence[FeatureTable]
) -> StoreError:
    known = sorted({t.backbone for t in tables})
    have = f" It has features of: {', '.join(known)}." if known else " It has no features yet."
    # As another dataset has them: with the same weights and preprocessing.
    like = [t for t in everywhere if t.backbone == address.backbone and t.fingerprint.startswith(address.fingerprint)]
    make = f"histokit extract {dataset} --backbone {address.backbone}"
    if like:
        make = make_again(like[-1], dataset, None if like[-1].imported else address.layer.replace("each", "all"))
    return StoreError(
        f"The dataset {dataset!r} has no features of {address.backbone!r}.{have}",
        next=(not like and did_you_mean(address.backbone, known).strip()) or f"Extract them with: {make}",
    )


def _no_layer(address: Address, here: Sequence[FeatureTable], dataset: str) -> StoreError:
    if address.fingerprint and not any(t.fingerprint.startswith(address.fingerprint) for t in here):
        listed = ", ".join(f"@{t.fingerprint} ({t.layer})" for t in here)
        return StoreError(
            f"No table of {address.backbone!r} has a fingerprint that begins with {address.fingerprint!r}.",
            next=f"Use one of: {listed}.",
        )
    known = sorted({t.layer for t in here})
    aliases = {str(alias) for t in here for alias in t.info.get("aliases", [])}
    again = make_again(here[0], layers=address.layer)
    return StoreError(
        f"The dataset {dataset!r} has no layer {address.layer!r} of {address.backbone!r}; it has {', '.join(known)}.",
        next=f"{did_you_mean(address.layer, [*known, *aliases])}Make it with: {again}",
    )


def _ambiguous(address: Address, candidates: Sequence[FeatureTable]) -> StoreError:
    first = candidates[0]
    lines = [f"{first.address}@{first.fingerprint}"]
    for other in candidates[1:]:
        changes = "; ".join(table_differences(first, other))
        lines.append(f"{other.address}@{other.fingerprint} ({changes})")
    return StoreError(
        f"The address {str(address)!r} is ambiguous: it may be {' or '.join(lines)}.",
        next=f"Name one by its fingerprint, such as {first.address}@{first.fingerprint}.",
        details={"candidates": [f"{t.address}@{t.fingerprint}" for t in candidates]},
    )
