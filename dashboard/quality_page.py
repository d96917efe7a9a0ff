"""Quality: what the model is, how good it was when it was tested, and how good it is now."""

import streamlit as st

from dashboard.confusion import draw_confusion
from dashboard.fetching import connect
from dashboard.figures import draw_figures
from dashboard.model_card import choose_model, draw_card, draw_plots, draw_unreadable
from dashboard.notices import api_errors_shown
from dashboard.onward import go_on
from dashboard.recall import draw_recall


def main() -> None:
    """Draw the page."""
    go_on()
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
