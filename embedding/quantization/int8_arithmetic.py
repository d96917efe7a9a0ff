"""`model.int8.onnx`: the network in integers, for CPUs. Three times as fast as floats, for a little recall."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from catalog.progress import Advance
from embedding.engines.onnx_graph import INPUT

# The rest, the head's layers above all, stays in floats: it costs next to no time.
_QUANTIZED = ["Conv", "Add", "MaxPool", "Relu"]
_STEP = 16


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Calibration photos, a few at a time."""

    def __init__(self, pixels: NDArray[np.uint8], advance: Advance) -> None:
        self._batches = (pixels[start : start + _STEP] for start in range(0, len(pixels), _STEP))
        self._advance = advance

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch; None at the end."""
        batch = next(self._batches, None)
        if batch is None:
            return None
        self._advance(len(batch))
        return {INPUT: batch}


def to_int8(graph: bytes, pixels: NDArray[np.uint8], advance: Advance) -> bytes:
    """A graph in floats -> one in integers; `pixels` (n, 3, size, size) are usual photos, which tell the ranges.

    Static, linear, weights per output channel: Krishnamoorthi, "Quantizing deep convolutional networks for efficient
    inference", 2018, sections 3 and 4.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        shaped, out = Path(folder, "shaped.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(onnx.load_model_from_string(graph), shaped, skip_symbolic_shape=True)
        quantize_static(
            shaped,
            out,
            _Batches(pixels, advance),
            quant_format=QuantFormat.QDQ,
            # Unsigned by signed is what CPUs multiply at once (VNNI); signed by signed is no faster than floats.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=_QUANTIZED,
        )
        return out.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    # It warns of a preprocessing step that was done.
    logger, level = logging.getLogger(), logging.getLogger().level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
