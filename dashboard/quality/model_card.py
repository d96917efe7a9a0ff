"""A model's card, and the plots of its training."""

from collections.abc import Sequence

import streamlit as st

from search_api.client import Client
from search_api.schemas import ModelResponse

PLOTS = {
    "loss.png": "Loss and recall during training",
    "reliability.png": "Predicted probability against the observed share of same items",
    "confusion.png": "Confusion on photos that it was not trained on",
}
PARTS = {"train": "for training", "val": "for validation", "test": "for testing"}


def draw_unreadable(reasons: Sequence[str]) -> None:
    """Draw why the models of some builds cannot be shown."""
    if not reasons:
        return
    with st.container(border=True, key="unreadable"):
        st.warning("The models of some builds cannot be shown.", icon=":material/folder_off:")
        for reason in reasons:
            st.text(reason)


def choose_model(models: Sequence[ModelResponse]) -> ModelResponse | None:
    """Return the model, or the selected one if there are several; None if there is none."""
    if not models:
        st.info("The API can read no build's model on its machine.", icon=":material/folder_off:")
        return None
    by_name = {name_of(model): model for model in models}
    if len(by_name) == 1:
        return models[0]
    name = st.selectbox("Model", list(by_name), key="model", bind="query-params")
    return by_name[name]


def name_of(model: ModelResponse) -> str:
    """Return name and fingerprint, because two models may have the same name."""
    return f"{model.name} {model.model_fingerprint[:8]}"


def draw_card(model: ModelResponse) -> None:
    """Draw the main facts; the full card can be expanded."""
    facts = {
        "Model": f"{model.name}{', live' if model.is_live else ', not live'}",
        "Fingerprint": model.model_fingerprint[:12],
        "Precision": model.arithmetic,
        "Categories": f"{len(model.categories)}",
        "Photos": _photos_in_words(model),
        "Base model": model.parent,
    }
    with st.container(border=True, key="card"):
        grid = st.grid(columns=3, min_column_width=160, gap="small")
        for name, fact in facts.items():
            with grid.container(gap=None):
                st.caption(name)
                st.text(fact)
        with st.expander("Full card", key="whole-card"):
            st.text(f"Folder: {model.folder}\nLicence: {model.licence}\nCategories: {', '.join(model.categories)}")
            st.json(model.model_dump(include={"training", "architecture", "calibration"}), expanded=1)


def draw_plots(api: Client, model: ModelResponse) -> None:
    """Draw the plots of a model's training."""
    if not model.plots:
        st.info("This model's folder contains no training plots.", icon=":material/image_not_supported:")
        return
    grid = st.grid(columns=2, min_column_width=330, gap="medium")
    for name in sorted(model.plots, key=[*PLOTS, *model.plots].index):
        with grid.container(key=f"plot-{name}"):
            title = PLOTS.get(name, name)
            st.subheader(title, anchor=False)
            st.image(_plot(api.url, model.model_fingerprint, name, api), width="stretch", alt=f"Chart: {title}")


def _photos_in_words(model: ModelResponse) -> str:
    parts = model.training.get("data", {})
    counts = [f"{parts[part]['photos']:,} {purpose}" for part, purpose in PARTS.items() if part in parts]
    return ", ".join(counts) or "unknown"


# Parameters that begin with _ are not part of the cache key.
@st.cache_data(ttl="1h", max_entries=50, show_spinner=False)
def _plot(url: str, fingerprint: str, name: str, _api: Client) -> bytes:  # noqa: ARG001 - part of the cache key
    return _api.plot(fingerprint, name)
