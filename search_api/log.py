"""Log lines with the id of the request they belong to, for uvicorn and for us alike."""

from typing import Any

_FORMAT = "%(asctime)s %(levelname)s %(correlation_id)s %(name)s: %(message)s"

LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "asgi_correlation_id.CorrelationIdFilter", "uuid_length": 32, "default_value": "-"},
    },
    "formatters": {"line": {"format": _FORMAT}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "filters": ["request_id"], "formatter": "line"},
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
