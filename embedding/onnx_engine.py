"""`model.onnx`: made from the model folder on first use, cached beside the weights, checked at every load."""

import contextlib
import hashlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from embedding.model import EmbeddingModel

ONNX, STAMP = "model.onnx", "model.onnx.stamp"


class OnnxEngine:
    """The network in ONNX Runtime on the CPU."""

    def __init__(self, path: Path) -> None:
        self._session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.input: str = self._session.get_inputs()[0].name

    @classmethod
    def load(cls, folder: Path, model: EmbeddingModel, fingerprint: str) -> "OnnxEngine":
        """Open the cached file; one not there, damaged or of other weights is exported first. Raises OSError.

        The stamp beside it holds the model's fingerprint and the file's sha256: a changed byte seldom keeps the file
        from opening, and then every embedding is wrong.
        """
        path, stamp = folder / ONNX, folder / STAMP
        if not path.exists() or not stamp.exists() or stamp.read_bytes() != _stamp(path, fingerprint):
            _export(model, path)
            _replace(stamp, _stamp(path, fingerprint))
        return cls(path)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch: uint8 (n, 3, size, size) -> float32 (n, dim)."""
        embeddings: NDArray[np.float32] = self._session.run(None, {self.input: pixels})[0]
        return embeddings


def _stamp(path: Path, fingerprint: str) -> bytes:
    with path.open("rb") as file:
        return f"{fingerprint} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()


def _replace(path: Path, data: bytes) -> None:
    """Write whole or not at all."""
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(data)
    draft.replace(path)


def _export(model: EmbeddingModel, path: Path) -> None:
    size = model.transform.size
    example = torch.zeros((2, 3, size, size), dtype=torch.uint8)
    # The exporter prints its steps and warns of its own deprecations.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("n")},),
            input_names=["pixels"],
            verbose=False,
        )
    assert program is not None  # noqa: S101 - None only with dynamo=False
    proto: onnx.ModelProto = program.model_proto
    _replace(path, proto.SerializeToString())
