"""The model folder: `model.safetensors` and `model.json`. Saved atomically, checked at every load."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from catalog.atomic_files import new_folder
from catalog.errors import ModelBroken
from embedding.card import CARD, INT8_ONNX, RESTORE, ArchitectureConfig, ModelCard, TransformConfig, read_card
from embedding.engines.onnx_graph import tensor_shapes
from embedding.int8_weights import Weights, dequantize

WEIGHTS, TRAINED_ON = "model.safetensors", "trained-on.txt"


def fingerprint(
    weights: Weights,
    architecture: ArchitectureConfig,
    transform: TransformConfig,
    int8_onnx: bytes | None = None,
) -> str:
    """Hash (sha256, hex) all that determines an embedding. Only embeddings of equal fingerprints are comparable."""
    config: dict[str, Any] = {
        # Without `text: null`, so that models without a text tower keep the fingerprint they had before there was one.
        "architecture": architecture.model_dump(mode="json", exclude_none=True),
        "transform": transform.model_dump(mode="json"),
    }
    if int8_onnx is not None:
        config["int8_onnx"] = hashlib.sha256(int8_onnx).hexdigest()
    return hash_tensors(weights, json.dumps(config, sort_keys=True))


def photo_fingerprint(folder: Path) -> str:
    """Return the fingerprint that a model would have without its text tower: that of its photos' embeddings.

    Raises ModelMissing, ModelBroken.
    """
    card, weights = read_card(folder), load_weights(folder)
    if card.architecture.text is None:
        return card.fingerprint
    architecture = card.architecture.model_copy(update={"text": None})
    return fingerprint(without_text(weights), architecture, card.transform, _int8_onnx(folder, card))


def without_text(weights: Weights) -> dict[str, NDArray[Any]]:
    """Return the weights without those of the text tower."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith("text.")}


def hash_tensors(weights: Weights, description: str) -> str:
    """Hash (sha256, hex) a description and the name, type (torch's name), shape and bytes of each tensor."""
    digest = hashlib.sha256(description.encode())
    for name in sorted(weights):
        tensor = np.ascontiguousarray(weights[name])
        digest.update(f"{name} torch.{tensor.dtype} {weights[name].shape}".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def save_model(folder: Path, weights: Weights, card: ModelCard, files: Mapping[str, bytes] | None = None) -> ModelCard:
    """Write a new model folder, with further `files` (path in the folder -> content).

    Return the card with its fingerprint. Raises OutputFailed, and leaves no incomplete folder.
    """
    files = files or {}
    model_fingerprint = fingerprint(weights, card.architecture, card.transform, files.get(INT8_ONNX))
    card = card.model_copy(
        update={"fingerprint": model_fingerprint, "arithmetic": "int8" if INT8_ONNX in files else "float"}
    )
    with new_folder(folder, "The model folder") as draft:
        save_file(dict(weights), draft / WEIGHTS)
        (draft / WEIGHTS).chmod(0o644)  # safetensors gives access only to the owner; a container has another user
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        (draft / CARD).write_text(card.model_dump_json(indent=2) + "\n")
    return card


def companion_files(folder: Path) -> dict[str, bytes]:
    """Read the files that a derived model copies (path in the folder -> content): no weights, card, ONNX, links."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name not in (WEIGHTS, CARD, INT8_ONNX) and not path.name.startswith("model.onnx")
    }


def listing_hash(listing_id: str) -> str:
    """Hash a listing id, so that a model folder can name a training listing without revealing its id."""
    return hashlib.sha256(listing_id.encode()).hexdigest()[:16]


def trained_listing_hashes(folder: Path) -> frozenset[str]:
    """Read the hashes of the listings used to train or validate a model; empty if unknown. Raises ModelBroken."""
    try:
        return frozenset((folder / TRAINED_ON).read_text().split())
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelBroken(f"{folder / TRAINED_ON} cannot be read: {error}", hint=RESTORE) from error


def load_model(folder: Path) -> tuple[dict[str, NDArray[Any]], ModelCard]:
    """Read float32 weights and card of a model folder; check its fingerprint. Raises ModelMissing, ModelBroken."""
    card, weights = read_card(folder), load_weights(folder)
    computed = fingerprint(weights, card.architecture, card.transform, _int8_onnx(folder, card))
    if computed != card.fingerprint:
        raise ModelBroken(
            f"The model in {folder} does not match its fingerprint: {CARD} has {card.fingerprint[:12]}, "
            f"its weights and configuration give {computed[:12]}.",
            hint=RESTORE,
        )
    weights = dequantize(weights)
    expected, shapes = tensor_shapes(card.architecture), {name: tensor.shape for name, tensor in weights.items()}
    if differences := describe_shape_differences(expected, shapes):
        raise ModelBroken(
            f"The weights in {folder} do not match the architecture in {CARD}: {differences}.", hint=RESTORE
        )
    return weights, card


def describe_shape_differences(expected: Mapping[str, tuple[int, ...]], actual: Mapping[str, tuple[int, ...]]) -> str:
    """Describe tensors that are missing, unknown or of another shape: the first three by name; empty if none."""
    wrong = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    more = " and more" if len(wrong) > 3 else ""
    return f"{', '.join(wrong[:3])}{more} missing, unknown or of another shape" if wrong else ""


def _int8_onnx(folder: Path, card: ModelCard) -> bytes | None:
    if card.arithmetic == "float":
        return None
    try:
        return (folder / INT8_ONNX).read_bytes()
    except OSError as error:
        raise ModelBroken(f"{folder / INT8_ONNX} cannot be read: {error}", hint=RESTORE) from error


def load_weights(folder: Path) -> dict[str, NDArray[Any]]:
    """Read the weights in their stored precision. Raises ModelBroken."""
    try:
        weights: dict[str, NDArray[Any]] = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelBroken(f"{folder / WEIGHTS} cannot be read: {error}", hint=RESTORE) from error
    return weights
