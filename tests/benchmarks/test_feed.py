"""What starting takes is timed for the networks of which it is shown."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_part_is_run_of_what_is_shown_without_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import feed
    from common import Timing

    taken: list[Any] = []

    def turns(contenders: list[Any], rounds: int) -> list[Timing]:
        taken.extend(contenders)
        return [Timing(contender.name, 1, seconds=[1.0], facts=[{}]) for contender in contenders]

    for name, stand_in in (("take_turns", turns), ("draw_images", None), ("publish", None)):
        monkeypatch.setattr(feed, name, stand_in or (lambda *_: None))
    monkeypatch.setattr("sys.argv", ["feed", "--only", "PNG 224"])
    feed.main()
    parted = {contender.name for contender in taken if contender.options.get("parted")}
    assert parted == set(feed.WIDTHS)
    assert {contender.name for contender in taken} == {*feed.WIDTHS, feed.TINY, feed.LOOP, feed.ALONE}
