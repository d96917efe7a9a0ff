"""Weights at a quarter of their size: int8 with a scale per output channel, float again on load."""

import torch
from torch import Tensor

_SCALE = ".scale"


def quantize(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict -> int8 where a tensor has output channels to scale by, float16 elsewhere.

    Symmetric and linear, the scale of each output channel from its largest weight: Krishnamoorthi, "Quantizing deep
    convolutional networks for efficient inference", 2018, section 3.1. Activations stay float.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if tensor.ndim < 2:
            stored[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        channels = tensor.float().flatten(1)
        scale = channels.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        stored[name] = (channels / scale[:, None]).round().to(torch.int8).view(tensor.shape)
        stored[name + _SCALE] = scale
    return stored


def dequantize(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as stored -> state dict. Those never quantized pass unchanged."""
    weights: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(_SCALE):
            continue
        scale = stored.get(name + _SCALE)
        weights[name] = tensor if scale is None else tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
    return weights
