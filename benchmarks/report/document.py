"""docs/benchmarks.md: what the benchmarks found on this machine, as tables and plots."""

import importlib
import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from benchmarks.report.plots import draw
from benchmarks.report.results import Table, table_from

DOCUMENT = Path("docs/benchmarks.md")
PICTURES = Path("docs/images/benchmarks")
KEPT = Path("docs/benchmarks")
PACKAGES = ("torch", "torchvision", "onnxruntime", "faiss-cpu", "numpy", "pymilvus", "milvus-lite", "milvus", "ray")


def _commit() -> str:
    """The state that was measured; a plus where files had been changed since."""
    try:
        command = ["git", "describe", "--always", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _machine() -> str:
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"model name\s*: (.+)", info.read_text())):
        cpu = found[1]
    memory = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} cores of {cpu or platform.machine()}, {memory:.0f} GB, {platform.system()}, no GPU used"


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


@dataclass
class Section:
    """One benchmark's run.

    `worked` are its own processor seconds, `others` the part of all processors, 0 to 1, that worked for somebody else.
    """

    name: str
    command: str
    started: str
    seconds: float = 0.0
    worked: float = 0.0
    peak_mb: float = 0.0
    others: float = 0.0
    problem: str = ""
    tables: list[Table] = field(default_factory=list)
    commit: str = field(default_factory=_commit)
    machine: str = field(default_factory=_machine)
    versions: str = field(default_factory=_versions)


def keep(section: Section) -> None:
    """Remember a run until the next one of the same benchmark."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{section.name}.json").write_text(json.dumps(asdict(section), indent=1) + "\n")


def write(names: Sequence[str]) -> Path:
    """Write the document from the last run of each, and its plots. Returns where it is."""
    sections = []
    for name in names:
        path = KEPT / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text())
            kept["tables"] = [table_from(table) for table in kept["tables"]]
            sections.append(Section(**kept))
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.svg"):
        old.unlink()
    DOCUMENT.write_text("\n".join([*_head(sections), *(line for one in sections for line in _section(one))]) + "\n")
    return DOCUMENT


def _head(sections: Sequence[Section]) -> list[str]:
    machines = list(dict.fromkeys(one.machine for one in sections))
    versions = list(dict.fromkeys(one.versions for one in sections))
    # Of a second or less, the system's own ticks are percents.
    busy = max((one.others for one in sections if one.seconds >= 5), default=0.0)
    shared = (
        f"**The machine was shared**: others used up to {busy:.0%} of its processors. Times are as"
        " much theirs as ours, and ratios as good as their spread; recall, memory and disk stand."
        if busy > 0.05
        else f"The machine was quiet: others used {busy:.0%} of its processors at most."
    )
    total = sum(one.seconds for one in sections)
    return [
        "# Benchmarks",
        "",
        "Made by `make bench` or, with small sizes, `make bench-quick`; do not edit. What a section says was measured",
        "by the command in it; what is not here was not run. A figure is the median of the rounds (lowest to",
        "highest); ratios are taken within a round, between things that took turns in it.",
        "",
        *(f"- Machine: {one}" for one in machines),
        *(f"- Versions: {one}" for one in versions),
        f"- {shared}",
        f"- {total / 60:.0f} minutes in all.",
        "",
        "| benchmark | took | processor time | largest process | others' share of the processors | commit | |",
        "|---|---|---|---|---|---|---|",
        *(_line(one) for one in sections),
        "",
    ]


def _line(one: Section) -> str:
    figures = f"{one.seconds:.0f} s | {one.worked:.0f} s | {one.peak_mb:,.0f} MB | {one.others:.0%}"
    return f"| [{one.name}](#{one.name}) | {figures} | {one.commit} | {one.problem} |"


def _section(one: Section) -> list[str]:
    about = (importlib.import_module(f"benchmarks.{one.name}").__doc__ or "").strip()
    first, _, rest = about.partition("\n\n")
    # The usage is in the way: what was run stands above the text.
    told = [part for part in rest.split("\n\n") if not part.startswith("    ")]
    lines = [f"## {one.name}", "", f"`{one.command}`, {one.started}", "", " ".join(first.split()), ""]
    for part in told:
        lines += [part, ""]
    if one.problem:
        lines += [f"**{one.problem}**", ""]
    for table in one.tables:
        lines += _table(one.name, table)
    return lines


def _table(name: str, table: Table) -> list[str]:
    lines = [f"### {table.title}", "", _row(table.columns), "|---" * len(table.columns) + "|"]
    lines += [_row([str(cell) for cell in row]) for row in table.rows]
    lines += ["", *([table.note, ""] if table.note else [])]
    for plot in table.plots:
        picture = PICTURES / f"{name}-{re.sub('[^a-z0-9]+', '-', plot.title.lower()).strip('-')}.svg"
        draw(plot, picture)
        lines += [f"![{plot.title}]({picture.relative_to(DOCUMENT.parent)})", ""]
    return lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
