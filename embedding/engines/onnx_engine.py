"""The network in ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


class OnnxEngine:
    """Runs a graph of `embedding.engines.onnx_graph`, also if quantised. Thread-safe."""

    def __init__(self, model: bytes | Path) -> None:
        """`model` is a serialised graph or the path of one."""
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._input: str = self._session.get_inputs()[0].name

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch: uint8 (n, 3, size, size) -> float32 (n, dim)."""
        return self.outputs(pixels)[0]

    def outputs(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return all outputs of the graph for one batch, in the graph's order."""
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input: pixels})
        return outputs
