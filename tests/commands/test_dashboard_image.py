"""What the dashboard's image holds is enough for the dashboard."""

import re
import subprocess
import sys
import tomllib

from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"


# What PyPI's packages call themselves, without extras and versions.
NAME = re.compile(r"[A-Za-z0-9._-]+")


def test_the_dashboards_image_needs_nothing_else() -> None:
    """Every page, and the command that starts it, can be imported with what deploy/dashboard.txt brings: no torch."""
    needs = [line for line in (DEPLOY / "dashboard.txt").read_text().split("\n") if line and line[0] != "#"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = {NAME.match(one)[0] for one in project["dependencies"] + project["optional-dependencies"]["dashboard"]}  # type: ignore[index]
    assert set(needs) <= own, "the extra says what a dashboard needs; the list adds nothing to it"
    locked = (ROOT / "requirements.lock").read_text()
    assert all(re.search(rf"^{re.escape(one)}==", locked, re.M) for one in needs)
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_WITH, *needs], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]


# Hides every package that the named ones do not bring, then imports what the dashboard's container runs.
IMPORT_WITH = """
import importlib, importlib.metadata as metadata, sys
from pathlib import Path
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as name

there, todo = set(), [Requirement(one) for one in sys.argv[1:]]
while todo:
    asked = todo.pop()
    if (name(asked.name), *asked.extras) in there:
        continue
    there.add((name(asked.name), *asked.extras))
    for line in metadata.requires(asked.name) or ():
        need = Requirement(line)
        if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in ("", *asked.extras)):
            todo.append(need)
there = {one[0] for one in there} | {"marketlens"}
hidden = {
    module for module, owners in metadata.packages_distributions().items() if not there & {name(one) for one in owners}
}
assert {"torch", "pymilvus", "fastapi", "sklearn"} <= hidden, hidden

class Hide:
    def find_spec(self, module, *_):
        if module.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"{module} is not in the dashboard's image", name=module)

sys.meta_path.insert(0, Hide())
for page in Path("dashboard").glob("*.py"):
    importlib.import_module(f"dashboard.{page.stem}")
from marketlens import cli
from marketlens.options import load_settings
from marketlens.processes import dashboard_command
settings = load_settings()
dashboard_command(settings.dashboard, settings.api.max_upload_bytes)
"""
