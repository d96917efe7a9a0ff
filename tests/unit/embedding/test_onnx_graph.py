"""The ONNX network equals the torch network, for every head, batch norm and photo size."""

import numpy as np
import pytest
import torch

from embedding.card import STAGE_CHANNELS, ArchitectureConfig, ClassifierHeadConfig, TransformConfig, TwoPartHeadConfig
from embedding.category_head import CategoryHead
from embedding.engines.onnx_engine import OnnxEngine
from embedding.engines.onnx_graph import build_graph, tensor_shapes
from embedding.model import EmbeddingModel, TwoPartHead, as_arrays

HEADS = {
    "pooled": ArchitectureConfig(),
    "classifier": ArchitectureConfig(head=ClassifierHeadConfig()),
    "two_part": ArchitectureConfig(head=TwoPartHeadConfig(categories=3, kind_share=0.3)),
}
TRANSFORM = TransformConfig(size=96, mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.25))
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 96, 96), np.uint8)


def network(architecture: ArchitectureConfig) -> EmbeddingModel:
    """Build a network of random weights, with batch norms that are not the identity."""
    torch.manual_seed(0)
    model = EmbeddingModel(architecture, TRANSFORM).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


@pytest.mark.parametrize("head", HEADS)
def test_the_same_embeddings(head: str) -> None:
    """ONNX Runtime and torch give the same embeddings; their difference is far below that between photos."""
    model = network(HEADS[head])
    weights = as_arrays(model.state_dict())
    with torch.inference_mode():
        expected = model(torch.from_numpy(PIXELS)).numpy()
    embeddings = OnnxEngine(build_graph(HEADS[head], TRANSFORM, weights)).run(PIXELS)
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (5, HEADS[head].head.dim))
    assert (embeddings * expected).sum(axis=1).min() >= 0.999999
    apart = min(np.abs(expected[i] - expected[j]).max() for i in range(5) for j in range(i))
    assert np.abs(embeddings - expected).max() < apart / 100


@pytest.mark.parametrize("head", HEADS)
def test_the_same_weights(head: str) -> None:
    """Names and shapes are those of torch's state dict, so that no weight is missing in either network."""
    state = network(HEADS[head]).state_dict()
    assert tensor_shapes(HEADS[head]) == {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_feature_maps() -> None:
    """With `feature_maps` the graph's outputs are the trunk's stages, before pooling."""
    model = network(HEADS["two_part"])
    graph = build_graph(HEADS["two_part"], TRANSFORM, as_arrays(model.state_dict()), feature_maps=True)
    maps = OnnxEngine(graph).outputs(PIXELS)
    assert [stage.shape[:2] for stage in maps] == [(5, channels) for channels in STAGE_CHANNELS.values()]
    with torch.inference_mode():
        expected = model.trunk(model.normalize(torch.from_numpy(PIXELS))).numpy()
    assert np.allclose(np.concatenate([stage.mean((2, 3)) for stage in maps], axis=1), expected, rtol=1e-3, atol=1e-4)


def test_categories() -> None:
    """The category head gives the same probabilities as torch, and they sum to 1."""
    architecture = HEADS["two_part"]
    model = network(architecture)
    assert isinstance(model.head, TwoPartHead)
    assert isinstance(architecture.head, TwoPartHeadConfig)
    with torch.inference_mode():
        embeddings = model(torch.from_numpy(PIXELS))
        expected = model.head.classify(embeddings).softmax(dim=1).numpy()
    probabilities = CategoryHead(architecture.head, as_arrays(model.state_dict())).probabilities(embeddings.numpy())
    assert np.allclose(probabilities, expected, atol=1e-5)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
