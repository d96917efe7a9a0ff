"""`make client`: write search_api/client/client.py, generated from async_client.py."""

import subprocess
import sys
import tempfile
from pathlib import Path

from unasync import Rule, unasync_files

FOLDER = Path(__file__).parents[2] / "search_api" / "client"
SOURCE, TARGET = "async_client.py", "client.py"
NAMES = {"AsyncClient": "Client", "AsyncRetrying": "Retrying", "aclose": "close"}
TEXTS = {
    '"""The asynchronous client. `make client` generates client.py, the synchronous one, from this file."""': (
        '"""The synchronous client. `make client` generated this file from async_client.py: change that one."""'
    ),
    "Every method raises ApiError.": "Every method raises ApiError. Safe for threads.",
}


def generate_client() -> str:
    """Return the source of the synchronous client, formatted by ruff."""
    build = FOLDER.parents[1] / "build"  # below the project: ruff takes its settings from there
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name:
        source, target = Path(name) / SOURCE, Path(name) / TARGET
        text = (FOLDER / SOURCE).read_text(encoding="utf-8")
        for before, after in TEXTS.items():
            assert before in text, before
            text = text.replace(before, after)
        source.write_text(text, encoding="utf-8")
        unasync_files([str(source)], [Rule(f"/{SOURCE}", f"/{TARGET}", NAMES)])
        for arguments in (["check", "--select", "I", "--fix"], ["format"]):
            command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--no-cache", str(target)]
            subprocess.run(command, cwd=FOLDER.parents[1], check=True)
        return target.read_text(encoding="utf-8")


if __name__ == "__main__":
    (FOLDER / TARGET).write_text(generate_client(), encoding="utf-8")
