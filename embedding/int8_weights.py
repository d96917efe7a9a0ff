"""int8 weights, a quarter of the size: a scale per output channel, converted to float on load."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[Any]]
"""Tensors by name in the network's state dict."""

_SCALE = ".scale"


def quantize(weights: Weights) -> dict[str, NDArray[Any]]:
    """Convert weights to int8 if the tensor has output channels to scale by, else to float16.

    Symmetric and linear; the largest weight of an output channel sets its scale: Krishnamoorthi, "Quantizing deep
    convolutional networks for efficient inference", 2018, section 3.1. Activations stay float.
    """
    stored: dict[str, NDArray[Any]] = {}
    for name, tensor in weights.items():
        if not np.issubdtype(tensor.dtype, np.floating):
            stored[name] = tensor
            continue
        if tensor.ndim < 2:
            stored[name] = tensor.astype(np.float16)
            continue
        channels = tensor.astype(np.float32).reshape(len(tensor), -1)
        scale = np.abs(channels).max(axis=1).clip(min=np.finfo(np.float32).tiny) / np.float32(127)
        stored[name] = (channels / scale[:, None]).round().astype(np.int8).reshape(tensor.shape)
        stored[name + _SCALE] = scale
    return stored


def dequantize(stored: Weights) -> dict[str, NDArray[Any]]:
    """Convert stored weights of any precision to float32; integers that are not weights stay unchanged."""
    weights: dict[str, NDArray[Any]] = {}
    for name, tensor in stored.items():
        if name.endswith(_SCALE):
            continue
        scale = stored.get(name + _SCALE)
        if scale is not None:
            weights[name] = tensor.astype(np.float32) * scale.reshape(-1, *[1] * (tensor.ndim - 1))
        else:
            weights[name] = tensor.astype(np.float32) if np.issubdtype(tensor.dtype, np.floating) else tensor
    return weights
