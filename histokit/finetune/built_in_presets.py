"""The presets that come with histokit, registered as those of plugins are."""

from __future__ import annotations

from pathlib import Path

from histokit.plugin.hookspecs import RegisterPreset, hookimpl


@hookimpl
def register_presets(register: RegisterPreset) -> None:
    """Register all files of the folder; none is read before it is asked for."""
    for path in sorted(Path(__file__).with_name("presets").glob("*.toml")):
        register(path.stem, path)
