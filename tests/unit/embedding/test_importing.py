import lzma
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import resnet50

from catalog.errors import ModelBroken, ModelMissing, OutputFailed
from embedding.card import read_card
from embedding.model import load_network
from embedding.model_import import import_model

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def state(random_model: Path) -> Weights:
    """The start weights of `random_model`: a state dict of torchvision's resnet50, in half precision."""
    return load_file(random_model.parent / "random.safetensors")


def write_weights(folder: Path, state: Weights) -> Path:
    save_file(state, folder / "w.safetensors")
    return folder / "w.safetensors"


def test_features(random_model: Path, state: Weights) -> None:
    """An imported model gives torchvision's own pooled features of a normalised photo, at unit length."""
    reference = resnet50()
    reference.load_state_dict(state)
    reference.fc = torch.nn.Identity()
    pixels = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    model, _ = load_network(random_model)
    with torch.inference_mode():
        features = reference.eval()((pixels / 255 - mean) / std)
        embeddings = model(pixels)
    assert torch.allclose(embeddings, features / features.norm(dim=1, keepdim=True), atol=1e-5)
    assert embeddings.dtype == torch.float32


def test_folder(random_model: Path, state: Weights) -> None:
    """The folder keeps the precision of the weights, leaves out the classifier and names the source."""
    stored = load_file(random_model / "model.safetensors")
    assert stored.keys() == {f"trunk.{name}" for name in state if not name.startswith("fc.")}
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16, torch.int64}
    card = read_card(random_model)
    assert "random.safetensors" in card.parent
    assert card.categories == []


def test_xz(state: Weights, tmp_path: Path) -> None:
    """Weights in xz give the same model as the plain file."""
    plain = write_weights(tmp_path, {name: torch.zeros_like(tensor) for name, tensor in state.items()})
    packed = tmp_path / "w.safetensors.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes(), preset=0))
    cards = [import_model(tmp_path / name, path) for name, path in [("one", plain), ("two", packed)]]
    assert cards[0].fingerprint == cards[1].fingerprint
    packed.write_bytes(packed.read_bytes()[:-1_000])
    with pytest.raises(ModelBroken, match=r"w\.safetensors\.xz"):
        import_model(tmp_path / "three", packed)


@pytest.mark.parametrize("name", ["layer3.2.conv1.weight", "fc.bias"])
def test_wrong_weights(state: Weights, tmp_path: Path, name: str) -> None:
    """A state dict with a missing, an unknown or a misshaped weight is refused; the error names that weight."""
    without = {key: tensor for key, tensor in state.items() if key != name}
    for wrong in (without, state | {f"{name}2": torch.zeros(1)}, without | {name: torch.zeros(1, 2)}):
        with pytest.raises(ModelBroken, match=name):
            import_model(tmp_path / "m", write_weights(tmp_path, wrong))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.safetensors.xz", "w.pt"])
def test_no_safetensors(tmp_path: Path, name: str) -> None:
    """A file that is not safetensors despite its name, and a pickle, are refused."""
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(ModelBroken, match=name):
        import_model(tmp_path / "m", tmp_path / name)


def test_missing_file(tmp_path: Path) -> None:
    """The error names a missing weights file."""
    with pytest.raises(ModelMissing, match=r"none\.safetensors"):
        import_model(tmp_path / "m", tmp_path / "none.safetensors")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If torchvision cannot download, the error says how to import without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelMissing) as error:
        import_model(tmp_path / "m", None)
    assert "--weights" in error.value.hint
    assert not (tmp_path / "m").exists()


def test_never_overwritten(random_model: Path) -> None:
    """An import never overwrites an existing folder."""
    before = (random_model / "model.json").read_bytes()
    with pytest.raises(OutputFailed):
        import_model(random_model, random_model.parent / "random.safetensors")
    assert (random_model / "model.json").read_bytes() == before
