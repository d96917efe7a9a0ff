"""The dashboard's image contains everything that the dashboard needs."""

import re
import subprocess
import sys
import tomllib

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"


# Names of PyPI packages, without extras and versions.
NAME = re.compile(r"[A-Za-z0-9._-]+")


def test_the_dashboards_image_needs_nothing_else() -> None:
    """With only the packages of deploy/dashboard.txt (no torch), every page and its start command can be imported."""
    needs = [line for line in (DEPLOY / "dashboard.txt").read_text().split("\n") if line and line[0] != "#"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = {NAME.match(line)[0] for line in project["dependencies"] + project["optional-dependencies"]["dashboard"]}  # type: ignore[index]
    assert set(needs) <= own, "the list may not add anything to the extra `dashboard`"
    locked = (ROOT / "requirements.lock").read_text()
    assert all(re.search(rf"^{re.escape(name)}==", locked, re.M) for name in needs)
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_WITH, *needs], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]


# Hide every package that the named ones do not require, then import what the dashboard's container runs.
IMPORT_WITH = """
import importlib, importlib.metadata as metadata, sys
from pathlib import Path
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as name

seen, todo = set(), [Requirement(argument) for argument in sys.argv[1:]]
while todo:
    package = todo.pop()
    if (name(package.name), *package.extras) in seen:
        continue
    seen.add((name(package.name), *package.extras))
    for line in metadata.requires(package.name) or ():
        need = Requirement(line)
        if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in ("", *package.extras)):
            todo.append(need)
visible = {package for package, *_ in seen} | {"marketlens"}
hidden = {
    module for module, owners in metadata.packages_distributions().items() if not visible & set(map(name, owners))
}
assert {"torch", "pymilvus", "fastapi", "sklearn"} <= hidden, hidden

class Hide:
    def find_spec(self, module, *_):
        if module.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"{module} is not in the dashboard's image", name=module)

sys.meta_path.insert(0, Hide())
for page in Path("dashboard").rglob("*.py"):
    importlib.import_module(".".join(page.with_suffix("").parts))
from marketlens import cli
from marketlens.options import load_settings
from marketlens.processes import dashboard_command
settings = load_settings()
dashboard_command(settings.dashboard, settings.api.max_upload_bytes)
"""
