import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from catalog.errors import ModelMissing
from embedding import onnx_engine
from embedding.checkpoint import load_model
from embedding.embedder import Embedder
from embedding.model import EmbeddingModel
from embedding.onnx_engine import OnnxEngine
from embedding.torch_engine import CudaEngine, TorchEngine
from tests.conftest import DIM, FakeEngine, picture

PICTURES = [picture(seed, size) for seed, size in enumerate([(64, 48), (48, 64), (300, 300), (500, 100)])]


def on_torch(folder: Path) -> Embedder:
    model, card = load_model(folder)
    return Embedder(card, TorchEngine(model))


def on_onnx(folder: Path) -> Embedder:
    model, card = load_model(folder)
    return Embedder(card, OnnxEngine.load(folder, model, card.fingerprint))


@pytest.fixture(scope="module")
def expected(random_model: Path) -> NDArray[np.float32]:
    """What torch makes of the pictures."""
    return on_torch(random_model).embed(PICTURES)


@pytest.fixture
def copy(random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder of one's own, whose model.onnx is still to be made: the one that `random_model` had exported."""

    def export(_: EmbeddingModel, path: Path) -> None:  # without the seconds of exporting it again
        onnx_engine._replace(path, (random_model / "model.onnx").read_bytes())

    monkeypatch.setattr(onnx_engine, "_export", export)
    return Path(shutil.copytree(random_model, tmp_path / "copy", ignore=shutil.ignore_patterns("*.onnx*")))


def test_engines_agree(random_model: Path, expected: NDArray[np.float32]) -> None:
    """A collection filled with ONNX Runtime can be searched with torch: their embeddings are the same."""
    found = on_onnx(random_model).embed(PICTURES)
    assert (found * expected).sum(axis=1).min() >= 0.9999
    # Random weights put all photos close together, so the cosine alone would prove little.
    apart = min(np.abs(expected[i] - expected[j]).max() for i in range(4) for j in range(i))
    assert np.abs(found - expected).max() < apart / 50


def test_gpu_path(random_model: Path, expected: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a GPU (bfloat16 convolutions, compiled there) gives embeddings that compare with those of a CPU."""
    model, card = load_model(random_model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":  # which nobody compiles for: half a minute
        monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    found = Embedder(card, CudaEngine(model, device)).embed(PICTURES)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    assert (found * expected).sum(axis=1).min() >= 0.999


def test_contract(random_model: Path) -> None:
    """Embeddings are float32 (n, dim), finite, of unit length, and do not depend on their neighbours."""
    embedder = Embedder.load(random_model)
    found = embedder.embed(PICTURES)
    assert (found.dtype, found.shape) == (np.float32, (4, embedder.dim))
    assert np.isfinite(found).all()
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    assert np.allclose(embedder.embed(PICTURES[2:3])[0], found[2], atol=1e-5)


def test_threads(random_model: Path) -> None:
    """Several threads may embed at once, each gets its own photos' embeddings."""
    embedder = Embedder.load(random_model)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: embedder.embed([image])[0], PICTURES * 2))
    assert np.allclose(found, np.tile(embedder.embed(PICTURES), (2, 1)), atol=1e-5)


def test_no_photos(embedder: Embedder) -> None:
    """No photos give no embeddings, of the right width."""
    for found in (embedder.embed_pixels(np.empty((0, 3, 224, 224), np.uint8)), embedder.embed([])):
        assert (found.dtype, found.shape) == (np.float32, (0, DIM))


def test_batches(embedder: Embedder, engine: FakeEngine) -> None:
    """More photos than fit one batch are all embedded, once, in their order."""
    pixels = np.stack([embedder.preprocess(picture(seed)) for seed in range(70)])
    found = embedder.embed_pixels(pixels)
    assert engine.photos == 70
    assert np.array_equal(found, FakeEngine().run(pixels))


def test_not_finite(embedder: Embedder) -> None:
    """Embeddings that are no numbers do not leave the embedder: Milvus would store them."""

    class Broken:
        def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.full((len(pixels), DIM), np.nan, np.float32)

    with pytest.raises(FloatingPointError):
        Embedder(embedder.card, Broken()).embed(PICTURES)


def test_missing_model(tmp_path: Path) -> None:
    """An embedder needs a model folder."""
    with pytest.raises(ModelMissing):
        Embedder.load(tmp_path)


def write_stale(path: Path) -> None:
    """A working network of another model: it gives a zero for every pixel."""
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", 3, 224, 224])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    cast = helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT)
    subtract = helper.make_node("Sub", ["floats", "floats"], ["output"])
    graph = helper.make_graph([cast, subtract], "stale", [pixels], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


@pytest.mark.parametrize("kind", ["stale", "cut", "changed", "no-stamp", "stamp"])
def test_onnx_made_anew(copy: Path, random_model: Path, expected: NDArray[np.float32], kind: str) -> None:
    """A model.onnx of other weights, cut short, with changed bytes or a garbled stamp is made anew, and not used."""
    on_onnx(random_model)  # makes model.onnx where a GPU embeds otherwise
    if kind == "stale":
        write_stale(copy / "model.onnx")
    else:
        whole = bytearray((random_model / "model.onnx").read_bytes())
        middle = len(whole) // 2
        if kind == "cut":
            del whole[middle:]
        elif kind == "changed":  # one bit of one weight: it opens, and may give any embedding
            whole[middle] ^= 0x40
        (copy / "model.onnx").write_bytes(whole)
    if kind != "no-stamp":
        shutil.copy(random_model / "model.onnx.stamp", copy)
    if kind == "stamp":
        (copy / "model.onnx.stamp").write_bytes(b"\x80\xff" * 50)
    assert np.allclose(on_onnx(copy).embed(PICTURES), expected, atol=1e-4)
    assert sorted(path.name for path in copy.iterdir()) == [
        "model.json",
        "model.onnx",
        "model.onnx.stamp",
        "model.safetensors",
    ]
    stamp = (copy / "model.onnx.stamp").read_text().split()
    assert stamp == [load_model(copy)[1].fingerprint, hashlib.sha256((copy / "model.onnx").read_bytes()).hexdigest()]


def test_onnx_kept(random_model: Path) -> None:
    """A model.onnx of this model is used as it is: exporting takes seconds at every start."""
    on_onnx(random_model)
    before = (random_model / "model.onnx").stat().st_mtime_ns
    on_onnx(random_model)
    assert (random_model / "model.onnx").stat().st_mtime_ns == before


def test_unwritable_folder(copy: Path, expected: NDArray[np.float32]) -> None:
    """Where model.onnx cannot be written, torch embeds instead, with the same result."""
    (copy / "model.onnx.part").mkdir()
    assert np.allclose(Embedder.load(copy).embed(PICTURES), expected, atol=1e-4)
    assert not (copy / "model.onnx").exists()
