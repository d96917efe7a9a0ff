"""What a model is: its card, and the pictures that its training left."""

from collections.abc import Sequence

import streamlit as st

from search_api.client import Client
from search_api.schemas import ModelResponse

PLOTS = {
    "loss.png": "Loss and recall while it was trained",
    "reliability.png": "Probability that was said, against how often it was the same item",
    "confusion.png": "Confusion on photos that it had not seen",
}
PARTS = {"train": "for training", "val": "for validation", "test": "for the test"}


def draw_unreadable(reasons: Sequence[str]) -> None:
    """Say which builds' models cannot be shown."""
    if not reasons:
        return
    with st.container(border=True, key="unreadable"):
        st.warning("Not every build's model can be shown.", icon=":material/folder_off:")
        for reason in reasons:
            st.text(reason)


def choose_model(models: Sequence[ModelResponse]) -> ModelResponse | None:
    """The live model, or the one chosen where there are several; None where there is none."""
    if not models:
        st.info("No build's model can be read on the machine of the API.", icon=":material/folder_off:")
        return None
    by_name = {name_of(model): model for model in models}
    if len(by_name) == 1:
        return models[0]
    name = st.selectbox("Model", list(by_name), key="model", bind="query-params")
    return by_name[name]


def name_of(model: ModelResponse) -> str:
    """Name and fingerprint: two models may have the same name."""
    return f"{model.name} {model.model_fingerprint[:8]}"


def draw_card(model: ModelResponse) -> None:
    """Draw what it is, in a few lines; the rest folded away."""
    facts = {
        "Model": f"{model.name}{', live' if model.is_live else ', not live'}",
        "Fingerprint": model.model_fingerprint[:12],
        "Calculates in": model.arithmetic,
        "Categories": f"{len(model.categories)}",
        "Photos": _photos_in_words(model),
        "Began as": model.parent,
    }
    with st.container(border=True, key="card"):
        grid = st.grid(columns=3, min_column_width=160, gap="small")
        for name, fact in facts.items():
            with grid.container(gap=None):
                st.caption(name)
                st.text(fact)
        with st.expander("The whole card", key="whole-card"):
            st.text(f"Folder: {model.folder}\nLicence: {model.licence}\nCategories: {', '.join(model.categories)}")
            st.json(model.model_dump(include={"training", "architecture", "calibration"}), expanded=1)


def draw_plots(api: Client, model: ModelResponse) -> None:
    """Draw the pictures of its training."""
    if not model.plots:
        st.info("This model's folder holds no pictures of its training.", icon=":material/image_not_supported:")
        return
    grid = st.grid(columns=2, min_column_width=330, gap="medium")
    for name in sorted(model.plots, key=[*PLOTS, *model.plots].index):
        with grid.container(key=f"plot-{name}"):
            words = PLOTS.get(name, name)
            st.subheader(words, anchor=False)
            st.image(_plot(api.url, model.model_fingerprint, name, api), width="stretch", alt=f"{words}, as a chart")


def _photos_in_words(model: ModelResponse) -> str:
    parts = model.training.get("data", {})
    counted = [f"{parts[part]['photos']:,} {words}" for part, words in PARTS.items() if part in parts]
    return ", ".join(counted) or "unknown"


# What begins with _ does not tell one answer from another.
@st.cache_data(ttl="1h", max_entries=50, show_spinner=False)
def _plot(url: str, fingerprint: str, name: str, _api: Client) -> bytes:  # noqa: ARG001 - another API, other models
    return _api.plot(fingerprint, name)
