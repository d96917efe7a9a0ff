"""Explain a match: split the cosine with another embedding over a 7 x 7 grid of the photo.

Pooling is a mean over the positions of a feature map, and everything after it is affine if its scales (of LayerNorm and
unit length) are taken as constants. So the dot product is a sum over positions: exact, unlike Grad-CAM (Selvaraju et
al., 2017), and the same idea as class activation maps (Zhou et al., 2016), for a similarity.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.listing import Embeddings
from embedding.card import (
    STAGE_CHANNELS,
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
_STRONGEST = 0.65  # opacity of the strongest cell: the photo below stays visible


class Explainer:
    """Splits scores into heat maps. Its graph ends before the pooling. Thread-safe."""

    def __init__(self, card: ModelCard, weights: Weights) -> None:
        """`weights` come from `embedding.checkpoint.load_model`."""
        self._engine = OnnxEngine(build_graph(card.architecture, card.transform, weights, feature_maps=True))
        self._head = card.architecture.head
        self._weights = {name: value for name, value in weights.items() if name.startswith("head.")}
        self._transform = embed_transform(card.transform)

    @classmethod
    def load(cls, folder: Path) -> "Explainer":
        """Load a model folder. Raises ModelMissing, ModelBroken."""
        weights, card = load_model(folder)
        return cls(card, weights)

    def heat_map(self, image: Image.Image, other: Embeddings) -> HeatMap:
        """Split the cosine of the image with `other` (dim,), unit length, over the cells of the photo: (7, 7)."""
        outputs = self._engine.outputs(self._transform(image)[None])
        feature_maps = [feature_map[0].astype(np.float64) for feature_map in outputs]
        pooled_features = [feature_map.mean((1, 2)) for feature_map in feature_maps]
        cosine, slopes = cosine_and_slopes(self._head, self._weights, pooled_features, other.astype(np.float64))
        # The part that no position causes (biases) is spread evenly.
        rest = cosine - sum(float(slope @ pooled) for slope, pooled in zip(slopes, pooled_features, strict=True))
        heat = np.full((GRID, GRID), rest / GRID**2)
        for feature_map, slope in zip(feature_maps, slopes, strict=True):
            positions = np.einsum("chw,c->hw", feature_map, slope) / (feature_map.shape[1] * feature_map.shape[2])
            heat += _cell_weights(positions.shape[0]) @ positions @ _cell_weights(positions.shape[1]).T
        return heat.astype(np.float32)


def overlay(image: Image.Image, heat: HeatMap) -> Image.Image:
    """Overlay a heat map on its photo: red cells raise the score, blue cells lower it, strong cells are opaque."""
    strength = heat / max(float(np.abs(heat).max()), 1e-9)
    mask = Image.fromarray(np.abs(strength).astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    sign = Image.fromarray(strength.astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    colour = np.where((np.asarray(sign) >= 0)[..., None], _RED, _BLUE).astype(np.uint8)
    alpha = (np.asarray(mask).clip(0, 1) * 255 * _STRONGEST).astype(np.uint8)
    return Image.composite(Image.fromarray(colour), image, Image.fromarray(alpha))


def cosine_and_slopes(
    head: HeadConfig, weights: Weights, pooled_features: Sequence[Vector], other: Vector
) -> tuple[float, list[Vector]]:
    """Return the cosine of the head's output with `other`, and its derivatives by the pooled features.

    `pooled_features` has an array (channels,) per stage. The head is affine in them here: every scale (of LayerNorm, of
    unit length) is taken as a constant.
    """
    zeros = [np.zeros(channels) for channels in STAGE_CHANNELS.values()]
    match head:
        case TwoPartHeadConfig():
            scales = [_deviation(pooled) for pooled in pooled_features]
            layer2, layer3, layer4 = (
                _centred(pooled) / scale for pooled, scale in zip(pooled_features, scales, strict=True)
            )
            item = weights["head.item.weight"] @ np.concatenate([layer2, layer3]) + weights["head.item.bias"]
            kind = weights["head.kind.weight"] @ layer4 + weights["head.kind.bias"]
            spread = _deviation(kind)
            normalized = _centred(kind) / spread
            item_share, kind_share = math.sqrt(1 - head.kind_share), math.sqrt(head.kind_share)
            # Derivatives, backwards from the dot product: by the item part, by the kind part.
            by_item = item_share * other[: head.item_dim] / np.linalg.norm(item)
            by_kind = kind_share * other[head.item_dim :] / np.linalg.norm(normalized)
            by_middle = weights["head.item.weight"].T @ by_item
            by_top = weights["head.kind.weight"].T @ (_centred(by_kind) / spread)
            parts = [*np.split(by_middle, [STAGE_CHANNELS["layer2"]]), by_top]
            slopes = [_centred(part) / scale for part, scale in zip(parts, scales, strict=True)]
            return float(item @ by_item + normalized @ by_kind), slopes
        case ClassifierHeadConfig():
            outputs = weights["head.fc.weight"] @ pooled_features[-1] + weights["head.fc.bias"]
            by_outputs = other / np.linalg.norm(outputs)
            return float(outputs @ by_outputs), [*zeros[:-1], weights["head.fc.weight"].T @ by_outputs]
        case PooledHeadConfig():
            by_features = other / np.linalg.norm(pooled_features[-1])
            return float(pooled_features[-1] @ by_features), [*zeros[:-1], by_features]


def _centred(values: Vector) -> Vector:
    return np.asarray(values - values.mean())


def _deviation(values: Vector) -> float:
    """Return the divisor of LayerNorm."""
    return math.sqrt(values.var() + LAYER_NORM_EPSILON)


def _cell_weights(positions: int) -> Vector:
    """Return the share of each position along an axis in each GRID cell: (7, positions), columns sum to 1."""
    cells, steps = np.arange(GRID)[:, None] / GRID, np.arange(positions)[None, :] / positions
    overlap = np.minimum(cells + 1 / GRID, steps + 1 / positions) - np.maximum(cells, steps)
    return np.asarray(overlap.clip(0) * positions)
