"""The sections below the map: selected photos, overlap of categories, distances between them, and outliers."""

from collections.abc import Sequence

import streamlit as st

from dashboard.clusters.colouring import Colouring
from dashboard.clusters.state import SECTIONS, MapState
from dashboard.widgets.categories import category_counts_html
from dashboard.widgets.csv_export import draw_csv_button
from dashboard.widgets.matrix import draw_matrix
from dashboard.widgets.search_links import MORE_LIKE_THIS
from dashboard.widgets.tiles import PHOTO_PIXELS, Tile, draw_tiles, listing_facts, price_in_words
from search_api.client import Client
from search_api.schemas import InsightPhoto, InsightsResponse, MapColumns

MAX_TILES = 60
MAX_OUTLIERS = 24
MAX_PAIRS = 5


def draw_section(
    api: Client,
    state: MapState,
    insights: InsightsResponse,
    columns: MapColumns,
    colouring: Colouring,
    drawn: Sequence[int],
) -> None:
    """Draw the section selector and the selected section."""
    st.segmented_control(
        "Below the map", SECTIONS, key="part", format_func=str.capitalize, label_visibility="collapsed", required=True
    )
    if state.part == "overlap":
        draw_overlap(insights)
    elif state.part == "distance":
        draw_distances(insights)
    elif state.part == "outliers":
        draw_outliers(api, state, insights)
    else:
        draw_selection(api, columns, colouring, state.selection.points(columns, drawn))


def draw_selection(api: Client, columns: MapColumns, colouring: Colouring, points: Sequence[int]) -> None:
    """Draw the selected photos: their number by label, the export, then the photos."""
    if not points:
        st.info("Draw around a part of the map to see the photos there.", icon=":material/select:")
        return
    listings = len({columns.listing_id[point] for point in points})
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader(f"{_count_in_words(len(points), 'photo')} of {_count_in_words(listings, 'listing')} selected")
        draw_csv_button(lambda: _rows(columns, points), "chosen-photos")
    st.html(category_counts_html(colouring.counts(points), colouring.by_label))
    if len(points) > MAX_TILES:
        st.caption(f"Only the first {MAX_TILES} are shown; the export contains all.")
    draw_tiles([_tile(api, columns, point) for point in points[:MAX_TILES]], [MORE_LIKE_THIS])


def draw_overlap(insights: InsightsResponse) -> None:
    """Draw how often the neighbours of a category's photos are in another category."""
    names = [category.category for category in insights.categories]
    pairs = sorted(
        ((share, names[row], names[column]) for row, column, share in _cells(insights.overlap) if row != column),
        reverse=True,
    )
    with st.container(gap=None):
        for share, name, other in pairs[:MAX_PAIRS]:
            st.text(f"{share:.0%} of the nearest photos of {name} are in {other}")
    draw_matrix(
        names,
        insights.overlap,
        rows="category",
        columns="category of its neighbours",
        value="share",
        number_format=".0%",
        scale="sqrt",
    )


def draw_distances(insights: InsightsResponse) -> None:
    """Draw how far apart the categories are."""
    names = [category.category for category in insights.categories]
    pairs = sorted(
        (distance, names[row], names[column]) for row, column, distance in _cells(insights.distances) if row < column
    )
    with st.container(gap=None):
        for distance, name, other in pairs[:MAX_PAIRS]:
            st.text(f"{name} and {other} are near: {distance:.3f}")
    draw_matrix(
        names,
        insights.distances,
        rows="category",
        columns="other category",
        value="cosine distance",
        number_format=".3f",
    )


def draw_outliers(api: Client, state: MapState, insights: InsightsResponse) -> None:
    """Draw the photos that are least like the rest of their category."""
    names = [category.category for category in insights.categories]
    # A widget that was not drawn loses its value, and a link may contain a category that no longer exists.
    st.session_state["outliers"] = state.outliers if state.outliers in names else names[0]
    category = st.selectbox("Outliers of", names, key="outliers")
    answer = api.insight_photos(category=category, outliers=True, limit=MAX_OUTLIERS)
    st.caption(
        "Least like the other photos of their category first. The score is the mean cosine with the nearest of those."
    )
    draw_csv_button(lambda: [photo.model_dump(exclude={"photo_url"}) for photo in answer.photos], "outliers")
    draw_tiles([_outlier_tile(api, photo) for photo in answer.photos], [MORE_LIKE_THIS])


def _cells(matrix: Sequence[Sequence[float]]) -> list[tuple[int, int, float]]:
    return [(row, column, value) for row, values in enumerate(matrix) for column, value in enumerate(values)]


def _count_in_words(count: int, name: str) -> str:
    return f"1 {name}" if count == 1 else f"{count:,} {name}s"


def _tile(api: Client, columns: MapColumns, point: int) -> Tile:
    facts = (
        price_in_words(columns.price[point], columns.currency[point]),
        columns.category[point],
        columns.location[point],
    )
    photo = api.photo_address(columns.photo_url[point], PHOTO_PIXELS)
    title = columns.title[point]
    return Tile(columns.photo_id[point], columns.listing_id[point], photo, title, tuple(fact for fact in facts if fact))


def _outlier_tile(api: Client, photo: InsightPhoto) -> Tile:
    facts = list(listing_facts(photo))
    if photo.score is not None:
        facts.insert(0, f"Score {photo.score:.3f}")
    if photo.predicted_category and photo.predicted_category != photo.category:
        facts.append(f"Model: {photo.predicted_category}")
    address = api.photo_address(photo.photo_url, PHOTO_PIXELS)
    return Tile(photo.photo_id, photo.listing_id, address, photo.title, tuple(facts))


def _rows(columns: MapColumns, points: Sequence[int]) -> list[dict[str, object]]:
    exported = columns.model_dump(exclude={"photo_url"})
    return [{name: values[point] for name, values in exported.items()} for point in points]
