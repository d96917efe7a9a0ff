"""Which texts the catalogue can store: lengths, ids, and characters that a filter expression can hold."""

import re

# Milvus counts the bytes of a VARCHAR (Lite the characters): the stricter of the two holds.
MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 65_535

PATH_SEPARATOR = " / "
"""Between the levels of a category."""

UNQUOTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that no filter expression can hold."""


def is_quotable(text: str) -> bool:
    """Whether a filter expression can hold this text. An id that it cannot hold could not be looked up again."""
    return not UNQUOTABLE.search(text)


def make_quotable(text: str) -> str:
    """Replace each character that no filter expression can hold by a space."""
    return UNQUOTABLE.sub(" ", text).strip()


def id_problem(identity: str) -> tuple[str, str] | None:
    """Why this text cannot be the id of a photo or a listing: reason and detail; None where it can."""
    if not identity:
        return "missing_id", "the row has no id"
    if len(identity.encode(errors="replace")) > MAX_ID_BYTES:
        return "bad_id", f"the id {identity[:40]!r}… has more than {MAX_ID_BYTES} bytes"
    if not is_quotable(identity):
        return "bad_id", f"the id {identity!r} holds a control character"
    return None
