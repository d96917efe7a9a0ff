"""The Quality page: the model, its metrics, its confusion matrix and its live recall."""

import streamlit as st

from dashboard.api import connect
from dashboard.quality.confusion import draw_confusion
from dashboard.quality.figures import draw_figures
from dashboard.quality.model_card import choose_model, draw_card, draw_plots, draw_unreadable
from dashboard.quality.recall import draw_recall
from dashboard.widgets.notices import api_errors_shown
from dashboard.widgets.search_links import follow_search_link


def main() -> None:
    """Draw the page."""
    follow_search_link()
    api = connect()
    st.title("Quality")
    with api_errors_shown():
        answer = api.models()
        draw_unreadable(answer.unreadable)
        model = choose_model(answer.models)
        if model is None:
            return
        draw_card(model)
        figures, confusion, curves, recall = st.tabs(
            ["Figures", "Confusion", "Curves", "Live recall"], key="view", on_change="rerun", bind="query-params"
        )
        with figures, api_errors_shown():
            if figures.open:
                draw_figures(answer.models, model)
        with confusion, api_errors_shown():
            if confusion.open:
                draw_confusion(api)
        with curves, api_errors_shown():
            if curves.open:
                draw_plots(api, model)
        with recall, api_errors_shown():
            if recall.open:
                draw_recall(api)


if __name__ == "__main__":
    main()
