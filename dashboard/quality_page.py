"""Quality: what the model is, how good it was when tested, and how good it is now."""

from collections.abc import Sequence

import streamlit as st

from dashboard.confusion import draw_confusion
from dashboard.fetching import connect, fetch_plot
from dashboard.figures import draw_figures
from dashboard.link import follow_to_search
from dashboard.model_card import draw_card, draw_comparison
from dashboard.notices import api_errors_shown
from dashboard.recall import draw_recall
from search_api.client import Client
from search_api.schemas.operations import ModelResponse, ModelsResponse


def main() -> None:
    """Draw the page."""
    follow_to_search()
    api = connect()
    st.title("Quality")
    with api_errors_shown():
        models = fetch_models(api)
        model = choose_model(models.models)
        draw_card(model)
        figures, confusion, plots, recall = st.tabs(
            ["Figures", "Confusion", "Curves", "Live recall"], key="view", on_change="rerun", bind="query-params"
        )
        with figures:
            if figures.open:
                draw_figures(model)
                draw_comparison(models.models)
        with confusion:
            if confusion.open:
                draw_confusion(api)
        with plots:
            if plots.open:
                draw_plots(api, model)
        with recall:
            if recall.open:
                draw_recall(api.activity())


def fetch_models(api: Client) -> ModelsResponse:
    """The models of the builds, and a word on those that cannot be read."""
    models = api.models()
    for reason in models.unreadable:
        with st.container(border=True):
            st.warning("A model cannot be shown.", icon=":material/folder_off:")
            st.text(reason)
    return models


def choose_model(models: Sequence[ModelResponse]) -> ModelResponse | None:
    """The live model, or the one that is chosen where there are several."""
