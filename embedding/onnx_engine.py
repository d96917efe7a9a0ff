"""`model.onnx`: made from the model folder on first use, cached beside the weights, bound to their fingerprint."""

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


class OnnxEngine:
    """The network in ONNX Runtime on the CPU."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    @classmethod
    def load(cls, folder: Path, model: EmbeddingModel, fingerprint: str) -> "OnnxEngine":
        """Open the cached file, exporting it first when it is not there or of other weights. Raises OSError."""
        path = folder / ONNX
        session = _open(path)
        if session is None or session.get_modelmeta().custom_metadata_map.get(_KEY) != fingerprint:
            _export(model, fingerprint, path)
            session = _open(path)
            if session is None:
                raise OSError(f"{path} cannot be opened")
        return cls(session)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed one batch: uint8 (n, 3, size, size) -> float32 (n, dim)."""
        embeddings: NDArray[np.float32] = self._session.run(None, {self._input: pixels})[0]
        return embeddings


def _open(path: Path) -> ort.InferenceSession | None:
    if not path.exists():
        return None
    try:
        return ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    except (native.Fail, native.InvalidArgument, native.InvalidProtobuf):
        return None  # cut short by a kill: made anew


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
