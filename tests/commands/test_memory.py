"""How much memory a process held."""

import subprocess
import sys

import numpy as np

from catalog.memory import peak_bytes

SMALL = "from catalog.memory import peak_bytes; print(peak_bytes())"


def test_the_peak_is_the_processes_own() -> None:
    """A small process that a large one starts is small: Linux counts its parent's memory into `ru_maxrss`."""
    large = np.ones(50_000_000)
    assert peak_bytes() > large.nbytes
    child = subprocess.run([sys.executable, "-c", SMALL], stdout=subprocess.PIPE, check=True)
    assert int(child.stdout) < large.nbytes / 4
