"""Limits of the texts that the catalogue can store: lengths, ids, and characters allowed in a filter expression."""

import re

# Milvus limits the bytes of a VARCHAR, Lite its characters: these are the stricter limits.
MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 65_535

PATH_SEPARATOR = " / "
"""Separates the levels of a category."""

UNQUOTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that a filter expression cannot contain."""


def is_quotable(text: str) -> bool:
    """Whether a filter expression can contain this text. A listing with any other id could not be looked up."""
    return not UNQUOTABLE.search(text)


def make_quotable(text: str) -> str:
    """Replace each character that a filter expression cannot contain with a space."""
    return UNQUOTABLE.sub(" ", text).strip()


def id_problem(identity: str) -> tuple[str, str] | None:
    """Return why this text cannot be the id of a photo or listing, as reason and detail; None if it can."""
    if not identity:
        return "missing_id", "the row has no id"
    if len(identity.encode(errors="replace")) > MAX_ID_BYTES:
        return "bad_id", f"the id {identity[:40]!r}… has more than {MAX_ID_BYTES} bytes"
    if not is_quotable(identity):
        return "bad_id", f"the id {identity!r} contains a control character"
    return None
