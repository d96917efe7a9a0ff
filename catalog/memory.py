"""How much memory a process held."""

import re
import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """The most that this process held at once.

    Linux hands `ru_maxrss` on to a child, through exec as well: there it is the parent's peak where that was higher.
    """
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(peak[1]) * 1024
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss if sys.platform == "darwin" else peak_rss * 1024
