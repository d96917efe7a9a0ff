"""The model folder: `model.safetensors` and `model.json`. Saved whole or not at all, checked at every load."""

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
    """Hash (sha256, hex) over what decides an embedding. Two embeddings compare only if theirs are equal."""
    described: dict[str, Any] = {
        "architecture": architecture.model_dump(mode="json"),
        "transform": transform.model_dump(mode="json"),
    }
    if int8_onnx is not None:
        described["int8_onnx"] = hashlib.sha256(int8_onnx).hexdigest()
    return hash_tensors(weights, json.dumps(described, sort_keys=True))


def hash_tensors(weights: Weights, words: str) -> str:
    """sha256, hex, over words and over the name, type (as torch calls it), shape and bytes of each tensor."""
    digest = hashlib.sha256(words.encode())
    for name in sorted(weights):
        tensor = np.ascontiguousarray(weights[name])
        digest.update(f"{name} torch.{tensor.dtype} {weights[name].shape}".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def save_model(folder: Path, weights: Weights, card: ModelCard, files: Mapping[str, bytes] | None = None) -> ModelCard:
    """Write a model folder that is not there yet, with further `files` (path in the folder -> content).

    Returns the card with its fingerprint. Raises OutputFailed; a half-written folder never stays.
    """
    files = files or {}
    found = fingerprint(weights, card.architecture, card.transform, files.get(INT8_ONNX))
    card = card.model_copy(update={"fingerprint": found, "arithmetic": "int8" if INT8_ONNX in files else "float"})
    with new_folder(folder, "The model folder") as draft:
        save_file(dict(weights), draft / WEIGHTS)
        (draft / WEIGHTS).chmod(0o644)  # safetensors writes for its owner alone; a container's user is another
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        (draft / CARD).write_text(card.model_dump_json(indent=2) + "\n")
    return card


def further_files(folder: Path) -> dict[str, bytes]:
    """All that a model made from this one takes over (path in the folder -> content): no weights, card, ONNX, links."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.name not in (WEIGHTS, CARD, INT8_ONNX) and not path.name.startswith("model.onnx")
    }


def listing_hash(listing_id: str) -> str:
    """How a model folder names a listing that it was trained on: without giving its id away."""
    return hashlib.sha256(listing_id.encode()).hexdigest()[:16]


def trained_on(folder: Path) -> frozenset[str]:
    """Hashes of the listings that a model was trained or chosen on; empty where it does not say. Raises ModelBroken."""
    try:
        return frozenset((folder / TRAINED_ON).read_text().split())
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelBroken(f"{folder / TRAINED_ON} cannot be read: {error}", hint=RESTORE) from error


def load_model(folder: Path) -> tuple[dict[str, NDArray[Any]], ModelCard]:
    """Read a model folder: float32 weights and the card, the fingerprint checked. Raises ModelMissing, ModelBroken."""
    card, weights = read_card(folder), load_weights(folder)
    found = fingerprint(weights, card.architecture, card.transform, _int8_onnx(folder, card))
    if found != card.fingerprint:
        raise ModelBroken(
            f"The model in {folder} is not what its fingerprint says: {CARD} has {card.fingerprint[:12]}, "
            f"its weights and configuration give {found[:12]}.",
            hint=RESTORE,
        )
    weights = dequantize(weights)
    expected, shapes = tensor_shapes(card.architecture), {name: tensor.shape for name, tensor in weights.items()}
    if wrong := differing_names(expected, shapes):
        raise ModelBroken(f"The weights in {folder} are not of the architecture in {CARD}: {wrong}.", hint=RESTORE)
    return weights, card


def differing_names(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> str:
    """Which tensors are missing, unknown or of another shape, the first three by name; empty where all are right."""
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
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
    """Read weights as they are stored. Raises ModelBroken."""
    try:
        weights: dict[str, NDArray[Any]] = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelBroken(f"{folder / WEIGHTS} cannot be read: {error}", hint=RESTORE) from error
    return weights
