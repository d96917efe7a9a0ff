"""The body of a search, JSON or multipart, -> SearchRequest and the photo's bytes."""

from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from search_api.schemas import SearchRequest

_SEVERAL = ("category", "exclude_listing_id")
_FIELDS = SearchRequest.model_json_schema()
_PHOTO = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF or BMP."}

# FastAPI cannot describe a body that is one of two media types.
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": _FIELDS | {"properties": {"photo": _PHOTO} | _FIELDS["properties"]},
            },
            "application/json": {
                "schema": _FIELDS,
                "example": {"listing_id": "243809c0-9cfc-4486-ad12-3b7a16605ba9", "price_max": 50, "limit": 5},
            },
        },
    }
}


async def read_query(request: Request) -> tuple[SearchRequest, bytes | None]:
    """Read the body; exactly one of photo, listing_id and photo_id must be there. Answers 415, 422."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"application/json", "multipart/form-data"}:
        raise HTTPException(415, "Send multipart/form-data with a photo, or application/json with an id.")
    if media_type == "application/json":
        query, photo = _validate(await request.body()), None
    else:
        query, photo = await _read_form(request)
    sources = [photo is not None, query.listing_id is not None, query.photo_id is not None]
    if sum(sources) != 1:
        raise _invalid("body", "give exactly one of photo (an upload), listing_id and photo_id")
    return query, photo


QueryDep = Annotated[tuple[SearchRequest, bytes | None], Depends(read_query)]


async def _read_form(request: Request) -> tuple[SearchRequest, bytes | None]:
    photo = None
    fields: dict[str, Any] = {}
    async with request.form(max_files=1, max_fields=2_000) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if name != "photo":
                    raise _invalid(name, "is no file; only photo is")
                photo = await value.read()
            elif name in _SEVERAL:
                fields.setdefault(name, []).append(value)
            elif name == "photo":
                raise _invalid("photo", "must be a file, with a filename")
            else:
                fields[name] = value
    return _validate(fields), photo


def _validate(data: bytes | dict[str, Any]) -> SearchRequest:
    try:
        if isinstance(data, bytes):
            return SearchRequest.model_validate_json(data)
        return SearchRequest.model_validate(data)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _invalid(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (field,), "msg": message, "type": "value_error"}])
