"""The model folder: `model.safetensors` and `model.json`. Saved whole or not at all, checked at every load."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from catalog.errors import ModelBroken, ModelMissing, OutputFailed
from embedding.model import ArchitectureConfig, EmbeddingModel
from embedding.transforms import TransformConfig

WEIGHTS, CARD = "model.safetensors", "model.json"


class ModelCard(BaseModel):
    """What `model.json` says. The fingerprint covers weights, architecture and transform, not the words."""

    model_config = ConfigDict(extra="forbid")

    name: str
    architecture: ArchitectureConfig
    transform: TransformConfig
    categories: list[str] = Field(default_factory=list, description="of the category head; empty without one")
    training: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    parent: str = Field(description="what the weights started from")
    licence: str
    fingerprint: str


def fingerprint(weights: dict[str, Tensor], architecture: ArchitectureConfig, transform: TransformConfig) -> str:
    """Hash (sha256, hex) over what decides an embedding. Two embeddings compare only if theirs are equal."""
    digest = hashlib.sha256()
    described = {"architecture": architecture.model_dump(mode="json"), "transform": transform.model_dump(mode="json")}
    digest.update(json.dumps(described, sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_model(
    folder: Path,
    weights: dict[str, Tensor],
    *,
    name: str,
    parent: str,
    licence: str,
    architecture: ArchitectureConfig,
    transform: TransformConfig,
) -> ModelCard:
    """Write a model folder that is not there yet. Raises OutputFailed; a half-written folder never stays."""
    if folder.exists():
        raise OutputFailed(f"{folder} exists already.", hint="Choose another --out, or remove it first.")
    card = ModelCard(
        name=name,
        architecture=architecture,
        transform=transform,
        parent=parent,
        licence=licence,
        fingerprint=fingerprint(weights, architecture, transform),
    )
    draft = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        save_file(weights, draft / WEIGHTS)
        (draft / WEIGHTS).chmod(0o644)  # safetensors writes for its owner alone; a container's user is another
        (draft / CARD).write_text(card.model_dump_json(indent=2) + "\n")
        draft.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise OutputFailed(f"The model folder {folder} could not be written: {error}") from error
    return card


def read_card(folder: Path) -> ModelCard:
    """Read `model.json`. Raises ModelMissing, ModelBroken."""
    if not (folder / CARD).exists():
        raise ModelMissing(
            f"There is no model in {folder}.",
            hint="Make one from torchvision's ImageNet weights: marketlens model import. "
            "Where torchvision cannot download, give a file: marketlens model import --weights FILE",
        )
    try:
        return ModelCard.model_validate_json((folder / CARD).read_text())
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(str(part) for part in first["loc"])
        raise ModelBroken(f"{folder / CARD} cannot be understood: {what} {first['msg']}", hint=_RESTORE) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ModelBroken(f"{folder / CARD} cannot be read: {error}", hint=_RESTORE) from error


def load_model(folder: Path) -> tuple[EmbeddingModel, ModelCard]:
    """Load a model folder in evaluation mode and check its fingerprint. Raises ModelMissing, ModelBroken."""
    card = read_card(folder)
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelBroken(f"{folder / WEIGHTS} cannot be read: {error}", hint=_RESTORE) from error
    found = fingerprint(weights, card.architecture, card.transform)
    if found != card.fingerprint:
        raise ModelBroken(
            f"The model in {folder} is not what its fingerprint says: {CARD} has {card.fingerprint[:12]}, "
            f"its weights and configuration give {found[:12]}.",
            hint=_RESTORE,
        )
    model = EmbeddingModel(card.architecture, card.transform)
    try:
        # Loading copies into the network's own float32 parameters, whatever precision is stored.
        model.trunk.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelBroken(f"The weights in {folder} are not of a {card.architecture.trunk}: {error}") from error
    return model.eval(), card


_RESTORE = "Something changed the folder after it was saved: restore it, or make it anew."
