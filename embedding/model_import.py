"""`marketlens model import`: create a model folder from ImageNet weights, from torchvision or a file."""

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
from embedding.checkpoint import describe_shape_differences, save_model
from embedding.engines.onnx_graph import tensor_shapes


@dataclass(frozen=True, slots=True)
class StartWeights:
    """A resnet50() state dict, its name and its licence."""

    state: Mapping[str, NDArray[Any]]
    parent: str
    licence: str
    licence_files: dict[str, bytes] = field(default_factory=dict)

    @property
    def trunk(self) -> dict[str, NDArray[Any]]:
        """All tensors except for the classifier's."""
        return {name: tensor for name, tensor in self.state.items() if not name.startswith("fc.")}


def load_start_weights(weights: Path | None) -> StartWeights:
    """Load ImageNet weights: a `resnet50()` state dict in safetensors, optionally in xz; None downloads torchvision's.

    Raises ModelMissing, ModelBroken.
    """
    if weights is None:
        start = StartWeights(_download(), "torchvision ResNet50, IMAGENET1K_V1", "BSD-3-Clause")
    else:
        # Licence files next to the weights apply to derived models as well, and are copied with them.
        licences = {path.name: path.read_bytes() for path in sorted(weights.parent.glob("LICENSE*")) if path.is_file()}
        licence = f"that of its start weights: {', '.join(licences) or 'unknown, ask their source'}"
        start = StartWeights(_read_weights(weights), f"{weights.name}, an ImageNet ResNet50", licence, licences)
    shapes = tensor_shapes(ArchitectureConfig(head=ClassifierHeadConfig()))
    expected = {name.removeprefix("trunk.").removeprefix("head."): shape for name, shape in shapes.items()}
    if differences := describe_shape_differences(
        expected, {name: tensor.shape for name, tensor in start.state.items()}
    ):
        raise ModelBroken(
            f"{weights or 'The download'} is not a state dict of torchvision's resnet50(): {differences}."
        )
    return start


def import_model(out: Path, weights: Path | None) -> ModelCard:
    """Create a model folder: ResNet50 without its classifier, pooled 2048-d features of unit length.

    Raises ModelMissing, ModelBroken, OutputFailed.
    """
    start = load_start_weights(weights)
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
        from torchvision.models import ResNet50_Weights  # noqa: PLC0415 - not needed for a weights file

        from embedding.model import as_arrays  # noqa: PLC0415
    try:
        return as_arrays(ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise ModelMissing(
            f"torchvision could not download its ImageNet weights: {error}",
            hint="Without a network, use a state dict of resnet50() in safetensors: "
            "marketlens model import --weights FILE",
        ) from error


def _read_weights(path: Path) -> dict[str, NDArray[Any]]:
    try:
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        return dict(load(data))
    except FileNotFoundError as error:
        raise ModelMissing(f"The weights file {path} does not exist.") from error
    except (OSError, lzma.LZMAError, SafetensorError) as error:
        raise ModelBroken(f"{path} is not a safetensors file (.safetensors or .safetensors.xz): {error}") from error
