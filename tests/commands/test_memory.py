"""The peak memory of a process."""

import subprocess
import sys

import numpy as np

from catalog.memory import peak_bytes

SMALL = "from catalog.memory import peak_bytes; print(peak_bytes())"


def test_the_peak_is_the_processes_own() -> None:
    """A small child of a large process reports a small peak; Linux counts the parent's memory in `ru_maxrss`."""
    large = np.ones(50_000_000)
    assert peak_bytes() > large.nbytes
    child = subprocess.run([sys.executable, "-c", SMALL], stdout=subprocess.PIPE, check=True)
    assert int(child.stdout) < large.nbytes / 4
