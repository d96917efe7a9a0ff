"""The OpenAPI document, where FastAPI needs to be told: bodies of two media types, and errors."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from search_api import schemas

PHOTO, REQUEST = "photo", "request"
"""Parts of a multipart body: photos as files, and the JSON."""

_COMPONENT = "#/components/schemas/{model}"
# What routes read by themselves, and what errors are told in: FastAPI sees neither.
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
    """Describe a body that is JSON, or a form of photos and that JSON in `part`."""
    message = {"$ref": _COMPONENT.format(model=model.__name__)}
    photo = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF or BMP."}
    form = {
        "type": "object",
        "properties": {PHOTO: {"type": "array", "items": photo, "maxItems": schemas.MAX_UPLOADS}, part: message},
        "additionalProperties": False,
    }
    content = {
        "application/json": {"schema": message, "examples": {name: {"value": one} for name, one in examples.items()}},
        "multipart/form-data": {"schema": form, "encoding": {part: {"contentType": "application/json"}}},
    }
    return {"requestBody": {"required": True, "content": content}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers of a route: these, and those that every route may give."""
    schema = {"$ref": _COMPONENT.format(model=schemas.Problem.__name__)}
    described = {"description": "Error", "content": {"application/problem+json": {"schema": schema}}}
    return dict.fromkeys((*statuses, 401, 403, 422, 429, 503), described)


def complete(app: FastAPI) -> None:
    """Have the document hold what `body` and `problems` refer to."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        _, schema = models_json_schema([(one, "validation") for one in _MODELS], ref_template=_COMPONENT)
        document["components"]["schemas"] = schema["$defs"] | document["components"]["schemas"]
        return document

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's documentation has it
