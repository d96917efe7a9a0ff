"""The OpenAPI document: its examples work, and requests generated from it get documented responses."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from requests import Request
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from catalog.settings import MilvusSettings
from embedding.embedder import Embedder
from tests.support.data.exports import write_csv
from tests.support.data.insight_files import duplicate, suggestion, write_insights
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.serving import make_app, serving

# The photos and listings that the document's examples use.
PHOTOS = [("f1", "243809c0-9cfc-4486-ad12-3b7a16605ba9"), ("f2", "l2"), ("f3", "l3"), ("f4", "l4")]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, random_model: Path) -> Iterator[str]:
    """A service with a real network and the photos that the examples use."""
    folder = tmp_path_factory.mktemp("openapi")
    for number, (photo_id, _) in enumerate(PHOTOS):
        (folder / f"{photo_id}.jpg").write_bytes(jpeg(picture(number, (320, 240))))
    header = ["photo_id", "listing_id", "title", "category", "price", "currency", "location", "photo"]
    rows = [
        [photo_id, listing_id, "T", "Home & Garden / Beds", "10", "GBP", "Leeds", f"{photo_id}.jpg"]
        for photo_id, listing_id in PHOTOS
    ]
    write_csv(folder / "m.csv", header, rows)
    app = make_app(
        folder / "m.csv",
        Embedder.load(random_model),
        MilvusSettings(uri=str(folder / "milvus.db")),
        photos=folder / "photos",
        rate_limit="100000/minute",
    )
    photos = app.state.catalogue.photos
    suspected = [suggestion("l2", "Home & Garden", "Other Goods", ["f3"], photo_id="f2")]
    write_insights(folder / "insights", photos, suspected, [duplicate("l2", "l3")])
    with serving(app) as address:
        yield address


@pytest.fixture(scope="module")
def document(address: str) -> dict[str, Any]:
    return dict(httpx.get(f"{address}/openapi.json").json())


def test_every_route_is_described(document: dict[str, Any]) -> None:
    """Each route has a description, a tag, problem+json errors and, for JSON bodies, examples."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], path
            assert operation["tags"], path
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == ["application/problem+json"], (path, method, status)
            body = operation.get("requestBody", {}).get("content", {})
            if "application/json" in body:
                assert body["application/json"]["examples"], path


def test_every_example_works(address: str, document: dict[str, Any]) -> None:
    """Every example can be sent unchanged; only classify depends on the model."""
    sent = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, example in content.get("examples", {}).items():
                url = address + path.format(listing_id="example")
                response = httpx.request(method, url, json=example["value"], timeout=30)
                expected = {422} if path == "/v1/classify" else {200, 201}
                assert response.status_code in expected, (path, name, response.text)
                sent += 1
    assert sent >= 8


def test_both_kinds_of_body_are_one_message(document: dict[str, Any]) -> None:
    """The JSON part of a form has the schema of the JSON body, and every reference can be resolved."""
    content = document["paths"]["/v1/search"]["post"]["requestBody"]["content"]
    form = content["multipart/form-data"]["schema"]["properties"]
    assert form["request"] == content["application/json"]["schema"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert {"SearchRequest", "Filter", "Problem", "SearchResponse"} <= references
    assert references <= set(document["components"]["schemas"])


@pytest.mark.parametrize("examples", [8, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", list(GenerationMode), ids=str)
def test_whatever_is_sent_is_answered_as_described(address: str, mode: GenerationMode, examples: int) -> None:
    """No response is 5xx, and each has a documented status, media type and schema."""
    described = schemathesis.openapi.from_url(f"{address}/openapi.json")
    request_counts: dict[str, int] = {}
    for result in described.get_all_operations():
        operation = result.ok()

        @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            # A URL of 64 KiB is cut off by the server itself, before there is a request.
            assume(len(Request(**case.as_transport_kwargs()).prepare().url or "") < 60_000)
            request_counts[case.operation.label] = request_counts.get(case.operation.label, 0) + 1
            case.call_and_validate(checks=CHECKS)

        try:
            ask()
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE  # no request to this route can be invalid
    assert len(request_counts) > 10
