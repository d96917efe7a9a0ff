"""Worker processes that load once, then answer requests in turn, and the order in which they take turns."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class WorkerProcess:
    """A process `python -m MODULE ARGUMENTS` that answers each line of JSON with a line of JSON. A context manager."""

    def __init__(self, python: Path | str, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": "1"},
        )

    def ask(self, request: object) -> Any:
        """Send a request and return the answer. Raises RuntimeError if the process has ended."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has printed its error to stderr
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args} exited with {self._process.wait()}; see its error above")
        return json.loads(answer)

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the process ends when its input is closed


def answer_all(answer: Callable[[Any], object]) -> None:
    """Answer every line of standard input on standard output. Redirect everything else that is printed to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        out.write(json.dumps(answer(json.loads(line))) + "\n")
        out.flush()


def rounds(names: Sequence[str], count: int) -> list[str]:
    """Repeat the names `count` times; every second round is reversed, so that no name always comes first."""
    return [name for number in range(count) for name in (names if number % 2 == 0 else reversed(names))]
