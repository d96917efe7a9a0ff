"""Detect an NVIDIA GPU that the network can run on. Importing torch takes seconds, so it is checked last."""

import ctypes
import importlib.util
import sys

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def has_driver() -> bool:
    """Check whether this machine has NVIDIA's driver."""
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def has_torch() -> bool:
    """Check whether torch is installed."""
    return importlib.util.find_spec("torch") is not None


def is_usable() -> bool:
    """Check whether torch can use a GPU of this machine."""
    if not (has_driver() and has_torch()):
        return False
    import torch  # noqa: PLC0415 - only if there may be a GPU to use

    return torch.cuda.is_available()
