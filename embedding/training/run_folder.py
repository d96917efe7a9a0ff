"""The folder of a training run: arguments, metrics of each epoch, and what a killed run goes on from. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from catalog.atomic_files import replace_file
from catalog.errors import InvalidSetting, ModelBroken, OutputFailed
from embedding.checkpoint import hash_tensors
from embedding.model import as_arrays

ARGUMENTS, METRICS, STATE, BEST = "arguments.json", "metrics.csv", "state.safetensors", "best.safetensors"
_OPTIMIZER = "optimizer/"


@dataclass(frozen=True, slots=True)
class State:
    """What a run that is gone on with begins from."""

    tensors: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    progress: dict[str, Any]


class RunFolder:
    """The files of one run. Tensors are written whole or not at all; every failure to write is an OutputFailed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def begin(cls, path: Path, arguments: Mapping[str, Any]) -> "RunFolder":
        """Make the folder of a new run. Raises OutputFailed."""
        if path.exists():
            raise OutputFailed(
                f"{path} exists already: a run was begun there.", hint="Go on with it: --resume. Or remove it first."
            )
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise OutputFailed(f"The run folder {path} could not be made: {error}") from error
        run = cls(path)
        run.write(ARGUMENTS, json.dumps(arguments, indent=2) + "\n")
        return run

    @classmethod
    def resume(cls, path: Path, arguments: Mapping[str, Any]) -> "RunFolder":
        """Find the folder of a killed run again. Raises ModelBroken, InvalidSetting."""
        try:
            before = json.loads((path / ARGUMENTS).read_text())
        except (OSError, ValueError) as error:
            raise ModelBroken(f"There is no run to go on with in {path}: {error}", hint=_WITHOUT) from error
        changed = [f"{name} was {before.get(name)!r}" for name in arguments if arguments[name] != before.get(name)]
        if changed:
            raise InvalidSetting(
                f"The run in {path} was begun with other arguments: {', '.join(changed)}.", hint="Give the same again."
            )
        return cls(path)

    def save_state(self, tensors: Mapping[str, Tensor], optimizer: Optimizer, progress: Mapping[str, Any]) -> None:
        """Write what `load_state` gives back. Raises OutputFailed."""
        flat = dict(tensors)
        for number, state in optimizer.state_dict()["state"].items():
            flat |= {f"{_OPTIMIZER}{number}/{key}": torch.as_tensor(value) for key, value in state.items()}
        self.save(STATE, flat, progress)

    def load_state(self) -> State | None:
        """The state that was saved last, None when the run was killed before its first. Raises ModelBroken."""
        if not (self.path / STATE).exists():
            return None
        tensors, progress = self.load(STATE)
        optimizer: dict[int, dict[str, Tensor]] = {}
        for name in [name for name in tensors if name.startswith(_OPTIMIZER)]:
            _, number, key = name.split("/")
            optimizer.setdefault(int(number), {})[key] = tensors.pop(name)
        return State(tensors, optimizer, progress)

    def save(self, name: str, tensors: Mapping[str, Tensor], words: Mapping[str, Any] | None = None) -> None:
        """Write tensors and words. Raises OutputFailed."""
        stored = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        text = json.dumps(words or {})
        try:
            with replace_file(self.path / name) as draft:
                save_file(stored, draft, {"words": text, "sha256": hash_tensors(as_arrays(stored), text)})
        except (OSError, SafetensorError) as error:
            raise OutputFailed(
                f"{self.path / name} could not be written: {error}", hint="Make room, then go on with --resume."
            ) from error

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read tensors and words back. Raises ModelBroken, also where a byte has changed."""
        path = self.path / name
        try:
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
                metadata = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise ModelBroken(f"{path} cannot be read: {error}", hint=_WITHOUT) from error
        if hash_tensors(as_arrays(tensors), metadata.get("words", "")) != metadata.get("sha256"):
            raise ModelBroken(f"{path} was changed after it was written.", hint=_WITHOUT)
        return tensors, json.loads(metadata["words"])

    def write(self, name: str, content: str | bytes) -> None:
        """Write a text or a picture. Raises OutputFailed."""
        try:
            (self.path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        except OSError as error:
            raise OutputFailed(f"{self.path / name} could not be written: {error}") from error

    def tidy(self) -> None:
        """Remove what only a killed run needs; arguments, metrics and pictures stay."""
        for path in self.path.glob("*.safetensors"):
            path.unlink()


_WITHOUT = "Remove the run folder and train again without --resume."
