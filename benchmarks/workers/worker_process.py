"""Ways to do the same work, each in a process of its own that waits for its turn: load once, then be asked."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Way:
    """A process of `python -m MODULE ARGUMENTS` that answers each line of JSON with one; use it in a `with`."""

    def __init__(self, python: Path | str, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path.cwd()), "PYTHONUNBUFFERED": "1"},
        )

    def ask(self, question: object) -> Any:
        """Its answer. Raises RuntimeError when the process ended."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it has to say is on stderr
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}; its error stands above")
        return json.loads(answer)

    def __enter__(self) -> "Way":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input ends it


def answer_all(answer: Callable[[Any], object]) -> None:
    """What a way does: answer every line of the standard input. All else that is printed goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        out.write(json.dumps(answer(json.loads(line))) + "\n")
        out.flush()


def rounds(ways: Sequence[str], count: int) -> list[str]:
    """Every way so many times, taking turns; every second round backwards, so that no way is always the first."""
    return [way for number in range(count) for way in (ways if number % 2 == 0 else reversed(ways))]
