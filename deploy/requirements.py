"""Print requirements from pyproject.toml: those of the package itself, or those of the extras given as arguments."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
for requirement in (
    [line for extra in sys.argv[1:] for line in project["optional-dependencies"][extra]]
    if sys.argv[1:]
    else project["dependencies"]
):
    print(requirement)
