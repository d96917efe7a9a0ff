"""Widgets for categories: the selection, the colours and the legend with counts."""

import html
from collections.abc import Mapping

import streamlit as st

# tableau20 with its ten strong colours first, so that the largest categories are the easiest to distinguish.
COLOURS = [
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9d7660", "#499894", "#d37295", "#b6992d", "#79706e"),
    *("#a0cbe8", "#ffbe7d", "#8cd17d", "#ff9d9a", "#d4a6c8", "#d7b5a6", "#86bcb6", "#fabfd2", "#f1ce63", "#bab0ac"),
]


def choose_categories(counts: Mapping[str, int], key: str) -> list[str]:
    """Draw a multiselect of categories with their counts; return the selected ones."""
    # The browser identifies an option by its label: set the selection again, so that it survives a changed count.
    selected = list(st.session_state.get(key, ()))
    st.session_state[key] = selected
    # A shared link may contain a category that no longer exists: show it rather than search without it.
    names = [*counts, *(name for name in selected if name not in counts)]
    return st.multiselect("Category", names, key=key, format_func=lambda name: f"{name} ({counts.get(name, 0):,})")


def category_counts_html(counts: Mapping[str, int], colours: Mapping[str, str]) -> str:
    """Return a legend with counts that wraps to any width. Category names come from sellers, so they are escaped."""
    items = (
        f'<span><i style="background: {colours[category]}"></i>{html.escape(category)} ({count:,})</span>'
        for category, count in counts.items()
    )
    return f'<div class="category-counts">{"".join(items)}</div>'
