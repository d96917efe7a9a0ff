"""The confusion matrix of the seller's category and the model's, with the photos of a cell."""

from typing import Any

import streamlit as st

from dashboard.quality.confusion_chart import confusion_chart, confusion_frame
from dashboard.widgets.search_links import MORE_LIKE_THIS
from dashboard.widgets.tiles import PHOTO_PIXELS, Tile, draw_tiles, listing_facts
from search_api.client import Client
from search_api.schemas import ConfusionResponse, InsightPhoto

PHOTOS = 24


def draw_confusion(api: Client) -> None:
    """Draw the matrix, and the photos of the selected cell."""
    confusion = api.confusion()
    if not confusion.predicted_categories:
        st.info("The live model has no category head, so there is nothing to compare.", icon=":material/category:")
        return
    draw_warning(confusion)
    with st.container(key="confusion-scroll"):
        st.altair_chart(
            confusion_chart(confusion_frame(confusion)),
            width="stretch",
            key="confusion",
            on_select=select_clicked_cell,
            selection_mode="cell",
            alt="Photos by the seller's category, in rows, and the model's, in columns",
        )
    category, predicted = draw_cell_choice(confusion)
    if category and predicted:
        draw_photos(api, category, predicted)
    else:
        st.info("Click a cell, or select its row and column here, to see its photos.", icon=":material/select:")


def draw_warning(confusion: ConfusionResponse) -> None:
    """Draw how to read the matrix, and how many of the photos the model was trained on."""
    photos = sum(map(sum, confusion.counts))
    st.text(
        f"{photos:,} photos of the live collection. Rows: the seller's category. Columns: the model's category. "
        "The darker a cell, the larger its share of the row."
    )
    if confusion.trained_on:
        st.warning(
            f"The model was trained on {confusion.trained_on:,} of these photos ({confusion.trained_on / photos:.0%}) "
            "and has memorised them, so it looks better here than it is. The Curves tab has the matrix of photos that "
            "it was not trained on.",
            icon=":material/school:",
        )


def select_clicked_cell() -> None:
    """Select the clicked cell. A click outside the cells changes nothing."""
    clicked: list[dict[str, Any]] = st.session_state["confusion"]["selection"].get("cell") or []
    if clicked:
        st.session_state["seller"] = clicked[0]["category"]
        st.session_state["model_says"] = clicked[0]["predicted"]


def draw_cell_choice(confusion: ConfusionResponse) -> tuple[str | None, str | None]:
    """Draw lists of rows and columns, for the keyboard, small screens and the URL; return the selection."""
    row, column = st.columns(2)
    category = row.selectbox(
        "Seller's category", confusion.categories, None, key="seller", placeholder="Row", bind="query-params"
    )
    predicted = column.selectbox(
        "Model's category",
        confusion.predicted_categories,
        None,
        key="model_says",
        placeholder="Column",
        bind="query-params",
    )
    return category, predicted


def draw_photos(api: Client, category: str, predicted: str) -> None:
    """Draw the photos of a cell; each press shows another page."""
    answer = api.insight_photos(category=category, predicted=predicted, limit=PHOTOS)
    photos = answer.photos
    for _ in range(st.session_state.setdefault(f"more-{category}-{predicted}", 0)):
        if answer.next_after is None:
            break
        answer = api.insight_photos(category=category, predicted=predicted, after=answer.next_after, limit=PHOTOS)
        photos += answer.photos
    st.subheader(f"{answer.total:,} photos" if answer.total != 1 else "1 photo", anchor=False)
    st.text(f"Seller's category: {category}. Model's category: {predicted}.")
    draw_tiles([_tile(api, photo) for photo in photos], [MORE_LIKE_THIS])
    if answer.next_after is not None:
        st.button("Show more", key="more-photos", on_click=_show_more, args=(category, predicted))


def _show_more(category: str, predicted: str) -> None:
    st.session_state[f"more-{category}-{predicted}"] += 1


def _tile(api: Client, photo: InsightPhoto) -> Tile:
    confidence = () if photo.confidence is None else (f"Model {photo.confidence:.0%} sure",)
    address = api.photo_address(photo.photo_url, PHOTO_PIXELS)
    return Tile(photo.photo_id, photo.listing_id, address, photo.title, (*confidence, *listing_facts(photo)))
