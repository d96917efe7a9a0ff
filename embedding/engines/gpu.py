"""Whether the network can run on an NVIDIA GPU. torch takes seconds to import, so it is asked last."""

import ctypes
import importlib.util
import sys

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def has_driver() -> bool:
    """Whether this machine has NVIDIA's driver."""
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True


def has_torch() -> bool:
    """Whether torch is installed."""
    return importlib.util.find_spec("torch") is not None


def is_usable() -> bool:
    """Whether torch can use a GPU of this machine."""
    if not (has_driver() and has_torch()):
        return False
    import torch  # noqa: PLC0415 - only where there is a GPU to use

    return torch.cuda.is_available()
