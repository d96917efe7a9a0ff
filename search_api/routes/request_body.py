"""Reads request bodies: JSON, or multipart with photos."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from search_api.dependencies import SettingsDep
from search_api.openapi import PHOTO, REQUEST
from search_api.schemas import MAX_UPLOADS
from search_api.telemetry.timing import stage

Message = TypeVar("Message", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RequestBody(Generic[Message]):
    """A parsed request body: the message, and the uploaded photos in order."""

    message: Message
    uploads: tuple[bytes, ...] = ()


def request_body(model: type[Message], part: str = REQUEST) -> Callable[..., Awaitable[RequestBody[Message]]]:
    """Return a dependency that reads a body: JSON, or multipart with photos and with the JSON in `part`."""

    async def read(request: Request, settings: SettingsDep) -> RequestBody[Message]:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        with stage("read"):
            uploads: list[bytes] = []
            if media_type == "application/json":
                data = await request.body()
            elif media_type == "multipart/form-data":
                data, uploads = await _read_form(request, part, settings.max_upload_bytes)
            else:
                raise HTTPException(415, "Send application/json, or multipart/form-data with photos.")
            try:
                return RequestBody(model.model_validate_json(data), tuple(uploads))
            except ValidationError as error:
                raise RequestValidationError(error.errors(include_input=False, include_url=False)) from error

    return read


async def _read_form(request: Request, part: str, max_bytes: int) -> tuple[bytes, list[bytes]]:
    data = b"{}"
    uploads: list[bytes] = []
    async with request.form(max_files=MAX_UPLOADS + 1, max_fields=10, max_part_size=max_bytes) as form:
        for name, value in form.multi_items():
            if name == part:
                # With `;type=application/json`, some clients send it as a file.
                data = await value.read() if isinstance(value, UploadFile) else value.encode(errors="replace")
            elif name != PHOTO:
                raise _invalid(name, f"is not a part of this form; its parts are {PHOTO} (files) and {part} (JSON)")
            elif isinstance(value, UploadFile):
                uploads.append(await value.read())
            else:
                raise _invalid(PHOTO, "must be a file, with a filename")
    return data, uploads


def _invalid(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (field,), "msg": message, "type": "value_error"}])
