"""Clusters: the whole collection as a map, where photos that look alike lie together."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import streamlit as st

from dashboard.categories import category_colours, category_counts_html, choose_categories
from dashboard.fetching import connect, fetch_map
from dashboard.map_chart import chosen, map_chart, points_frame
from dashboard.notices import api_errors_shown
from dashboard.tiles import PHOTO_PIXELS, Action, Tile, draw_tiles, listing_facts
from search_api.client import Client
from search_api.schemas import MapPoint, MapResponse

MOST_TILES = 60


def main() -> None:
    """Draw the page."""
    go_to_search()
    api = connect()
    st.title("Clusters")
    with api_errors_shown():
        photo_map = fetch_map(api)
        if not photo_map.points:
            st.info("The collection holds no photos yet. Fill it with `marketlens ingest`.")
            return
        counts = count_categories(photo_map.points)
        colours = category_colours(counts)
        points = draw_category_choice(photo_map.points, counts)
        draw_explanation(photo_map, points)
        picked = draw_map(api, points, colours)
        st.html(category_counts_html(count_categories(points), colours))
        draw_chosen(api, picked, colours)


def go_to_search() -> None:
    """Follow a "More like this" to the Search page."""
    listing_id = st.session_state.pop("go-to-listing", None)
    if listing_id is not None:
        st.switch_page("search_page.py", query_params={"listing_id": listing_id})


def count_categories(points: Iterable[MapPoint]) -> dict[str, int]:
    """How many points each category has, largest first."""
    return dict(Counter(point.category for point in points).most_common())


def draw_category_choice(points: Sequence[MapPoint], counts: Mapping[str, int]) -> list[MapPoint]:
    """Let the user limit the map to some categories; return the points left."""
    with st.sidebar:
        st.header("Filters")
        wanted = choose_categories(counts, key="map_category")
    return [point for point in points if not wanted or point.category in wanted]


def draw_explanation(photo_map: MapResponse, points: Sequence[MapPoint]) -> None:
    """Say what is on the map and what can be done with it."""
    st.caption(
        f"{len(points):,} of {photo_map.total_photos:,} photos; those near each other look alike. Hover to see a "
        "photo, click to choose it, drag to choose many. Ctrl + wheel zooms, Shift + drag moves, a double click resets."
    )


def draw_map(api: Client, points: Sequence[MapPoint], colours: Mapping[str, str]) -> list[MapPoint]:
    """Draw the map and return the points chosen on it."""
    frame = points_frame(points, api)
    state = st.altair_chart(
        map_chart(frame, colours),
        key="map",
        on_select="rerun",
        selection_mode=["brush", "click"],
        alt="Map of the photos, coloured by category",
    )
    return [points[place] for place in chosen(frame, state["selection"]).index]


def draw_chosen(api: Client, points: Sequence[MapPoint], colours: Mapping[str, str]) -> None:
    """Draw what was chosen: how many of each category, then the photos."""
    if not points:
        st.info("Drag over the map to see the photos there.", icon=":material/select:")
        return
    st.subheader("1 photo chosen" if len(points) == 1 else f"{len(points):,} photos chosen")
    st.html(category_counts_html(count_categories(points), colours))
    if len(points) > MOST_TILES:
        st.caption(f"The first {MOST_TILES} are shown.")
    draw_tiles([_tile(api, point) for point in points[:MOST_TILES]], (Action("more", "More like this", _ask_about),))


def _tile(api: Client, point: MapPoint) -> Tile:
    photo = api.photo_address(point.photo_url, PHOTO_PIXELS)
    return Tile(point.photo_id, point.listing_id, photo, point.title, listing_facts(point))


def _ask_about(tile: Tile) -> None:
    st.session_state["go-to-listing"] = tile.listing_id


if __name__ == "__main__":
    main()
