"""`query_id` and `cursor`: the state of a search, which the client carries. See docs/decisions/0024.

Neither is secret or signed: a client that alters one only asks another question, which it may ask anyway.
"""

import base64
import binascii
import hashlib
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

from catalog.errors import InvalidQuery, QueryOutdated
from search_api.search.query import MAX_VECTORS, Kind, Query

MAX_SHOWN = 2_000
KEY_BYTES = 8
_SHOWN_BYTES = 6
_DIGEST_BYTES = 12
_FINGERPRINT_BYTES = 16
_QUERY, _CURSOR = b"q2", b"c1"
_HEAD = struct.Struct(f"<2s{_FINGERPRINT_BYTES}s{KEY_BYTES}sHHI")  # vectors, looks that are no vectors, bytes of _Rest


class _Rest(NamedTuple):
    """The parts of a query that are texts."""

    kind: Kind
    own: tuple[str, ...]
    text: str


_REST = TypeAdapter(_Rest)


def write_query_id(query: Query, fingerprint: str) -> str:
    """Encode a query as text: 2.8 kB for one upload and 512 dimensions."""
    rest = _REST.dump_json(_Rest(query.kind, query.own, query.text))
    looks = query.looks if query.kind == "examples" else query.looks[:0]
    head = _HEAD.pack(_QUERY, _fingerprint_prefix(fingerprint), query.key, len(query.vectors), len(looks), len(rest))
    return _encode(head + rest + np.concatenate([query.vectors, looks]).astype("<f4").tobytes())


def read_query_id(text: str, fingerprint: str, dim: int) -> Query:
    """Decode a query_id. Raises InvalidQuery, and QueryOutdated if another model made it."""
    broken = InvalidQuery("The query_id is damaged.", hint="Send it exactly as the response had it, or search again.")
    data = _decode(text, _QUERY, broken)
    try:
        _, made_by, key, count, looks, rest_size = _HEAD.unpack_from(data)
        if made_by != _fingerprint_prefix(fingerprint):
            raise QueryOutdated(
                "The query_id was made by another model than the current one.", hint="Search by the photo again."
            )
        rest = _REST.validate_json(data[_HEAD.size : _HEAD.size + rest_size])
        vectors = np.frombuffer(data, "<f4", offset=_HEAD.size + rest_size).reshape(count + looks, dim)
    except (struct.error, ValueError) as error:
        raise broken from error
    is_empty = count == 0 and rest.kind == "photo"
    if is_empty or count > MAX_VECTORS or not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
        raise broken
    vectors = vectors.astype(np.float32)
    seen = {"photo": vectors, "words": vectors[:0], "examples": vectors[count:]}[rest.kind]
    return Query(vectors[:count], key, rest.kind, seen, rest.own, text=rest.text)


def digest(*parts: str | bytes) -> bytes:
    """Hash everything that must stay the same from page to page."""
    hashed = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8, "little") + data)
    return hashed.digest()


def hit_digest(identity: str) -> bytes:
    """Hash a hit for a cursor, to 6 bytes. One in 10^11 unseen hits is mistaken for a seen one."""
    return hashlib.blake2b(identity.encode(), digest_size=_SHOWN_BYTES).digest()


def write_cursor(search: bytes, shown: Iterable[bytes]) -> str:
    """Encode the hits shown so far as text: 2.7 kB after 300 hits."""
    return _encode(_CURSOR + search + b"".join(shown))


def read_cursor(text: str, search: bytes) -> list[bytes]:
    """Decode the hits shown so far. Raises InvalidQuery for a damaged cursor or one of another search."""
    data = _decode(
        text, _CURSOR, InvalidQuery("The cursor is damaged.", hint="Send it exactly as the response had it.")
    )
    made_for, hashes = data[2 : 2 + _DIGEST_BYTES], data[2 + _DIGEST_BYTES :]
    if made_for != search:
        raise InvalidQuery(
            "The cursor belongs to another search.",
            hint="Between pages only limit, include and facets may change. Start a new search without a cursor.",
        )
    return [hashes[at : at + _SHOWN_BYTES] for at in range(0, len(hashes), _SHOWN_BYTES)]


def _fingerprint_prefix(fingerprint: str) -> bytes:
    return bytes.fromhex(fingerprint)[:_FINGERPRINT_BYTES]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data + zlib.crc32(data).to_bytes(4, "little")).decode().rstrip("=")


def _decode(text: str, kind: bytes, broken: InvalidQuery) -> bytes:
    try:
        # altchars and validate: characters outside the alphabet are an error, not skipped.
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise broken from error
    data, sum_ = decoded[:-4], decoded[-4:]
    if not data.startswith(kind) or zlib.crc32(data).to_bytes(4, "little") != sum_:
        raise broken
    return data
