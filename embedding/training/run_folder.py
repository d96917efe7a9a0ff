"""The folder of a training run: arguments, metrics of each epoch, and the state to resume from. No pickle."""

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
_RESTART_HINT = "Remove the run folder and train again without --resume."


@dataclass(frozen=True, slots=True)
class RunState:
    """State that a resumed run starts from."""

    tensors: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]]
    progress: dict[str, Any]


class RunFolder:
    """The files of one run. Tensor files are written atomically; every failure to write raises OutputFailed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, arguments: Mapping[str, Any]) -> "RunFolder":
        """Create the folder of a new run. Raises OutputFailed."""
        if path.exists():
            raise OutputFailed(
                f"{path} exists already: a run was started there.", hint="Resume it with --resume, or remove it first."
            )
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise OutputFailed(f"The run folder {path} could not be created: {error}") from error
        run = cls(path)
        run.write(ARGUMENTS, json.dumps(arguments, indent=2) + "\n")
        return run

    @classmethod
    def resume(cls, path: Path, arguments: Mapping[str, Any]) -> "RunFolder":
        """Open the folder of a killed run. Raises ModelBroken, InvalidSetting."""
        try:
            stored = json.loads((path / ARGUMENTS).read_text())
        except (OSError, ValueError) as error:
            raise ModelBroken(f"There is no run to resume in {path}: {error}", hint=_RESTART_HINT) from error
        changed = [f"{name} was {stored.get(name)!r}" for name in arguments if arguments[name] != stored.get(name)]
        if changed:
            raise InvalidSetting(
                f"The run in {path} was started with other arguments: {', '.join(changed)}.",
                hint="Resume it with the same arguments.",
            )
        return cls(path)

    def save_state(self, tensors: Mapping[str, Tensor], optimizer: Optimizer, progress: Mapping[str, Any]) -> None:
        """Write the state that `load_state` reads. Raises OutputFailed."""
        flat = dict(tensors)
        for number, state in optimizer.state_dict()["state"].items():
            flat |= {f"{_OPTIMIZER}{number}/{key}": torch.as_tensor(value) for key, value in state.items()}
        self.save(STATE, flat, progress)

    def load_state(self) -> RunState | None:
        """Load the last saved state; None if the run was killed before its first. Raises ModelBroken."""
        if not (self.path / STATE).exists():
            return None
        tensors, progress = self.load(STATE)
        optimizer: dict[int, dict[str, Tensor]] = {}
        for name in [name for name in tensors if name.startswith(_OPTIMIZER)]:
            _, number, key = name.split("/")
            optimizer.setdefault(int(number), {})[key] = tensors.pop(name)
        return RunState(tensors, optimizer, progress)

    def save(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any] | None = None) -> None:
        """Write tensors and, as JSON, further state. Raises OutputFailed."""
        stored = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        text = json.dumps(state or {})
        try:
            with replace_file(self.path / name) as draft:
                save_file(stored, draft, {"words": text, "sha256": hash_tensors(as_arrays(stored), text)})
        except (OSError, SafetensorError) as error:
            raise OutputFailed(
                f"{self.path / name} could not be written: {error}", hint="Free disk space, then resume with --resume."
            ) from error

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Read tensors and further state. Raises ModelBroken, also if a byte has changed."""
        path = self.path / name
        try:
            with safe_open(path, "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
                metadata = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise ModelBroken(f"{path} cannot be read: {error}", hint=_RESTART_HINT) from error
        if hash_tensors(as_arrays(tensors), metadata.get("words", "")) != metadata.get("sha256"):
            raise ModelBroken(f"{path} was changed after it was written.", hint=_RESTART_HINT)
        return tensors, json.loads(metadata["words"])

    def write(self, name: str, content: str | bytes) -> None:
        """Write a text or an image. Raises OutputFailed."""
        try:
            (self.path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        except OSError as error:
            raise OutputFailed(f"{self.path / name} could not be written: {error}") from error

    def remove_resume_files(self) -> None:
        """Remove the files that only a resumed run needs; arguments, metrics and images stay."""
        for path in self.path.glob("*.safetensors"):
            path.unlink()
