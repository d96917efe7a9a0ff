import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from catalog.errors import ModelMissing
from embedding.checkpoint import load_model
from embedding.embedder import Embedder
from embedding.engines import gpu
from embedding.engines.cuda_engine import CudaEngine
from embedding.engines.onnx_engine import OnnxEngine
from embedding.engines.onnx_graph import build_graph
from embedding.model import load_network
from tests.support.data.models import DIM, FakeEngine, random_copy
from tests.support.data.pictures import picture

PICTURES = [picture(seed, size) for seed, size in enumerate([(64, 48), (48, 64), (300, 300), (500, 100)])]


def onnx_embedder(folder: Path) -> Embedder:
    """Load a model on ONNX Runtime, even if the machine has a GPU."""
    weights, card = load_model(folder)
    return Embedder(card, OnnxEngine(build_graph(card.architecture, card.transform, weights)))


@pytest.fixture(scope="module")
def expected(random_model: Path) -> NDArray[np.float32]:
    """Embeddings of the pictures by torch."""
    network, card = load_network(random_model)
    preprocess = Embedder(card, FakeEngine()).preprocess
    with torch.inference_mode():
        return network(torch.from_numpy(np.stack([preprocess(image) for image in PICTURES]))).numpy()


def test_engines_agree(random_model: Path, expected: NDArray[np.float32]) -> None:
    """ONNX Runtime and torch give the same embeddings, so one can search a collection filled by the other."""
    embeddings = onnx_embedder(random_model).embed(PICTURES)
    assert (embeddings * expected).sum(axis=1).min() >= 0.9999
    # With random weights all photos are close together, so the cosine alone would prove little.
    apart = min(np.abs(expected[i] - expected[j]).max() for i in range(4) for j in range(i))
    assert np.abs(embeddings - expected).max() < apart / 50


def test_gpu_path(random_model: Path, expected: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU engine (bfloat16 convolutions, compiled) gives embeddings that match those of a CPU."""
    network, card = load_network(random_model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":  # compiling would take half a minute
        monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    embeddings = Embedder(card, CudaEngine(network, device)).embed(PICTURES)
    assert (embeddings.dtype, embeddings.shape) == (np.float32, expected.shape)
    assert (embeddings * expected).sum(axis=1).min() >= 0.999


def test_contract(random_model: Path) -> None:
    """Embeddings are float32 (n, dim), finite, of unit length, and do not depend on the rest of the batch."""
    embedder = Embedder.load(random_model)
    embeddings = embedder.embed(PICTURES)
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (4, embedder.dim))
    assert np.isfinite(embeddings).all()
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)
    assert np.allclose(embedder.embed(PICTURES[2:3])[0], embeddings[2], atol=1e-5)


def test_threads(random_model: Path) -> None:
    """Several threads can embed concurrently; each gets the embeddings of its own photos."""
    embedder = Embedder.load(random_model)
    with ThreadPoolExecutor(4) as pool:
        embeddings = list(pool.map(lambda image: embedder.embed([image])[0], PICTURES * 2))
    assert np.allclose(embeddings, np.tile(embedder.embed(PICTURES), (2, 1)), atol=1e-5)


def test_no_photos(embedder: Embedder) -> None:
    """An empty batch gives an empty array of the right width."""
    for embeddings in (embedder.embed_pixels(np.empty((0, 3, 224, 224), np.uint8)), embedder.embed([])):
        assert (embeddings.dtype, embeddings.shape) == (np.float32, (0, DIM))


def test_batches(embedder: Embedder, engine: FakeEngine) -> None:
    """More photos than fit into one batch are all embedded, once, in order."""
    pixels = np.stack([embedder.preprocess(picture(seed)) for seed in range(70)])
    embeddings = embedder.embed_pixels(pixels)
    assert engine.photos == 70
    assert np.array_equal(embeddings, FakeEngine().run(pixels))


def test_not_finite(embedder: Embedder) -> None:
    """Embeddings that are not finite raise an error, because Milvus would store them."""

    class Broken:
        def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.full((len(pixels), DIM), np.nan, np.float32)

    with pytest.raises(FloatingPointError):
        Embedder(embedder.card, Broken()).embed(PICTURES)


def test_missing_model(tmp_path: Path) -> None:
    """An embedder needs a model folder."""
    with pytest.raises(ModelMissing):
        Embedder.load(tmp_path)


def test_read_only_folder(random_model: Path, tmp_path: Path, expected: NDArray[np.float32]) -> None:
    """Loading a model writes nothing: its folder may be read-only, or part of an installed package."""
    copy = random_copy(random_model, tmp_path / "copy")
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    copy.chmod(0o555)
    try:
        assert np.allclose(onnx_embedder(copy).embed(PICTURES), expected, atol=1e-4)
        assert np.allclose(Embedder.load(copy).embed(PICTURES), expected, atol=1e-3)
    finally:
        copy.chmod(0o755)
    assert {path.name: path.stat().st_mtime_ns for path in copy.iterdir()} == before


def test_a_graph_of_other_weights_is_not_used(
    random_model: Path, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    """A model.onnx in the folder, as version 0.1.0 wrote it, is ignored; the weights are used."""
    copy = random_copy(random_model, tmp_path / "copy")
    weights, card = load_model(random_model)
    others = {name: value * 2 if name == "trunk.conv1.weight" else value for name, value in weights.items()}
    (copy / "model.onnx").write_bytes(build_graph(card.architecture, card.transform, others))
    assert np.allclose(onnx_embedder(copy).embed(PICTURES), expected, atol=1e-4)


def test_a_gpu_without_torch_is_logged(
    random_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If a GPU is unused because torch is missing, the log gives the install command, and the CPU embeds."""
    monkeypatch.setattr(gpu, "has_driver", lambda: True)
    monkeypatch.setattr(gpu, "has_torch", lambda: False)
    assert Embedder.load(random_model).embed(PICTURES).shape == (4, DIM)
    assert f'{sys.executable} -m pip install "marketlens[gpu]"' in caplog.text


def test_torch_is_not_imported_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NVIDIA's driver torch is not imported, which would take seconds."""
    monkeypatch.setattr(gpu, "has_driver", lambda: False)
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it would fail
    assert not gpu.is_usable()
