"""int8 weights and int8 arithmetic: a quarter of the size, nearly the same embeddings, the same checks."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import embedding.quantization.quantize
from catalog.errors import ExportUnreadable, ModelBroken, OutputFailed
from catalog.exports.export import open_export
from catalog.photo_files.hosts import make_reader
from embedding.card import read_card
from embedding.checkpoint import load_model
from embedding.embedder import Embedder
from embedding.int8_weights import dequantize, quantize
from embedding.quantization.quantize import quantize_arithmetic, quantize_model
from marketlens.terminal import progress
from tests.support.commands import RunHere
from tests.support.data.exports import write_export
from tests.support.data.pictures import picture


def test_error_is_half_a_step() -> None:
    """No weight changes by more than half a step of its output channel, however small that channel's weights are."""
    weights = {"w": np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)}
    weights["w"][3] *= 1e-4
    weights["w"][5] = 0
    stored = quantize(weights)
    assert stored["w"].dtype == np.int8
    again = dequantize(stored)["w"]
    steps = np.abs(weights["w"].reshape(8, -1)).max(axis=1) / 127
    assert (np.abs(again - weights["w"]).reshape(8, -1).max(axis=1) <= steps / 2 + 1e-9).all()
    assert np.array_equal(again[5], weights["w"][5])


def test_tensors_without_channels_stay_float() -> None:
    """Biases and batch norm stay float, counters stay integers."""
    weights = {"bias": np.array([1.5, -2.0], np.float32), "count": np.array(7)}
    stored = quantize(weights)
    assert stored["bias"].dtype == np.float16
    assert dequantize(stored)["bias"].tolist() == [1.5, -2.0]
    assert stored["count"].item() == 7
    assert stored.keys() == weights.keys()


def test_folder(random_model: Path, tmp_path: Path) -> None:
    """A quantized model folder is half as large as float16, loads like any other and embeds nearly the same."""
    card = quantize_model(random_model, tmp_path / "small")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (random_model, tmp_path / "small")]
    assert sizes[1] < 0.53 * sizes[0]
    assert card.fingerprint != read_card(random_model).fingerprint
    assert {path.name for path in (tmp_path / "small").iterdir()} == {"model.json", "model.safetensors"}
    assert read_card(tmp_path / "small").name == "small"
    pictures = [picture(seed) for seed in range(4)]
    before, after = Embedder.load(random_model).embed(pictures), Embedder.load(tmp_path / "small").embed(pictures)
    assert (before * after).sum(axis=1).min() > 0.999
    assert not np.array_equal(before, after)


def test_changed_byte(random_model: Path, tmp_path: Path) -> None:
    """One changed byte in int8 weights or their scales is detected."""
    quantize_model(random_model, tmp_path / "small")
    path = tmp_path / "small" / "model.safetensors"
    whole = path.read_bytes()
    assert {tensor.dtype for tensor in load_file(path).values()} >= {np.dtype(np.int8), np.dtype(np.float32)}
    for place in (-1, len(whole) // 2):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ModelBroken):
            load_model(tmp_path / "small")


def test_never_overwritten(random_model: Path) -> None:
    """A model cannot be quantized onto itself."""
    with pytest.raises(OutputFailed, match="exists already"):
        quantize_model(random_model, random_model)


@pytest.fixture(scope="module")
def int8_model(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model with int8 arithmetic."""
    folder = tmp_path_factory.mktemp("int8")
    export = open_export(str(write_export(folder / "export", 32)))
    card, agreement = quantize_arithmetic(
        random_model, folder / "model", export, read=make_reader(1_000_000, 20), progress=progress
    )
    assert (card.arithmetic, agreement.photos) == ("int8", 32)
    assert 0.9 < agreement.lowest <= agreement.mean < 1
    return folder / "model"


def test_int8_arithmetic(random_model: Path, int8_model: Path) -> None:
    """A model that calculates in int8 has another fingerprint and nearly the same embeddings, on any machine."""
    before, after = Embedder.load(random_model), Embedder.load(int8_model)
    assert before.fingerprint != after.fingerprint == read_card(int8_model).fingerprint
    pictures = [picture(seed) for seed in range(4)]
    embeddings, expected = after.embed(pictures), before.embed(pictures)
    assert (embeddings * expected).sum(axis=1).min() > 0.9
    assert not np.allclose(embeddings, expected, atol=1e-4)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", ["changed", "missing"])
def test_int8_file_is_the_model(int8_model: Path, tmp_path: Path, kind: str) -> None:
    """The fingerprint covers the int8 graph: if it is changed or missing, the model is refused."""
    copy = Path(shutil.copytree(int8_model, tmp_path / "copy"))
    path = copy / "model.int8.onnx"
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.unlink()
    if kind == "changed":
        path.write_bytes(changed)
    with pytest.raises(ModelBroken, match="int8" if kind == "missing" else "fingerprint"):
        Embedder.load(copy)


def test_by_command(
    random_model: Path, int8_model: Path, tmp_path: Path, run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --calibrate the model calculates in int8, and the command reports its agreement with float."""
    # Calibrated once, by `int8_model`: the same model and the same photos give the same file.
    calibrated = (int8_model / "model.int8.onnx").read_bytes()
    monkeypatch.setattr(embedding.quantization.quantize, "to_int8", lambda *_: calibrated)
    export = write_export(tmp_path / "export", 32)
    done = run_here("model", "quantize", random_model, "--out", "fast", "--calibrate", export, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "fast")
    assert card.arithmetic == "int8"
    assert f"Model {card.fingerprint[:12]} in fast." in done.stdout
    assert "on 32 other photos" in done.stdout


def test_back_to_floats(int8_model: Path, random_model: Path, tmp_path: Path) -> None:
    """Quantizing the weights of an int8 model gives a model that calculates in float, as its card says."""
    card = quantize_model(int8_model, tmp_path / "floats")
    assert card.arithmetic == read_card(tmp_path / "floats").arithmetic == "float"
    assert card.fingerprint == quantize_model(random_model, tmp_path / "same").fingerprint


def test_too_few_photos(random_model: Path, tmp_path: Path) -> None:
    """Too few photos for calibration are refused, and no model is written."""
    export = open_export(str(write_export(tmp_path / "export", 4)))
    with pytest.raises(ExportUnreadable, match="8 usable photos; 64 are needed"):
        quantize_arithmetic(random_model, tmp_path / "out", export, read=make_reader(1_000_000, 20), progress=progress)
    assert not (tmp_path / "out").exists()
