"""`marketlens model quantize`: a model folder again, its weights at a quarter of their size."""

from pathlib import Path

from embedding.card import ModelCard
from embedding.card_text import CARD_TEXT, describe
from embedding.checkpoint import further_files, load_model, save_model
from embedding.int8 import quantize


def quantize_model(folder: Path, out: Path) -> ModelCard:
    """Save a model with int8 weights; all else in its folder goes along, but for the cached model.onnx.

    The fingerprint is a new one, for the embeddings are: a catalogue belongs to one of the two.
    Raises ModelMissing, ModelBroken, OutputFailed.
    """
    model, card = load_model(folder)
    card = card.model_copy(update={"name": out.name, "stored_as": "int8, a scale per output channel"})
    files = further_files(folder)
    if CARD_TEXT in files:
        files[CARD_TEXT] = describe(card).encode()
    return save_model(out, quantize(model.state_dict()), card, files)
