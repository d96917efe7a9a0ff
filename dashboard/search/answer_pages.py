"""The result pages of this session's query: each is fetched once."""

from collections.abc import Sequence

import streamlit as st
from pydantic import ValidationError

from dashboard.search.search_query import SearchQuery
from search_api.client import ApiError, Client
from search_api.schemas import SearchHit, SearchRequest, SearchResponse

REFUSED = 422


def fetch_answer(api: Client, query: SearchQuery) -> list[SearchResponse]:
    """Return the pages so far, or none if there is nothing to search by. Fetch the first page of a new query.

    Raises ApiError.
    """
    if query.is_empty or query.state.prices_crossed:
        return []
    cached = st.session_state.get("answer")
    if not cached or cached[0] != query.key:
        with st.spinner("Searching …"):
            cached = (query.key, [api.search(_first_request(query), query.contents)])
        st.session_state["answer"] = cached
    pages: list[SearchResponse] = cached[1]
    if st.session_state.pop("next-page", False):
        pages.append(api.search(_next_request(query, pages[-1])))
    return pages


def request_next_page() -> None:
    """Fetch another page at the next run."""
    st.session_state["next-page"] = True


def all_hits(pages: Sequence[SearchResponse]) -> list[SearchHit]:
    """Return the hits of all pages."""
    return [hit for page in pages for hit in page.hits]


def _first_request(query: SearchQuery) -> SearchRequest:
    """Return the search request. Raises ApiError if the API would refuse it, for example if a location is too long."""
    try:
        return query.search()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise ApiError(f"The search is invalid: {problems}.", "Change that filter.", status=REFUSED) from error


def _next_request(query: SearchQuery, last: SearchResponse) -> SearchRequest:
    # The query_id stands for the photos and examples. All pages have the facets of the first page.
    return SearchRequest(
        query_id=last.query_id, cursor=last.cursor, filter=query.state.filter(), limit=query.state.limit
    )
