"""The parts of the OpenAPI document that FastAPI cannot derive: bodies with two media types, and errors."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from search_api import schemas

PHOTO, REQUEST = "photo", "request"
"""Names of the parts of a multipart body: the photo files, and the JSON."""

_COMPONENT = "#/components/schemas/{model}"
# FastAPI sees neither the bodies that routes parse themselves nor the errors.
_MODELS = (
    schemas.SearchRequest,
    schemas.BatchRequest,
    schemas.ClassifyRequest,
    schemas.EmbedRequest,
    schemas.ExplainRequest,
    schemas.PutListing,
    schemas.Problem,
)


def body_schema(model: type[BaseModel], examples: Mapping[str, Any], part: str = REQUEST) -> dict[str, Any]:
    """Describe a body: JSON, or a multipart form with photos and the same JSON in `part`."""
    message = {"$ref": _COMPONENT.format(model=model.__name__)}
    photo = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF or BMP."}
    form = {
        "type": "object",
        "properties": {PHOTO: {"type": "array", "items": photo, "maxItems": schemas.MAX_UPLOADS}, part: message},
        "additionalProperties": False,
    }
    content = {
        "application/json": {
            "schema": message,
            "examples": {name: {"value": value} for name, value in examples.items()},
        },
        "multipart/form-data": {"schema": form, "encoding": {part: {"contentType": "application/json"}}},
    }
    return {"requestBody": {"required": True, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route: these statuses, and those that any route may return."""
    schema = {"$ref": _COMPONENT.format(model=schemas.Problem.__name__)}
    response = {"description": "Error", "content": {"application/problem+json": {"schema": schema}}}
    return dict.fromkeys((*statuses, 401, 403, 422, 429, 503), response)


def add_schemas(app: FastAPI) -> None:
    """Add the schemas that `body_schema` and `problems` refer to."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        _, schema = models_json_schema([(model, "validation") for model in _MODELS], ref_template=_COMPONENT)
        document["components"]["schemas"] = schema["$defs"] | document["components"]["schemas"]
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documentation recommends this
