"""The network as an ONNX graph, built from a model folder's configuration and weights, so that serving needs no torch.

It is the same network as in `embedding.model`, which trains it; tests/unit/embedding/test_onnx_graph.py compares both.
Each batch norm is folded into the preceding convolution, as in Krishnamoorthi, "Quantizing deep convolutional networks
for efficient inference", 2018, section 3.2.2.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from embedding.card import (
    STAGE_CHANNELS,
    ArchitectureConfig,
    ClassifierHeadConfig,
    HeadConfig,
    PooledHeadConfig,
    TransformConfig,
    TwoPartHeadConfig,
)
from embedding.int8_weights import Weights

INPUT, EMBEDDING = "pixels", "embedding"

# Blocks, channels inside a block, stride of the first block: He et al., "Deep residual learning", 2015, table 1,
# with the stride in a block's 3 x 3 convolution, as in torchvision.
_STAGES = {"layer1": (3, 64, 1), "layer2": (4, 128, 2), "layer3": (6, 256, 2), "layer4": (3, 512, 2)}
_EXPANSION = 4
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
_BATCH_NORM_EPSILON, LAYER_NORM_EPSILON = 1e-5, 1e-5  # torch's defaults, used in training
_OPSET = 17  # the first one with LayerNormalization
_IR_VERSION = 8  # that of the opset, so that older ONNX Runtimes can read the graph


def tensor_shapes(architecture: ArchitectureConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor in a model folder of this architecture."""
    shapes: dict[str, tuple[int, ...]] = {}
    for convolution, batch_norm, shape in _convolutions():
        shapes[f"{convolution}.weight"] = shape
        shapes |= {f"{batch_norm}.{name}": shape[:1] for name in _BATCH_NORM}
        shapes[f"{batch_norm}.num_batches_tracked"] = ()
    for layer, (outputs, inputs) in _head_layers(architecture.head).items():
        shapes |= {f"head.{layer}.weight": (outputs, inputs), f"head.{layer}.bias": (outputs,)}
    return shapes | text_shapes(architecture)


def text_shapes(architecture: ArchitectureConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape of every tensor of the text tower; empty without one."""
    if (text := architecture.text) is None:
        return {}
    head, pieces = architecture.head, text.width // text.piece
    shapes: dict[str, tuple[int, ...]] = {
        "text.hashes": (text.features,),
        "text.idf": (text.features,),
        "text.codes": (text.features, pieces),
        "text.lengths": (text.features,),
        "text.codebook": (pieces, 256, text.piece),
    }
    layers = {"hidden": (text.hidden, text.width), "embedding": (head.dim, text.hidden)}
    if head.categories:
        layers["category"] = (head.categories, text.features)
    for layer, (outputs, inputs) in layers.items():
        shapes |= {f"text.{layer}.weight": (outputs, inputs), f"text.{layer}.bias": (outputs,)}
    return shapes


def build_graph(
    architecture: ArchitectureConfig, transform: TransformConfig, weights: Weights, *, feature_maps: bool = False
) -> bytes:
    """Build and serialise the network: uint8 pixels (n, 3, size, size) -> float32 embeddings (n, dim) of unit length.

    `weights` are float, with the names and shapes of `tensor_shapes`. With `feature_maps` the outputs are those of the
    stages in STAGE_CHANNELS instead, before they are averaged over the photo: each (n, channels, h, w).
    """
    graph = _Graph(weights)
    maps = graph.trunk(graph.normalize(transform))
    size = transform.size
    if feature_maps:
        outputs = {name: maps[name] for name in STAGE_CHANNELS}
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, None, None])
            for name, channels in STAGE_CHANNELS.items()
        ]
    else:
        outputs = {EMBEDDING: graph.head(architecture.head, maps)}
        values = [helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["n", architecture.head.dim])]
    for name, value in outputs.items():
        graph.nodes.append(helper.make_node("Identity", [value], [name]))
    pixels = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", 3, size, size])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "marketlens", [pixels], values, graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="marketlens",
    )
    serialized: bytes = model.SerializeToString()
    return serialized


def _convolutions() -> Iterator[tuple[str, str, tuple[int, int, int, int]]]:
    """Yield each convolution of the trunk: its name, the name of its batch norm, the shape of its weights."""
    yield "trunk.conv1", "trunk.bn1", (64, 3, 7, 7)
    inputs = 64
    for stage, (blocks, width, _) in _STAGES.items():
        for number in range(blocks):
            block = f"trunk.{stage}.{number}"
            yield f"{block}.conv1", f"{block}.bn1", (width, inputs, 1, 1)
            yield f"{block}.conv2", f"{block}.bn2", (width, width, 3, 3)
            yield f"{block}.conv3", f"{block}.bn3", (width * _EXPANSION, width, 1, 1)
            if number == 0:
                yield f"{block}.downsample.0", f"{block}.downsample.1", (width * _EXPANSION, inputs, 1, 1)
            inputs = width * _EXPANSION


def _head_layers(head: HeadConfig) -> dict[str, tuple[int, int]]:
    """Return each linear layer of a head: outputs, inputs."""
    match head:
        case PooledHeadConfig():
            return {}
        case ClassifierHeadConfig():
            return {"fc": (head.dim, STAGE_CHANNELS["layer4"])}
        case TwoPartHeadConfig():
            return {
                "item": (head.item_dim, STAGE_CHANNELS["layer2"] + STAGE_CHANNELS["layer3"]),
                "kind": (head.kind_dim, STAGE_CHANNELS["layer4"]),
                "category": (head.categories, head.kind_dim),
            }


class _Graph:
    """Collects nodes and constants. Each method adds a part of the network and returns the name of its output."""

    def __init__(self, weights: Weights) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weights = weights

    def normalize(self, transform: TransformConfig) -> str:
        """Scale and normalise pixels, in the same order of operations as `embedding.model`."""
        mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (transform.mean, transform.std))
        pixels = self._add("Cast", [INPUT], to=TensorProto.FLOAT)
        scaled = self._add("Div", [pixels, self._constant(np.array(255, np.float32))])
        centred = self._add("Sub", [scaled, self._constant(mean)])
        return self._add("Div", [centred, self._constant(std)])

    def trunk(self, photos: str) -> dict[str, str]:
        """Add the trunk; return the name of each stage's output."""
        photos = self._add("Relu", [self._convolution("trunk.conv1", "trunk.bn1", photos, stride=2)])
        photos = self._add("MaxPool", [photos], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        outputs = {}
        for stage, (blocks, _, stride) in _STAGES.items():
            for number in range(blocks):
                photos = self._block(f"trunk.{stage}.{number}", photos, stride if number == 0 else 1, first=number == 0)
            outputs[stage] = photos
        return outputs

    def head(self, config: HeadConfig, maps: dict[str, str]) -> str:
        """Average feature maps over the photo and embed them."""
        match config:
            case PooledHeadConfig():
                return self._normalize_length(self._pool(maps["layer4"]))
            case ClassifierHeadConfig():
                return self._normalize_length(self._linear("head.fc", self._pool(maps["layer4"])))
            case TwoPartHeadConfig():
                layer2, layer3, layer4 = (
                    self._layer_norm(self._pool(maps[name]), STAGE_CHANNELS[name]) for name in STAGE_CHANNELS
                )
                item = self._linear("head.item", self._add("Concat", [layer2, layer3], axis=1))
                kind = self._layer_norm(self._linear("head.kind", layer4), config.kind_dim)
                shares = (1 - config.kind_share, config.kind_share)
                parts = [
                    self._add(
                        "Mul", [self._normalize_length(part), self._constant(np.array(math.sqrt(share), np.float32))]
                    )
                    for part, share in zip((item, kind), shares, strict=True)
                ]
                return self._add("Concat", parts, axis=1)

    def _block(self, name: str, photos: str, stride: int, *, first: bool) -> str:
        inside = self._add("Relu", [self._convolution(f"{name}.conv1", f"{name}.bn1", photos)])
        inside = self._add("Relu", [self._convolution(f"{name}.conv2", f"{name}.bn2", inside, stride)])
        inside = self._convolution(f"{name}.conv3", f"{name}.bn3", inside)
        if first:
            photos = self._convolution(f"{name}.downsample.0", f"{name}.downsample.1", photos, stride)
        return self._add("Relu", [self._add("Add", [inside, photos])])

    def _convolution(self, convolution: str, batch_norm: str, photos: str, stride: int = 1) -> str:
        kernel = self._weights[f"{convolution}.weight"]
        gain, bias, mean, variance = (self._weights[f"{batch_norm}.{name}"] for name in _BATCH_NORM)
        factor = gain / np.sqrt(variance + np.float32(_BATCH_NORM_EPSILON))
        constants = [
            self._constant(kernel * factor[:, None, None, None], f"{convolution}.weight"),
            self._constant(bias - mean * factor, f"{convolution}.bias"),
        ]
        side = kernel.shape[2]
        return self._add(
            "Conv", [photos, *constants], kernel_shape=[side, side], strides=[stride, stride], pads=[side // 2] * 4
        )

    def _pool(self, photos: str) -> str:
        return self._add("Flatten", [self._add("GlobalAveragePool", [photos])], axis=1)

    def _linear(self, name: str, values: str) -> str:
        tensors = [self._constant(self._weights[f"{name}.{part}"], f"{name}.{part}") for part in ("weight", "bias")]
        return self._add("Gemm", [values, *tensors], transB=1)

    def _layer_norm(self, values: str, length: int) -> str:
        ones = self._constant(np.ones(length, np.float32))
        return self._add("LayerNormalization", [values, ones], axis=-1, epsilon=LAYER_NORM_EPSILON)

    def _normalize_length(self, values: str) -> str:
        return self._add("LpNormalization", [values], axis=1, p=2)

    def _constant(self, value: NDArray[Any], name: str = "") -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def _add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output
