"""What the runs found, kept in docs/reliability.json and told in docs/reliability.md. Run it to tell it anew."""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any, TypedDict

import psutil

DOCS = Path(__file__).parents[2] / "docs"
FOUND, TOLD = DOCS / "reliability.json", DOCS / "reliability.md"

_HEAD = """# Reliability

Made by `make test-faults` and `make soak`; what they found last is kept in `reliability.json`. Every row is a test in
`tests/faults`: it fails where what was observed is not what was promised.
"""
_COLUMNS = ("fault", "promised", "observed", "lost", "doubled", "recovery")


class Finding(TypedDict):
    """One fault: what the docs promise of it and what a run saw. `lost` and `doubled` count photos or verdicts."""

    promised: str
    observed: str
    lost: int
    doubled: int
    recovery: str


def record(fault: str, finding: Finding) -> None:
    """Keep what a run saw, with the day, and tell it."""
    found = _read()
    found.setdefault("faults", {})[fault] = {**finding, "day": _day()}
    _write(found)


def record_soak(result: dict[str, Any]) -> None:
    """Keep the figures of a soak, and tell them."""
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"
    _write(_read() | {"soak": result | {"day": _day(), "machine": machine}})


def tell(found: dict[str, Any]) -> str:
    """The page."""
    return "\n".join([_HEAD, *_faults(found.get("faults", {})), *_soak(found.get("soak"))])


def _faults(faults: dict[str, Any]) -> list[str]:
    rows = [[name, *(str(one[key]) for key in _COLUMNS[1:])] for name, one in sorted(faults.items())]
    days = sorted({one["day"] for one in faults.values()})
    run = f"Run on {' and '.join(days)}. " if days else ""
    return [
        "## Faults",
        "",
        f"{run}`lost` and `doubled` count photos (verdicts, where it says so) against a run without the fault.",
        "",
        *_table(_COLUMNS, rows),
        "",
    ]


def _soak(soak: dict[str, Any] | None) -> list[str]:
    if not soak:
        return []
    slope, half = soak["memory_slope_mb_per_hour"]
    outcomes = ", ".join(f"{count:,} {name}" for name, count in soak["outcomes"].items())
    rows = [
        ["memory of the service, MB: after warming up, most, at the end", _slashes(soak["memory_mb"])],
        ["slope of the memory, MB per hour (95 % interval)", f"{slope:+.1f} ± {half:.1f}"],
        ["open files: least, most, at the end", _slashes(soak["files"])],
        ["threads: least, most, at the end", _slashes(soak["threads"])],
        ["p50, ms: first, second, last third", _slashes(soak["p50_ms"])],
        ["p99, ms: first, second, last third", _slashes(soak["p99_ms"])],
        ["errors, wrong answers among them", str(soak["error_count"])],
    ]
    return [
        "## Soak",
        "",
        f"{soak['minutes']:.0f} minutes on {soak['day']} ({soak['machine']}): `marketlens serve`, the shipped model,",
        f"on a Milvus server, {soak['photos']:,} photos; searches by upload, by id with filters and pages, in batches;",
        "listings put, found, deleted; an ingest every few minutes.",
        f"{soak['answers']:,} answers: {outcomes}.",
        "A 409 is a change that was refused while an ingest ran.",
        *([soak["note"]] if soak["note"] else []),
        "",
        *_table(("", ""), rows),
        "",
        "![Memory, open files, threads and milliseconds over the time of the soak](images/soak.png)",
        "",
    ]


def _table(columns: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _slashes(values: list[float]) -> str:
    return " / ".join(f"{value:,}" for value in values)


def _day() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    return found


def _write(found: dict[str, Any]) -> None:
    FOUND.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    TOLD.write_text(tell(found))


if __name__ == "__main__":
    _write(_read())
