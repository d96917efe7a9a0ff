"""Unit tests of query_id and cursor."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidQuery, MarketlensError, QueryOutdated
from search_api.search.query import MAX_VECTORS, Kind, Query
from search_api.search.tokens import digest, hit_digest, read_cursor, read_query_id, write_cursor, write_query_id

MODEL = "ab" * 32


def query(count: int = 1, dim: int = 512, own: tuple[str, ...] = ()) -> Query:
    vectors = np.random.default_rng(0).normal(size=(count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Query(vectors, b"12345678", "photo", vectors, own)


@pytest.mark.parametrize(("count", "own"), [(1, ()), (3, ("l1", 'a/b "\n🛋️')), (MAX_VECTORS, ("x" * 512,))])
def test_a_query_comes_back_as_it_was(count: int, own: tuple[str, ...]) -> None:
    """A query_id restores the query bit for bit, with its excluded listings."""
    asked = query(count, own=own)
    back = read_query_id(write_query_id(asked, MODEL), MODEL, 512)
    assert np.array_equal(back.vectors, asked.vectors)
    assert np.array_equal(back.looks, asked.looks)
    assert (back.key, back.own, back.kind, back.text) == (asked.key, asked.own, asked.kind, asked.text)


@pytest.mark.parametrize("kind", ["words", "examples"])
def test_words_and_looks_come_back(kind: Kind) -> None:
    """The category of a query is known as before: by its words, and by the photos that a combined vector is made of."""
    vector, looks = query().vectors, query(3 if kind == "examples" else 0).vectors
    for vectors in (vector, vector[:0]):  # unknown words have no vector
        asked = Query(vectors, b"12345678", kind, looks, text='oak "table" 机')
        back = read_query_id(write_query_id(asked, MODEL), MODEL, 512)
        assert np.array_equal(back.vectors, vectors)
        assert np.array_equal(back.looks, looks)
        assert (back.kind, back.text) == (kind, asked.text)


def test_a_query_of_one_upload_is_short() -> None:
    """It fits into an app's URL or cookie if necessary: 512 dimensions are 2.8 kB."""
    assert len(write_query_id(query(), MODEL)) < 2_870


def test_queries_of_other_models_are_refused() -> None:
    """Refuse another model, another dimension, too many vectors, and vectors without a direction."""
    token = write_query_id(query(), MODEL)
    with pytest.raises(QueryOutdated):
        read_query_id(token, "cd" * 32, 512)
    twice = replace(query(), vectors=2 * query().vectors)
    endless = replace(query(), vectors=np.full((1, 512), np.nan, np.float32))
    for broken in (query(dim=500), query(MAX_VECTORS + 1), query(0), twice, endless):
        with pytest.raises(InvalidQuery):
            read_query_id(write_query_id(broken, MODEL), MODEL, 512)


@given(st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1"))))
def test_no_text_breaks_the_readers(text: str) -> None:
    """Any other text raises a domain error."""
    for read in (lambda: read_query_id(text, MODEL, 512), lambda: read_cursor(text, digest("x"))):
        with pytest.raises(MarketlensError):
            read()


@given(st.integers(0, 2_700), st.integers(1, 255))
def test_no_changed_byte_goes_unnoticed(place: int, change: int) -> None:
    """A miscopied token is refused: a search by other vectors would look like a valid answer."""
    token = write_query_id(query(), MODEL)
    other = token[:place] + chr((ord(token[place]) + change) % 256) + token[place + 1 :]
    with pytest.raises(MarketlensError):
        read_query_id(other, MODEL, 512)


def test_a_cursor_remembers_what_was_shown() -> None:
    """It holds 2,000 hits in 16 kB and is valid for its own search only."""
    hits = [hit_digest(f"l{number}") for number in range(2_000)]
    cursor = write_cursor(digest("search"), hits)
    assert read_cursor(cursor, digest("search")) == hits
    assert len(cursor) < 16_100
    with pytest.raises(InvalidQuery, match="another search"):
        read_cursor(cursor, digest("other"))


def test_parts_of_a_digest_do_not_run_together() -> None:
    """Moving a character between parts changes the digest, so source and filter cannot be confused."""
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", "")}) == 4
