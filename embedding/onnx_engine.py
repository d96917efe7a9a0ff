"""`model.onnx`: made from the model folder on first use, cached beside the weights, checked at every load."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

from embedding.model import EmbeddingModel

ONNX = "model.onnx"
_KEY = "marketlens.fingerprint"
_LEAST_COSINE = 0.9999
# What opening or running a damaged file ends in.
_DAMAGED = (
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NotImplemented,
    native.RuntimeException,
)


class OnnxEngine:
    """The network in ONNX Runtime on the CPU."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    @classmethod
    def load(cls, folder: Path, model: EmbeddingModel, fingerprint: str) -> "OnnxEngine":
        """Open the cached file; one not there, damaged or of other weights is exported first. Raises OSError."""
        path = folder / ONNX
        engine = cls._open(path, model, fingerprint)
        if engine is None:
            _export(model, fingerprint, path)
            engine = cls._open(path, model, fingerprint)
            if engine is None:
                raise OSError(f"{path} does not give the embeddings that torch gives")
        return engine

    @classmethod
    def _open(cls, path: Path, model: EmbeddingModel, fingerprint: str) -> "OnnxEngine | None":
        if not path.exists():
            return None
        try:
            session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
            engine = cls(session)
            same_model = session.get_modelmeta().custom_metadata_map.get(_KEY) == fingerprint
            return engine if same_model and engine._agrees_with(model) else None
        except _DAMAGED:
            return None

    def _agrees_with(self, model: EmbeddingModel) -> bool:
        """Compare with torch on one picture of noise: a changed byte need not keep the file from opening."""
        size = model.transform.size
        pixels = np.random.default_rng(0).integers(0, 256, (1, 3, size, size), dtype=np.uint8)
        with torch.inference_mode():
            expected = model(torch.from_numpy(pixels)).numpy()
        found = self.run(pixels)
        return found.shape == expected.shape and bool((found * expected).sum() >= _LEAST_COSINE)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch: uint8 (n, 3, size, size) -> float32 (n, dim)."""
        embeddings: NDArray[np.float32] = self._session.run(None, {self._input: pixels})[0]
        return embeddings


def _export(model: EmbeddingModel, fingerprint: str, path: Path) -> None:
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
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {_KEY: fingerprint})
    draft = path.with_suffix(".onnx.part")
    onnx.save(proto, draft)
    draft.replace(path)
