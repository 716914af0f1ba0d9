from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from histokit.plugin import Recent


def test_the_last_values_are_kept():
    recent, made = Recent[int](2), []

    def get(key: int) -> int:
        return recent.get(key, lambda: made.append(key) or 10 * key)

    assert [get(key) for key in (1, 2, 1, 3, 1, 2)] == [10, 20, 10, 30, 10, 20]
    # 2 was the one that nobody had asked for longest when 3 came.
    assert made == [1, 2, 3, 2]


def test_threads_work_a_value_out_once():
    recent, made, begun = Recent[str](), [], threading.Event()

    def work_out() -> str:
        made.append(1)
        begun.wait(10)
        return "value"

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(recent.get, "key", work_out) for _ in range(4)]
        begun.set()
        assert {each.result() for each in asked} == {"value"}
    assert made == [1]


def test_an_error_is_not_kept():
    recent = Recent[int]()
    with pytest.raises(ZeroDivisionError):
        recent.get("key", lambda: 1 // 0)
    assert recent.get("key", lambda: 7) == 7


def test_a_pickle_is_empty():
    recent = Recent[int](1)
    recent.get("key", lambda: 7)
    assert pickle.loads(pickle.dumps(recent)).get("key", lambda: 8) == 8
