"""The whole name of a backbone: its name, and options of its builder."""

from __future__ import annotations

from histokit.errors import PluginError


def split_backbone_name(name: str) -> tuple[str, dict[str, str]]:
    """Split ``timm:resnet50,a=1`` into ``timm:resnet50`` and ``{"a": "1"}``."""
    base, *texts = name.split(",")
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise PluginError(
                f"The option {text!r} of backbone {name!r} is not of the form KEY=VALUE.",
                next=f"Write it as {base},KEY=VALUE.",
            )
        options[key] = value
    return base, options


def join_backbone_name(base: str, options: dict[str, str]) -> str:
    """Join a name and its options, sorted."""
    return ",".join([base, *(f"{key}={options[key]}" for key in sorted(options))])
