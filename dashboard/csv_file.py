"""Tables as files that open in a spreadsheet."""

import pandas as pd

# With one of these a spreadsheet takes a cell for a formula, and sellers write what they like.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """UTF-8 with a mark by which Excel knows it. Texts that would be formulas have a ' in front (OWASP)."""
    return frame.map(_harmless).to_csv(index=False).encode("utf-8-sig")


def _harmless(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULAS) else cell
