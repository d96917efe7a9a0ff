"""`query_id` and `cursor`: the state of a search, which the client carries. See docs/decisions/0024.

Neither is secret or signed: a client that alters one only asks another question, which it may ask anyway.
"""

import base64
import binascii
import hashlib
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from pydantic import TypeAdapter

from catalog.errors import InvalidQuery, QueryOutdated
from search_api.search.query import MAX_VECTORS, Query

MAX_SHOWN = 2_000
KEY_BYTES = 8
_SHOWN_BYTES = 6
_DIGEST_BYTES = 12
_FINGERPRINT_BYTES = 16
_QUERY, _CURSOR = b"q1", b"c1"
_IDS = TypeAdapter(tuple[str, ...])
_HEAD = struct.Struct(f"<2s{_FINGERPRINT_BYTES}s{KEY_BYTES}s?II")  # combined, vectors, bytes of the listing ids


def write_query_id(query: Query, fingerprint: str) -> str:
    """Encode a query as text: 2.8 kB for one upload and 512 dimensions."""
    own = _IDS.dump_json(query.own)
    head = _HEAD.pack(_QUERY, _fingerprint_prefix(fingerprint), query.key, query.combined, len(query.vectors), len(own))
    return _encode(head + own + query.vectors.astype("<f4").tobytes())


def read_query_id(text: str, fingerprint: str, dim: int) -> Query:
    """Decode a query_id. Raises InvalidQuery, and QueryOutdated if another model made it."""
    broken = InvalidQuery("The query_id is damaged.", hint="Send it exactly as the response had it, or search again.")
    data = _decode(text, _QUERY, broken)
    try:
        _, made_by, key, combined, count, own_size = _HEAD.unpack_from(data)
        if made_by != _fingerprint_prefix(fingerprint):
            raise QueryOutdated(
                "The query_id was made by another model than the current one.", hint="Search by the photo again."
            )
        own = _IDS.validate_json(data[_HEAD.size : _HEAD.size + own_size])
        vectors = np.frombuffer(data, "<f4", offset=_HEAD.size + own_size).reshape(count, dim)
    except (struct.error, ValueError) as error:
        raise broken from error
    if not 0 < count <= MAX_VECTORS or not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
        raise broken
    return Query(vectors.astype(np.float32), key, own, combined)


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
