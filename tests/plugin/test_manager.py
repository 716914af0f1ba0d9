from __future__ import annotations

import sys

from histokit.plugin.manager import discover


def test_a_plugin_that_exits_is_broken_and_stops_nothing() -> None:
    found = discover([("quitter", "quitter 1.0", sys.exit), ("good", "good 1.0", lambda: sys)])
    assert [(plugin.module, plugin.reason) for plugin in found.broken] == [("quitter", "SystemExit")]
    assert found.plugins == [("good", "good 1.0")]
