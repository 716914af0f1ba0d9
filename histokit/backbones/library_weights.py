"""The weights of a network that a library builds: which file they are in, which tag they have, how to feed them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from histokit.backbones import caffe_names
from histokit.backbones.builder_options import parse_options
from histokit.backbones.rows import Row
from histokit.errors import DataError, UsageError
from histokit.plugin.backbone import Backbone, BackboneRequest
from histokit.plugin.file_kinds import is_caffe
from histokit.plugin.preprocess import Preprocess
from histokit.plugin.sidecar import (
    beside_file,
    configuration_beside,
    declared,
    network_fields,
    preprocess_from,
    read_object,
)
from histokit.plugin.weights import PRETRAINED, Source, local_file, locate, normalise_weights, random_seed
from histokit.plugin.weights_folder import file_stem, in_folder, lying, strays


class LibraryWeights(Backbone, ABC):
    """The part of a `LibraryBackbone` that is about weights; the library is imported when it has to be asked.

    Parameters
    ----------
    request : BackboneRequest
    row : Row, optional
        Of the curated models; sets what the library would have to be asked for.
    """

    #: Name of the library, and of its prefix.
    library = ""
    #: What its builders call the side of the images that a network is built for.
    size_option = "img_size"

    def __init__(self, request: BackboneRequest, row: Row | None = None):
        self.name = request.name
        self.weights = normalise_weights(request.weights)
        self.row = row
        self.model = row.model if row else request.model
        self.options = parse_options(request)
        self.request = request
        #: What was left out of the weights when the network was built.
        self.notes: list[str] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, weights={self.weights!r})"

    @property
    def base_name(self) -> str:
        """The name without builder options."""
        return self.name.partition(",")[0]

    @property
    def arguments(self) -> dict[str, Any]:
        """What the library's builder is called with."""
        return {**(self.row.arguments if self.row else {}), **self.told_arguments, **self.options}

    @property
    def architecture(self) -> str:
        """The library's name of the network, without the tag of its weights."""
        return self.model.partition(".")[0]

    @property
    def _tagged(self) -> bool:
        """Whether the model is one of the library's, whose weights have tags."""
        return True

    @cached_property
    def tag(self) -> str:
        """Of the weights: the one asked for, or the one in the name of the supplied file; empty for the default."""
        if not self._tagged:
            return ""
        asked, own = self.model.partition(".")[2], self._file_tag
        if self.row:
            return own if own and own in self._known_tags() else asked
        if asked and own and asked != own:
            raise UsageError(
                f"{self.supplied_file} is of the weights {own!r} by its name, and {self.name!r} asks for {asked!r}.",
                next=f"Write {self.library}:{self.architecture}.{own}, or give the file another name.",
            )
        return asked or (own if own and own in self._known_tags() else "")

    @property
    def _file_tag(self) -> str:
        """Return the tag in the name of the supplied file, where it begins with the network's name."""
        file = self.supplied_file
        for name in (f"{self.library}:{self.architecture}", *([self.row.name] if self.row else [])):
            if file is not None and file.stem.startswith(f"{file_stem(name)}."):
                return file.stem[len(file_stem(name)) + 1 :]
        return ""

    def _name_tag(self) -> str | None:
        """Return the tag that the name stands for, where it has none itself."""
        asked = self.model.partition(".")[2]
        if not self._tagged or (asked and not self.row):
            return None
        return asked or self._default_tag()

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names by which a file in ``$HISTOKIT_WEIGHTS`` may be called."""
        return self.row.aliases if self.row else ()

    @cached_property
    def preprocess(self) -> Preprocess:  # type: ignore[override]
        """What the configuration of the weights says, and a JSON file beside them."""
        self._check_architecture()
        found = self._native_preprocess
        for file, document in self._documents.items():
            found = preprocess_from(document, found, str(file))
            if len(found.mean) != len(self._native_preprocess.mean):
                raise DataError(
                    f"{file}: mean and std are of {len(found.mean)} channels; {self.name!r} takes "
                    f"{len(self._native_preprocess.mean)}.",
                    next="Mend mean and std in the file, or ask for other channels with the builder option in_chans.",
                )
        return found

    @cached_property
    def _documents(self) -> dict[Path, Mapping[str, Any]]:
        """Return the JSON files that go with the weights, the later ones deciding."""
        own = self.configuration_file
        found: dict[Path, Mapping[str, Any]] = {own: read_object(own)} if own is not None else {}
        sidecar = beside_file(self.supplied_file) if self.supplied_file is not None else None
        return found if sidecar is None else {**found, sidecar: read_object(sidecar)}

    @cached_property
    def _networks(self) -> dict[Path, dict[str, Any]]:
        """Return what each of these files says of the network."""
        return {file: network_fields(document, str(file)) for file, document in self._documents.items()}

    def _check_architecture(self) -> None:
        """Raise where a file beside the weights says that they are of another network."""
        for file, network in self._networks.items():
            said = network["architecture"]
            if said is not None and said.partition(".")[0] != self._asked_architecture:
                raise UsageError(
                    f"{file} says that the weights are of {said!r}, and {self.name!r} is "
                    f"{'another network' if self._tagged and not self.row else repr(self._asked_architecture)}.",
                    next=f"Write {self.library}:{said}, or mend architecture in the file.",
                )

    @property
    def _asked_architecture(self) -> str:
        return self.architecture

    @cached_property
    def told_arguments(self) -> dict[str, Any]:
        """Builder options that stand in a file beside the weights; those in the backbone's name go before them."""
        self._check_architecture()
        told = {key: value for network in self._networks.values() for key, value in network["model_args"].items()}
        return {**self.request.arguments, **told}

    @property
    def file_arguments(self) -> Mapping[str, Any]:
        """Those of them that decide; how tokens are pooled is in the layers."""
        own = self.row.arguments if self.row else {}
        told = {k: v for k, v in self.told_arguments.items() if k not in self.options and k != "global_pool"}
        return {k: v for k, v in told.items() if k not in own or own[k] != v}

    @property
    def building_arguments(self) -> Mapping[str, Any]:
        """All of them, how tokens are pooled included: it decides where a transformer has its last normalisation."""
        return self.told_arguments

    @cached_property
    def _stated(self) -> dict[str, Path]:
        """Return which fields of the preprocessing stand in which JSON file."""
        return {field: file for file, document in self._documents.items() for field in declared(document, str(file))}

    @cached_property
    def undeclared(self) -> tuple[str, ...]:  # type: ignore[override]
        """Fields of the preprocessing that nobody tells: the tag asked for is one that the library does not know."""
        if self.row or not self.tag or self.tag in self._known_tags() or self._prepared_for_caffe:
            return ()
        return tuple(name for name in ("mean", "std") if name not in self._stated)

    @cached_property
    def preprocess_origin(self) -> str:  # type: ignore[override]
        """Whose preprocessing it is, in words."""
        if "mean" in self._stated:
            return f"of {self._stated['mean']}"
        if self._prepared_for_caffe:
            return "of Caffe: 0 to 255, less the mean of the images that the published weights are of"
        if not self._tagged:
            return "of its configuration"
        if self.tag and (self.row or self.tag in self._known_tags()):
            return f"of {self.library}'s {self.architecture}.{self.tag}"
        if self.weights == PRETRAINED or self.supplied_file is None:
            return f"of {self.library}'s default weights"
        return f"of {self.library}'s default weights, for nothing is said of this file's own"

    @cached_property
    def _prepared_for_caffe(self) -> bool:
        """Whether the weights are of Caffe, and the network of a library that prepares images in another way."""
        return self.supplied_file is not None and is_caffe(self.supplied_file)

    @cached_property
    def _native_preprocess(self) -> Preprocess:
        curated = self.row.preprocess if self.row and self.tag == self.model.partition(".")[2] else None
        found = curated or self._library_preprocess()
        if self._prepared_for_caffe:
            found = caffe_names.as_in_caffe(found, self.architecture)
        count = self.options.get("in_chans", len(found.mean))
        if not isinstance(count, int) or count < 1:
            raise UsageError(f"{self.name!r} asks for in_chans={count}.", next="Give a number of channels, such as 1.")
        if count != len(found.mean):
            # Channels other than the three colours have no statistics of their own.
            found = replace(found, mean=(sum(found.mean) / 3,) * count, std=(sum(found.std) / 3,) * count)
        option = self.size_option
        size = self.options.get(option, side(self.told_arguments.get(option, found.size)))
        if not isinstance(size, int) or size < 1:
            raise UsageError(f"{self.name!r} asks for {option}={size}.", next="Give a number of pixels, such as 224.")
        return replace(found, size=size)

    @property
    def source(self) -> Source:
        """Where the weights are published."""
        return self.row.source if self.row else self._library_source()

    @cached_property
    def supplied_file(self) -> Path | None:
        """The weights file that the user supplied, by ``--weights`` or in ``$HISTOKIT_WEIGHTS``, or none."""
        if self.weights != PRETRAINED:
            return local_file(self.weights)
        found = (in_folder(name, self._name_tag) for name in (self.base_name, *self.aliases))
        return next((file for file in found if file is not None), None)

    @property
    def configuration_file(self) -> Path | None:
        """``config.json`` in the folder that ``--weights`` names, or of a main file, where it is one of timm's."""
        file = Path(self.weights, "config.json")
        if file.is_file() and "architecture" in read_object(file):
            return file
        return configuration_beside(self.supplied_file) if self.supplied_file is not None else None

    @property
    def weights_notes(self) -> Sequence[str]:
        """Files in ``$HISTOKIT_WEIGHTS`` that are of the network by their name, where none of them was taken."""
        if self.file_arguments:
            files = ", ".join(str(file) for file, network in self._networks.items() if network["model_args"])
            listed = ", ".join(f"{key}={value}" for key, value in self.file_arguments.items())
            return (f"{self.name}: built with {listed}, as {files} says",)
        if self.weights != PRETRAINED or self.supplied_file is not None:
            return ()
        left = lying(strays((self.name, *self.aliases)))
        return (f"{self.name}:{left}",) if left else ()

    def weights_file(self) -> Path | None:
        """Return the file whose bytes identify the weights, fetched if it must be; none for random weights."""
        if random_seed(self.weights) is not None:
            return None
        return self.supplied_file or self._published_file

    @cached_property
    def _published_file(self) -> Path:
        asked = (self._name_tag, self._statistics, lambda: self._known_tags() if self._tagged else ())
        return locate(self.name, lambda: self.source, self.aliases, *asked)

    def _statistics(self) -> str:
        return self._native_preprocess.statistics_options(("mean", "std"))

    @abstractmethod
    def _known_tags(self) -> Sequence[str]:
        """Return the tags of weights that the library has of the network."""

    @abstractmethod
    def _default_tag(self) -> str | None:
        """Return the tag of the weights that the network's name alone stands for."""

    @abstractmethod
    def _library_preprocess(self) -> Preprocess:
        """Return the preprocessing that the library gives with the weights."""

    @abstractmethod
    def _library_source(self) -> Source:
        """Return where the library has the weights."""


def side(size: Any) -> Any:
    """Return the side of a square that a configuration writes with both sides."""
    return size[0] if isinstance(size, list) and len(size) == 2 and size[0] == size[1] else size
