"""The body of a request, JSON or multipart, -> its message and the photos that came along."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from search_api.deps import SettingsDep
from search_api.schemas import MAX_UPLOADS, Timings
from search_api.timing import spent_ms, stage

PHOTO, REQUEST = "photo", "request"

Message = TypeVar("Message", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Received(Generic[Message]):
    """What was sent: the message, the uploaded photos in their order, and since when it is answered (perf_counter)."""

    message: Message
    uploads: tuple[bytes, ...]
    started: float

    def timings(self) -> Timings:
        """Milliseconds per stage until now."""
        spent = spent_ms()
        return Timings(
            read=spent.get("read", 0.0),
            decode=spent.get("decode", 0.0),
            embed=spent.get("embed", 0.0),
            search=spent.get("store", 0.0),
            total=1000 * (time.perf_counter() - self.started),
        )


def reader(model: type[Message], part: str = REQUEST) -> Callable[..., Awaitable[Received[Message]]]:
    """Make the dependency that reads a body: JSON, or multipart with photos and the JSON in `part`."""

    async def read(request: Request, settings: SettingsDep) -> Received[Message]:
        started = time.perf_counter()
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        with stage("read"):
            uploads: list[bytes] = []
            if media_type == "application/json":
                data = await request.body()
            elif media_type == "multipart/form-data":
                data, uploads = await _read_form(request, part, settings.max_upload_bytes)
            else:
                raise HTTPException(415, "Send application/json, or multipart/form-data with photos.")
            return Received(_validate(model, data), tuple(uploads), started)

    return read


async def _read_form(request: Request, part: str, max_bytes: int) -> tuple[bytes, list[bytes]]:
    data = b"{}"
    uploads: list[bytes] = []
    async with request.form(max_files=MAX_UPLOADS + 1, max_fields=10, max_part_size=max_bytes) as form:
        for name, value in form.multi_items():
            if name == part:
                # `;type=application/json` makes a file of it for some clients.
                data = await value.read() if isinstance(value, UploadFile) else value.encode(errors="replace")
            elif name != PHOTO:
                raise _invalid(name, f"is no part of this form; its parts are {PHOTO} (files) and {part} (JSON)")
            elif isinstance(value, UploadFile):
                uploads.append(await value.read())
            else:
                raise _invalid(PHOTO, "must be a file, with a filename")
    return data, uploads


def _validate(model: type[Message], data: bytes) -> Message:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False, include_url=False)) from error


def _invalid(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"loc": (field,), "msg": message, "type": "value_error"}])
