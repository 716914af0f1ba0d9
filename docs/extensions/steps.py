"""Steps that are modules that can be called, such as `histokit.train`, are documented as their functions."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import histokit
from histokit import steps, study


def setup(app: Any) -> dict[str, bool]:
    """Put functions in the place of modules, for as long as the site is built."""
    for package in (study, histokit):
        for name in package.__all__:
            if isinstance(found := getattr(package, name), ModuleType):
                package.__dict__[name] = steps._function(found.__name__)
    return {"parallel_read_safe": True}
