"""`marketlens model import`: a model folder from ImageNet weights, torchvision's or a file's."""

import lzma
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from catalog.errors import ModelBroken, ModelMissing
from catalog.extras import needs
from embedding.card import ArchitectureConfig, ClassifierHeadConfig, ModelCard, TransformConfig
from embedding.checkpoint import differing_names, save_model
from embedding.engines.onnx_graph import tensor_shapes


@dataclass(frozen=True, slots=True)
class StartWeights:
    """A resnet50() state dict, what it is called and under which licence it comes."""

    state: Mapping[str, NDArray[Any]]
    parent: str
    licence: str
    licence_files: dict[str, bytes] = field(default_factory=dict)

    @property
    def trunk(self) -> dict[str, NDArray[Any]]:
        """All but the classifier."""
        return {name: tensor for name, tensor in self.state.items() if not name.startswith("fc.")}


def start_weights(weights: Path | None) -> StartWeights:
    """ImageNet weights: a `resnet50()` state dict in safetensors, or that in xz; None downloads torchvision's.

    Raises ModelMissing, ModelBroken.
    """
    if weights is None:
        start = StartWeights(_download(), "torchvision ResNet50, IMAGENET1K_V1", "BSD-3-Clause")
    else:
        # What lies beside the weights holds for what is made of them, and goes where they go.
        licences = {path.name: path.read_bytes() for path in sorted(weights.parent.glob("LICENSE*")) if path.is_file()}
        licence = f"that of the weights it began with: {', '.join(licences) or 'ask where they came from'}"
        start = StartWeights(_read(weights), f"{weights.name}, an ImageNet ResNet50", licence, licences)
    shapes = tensor_shapes(ArchitectureConfig(head=ClassifierHeadConfig()))
    expected = {name.removeprefix("trunk.").removeprefix("head."): shape for name, shape in shapes.items()}
    if wrong := differing_names(expected, {name: tensor.shape for name, tensor in start.state.items()}):
        raise ModelBroken(f"{weights or 'The download'} is no state dict of torchvision's resnet50(): {wrong}.")
    return start


def import_model(out: Path, weights: Path | None) -> ModelCard:
    """Make a model folder: ResNet50 without its classifier, pooled 2048-d features of unit length.

    Raises ModelMissing, ModelBroken, OutputFailed.
    """
    start = start_weights(weights)
    card = ModelCard(
        name=out.name,
        architecture=ArchitectureConfig(),
        transform=TransformConfig(),
        parent=start.parent,
        licence=start.licence,
    )
    trunk = {f"trunk.{name}": tensor for name, tensor in start.trunk.items()}
    return save_model(out, trunk, card, start.licence_files)


def _download() -> dict[str, NDArray[Any]]:
    with needs("train"):
        from torchvision.models import ResNet50_Weights  # noqa: PLC0415 - a weights file needs no torch

        from embedding.model import as_arrays  # noqa: PLC0415
    try:
        return as_arrays(ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise ModelMissing(
            f"torchvision could not download its ImageNet weights: {error}",
            hint="Without a network, give a state dict of resnet50() in safetensors: "
            "marketlens model import --weights FILE",
        ) from error


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        return dict(load(data))
    except FileNotFoundError as error:
        raise ModelMissing(f"There is no weights file {path}.") from error
    except (OSError, lzma.LZMAError, SafetensorError) as error:
        raise ModelBroken(f"{path} is not a safetensors file (.safetensors or .safetensors.xz): {error}") from error
