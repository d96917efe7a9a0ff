"""What `model.json` says: how the network is built and what is known of it. Read in milliseconds, without torch."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalog.errors import ModelBroken, ModelMissing
from catalog.settings import shipped_model

CARD, INT8_ONNX = "model.json", "model.int8.onnx"
RESTORE = "Something changed the folder after it was saved: restore it, or make it anew."

LEVELS = {"layer2": 512, "layer3": 1024, "layer4": 2048}
"""The trunk's stages that a head may read, and their channels."""

_MAX_CARD_BYTES = 10_000_000  # cards have a few kilobytes; a file of gigabytes is none


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PooledHeadConfig(_Config):
    """layer4, averaged: the features that ImageNet's classifier reads."""

    kind: Literal["pooled"] = "pooled"
    dim: Literal[2048] = 2048
    categories: Literal[0] = 0


class ClassifierHeadConfig(_Config):
    """ImageNet's last layer, trained again: the student system's 1000-d embedding."""

    kind: Literal["classifier"] = "classifier"
    dim: Literal[1000] = 1000
    categories: Literal[0] = 0


class TwoPartHeadConfig(_Config):
    """Which item (layer2, layer3) beside what kind of thing (layer4), which the category head reads."""

    kind: Literal["two_part"] = "two_part"
    item_dim: int = Field(default=320, gt=0)
    kind_dim: int = Field(default=192, gt=1)
    kind_share: float = Field(default=0.5, gt=0, lt=1, description="of the second part in a cosine")
    categories: int = Field(gt=0, description="outputs of the category head")

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.item_dim + self.kind_dim


HeadConfig = Annotated[PooledHeadConfig | ClassifierHeadConfig | TwoPartHeadConfig, Field(discriminator="kind")]


class ArchitectureConfig(_Config):
    """Everything needed to build the network before its weights are loaded."""

    trunk: Literal["resnet50"] = "resnet50"
    head: HeadConfig = PooledHeadConfig()


class TransformConfig(_Config):
    """Part of the model: embeddings made with another transform do not compare.

    `squeeze` scales both sides to `size`: a seller's photo is seldom centred, and cropping loses its edges.
    """

    size: int = 224
    resize: Literal["squeeze"] = "squeeze"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class Calibration(_Config):
    """A logistic curve (Platt, "Probabilistic outputs for support vector machines", 1999) over cosines.

    Fitted on pairs as an answer shows them, a photo and one of its nearest: over all pairs of a catalogue, where one in
    thousands shows the same item, every pair would be improbable.
    """

    slope: float
    intercept: float
    pairs: int
    same_item_pairs: int

    def probability(self, cosines: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probability of the same item, 0 to 1, for each cosine."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * cosines + self.intercept))))

    def cosine(self, probability: float) -> float:
        """The cosine from which on the same item is at least this probable; infinite where none is high enough."""
        if probability <= 0:
            return -1.0
        if probability >= 1 or self.slope <= 0:
            return math.inf
        return (math.log(probability / (1 - probability)) - self.intercept) / self.slope


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean with its 95 % bootstrap interval, over `queries` photos."""

    mean: float
    low: float
    high: float
    queries: int


class ModelCard(BaseModel):
    """What `model.json` says. The fingerprint covers weights, architecture and transform, not the words."""

    model_config = ConfigDict(extra="forbid")

    name: str
    architecture: ArchitectureConfig
    transform: TransformConfig
    categories: list[str] = Field(default_factory=list, description="of the category head; empty without one")
    calibration: Calibration | None = Field(default=None, description="cosine -> probability of the same item")
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Figure] = Field(default_factory=dict, description="on listings never trained on")
    stored_as: str = Field(default="float16", description="of the weights")
    arithmetic: Literal["float", "int8"] = Field(default="float", description="int8: in `model.int8.onnx`, on CPUs")
    parent: str = Field(description="what the weights started from")
    licence: str
    fingerprint: str = ""

    @model_validator(mode="after")
    def _names_for_all_categories(self) -> "ModelCard":
        if len(self.categories) != self.architecture.head.categories:
            raise ValueError(f"{len(self.categories)} names for {self.architecture.head.categories} categories")
        return self


def read_card(folder: Path) -> ModelCard:
    """Read `model.json`. Raises ModelMissing, ModelBroken."""
    if not (folder / CARD).exists():
        raise ModelMissing(
            f"There is no model in {folder}.",
            hint=f"The model that comes with marketlens is used without --model and MARKETLENS_MODEL__PATH; it is in "
            f"{shipped_model()}. Or make one: marketlens model import (ImageNet), marketlens train.",
        )
    try:
        if (size := (folder / CARD).stat().st_size) > _MAX_CARD_BYTES:
            raise ModelBroken(f"{folder / CARD} has {size:,} bytes, more than any model card.", hint=RESTORE)
        return ModelCard.model_validate_json((folder / CARD).read_text())
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"])
        raise ModelBroken(f"{folder / CARD} cannot be understood: {what} {first['msg']}", hint=RESTORE) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelBroken(f"{folder / CARD} cannot be read: {error}", hint=RESTORE) from error
