"""The start-up of the command."""

import subprocess
import sys

from tests.support.paths import ROOT


def test_help_imports_nothing_heavy() -> None:
    """`marketlens --help` loads neither torch nor Milvus."""
    code = (
        "import sys; from marketlens import cli\n"
        "heavy = {'torch', 'pymilvus', 'streamlit', 'fastapi'} & set(sys.modules)\n"
        "sys.exit(f'loads {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
