"""What in a photo makes it match: the cosine with another embedding, taken apart over a 7 x 7 grid of the photo.

Averaging over the photo is a mean over places and everything after it is affine once its scales (LayerNorm's and unit
length's) are held at their values. So the dot product is a sum over the places: no approximation, unlike Grad-CAM
(Selvaraju et al., 2017), and the same idea as class activation maps (Zhou et al., 2016) for a similarity.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.listing import Embeddings
from embedding.card import (
    LEVELS,
    ClassifierHeadConfig,
    HeadConfig,
    ModelCard,
    PooledHeadConfig,
    TwoPartHeadConfig,
)
from embedding.checkpoint import load_model
from embedding.engines.onnx_engine import OnnxEngine
from embedding.engines.onnx_graph import LAYER_NORM_EPSILON, build_graph
from embedding.int8_weights import Weights
from embedding.transforms import embed_transform

GRID = 7

HeatMap = NDArray[np.float32]
Vector = NDArray[np.float64]

_BLUE, _RED = (40, 90, 255), (255, 40, 20)
_STRONGEST = 0.65  # of an overlay's colour: what is below stays visible


class Explainer:
    """Takes scores apart. Its graph ends where a photo's places are averaged. Safe for threads."""

    def __init__(self, card: ModelCard, weights: Weights) -> None:
        """`weights` are those of `embedding.checkpoint.load_model`."""
        self._engine = OnnxEngine(build_graph(card.architecture, card.transform, weights, levels=True))
        self._head = card.architecture.head
        self._weights = {name: value for name, value in weights.items() if name.startswith("head.")}
        self._transform = embed_transform(card.transform)

    @classmethod
    def load(cls, folder: Path) -> "Explainer":
        """Load a model folder. Raises ModelMissing, ModelBroken."""
        weights, card = load_model(folder)
        return cls(card, weights)

    def heat(self, image: Image.Image, other: Embeddings) -> HeatMap:
        """Cosine of the image with `other` (dim,), unit length, as a sum over the photo's places: (7, 7)."""
        maps = [level[0].astype(np.float64) for level in self._engine.outputs(self._transform(image)[None])]
        levels = [level.mean((1, 2)) for level in maps]
        cosine, slopes = cosine_and_slopes(self._head, self._weights, levels, other.astype(np.float64))
        # What no place is the cause of (biases): even shares.
        rest = cosine - sum(float(slope @ level) for slope, level in zip(slopes, levels, strict=True))
        heat = np.full((GRID, GRID), rest / GRID**2)
        for level, slope in zip(maps, slopes, strict=True):
            places = np.einsum("chw,c->hw", level, slope) / (level.shape[1] * level.shape[2])
            heat += _shares(places.shape[0]) @ places @ _shares(places.shape[1]).T
        return heat.astype(np.float32)


def overlay(image: Image.Image, heat: HeatMap) -> Image.Image:
    """Lay a heat map over its photo: red made the two alike, blue told them apart, the strongest place the most."""
    strength = heat / max(float(np.abs(heat).max()), 1e-9)
    mask = Image.fromarray(np.abs(strength).astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    sign = Image.fromarray(strength.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    colour = np.where((np.asarray(sign) >= 0)[..., None], _RED, _BLUE).astype(np.uint8)
    alpha = (np.asarray(mask).clip(0, 1) * 255 * _STRONGEST).astype(np.uint8)
    return Image.composite(Image.fromarray(colour), image, Image.fromarray(alpha))


def cosine_and_slopes(
    head: HeadConfig, weights: Weights, levels: Sequence[Vector], other: Vector
) -> tuple[float, list[Vector]]:
    """Cosine of what the head makes of the LEVELS, each (channels,), with `other`; its derivative by each of them.

    The head is affine in the levels here: every scale (LayerNorm's, unit length's) is taken for a constant.
    """
    nothing = [np.zeros(channels) for channels in LEVELS.values()]
    match head:
        case TwoPartHeadConfig():
            scales = [_deviation(level) for level in levels]
            layer2, layer3, layer4 = (_centred(level) / scale for level, scale in zip(levels, scales, strict=True))
            item = weights["head.item.weight"] @ np.concatenate([layer2, layer3]) + weights["head.item.bias"]
            kind = weights["head.kind.weight"] @ layer4 + weights["head.kind.bias"]
            spread = _deviation(kind)
            normed = _centred(kind) / spread
            item_share, kind_share = math.sqrt(1 - head.kind_share), math.sqrt(head.kind_share)
            # Backwards from the dot product: by the item part, by the kind part.
            by_item = item_share * other[: head.item_dim] / np.linalg.norm(item)
            by_kind = kind_share * other[head.item_dim :] / np.linalg.norm(normed)
            by_middle = weights["head.item.weight"].T @ by_item
            by_top = weights["head.kind.weight"].T @ (_centred(by_kind) / spread)
            parts = [*np.split(by_middle, [LEVELS["layer2"]]), by_top]
            slopes = [_centred(part) / scale for part, scale in zip(parts, scales, strict=True)]
            return float(item @ by_item + normed @ by_kind), slopes
        case ClassifierHeadConfig():
            outputs = weights["head.fc.weight"] @ levels[-1] + weights["head.fc.bias"]
            by_outputs = other / np.linalg.norm(outputs)
            return float(outputs @ by_outputs), [*nothing[:-1], weights["head.fc.weight"].T @ by_outputs]
        case PooledHeadConfig():
            by_level = other / np.linalg.norm(levels[-1])
            return float(levels[-1] @ by_level), [*nothing[:-1], by_level]


def _centred(values: Vector) -> Vector:
    return np.asarray(values - values.mean())


def _deviation(values: Vector) -> float:
    """What LayerNorm divides by."""
    return math.sqrt(values.var() + LAYER_NORM_EPSILON)


def _shares(places: int) -> Vector:
    """How much of each of `places` in a row lies in each of the GRID cells: (7, places), columns sum to 1."""
    cells, steps = np.arange(GRID)[:, None] / GRID, np.arange(places)[None, :] / places
    overlap = np.minimum(cells + 1 / GRID, steps + 1 / places) - np.maximum(cells, steps)
    return np.asarray(overlap.clip(0) * places)
