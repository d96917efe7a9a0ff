"""The metrics of one or several models with their intervals, as a chart and as a table."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from dashboard.quality.model_card import name_of
from search_api.schemas import ModelResponse

# The names and the order are those of the model's README.
LABELS = {
    "recall_at_1": "recall@1, the other photo of the listing",
    "recall_at_5": "recall@5",
    "recall_at_10": "recall@10",
    "category_p_at_1": "category P@1, own listing left out",
    "category_p_at_10": "category P@10",
    "category_vote": "category, vote of ten neighbours",
    "category_map_at_r": "category mAP@R",
    "head_top_1": "category head, top-1",
    "head_top_3": "category head, top-3",
    "leaky_category_p_at_1": "category P@1 if the own listing counted",
}
ROW_PIXELS = 52


def draw_figures(models: Sequence[ModelResponse], model: ModelResponse) -> None:
    """Draw the metrics of a model, beside those of the other models if there are any."""
    frame = figures_frame(models)
    if not (frame["model"] == name_of(model)).any():
        st.info("This model was not evaluated: its card has no metrics.", icon=":material/query_stats:")
        return
    st.caption(f"{tested_on(model)} The line is the 95 % interval; the dot is the mean.")
    st.altair_chart(figures_chart(frame), width="stretch", alt="Each figure with its 95 % interval")
    st.subheader("As a table" if len(models) == 1 else "Side by side", anchor=False)
    st.dataframe(figures_table(frame), width="stretch", key="figures-table", height="content")


def tested_on(model: ModelResponse) -> str:
    """Return which photos the metrics are from: those of a model that is trained on all photos are its twin's."""
    twin = model.training.get("arguments", {}).get("twin")
    if twin:
        return (
            f"From its twin {twin[:8]}, trained in the same way without the test photos; this model is trained on all."
        )
    return "From photos that were excluded from its training."


def figures_frame(models: Sequence[ModelResponse]) -> pd.DataFrame:
    """Return a row for each model and metric."""
    return pd.DataFrame(
        [
            {"model": name_of(model), "figure": _label(name), **figure.model_dump()}
            for model in models
            for name, figure in sorted(model.metrics.items(), key=lambda item: _position(item[0]))
        ],
        columns=["model", "figure", "mean", "low", "high", "queries"],
    )


def figures_chart(frame: pd.DataFrame) -> alt.LayerChart:
    """Draw the intervals: one row for each metric, its name above the lines."""
    models = list(frame["model"].unique())
    legend = alt.Legend(orient="top", labelLimit=0, title=None)
    # Names are inside the chart, above the lines: beside them they would take half of a phone's screen.
    names = alt.Axis(
        ticks=False, domain=False, labelAlign="left", labelPadding=0, labelOffset=-ROW_PIXELS / 2, labelLimit=0
    )
    base = alt.Chart(frame).encode(
        y=alt.Y("figure:N", sort=None, title=None, axis=names),
        yOffset=alt.YOffset("model:N", sort=models, scale=alt.Scale(paddingOuter=1)),
        color=alt.Color(
            "model:N",
            sort=models,
            legend=legend if len(models) > 1 else None,
        ),
        tooltip=[
            alt.Tooltip("model:N"),
            alt.Tooltip("figure:N"),
            *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("mean", "low", "high")),
            alt.Tooltip("queries:Q", format=","),
        ],
    )
    across = alt.X("low:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", orient="top"))
    lines = base.mark_rule(strokeWidth=3).encode(x=across, x2="high:Q")
    dots = base.mark_circle(size=90, opacity=1).encode(x="mean:Q")
    return alt.LayerChart(layer=[lines, dots], height=ROW_PIXELS * frame["figure"].nunique())


def figures_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each metric and a column for each model: mean and interval as percentages."""
    texts = frame.apply(lambda row: f"{row['mean']:.1%} ({row['low']:.1%} to {row['high']:.1%})", axis=1)
    table = frame.assign(text=texts).pivot_table(
        index="figure", columns="model", values="text", aggfunc="first", sort=False
    )
    table.columns.name = None
    return table.rename_axis("Figure")


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _position(name: str) -> int:
    return list(LABELS).index(name) if name in LABELS else len(LABELS)
