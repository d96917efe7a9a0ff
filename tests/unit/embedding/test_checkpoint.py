import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import embedding.checkpoint
from catalog.errors import ModelBroken, ModelMissing, OutputFailed
from embedding.card import ArchitectureConfig, ModelCard, TransformConfig, read_card
from embedding.checkpoint import fingerprint, load_model, save_model
from embedding.model import load_network

Weights = dict[str, NDArray[Any]]
WEIGHTS: Weights = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.array(7)}


def save(folder: Path, weights: Weights = WEIGHTS) -> ModelCard:
    card = ModelCard(
        name="tiny",
        parent="nothing",
        licence="MIT",
        architecture=ArchitectureConfig(),
        transform=TransformConfig(),
    )
    return save_model(folder, weights, card)


def edit(folder: Path, **changes: object) -> None:
    """Change model.json by hand."""
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | changes))


@pytest.fixture
def copy(random_model: Path, tmp_path: Path) -> Path:
    """A copy of a model folder, for tests that damage it."""
    return Path(shutil.copytree(random_model, tmp_path / "copy", ignore=shutil.ignore_patterns("*.onnx")))


def test_round_trip(random_model: Path, tmp_path: Path) -> None:
    """A model that is loaded and saved again is the same model with the same card."""
    weights, card = load_model(random_model)
    assert {"trunk.conv1.weight", "trunk.bn1.running_mean"} <= weights.keys()
    half = {name: array.astype(np.float16) if array.dtype == np.float32 else array for name, array in weights.items()}
    saved = save(tmp_path / "deep" / "again", half)
    assert saved.fingerprint == card.fingerprint
    again, loaded = load_model(tmp_path / "deep" / "again")
    assert loaded == saved
    assert again.keys() == weights.keys()
    assert all(np.array_equal(array, again[name]) for name, array in weights.items())


def test_evaluation_mode(random_model: Path) -> None:
    """A loaded model is in evaluation mode: a photo's embedding does not depend on the rest of its batch."""
    model, _ = load_network(random_model)
    pixels = torch.randint(0, 256, (3, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together, alone, again = model(pixels), model(pixels[:1]), model(pixels[:1])
    assert not any(module.training for module in model.modules())
    assert torch.allclose(together[:1], alone, atol=1e-5)
    assert torch.equal(alone, again)


def test_no_pickle(random_model: Path, copy: Path) -> None:
    """A model folder contains no pickle; a pickle instead of the weights is refused, not run."""
    assert {path.name for path in random_model.iterdir()} <= {
        "model.safetensors",
        "model.json",
        "plots",
    }
    torch.save({"a": torch.zeros(1)}, copy / "model.safetensors")
    with pytest.raises(ModelBroken):
        load_model(copy)


@pytest.mark.parametrize("place", [-1, -20_000_000])
def test_changed_weight(copy: Path, place: int) -> None:
    """One changed byte in the weights is detected, and the error names the expected fingerprint."""
    expected = read_card(copy).fingerprint
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[place] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelBroken, match=expected[:12]) as error:
        load_model(copy)
    assert error.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"transform": TransformConfig(size=256).model_dump()},
        {"transform": TransformConfig(mean=(0.5, 0.5, 0.5)).model_dump()},
        {"transform": TransformConfig(interpolation="bilinear").model_dump()},
        {"transform": {"resize": "crop"}},
        {"architecture": {"trunk": "resnet18"}},
        {"architecture": {"head": {"kind": "two_part", "categories": 13}}},
        {"fingerprint": "0" * 64},
        {"surprise": 1},
        {"categories": ["a", "b"]},  # of a model without a category head
        {"calibration": {"slope": float("nan"), "intercept": 0, "pairs": 1, "same_item_pairs": 1}},
        {"training": {"words": "x" * 20_000_000}},
        {"name": None},
    ],
)
def test_changed_card(copy: Path, change: dict[str, object]) -> None:
    """A model.json that does not match the weights is refused."""
    edit(copy, **change)
    with pytest.raises(ModelBroken):
        load_model(copy)


def test_changed_description(copy: Path) -> None:
    """Name, licence and metrics may be edited, because they do not affect embeddings."""
    figure = {"mean": 0.5, "low": 0.4, "high": 0.6, "queries": 7}
    edit(copy, name="Möbel", metrics={"recall_at_1": figure}, licence="other")
    assert load_model(copy)[1].name == "Möbel"


@pytest.mark.parametrize("part", [0, 4, 100, 1_000_000, 40_000_000])
def test_cut_weights(copy: Path, part: int) -> None:
    """Truncated weights are refused."""
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(part)
    with pytest.raises(ModelBroken, match=r"model\.safetensors"):
        load_model(copy)


def test_incomplete_folder(copy: Path) -> None:
    """A folder without its weights is broken; a folder without model.json is not a model."""
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelBroken):
        load_model(copy)
    (copy / "model.json").unlink()
    with pytest.raises(ModelMissing):
        load_model(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
def test_garbled_card(tmp_path: Path, text: str) -> None:
    """An unreadable model.json makes a broken model; the error names its path."""
    (tmp_path / "model.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ModelBroken, match=r"model\.json"):
        read_card(tmp_path)


def test_missing(tmp_path: Path) -> None:
    """If there is no model, the error says how to create one."""
    with pytest.raises(ModelMissing) as error:
        load_model(tmp_path / "none")
    assert "marketlens model import" in error.value.hint


def test_never_overwritten(tmp_path: Path) -> None:
    """An existing folder is never overwritten, empty or not."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(OutputFailed, match="exists already"):
        save(tmp_path / "m")
    assert [path.name for path in tmp_path.rglob("*")] == ["m", "notes.txt"]


def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full, no incomplete folder is left."""

    def fill(_weights: Weights, path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedding.checkpoint, "save_file", fill)
    with pytest.raises(OutputFailed, match="No space left"):
        save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_file_in_the_way(tmp_path: Path) -> None:
    """A folder that cannot be created raises OutputFailed, and the file in its place stays."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputFailed):
        save(tmp_path / "file" / "m")
    assert (tmp_path / "file").read_text() == "mine"


def test_after_a_kill(tmp_path: Path) -> None:
    """The remains of an interrupted save neither block the next save nor get into the model."""
    (tmp_path / "m.part").mkdir()
    (tmp_path / "m.part" / "junk").write_text("x")
    save(tmp_path / "m")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["m", "model.json", "model.safetensors"]


def test_fingerprint() -> None:
    """Every change that affects embeddings changes the fingerprint; the order of the weights does not."""
    architecture, transform = ArchitectureConfig(), TransformConfig()
    changed = [
        fingerprint(WEIGHTS, architecture, transform),
        fingerprint(WEIGHTS | {"a": WEIGHTS["a"] + 1}, architecture, transform),
        fingerprint(WEIGHTS | {"a": WEIGHTS["a"].astype(np.float32)}, architecture, transform),
        fingerprint(WEIGHTS | {"a": WEIGHTS["a"].reshape(3, 2)}, architecture, transform),
        fingerprint({"a2": WEIGHTS["a"], "b": WEIGHTS["b"]}, architecture, transform),
        fingerprint({"a": WEIGHTS["a"]}, architecture, transform),
        fingerprint(WEIGHTS, architecture, TransformConfig(size=225)),
        fingerprint(WEIGHTS, architecture, TransformConfig(std=(0.229, 0.224, 0.226))),
    ]
    assert len(set(changed)) == len(changed)
    assert fingerprint(dict(reversed(WEIGHTS.items())), architecture, transform) == changed[0]


def test_fingerprints_of_version_0_1_0() -> None:
    """Older collections and models still match: the fingerprint is the one computed from torch's tensors."""
    weights = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "single": np.float32(np.arange(4)),
        "small": np.arange(-3, 3, dtype=np.int8),
        "count": np.array(7),
    }
    computed = fingerprint(weights, ArchitectureConfig(), TransformConfig())
    assert computed == "c174576f0f43b12a9d1487a7eec9a69ad04ec6267902886aba84cfec41f27afc"


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    """Weights that match their card's fingerprint but not its architecture are refused; the error names them."""
    save(tmp_path / "m")
    with pytest.raises(
        ModelBroken, match=r"do not match the architecture in model\.json: a, b, trunk.bn1.bias and more"
    ):
        load_model(tmp_path / "m")
