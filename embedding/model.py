"""The network in torch, for training and GPUs: ResNet50 trunk, a head, unit length. The model card configures it.

`embedding.engines.onnx_graph` builds the same network for CPUs.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import dropout, layer_norm, normalize
from torchvision.models import resnet50

from embedding.card import (
    STAGE_CHANNELS,
    ArchitectureConfig,
    ClassifierHeadConfig,
    HeadConfig,
    ModelCard,
    PooledHeadConfig,
    TransformConfig,
    TwoPartHeadConfig,
)
from embedding.checkpoint import load_model, without_text


class Normalize(nn.Module):
    """uint8 (n, 3, h, w) -> float, scaled to 0..1 and normalised: in the model, so that no caller can forget it."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: TransformConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scale and normalise."""
        return (pixels.to(self.mean.dtype) / 255 - self.mean) / self.std


class Trunk(nn.Module):
    """Normalised photos (n, 3, h, w) -> pooled features (n, 3584), float32.

    They are the outputs of the stages in STAGE_CHANNELS, each averaged over the photo, concatenated.
    The state dict is that of torchvision's resnet50() without the classifier.
    """

    def __init__(self) -> None:
        super().__init__()
        network = resnet50()
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", *STAGE_CHANNELS):
            self.add_module(name, getattr(network, name))

    def forward(self, photos: Tensor) -> Tensor:
        """Extract the pooled features of a batch."""
        pooled = []
        for name, stage in self.named_children():
            photos = stage(photos)
            if name in STAGE_CHANNELS:
                pooled.append(photos.float().mean((2, 3)))
        return torch.cat(pooled, dim=1)


class PooledHead(nn.Module):
    """Pooled features (n, 3584) -> layer4 at unit length (n, 2048)."""

    def forward(self, pooled_features: Tensor) -> Tensor:
        """Embed a batch."""
        return normalize(_layer4(pooled_features), dim=1)


class ClassifierHead(nn.Module):
    """Pooled features (n, 3584) -> ImageNet's last layer at unit length (n, 1000)."""

    def __init__(self, config: ClassifierHeadConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(STAGE_CHANNELS["layer4"], config.dim)

    def forward(self, pooled_features: Tensor) -> Tensor:
        """Embed a batch."""
        return normalize(self.outputs(pooled_features), dim=1)

    def outputs(self, pooled_features: Tensor) -> Tensor:
        """Return the layer's outputs before normalisation: (n, 1000)."""
        outputs: Tensor = self.fc(_layer4(pooled_features))
        return outputs


class TwoPartHead(nn.Module):
    """Pooled features (n, 3584) -> [item part | kind part] at unit length (n, item_dim + kind_dim).

    The middle of the trunk tells items apart, its top tells kinds of things apart; in one shared layer, each task would
    harm the other (docs/decisions/0010). A cosine is a weighted sum of the parts' cosines. LayerNorm without affine
    parameters brings the pooled features to one scale, as in Zhai & Wu, "Classification is a Strong Baseline for
    Deep Metric Learning", 2019.
    """

    def __init__(self, config: TwoPartHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.item = nn.Linear(STAGE_CHANNELS["layer2"] + STAGE_CHANNELS["layer3"], config.item_dim)
        self.kind = nn.Linear(STAGE_CHANNELS["layer4"], config.kind_dim)
        self.category = nn.Linear(config.kind_dim, config.categories)

    def inputs(self, pooled_features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs of the item layer and of the kind layer."""
        layer2, layer3, layer4 = (
            layer_norm(stage, stage.shape[1:])
            for stage in torch.split(pooled_features, list(STAGE_CHANNELS.values()), dim=1)
        )
        return torch.cat([layer2, layer3], dim=1), layer4

    def forward(self, pooled_features: Tensor, top_dropout: float = 0.0) -> Tensor:
        """Embed a batch. In training, `top_dropout` is the share of layer4's channels to drop."""
        middle, top = self.inputs(pooled_features)
        kind = self.kind(dropout(top, top_dropout) if top_dropout else top)
        item, kind = normalize(self.item(middle), dim=1), normalize(layer_norm(kind, kind.shape[1:]), dim=1)
        share = self.config.kind_share
        return torch.cat([math.sqrt(1 - share) * item, math.sqrt(share) * kind], dim=1)

    def kind_part(self, embeddings: Tensor) -> Tensor:
        """Return the second part of embeddings, scaled back to the output of LayerNorm: (n, kind_dim)."""
        scale = math.sqrt(self.config.kind_dim / self.config.kind_share)
        return embeddings[:, self.config.item_dim :] * scale

    def classify(self, embeddings: Tensor) -> Tensor:
        """Embeddings -> logits (n, categories): an embedding is enough, the photo is not needed."""
        logits: Tensor = self.category(self.kind_part(embeddings))
        return logits


class EmbeddingModel(nn.Module):
    """uint8 pixels (n, 3, size, size) -> embeddings (n, dim), float32, unit length."""

    def __init__(self, architecture: ArchitectureConfig, transform: TransformConfig) -> None:
        super().__init__()
        self.architecture = architecture
        self.transform = transform
        self.normalize = Normalize(transform)
        self.trunk = Trunk()
        self.head = build_head(architecture.head)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed a batch."""
        embeddings: Tensor = self.head(self.trunk(self.normalize(pixels)))
        return embeddings


def build_head(config: HeadConfig) -> PooledHead | ClassifierHead | TwoPartHead:
    """Build the head that the config describes, with random weights."""
    match config:
        case PooledHeadConfig():
            return PooledHead()
        case ClassifierHeadConfig():
            return ClassifierHead(config)
        case TwoPartHeadConfig():
            return TwoPartHead(config)


def load_network(folder: Path) -> tuple[EmbeddingModel, ModelCard]:
    """Load a model folder in evaluation mode, checking its fingerprint. Raises ModelMissing, ModelBroken."""
    weights, card = load_model(folder)
    return build_network(card, weights), card


def build_network(card: ModelCard, weights: Mapping[str, NDArray[Any]]) -> EmbeddingModel:
    """Build the network from weights that `load_model` read and checked, in evaluation mode."""
    network = EmbeddingModel(card.architecture, card.transform)
    network.load_state_dict(as_tensors(without_text(weights)))
    return network.eval()


def as_arrays(state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """State dict -> the arrays that a model folder holds."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in state.items()}


def as_tensors(weights: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Arrays of a model folder -> state dict."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}


def _layer4(pooled_features: Tensor) -> Tensor:
    return pooled_features[:, -STAGE_CHANNELS["layer4"] :]
