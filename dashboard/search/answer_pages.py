"""The answer to the question of this session, page after page, asked for once."""

from collections.abc import Sequence

import streamlit as st
from pydantic import ValidationError

from dashboard.search.question import Question
from search_api.client import ApiError, Client
from search_api.schemas import SearchHit, SearchRequest, SearchResponse

REFUSED = 422


def fetch_answer(api: Client, question: Question) -> list[SearchResponse]:
    """The pages so far, none where nothing can be asked: the first is fetched when the question is new.

    Raises ApiError.
    """
    if question.is_empty or question.asked.prices_crossed:
        return []
    kept = st.session_state.get("answer")
    if not kept or kept[0] != question.key:
        with st.spinner("Searching …"):
            kept = (question.key, [api.search(_first(question), question.contents)])
        st.session_state["answer"] = kept
    pages: list[SearchResponse] = kept[1]
    if st.session_state.pop("next-page", False):
        pages.append(api.search(_next(question, pages[-1])))
    return pages


def want_next_page() -> None:
    """Have the page after the last one fetched."""
    st.session_state["next-page"] = True


def every_hit(pages: Sequence[SearchResponse]) -> list[SearchHit]:
    """The hits of all pages."""
    return [hit for page in pages for hit in page.hits]


def _first(question: Question) -> SearchRequest:
    """The search. Raises ApiError for what the API would refuse, such as a place of more letters than it takes."""
    try:
        return question.search()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ApiError(f"The search cannot be asked: {wrong}.", "Change that filter.", status=REFUSED) from error


def _next(question: Question, last: SearchResponse) -> SearchRequest:
    # The query_id stands for photos, examples and all; the facets of the first page are those of every page.
    return SearchRequest(
        query_id=last.query_id, cursor=last.cursor, filter=question.asked.filter(), limit=question.asked.limit
    )
