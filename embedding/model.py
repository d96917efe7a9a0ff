"""The network: ResNet50 trunk, pooling, unit length. What it is made of is told by its config alone."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torchvision.models import resnet50

from embedding.transforms import Normalize, TransformConfig


class ArchitectureConfig(BaseModel):
    """Everything needed to build the network before its weights are loaded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trunk: Literal["resnet50"] = "resnet50"
    pooling: Literal["average"] = "average"
    dim: Literal[2048] = 2048


class EmbeddingModel(nn.Module):
    """uint8 pixels (n, 3, size, size) -> embeddings (n, dim), float32, unit length."""

    def __init__(self, architecture: ArchitectureConfig, transform: TransformConfig) -> None:
        super().__init__()
        self.architecture = architecture
        self.transform = transform
        self.normalize = Normalize(transform)
        self.trunk = resnet50()
        # The classifier is not part of an embedding; its average pooling is.
        self.trunk.fc = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed a batch."""
        features: Tensor = self.trunk(self.normalize(pixels))
        return torch.nn.functional.normalize(features.float(), dim=1)
