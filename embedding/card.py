"""`model.json`: the network's configuration and facts about the model. Read in milliseconds, without torch."""

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
RESTORE = "The folder was changed after it was saved: restore it or create it again."

STAGE_CHANNELS = {"layer2": 512, "layer3": 1024, "layer4": 2048}
"""The trunk's stages that a head may read, and their channels."""

GOOD_MATCH = 0.5
"""The probability from which a hit counts as what was asked for."""

_MAX_CARD_BYTES = 10_000_000  # a card has a few kilobytes; a much larger file is not a card


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PooledHeadConfig(_Config):
    """layer4, averaged: the input features of ImageNet's classifier."""

    kind: Literal["pooled"] = "pooled"
    dim: Literal[2048] = 2048
    categories: Literal[0] = 0


class ClassifierHeadConfig(_Config):
    """ImageNet's last layer, fine-tuned: the student system's 1000-d embedding."""

    kind: Literal["classifier"] = "classifier"
    dim: Literal[1000] = 1000
    categories: Literal[0] = 0


class TwoPartHeadConfig(_Config):
    """An item part (from layer2, layer3) and a kind part (from layer4); the category head reads the kind part."""

    kind: Literal["two_part"] = "two_part"
    item_dim: int = Field(default=320, gt=0)
    kind_dim: int = Field(default=192, gt=1)
    kind_share: float = Field(default=0.5, gt=0, lt=1, description="share of the second part in a cosine")
    categories: int = Field(gt=0, description="outputs of the category head")

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return self.item_dim + self.kind_dim


HeadConfig = Annotated[PooledHeadConfig | ClassifierHeadConfig | TwoPartHeadConfig, Field(discriminator="kind")]


class TextConfig(_Config):
    """The text tower: features of a text -> their vectors, summed -> a hidden layer -> the embedding.

    A feature's vector of `width` numbers is stored in `width / piece` bytes: product quantisation, Jégou et al.,
    "Product quantization for nearest neighbor search", 2011. The categories are those of the photos' head.
    """

    features: int = Field(gt=0, description="words, pairs and pieces in the vocabulary")
    width: int = Field(default=512, gt=0)
    piece: int = Field(default=16, gt=0, description="numbers of a vector that share a byte")
    hidden: int = Field(default=512, gt=0)
    title_share: float = Field(default=0.45, ge=0, le=0.45, description="share of the title in a stored vector")

    @model_validator(mode="after")
    def _check_pieces(self) -> "TextConfig":
        if self.width % self.piece:
            raise ValueError(f"a vector of {self.width} numbers cannot be cut into pieces of {self.piece}")
        return self


class ArchitectureConfig(_Config):
    """Everything needed to build the network before its weights are loaded. `text` is None without a text tower."""

    trunk: Literal["resnet50"] = "resnet50"
    head: HeadConfig = PooledHeadConfig()
    text: TextConfig | None = None


class TransformConfig(_Config):
    """Image transform, part of the model: embeddings made with different transforms are not comparable.

    `squeeze` scales both sides to `size`: sellers' photos are seldom centred, and cropping would lose the edges.
    """

    size: int = 224
    resize: Literal["squeeze"] = "squeeze"
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class Calibration(_Config):
    """A logistic curve (Platt, "Probabilistic outputs for support vector machines", 1999) over cosines.

    Fitted on pairs as in a search response, a photo and one of its nearest: among all pairs of a catalogue, one in
    thousands shows the same item, so every pair would be improbable.
    """

    slope: float
    intercept: float
    pairs: int
    same_item_pairs: int

    def probability(self, cosines: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of the same item, 0 to 1, for each cosine."""
        return np.asarray(1 / (1 + np.exp(-(self.slope * cosines + self.intercept))))

    def cosine(self, probability: float) -> float:
        """Return the lowest cosine at which the same item is at least this probable; infinite if there is none."""
        if probability <= 0:
            return -1.0
        if probability >= 1 or self.slope <= 0:
            return math.inf
        return (math.log(probability / (1 - probability)) - self.intercept) / self.slope


class CategoryWeights(_Config):
    """How much a photo and a title count for a category: p ~ photo ** photo_weight * title ** title_weight.

    Learned on listings that were not used for training. Genest & Zidek, "Combining probability distributions", 1986.
    """

    photo: float = Field(default=1.0, ge=0)
    title: float = Field(default=1.0, ge=0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean with its 95 % bootstrap interval, over `queries` photos."""

    mean: float
    low: float
    high: float
    queries: int


class ModelCard(BaseModel):
    """Content of `model.json`. The fingerprint covers weights, architecture and transform, not the other fields."""

    model_config = ConfigDict(extra="forbid")

    name: str
    architecture: ArchitectureConfig
    transform: TransformConfig
    categories: list[str] = Field(
        default_factory=list, description="names of the category head's outputs; empty without a category head"
    )
    calibration: Calibration | None = Field(default=None, description="cosine -> probability of the same item")
    words_calibration: Calibration | None = Field(
        default=None, description="cosine of a text and a photo -> probability of the same kind of thing"
    )
    category_weights: CategoryWeights | None = Field(default=None, description="None without a text tower")
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, Figure] = Field(
        default_factory=dict, description="measured on listings that were not used for training"
    )
    stored_as: str = Field(default="float16", description="precision of the stored weights")
    arithmetic: Literal["float", "int8"] = Field(
        default="float", description="int8 arithmetic runs `model.int8.onnx`, on CPUs"
    )
    parent: str = Field(description="the start weights")
    licence: str
    fingerprint: str = ""

    def with_figures_of(self, twin: "ModelCard") -> "ModelCard":
        """Return a copy with the figures and calibrations of a twin."""
        names = ("metrics", "calibration", "words_calibration", "category_weights")
        return self.model_copy(update={name: getattr(twin, name) for name in names})

    @model_validator(mode="after")
    def _check_category_names(self) -> "ModelCard":
        if len(self.categories) != self.architecture.head.categories:
            raise ValueError(f"{len(self.categories)} names for {self.architecture.head.categories} categories")
        return self


def read_card(folder: Path) -> ModelCard:
    """Read `model.json`. Raises ModelMissing, ModelBroken."""
    if not (folder / CARD).exists():
        raise ModelMissing(
            f"There is no model in {folder}.",
            hint=f"Without --model and MARKETLENS_MODEL__PATH, the model that comes with marketlens is used; it is in "
            f"{shipped_model()}. Or create one: marketlens model import (ImageNet), marketlens train.",
        )
    try:
        if (size := (folder / CARD).stat().st_size) > _MAX_CARD_BYTES:
            raise ModelBroken(f"{folder / CARD} has {size:,} bytes, too many for a model card.", hint=RESTORE)
        return ModelCard.model_validate_json((folder / CARD).read_text())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelBroken(f"{folder / CARD} is invalid: {field} {first['msg']}", hint=RESTORE) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelBroken(f"{folder / CARD} cannot be read: {error}", hint=RESTORE) from error
