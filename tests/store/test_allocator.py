"""Memory is kept between operations while a network runs, and given back afterwards."""

import platform
import resource
import subprocess
import sys

import pyarrow as pa
import pytest

from histokit.store.allocator import kept_memory

SCRIPT = """
import resource
import numpy as np
from contextlib import nullcontext
from histokit.store.allocator import kept_memory

def faults(context):
    with context:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones(8 << 20, np.uint8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(nullcontext()), faults(kept_memory()), faults(nullcontext()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_pages_are_not_taken_anew_for_every_operation() -> None:
    shown = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, during, after = map(int, shown.stdout.split())
    blocks = 20 * (8 << 20) // resource.getpagesize()
    # Where the system has huge pages, a fault brings many pages at once.
    assert during < min(before, after) / 4
    assert before <= blocks * 1.1


def test_pyarrow_uses_the_same_memory() -> None:
    before = pa.default_memory_pool().backend_name
    with kept_memory():
        with kept_memory():
            assert pa.default_memory_pool().backend_name == "system"
        assert pa.default_memory_pool().backend_name == "system"
    assert pa.default_memory_pool().backend_name == before != "system"
