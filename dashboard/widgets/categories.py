"""Categories on the screen: the choice among them, their colours, their counts."""

import html
from collections.abc import Mapping

import streamlit as st

# tableau20 with its ten strong colours first, so that the categories with most photos are told apart best.
COLOURS = [
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9d7660", "#499894", "#d37295", "#b6992d", "#79706e"),
    *("#a0cbe8", "#ffbe7d", "#8cd17d", "#ff9d9a", "#d4a6c8", "#d7b5a6", "#86bcb6", "#fabfd2", "#f1ce63", "#bab0ac"),
]


def choose_categories(counts: Mapping[str, int], key: str) -> list[str]:
    """Let the user choose among categories, each with its count."""
    # The browser knows an option by its label alone. Setting the choice anew keeps it when a count in a label changes.
    chosen = list(st.session_state.get(key, ()))
    st.session_state[key] = chosen
    # A shared link may ask for a category that is gone: showing it beats searching without it.
    names = [*counts, *(name for name in chosen if name not in counts)]
    return st.multiselect("Category", names, key=key, format_func=lambda name: f"{name} ({counts.get(name, 0):,})")


def category_counts_html(counts: Mapping[str, int], colours: Mapping[str, str]) -> str:
    """Spell counts as a legend that wraps to any width. Category names are sellers' words, so they are escaped."""
    items = (
        f'<span><i style="background: {colours[category]}"></i>{html.escape(category)} ({count:,})</span>'
        for category, count in counts.items()
    )
    return f'<div class="category-counts">{"".join(items)}</div>'
