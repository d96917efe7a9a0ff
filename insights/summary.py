"""The contents of `insights.json`: the summary of the collection, and the parameters of the run."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class CategorySummary(BaseModel):
    """A root category: its size, the words of its titles, its position on the map."""

    category: str
    listings: int
    photos: int
    words: list[str]
    x: float
    y: float


class Cluster(BaseModel):
    """A cluster of the map."""

    x: float
    y: float
    photos: int
    category: str
    words: list[str]


class RunParameters(BaseModel):
    """The parameters of the run."""

    neighbours: int
    outlier_neighbours: int
    map_photos: int
    min_certainty: float
    same_photo_likeness: float
    same_photo_cosine: float
    same_item_cosine: float | None = Field(description="None: the model has no calibration, so items are not compared.")
    same_item_probability: float


FORMAT = 2
"""Of the summary and its tables. 2: a suggestion has the voice of its title."""


class Summary(BaseModel):
    """The summary of a collection. Matrices have a row for each category, `overlap` and `distances` also a column."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    files: str = Field(description="the folder beside this file that holds the tables")
    collection: str
    model_fingerprint: str
    made_at: datetime
    changed_at: int = Field(description="time of the collection's last change when it was read, in Unix seconds")
    photos: int
    listings: int
    mapped_photos: int
    categories: list[CategorySummary]
    clusters: list[Cluster]
    overlap: list[list[float]]
    distances: list[list[float]]
    predicted_categories: list[str] = Field(description="the model's; empty without a category head")
    confusion: list[list[int]] = Field(description="photos by the seller's category and the model's")
    trained_on: int = Field(description="photos whose listings the model was trained or chosen on")
    suggestions: int
    duplicates: dict[str, int] = Field(description="groups by kind")
    too_large_groups: int = Field(
        description="groups that were left out: more than 200 listings share a picture, a placeholder"
    )
    unreadable_photos: int = Field(description="photos that could not be compared by their pixels")
    used: RunParameters
    seconds: dict[str, float] = Field(description="by stage")
    peak_bytes: int
