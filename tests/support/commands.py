"""Run the command `marketlens` as a process, and check its failures."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

COMMAND = Path(sys.executable).with_name("marketlens")


def marketlens(
    *arguments: object, cwd: Path, command: Sequence[object] = (COMMAND,), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, on a terminal wide enough for unwrapped tables."""
    return subprocess.run(
        [*map(str, command), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


RunHere = Callable[..., subprocess.CompletedProcess[str]]


def assert_failed(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """Check the exit status, that the message contains these words, and that there is no traceback."""
    assert result.returncode == status, result.stdout + result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
