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
from pathlib import Path
from histokit.store.allocator import kept_memory

def held():
    return int(Path("/proc/self/statm").read_text().split()[1])

def faults(context):
    with context:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            np.ones(8 << 20, np.uint8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(nullcontext()), faults(kept_memory()))
before = held()
with kept_memory():
    blocks = [np.ones(8 << 20, np.uint8) for _ in range(20)]
    del blocks
    kept = held()
print(kept - before, held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_pages_are_kept_between_operations_and_given_back_at_the_end() -> None:
    shown = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, during, kept, afterwards = map(int, shown.stdout.split())
    blocks = 20 * (8 << 20) // resource.getpagesize()
    # Where the system has huge pages, a fault brings many pages at once.
    assert during < before / 4
    assert before <= blocks * 1.1
    assert kept > blocks * 0.9
    assert afterwards < blocks * 0.1


def test_pyarrow_uses_the_same_memory() -> None:
    before = pa.default_memory_pool().backend_name
    with kept_memory():
        with kept_memory():
            assert pa.default_memory_pool().backend_name == "system"
        assert pa.default_memory_pool().backend_name == "system"
    assert pa.default_memory_pool().backend_name == before != "system"
