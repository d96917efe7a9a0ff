"""`marketlens model import`: a model folder from ImageNet weights, torchvision's or a file's."""

import lzma
from pathlib import Path
from urllib.error import URLError

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor
from torchvision.models import ResNet50_Weights, resnet50

from catalog.errors import ModelBroken, ModelMissing
from embedding.checkpoint import ModelCard, save_model
from embedding.model import ArchitectureConfig
from embedding.transforms import TransformConfig


def import_model(out: Path, weights: Path | None) -> ModelCard:
    """Make a model folder: ResNet50 without its classifier, pooled 2048-d features of unit length.

    `weights` is a torchvision `resnet50()` state dict in safetensors, or that in xz; None downloads torchvision's.
    Raises ModelMissing, ModelBroken, OutputFailed.
    """
    if weights is None:
        state, parent, licence = _download(), "torchvision ResNet50, IMAGENET1K_V1", "BSD-3-Clause"
    else:
        state, parent = _read(weights), f"{weights.name}, an ImageNet ResNet50"
        licence = "that of the weights file, which this folder inherits"
    architecture, transform = ArchitectureConfig(), TransformConfig()
    expected = {name: tensor.shape for name, tensor in resnet50().state_dict().items()}
    found = {name: tensor.shape for name, tensor in state.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ModelBroken(
            f"{weights or 'The download'} is no state dict of torchvision's resnet50(): {', '.join(wrong[:3])} "
            f"{'and more ' if len(wrong) > 3 else ''}missing, unknown or of another shape."
        )
    trunk = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    return save_model(
        out, trunk, name=out.name, parent=parent, licence=licence, architecture=architecture, transform=transform
    )


def _download() -> dict[str, Tensor]:
    try:
        return dict(ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise ModelMissing(
            f"torchvision could not download its ImageNet weights: {error}",
            hint="Without a network, give a state dict of resnet50() in safetensors: "
            "marketlens model import --weights FILE",
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        return dict(load(data))
    except FileNotFoundError as error:
        raise ModelMissing(f"There is no weights file {path}.") from error
    except (OSError, lzma.LZMAError, SafetensorError) as error:
        raise ModelBroken(f"{path} is not a safetensors file (.safetensors or .safetensors.xz): {error}") from error
