"""What in a photo makes it match: the cosine with another embedding, taken apart over a 7 x 7 grid of the photo.

Averaging over the photo is a mean over places and everything after it is affine once its scales (LayerNorm's and unit
length's) are held at their values. So the dot product is a sum over the places: no approximation, unlike Grad-CAM
(Selvaraju et al., 2017), and the same idea as class activation maps (Zhou et al., 2016) for a similarity.
"""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from catalog.index import Embeddings
from embedding.checkpoint import load_model
from embedding.model import LEVELS, ClassifierHead, EmbeddingModel, PooledHead, TwoPartHead
from embedding.transforms import embed_transform

GRID = 7

HeatMap = NDArray[np.float32]

_BLUE, _RED = (40, 90, 255), (255, 40, 20)
_STRONGEST = 0.65  # of an overlay's colour: what is below stays visible


class Explainer:
    """Takes scores apart. Holds the network in torch: an ONNX session gives no maps. Safe for threads."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model.eval().requires_grad_(requires_grad=False)
        self._transform = embed_transform(model.transform)

    @classmethod
    def load(cls, folder: Path) -> "Explainer":
        """Load a model folder. Raises ModelMissing, ModelBroken."""
        return cls(load_model(folder)[0])

    def heat(self, image: Image.Image, other: Embeddings) -> HeatMap:
        """Cosine of the image with `other` (dim,), unit length, as a sum over the photo's places: (7, 7)."""
        maps = self._maps(self._transform(image)[None])
        levels = torch.cat([one.mean((2, 3)) for one in maps.values()], dim=1).requires_grad_()
        cosine = (_embed_with_fixed_scales(self._model.head, levels) @ torch.from_numpy(other)).squeeze()
        (slopes,) = torch.autograd.grad(cosine, levels)
        # What no place is the cause of (biases): even shares.
        rest = (cosine - (slopes * levels).sum()).item()
        heat = np.full((GRID, GRID), rest / GRID**2, np.float32)
        for one, slope in zip(maps.values(), _by_level(slopes), strict=True):
            places = torch.einsum("chw,c->hw", one[0], slope[0]) / (one.shape[2] * one.shape[3])
            heat += _shares(places.shape[0]) @ places.numpy() @ _shares(places.shape[1]).T
        return heat

    def _maps(self, pixels: Tensor) -> dict[str, Tensor]:
        """The trunk's stages before they are averaged: each (1, channels, h, w)."""
        maps = {}
        with torch.no_grad():
            photos = self._model.normalize(pixels)
            for name, stage in self._model.trunk.named_children():
                photos = stage(photos)
                if name in LEVELS:
                    maps[name] = photos
        return maps


def overlay(image: Image.Image, heat: HeatMap) -> Image.Image:
    """Lay a heat map over its photo: red made the two alike, blue told them apart, the strongest place the most."""
    strength = heat / max(float(np.abs(heat).max()), 1e-9)
    mask = Image.fromarray(np.abs(strength).astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    sign = Image.fromarray(strength.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    colour = np.where((np.asarray(sign) >= 0)[..., None], _RED, _BLUE).astype(np.uint8)
    alpha = (np.asarray(mask).clip(0, 1) * 255 * _STRONGEST).astype(np.uint8)
    return Image.composite(Image.fromarray(colour), image, Image.fromarray(alpha))


def _embed_with_fixed_scales(head: torch.nn.Module, levels: Tensor) -> Tensor:
    """What the head makes of the levels, affine in them around here: every scale is a constant."""
    match head:
        case TwoPartHead():
            layer2, layer3, layer4 = (_layer_norm(level) for level in _by_level(levels))
            item = _normalize(head.item(torch.cat([layer2, layer3], dim=1)))
            kind = _normalize(_layer_norm(head.kind(layer4)))
            share = head.config.kind_share
            return torch.cat([math.sqrt(1 - share) * item, math.sqrt(share) * kind], dim=1)
        case ClassifierHead():
            return _normalize(head.outputs(levels))
        case PooledHead():
            return _normalize(levels[:, -LEVELS["layer4"] :])
    raise TypeError(type(head).__name__)


def _by_level(values: Tensor) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = torch.split(values, list(LEVELS.values()), dim=1)
    return parts


def _layer_norm(values: Tensor) -> Tensor:
    centred = values - values.mean(dim=1, keepdim=True)
    return centred / (centred.pow(2).mean(dim=1, keepdim=True) + 1e-5).sqrt().detach()


def _normalize(values: Tensor) -> Tensor:
    unit: Tensor = values / values.norm(dim=1, keepdim=True).detach()
    return unit


def _shares(places: int) -> NDArray[np.float32]:
    """How much of each of `places` in a row lies in each of the GRID cells: (7, places), columns sum to 1."""
    cells, steps = np.arange(GRID)[:, None] / GRID, np.arange(places)[None, :] / places
    overlap = np.minimum(cells + 1 / GRID, steps + 1 / places) - np.maximum(cells, steps)
    return np.asarray(overlap.clip(0) * places, np.float32)
