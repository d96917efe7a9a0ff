"""Metrics, log lines, traces and security headers."""

import gzip
import json
import logging.config
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import structlog
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from catalog.store.reader import CollectionReader
from embedding.embedder import Embedder
from search_api.app import create_app
from search_api.auth.api_keys import create_key
from search_api.serving.live_catalogue import LiveCatalogue
from search_api.serving.recall_probe import RecallProbe
from search_api.telemetry import timing
from search_api.telemetry.logging import configure
from search_api.telemetry.metrics import Metrics
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport
from tests.support.data.models import FakeEngine
from tests.support.data.pictures import jpeg, picture
from tests.support.stages import make_stages


@pytest.fixture
def photos(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings) -> PhotoCollection:
    """A collection of four listings in two categories; the service closes it."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    ingest_export(make_export(listings=4), embedder, photos)
    return photos


def client_of(photos: PhotoCollection, embedder: Embedder, tmp_path: Path, **settings: object) -> TestClient:
    fields = {"keys": tmp_path / "keys.json", "recall_seconds": 0} | settings
    return TestClient(
        create_app(Settings(api=ApiSettings.model_validate(fields)), embedder, photos), raise_server_exceptions=False
    )


def read_metrics(client: TestClient, **headers: str) -> dict[tuple[str, ...], float]:
    text = client.get("/metrics", headers=headers).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics(photos: PhotoCollection, embedder: Embedder, tmp_path: Path) -> None:
    """Metrics count requests by route and status, time per stage and batches; unknown paths share a label."""
    with client_of(photos, embedder, tmp_path) as client:
        for seed in range(3):
            assert client.post("/v1/search", files={"photo": ("p", jpeg(picture(seed)))}).status_code == 200
        client.get("/v1/listings/l0")
        client.get("/v1/listings/nobody")
        for path in ("/a", "/b"):
            client.request("BREW", path)
        values = read_metrics(client)
        live = client.app.state.catalogue.current()
    assert values["marketlens_requests_total", "POST", "/v1/search", "200"] == 3
    assert values["marketlens_requests_total", "GET", "/v1/listings/{listing_id:path}", "404"] == 1
    assert values["marketlens_requests_total", "other", "unknown", "404"] == 2
    for stage in ("decode", "embed", "store"):
        assert values["marketlens_stage_seconds_count", stage] == 3
    assert values["marketlens_batch_photos_sum",] == 3
    assert values["marketlens_waiting_photos",] == 0
    assert values["marketlens_serving_info", live.info.name, live.info.fingerprint[:12]] == 1
    assert not any("/a" in label or "nobody" in label for labels in values for label in labels)


def test_the_recall_probe(photos: PhotoCollection, embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recall is 1 per category if live and exact results agree, and drops if the live search misses hits."""
    metrics = Metrics()
    stages, _ = make_stages(FakeEngine())
    catalogue = LiveCatalogue(photos, embedder, Embedder.load, lambda _: stages, metrics)
    probe = RecallProbe(catalogue, metrics, 60)

    def measured() -> set[str]:
        for _ in range(8):
            probe.measure(catalogue.current())
        return {line for line in metrics.render().decode().splitlines() if line.startswith("marketlens_recall{")}

    assert measured() == {'marketlens_recall{category="Home"} 1.0', 'marketlens_recall{category="Garden"} 1.0'}
    search = CollectionReader.search

    def half(self, *arguments, exact=False, **options):
        page = search(self, *arguments, exact=exact, **options)
        return page if exact else type(page)(**{**vars_of(page), "hits": page.hits[::2]})

    monkeypatch.setattr(CollectionReader, "search", half)
    assert measured() == {'marketlens_recall{category="Home"} 0.75', 'marketlens_recall{category="Garden"} 0.75'}
    catalogue.close()


def vars_of(page) -> dict[str, object]:
    return {name: getattr(page, name) for name in page.__dataclass_fields__}


def test_the_probe_runs_in_the_background(photos: PhotoCollection, embedder: Embedder, tmp_path: Path) -> None:
    """In a service the probe measures in the background, without a request."""
    with client_of(photos, embedder, tmp_path, recall_seconds=0.05) as client:
        for _ in range(200):
            if found := [labels for labels in read_metrics(client) if labels[0] == "marketlens_recall"]:
                break
            threading.Event().wait(0.05)
        assert found


@pytest.fixture
def log_lines(tmp_path: Path) -> Iterator[Path]:
    """Log as JSON to this file."""
    path = tmp_path / "log.jsonl"
    config = configure("json")
    config["handlers"]["stderr"] = {"class": "logging.FileHandler", "filename": str(path), "formatter": "line"}
    root, level = logging.getLogger().handlers[:], logging.getLogger().level
    logging.config.dictConfig(config)
    yield path
    logging.getLogger().handlers[:] = root
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def test_log_lines(photos: PhotoCollection, embedder: Embedder, tmp_path: Path, log_lines: Path) -> None:
    """Each request logs a JSON line with its key's name and the time per stage, without bytes, keys or signatures."""
    token = create_key(tmp_path / "keys.json", "shop", "read")
    sent = {"Authorization": f"Bearer {token}"}
    photo = jpeg(picture(1))
    client = client_of(photos, embedder, tmp_path)

    @client.app.get("/bug")
    def bug() -> None:
        secret = token
        raise RuntimeError(len(secret))

    with client:
        answer = client.post("/v1/search", files={"photo": ("p", photo)}, headers=sent)
        url = answer.json()["hits"][0]["photo_url"]
        assert client.get(url).status_code == 200
        assert client.get("/v1/categories", headers={"Authorization": f"Bearer {token}x"}).status_code == 401
        assert client.get("/bug").status_code == 500
    # Without the lines of the test's own client.
    lines = [line for line in map(json.loads, log_lines.read_text().splitlines()) if line["logger"] != "httpx"]
    requests = [line for line in lines if line["event"] == "request"]
    assert [line["status"] for line in requests] == [200, 200, 401, 500]
    search = requests[0]
    assert (search["route"], search["key"], search["method"]) == ("/v1/search", "shop", "POST")
    assert search["request_id"] == answer.headers["x-request-id"]
    assert search["ms"] >= search["decode_ms"] + search["embed_ms"] + search["store_ms"] > 0
    assert requests[1]["route"] == "/v1/photos/{photo_id:path}/image"
    assert {"store_ms", "photos_ms", "decode_ms"} <= set(requests[1])
    assert any("unexpected error" in line["event"] and "RuntimeError" in line["exception"] for line in lines)
    for secret in (token, url.partition("signature=")[2], "JFIF"):
        assert secret not in json.dumps(lines)


def test_lines_on_a_terminal() -> None:
    """The setting `lines` gives readable lines; a traceback shows no values of variables."""
    config = configure("lines")
    structlog.reset_defaults()
    formatter = config["formatters"]["line"].pop("()")(**config["formatters"]["line"])
    secret = "mlk_" + "S" * 43
    try:
        raise RuntimeError(len(secret))
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "oh", (), sys.exc_info())
    line = formatter.format(record)
    assert "RuntimeError" in line
    assert not line.startswith("{")
    assert secret not in line


def test_headers_for_browsers(photos: PhotoCollection, embedder: Embedder, tmp_path: Path) -> None:
    """Every response has the security headers, and other websites may not read it unless they are allowed."""
    origin = {"Origin": "https://shop.example"}
    client = client_of(photos, embedder, tmp_path)
    client.app.add_api_route("/bug", lambda: 1 / 0)
    with client:
        for path in ("/v1/categories", "/v1/photos/l0-0/image", "/nowhere", "/bug", "/docs"):
            headers = client.get(path, headers=origin).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-frame-options"] == "DENY"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "access-control-allow-origin" not in headers


def test_cors(photos: PhotoCollection, embedder: Embedder, tmp_path: Path) -> None:
    """An allowed website may send requests with a key; its preflight needs none. Other websites are refused."""
    create_key(tmp_path / "keys.json", "shop", "read")
    with client_of(photos, embedder, tmp_path, cors_origins=["https://shop.example"]) as client:
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        for origin, allowed in (("https://shop.example", True), ("https://evil.example", False)):
            options = client.options("/v1/search", headers=preflight | {"Origin": origin})
            assert ("access-control-allow-origin" in options.headers) is allowed
            refused = client.get("/v1/categories", headers={"Origin": origin})
            assert refused.status_code == 401
            assert ("access-control-allow-origin" in refused.headers) is allowed


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportTraceServiceRequest]]:
    """Collect what is sent to an OpenTelemetry collector on this machine."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(timing, "span", timing.span)  # restored afterwards
    yield received
    server.shutdown()
    server.server_close()


def test_traces(
    photos: PhotoCollection, embedder: Embedder, tmp_path: Path, collector: list[ExportTraceServiceRequest]
) -> None:
    """A request has a span below the caller's, and one below that for each stage; no span shows ids or queries."""
    parent = "0af7651916cd43dd8448eb211c80319c"
    with client_of(photos, embedder, tmp_path) as client:
        sent = {"traceparent": f"00-{parent}-b7ad6b7169203331-01"}
        client.post("/v1/search?secret=1", files={"photo": ("p", jpeg(picture(1)))}, headers=sent)
        client.get("/v1/listings/l1")
    spans = {
        span.name: span
        for request in collector
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    root = spans["POST /v1/search"]
    assert root.trace_id.hex() == parent
    for stage in ("decode", "embed", "store"):
        assert spans[stage].trace_id == root.trace_id
        assert spans[stage].parent_span_id == root.span_id
    assert "GET /v1/listings/{listing_id:path}" in spans
    assert "secret" not in str(collector)
    assert "l1" not in str(spans)


def test_no_traces_unless_asked_for(photos: PhotoCollection, embedder: Embedder, tmp_path: Path) -> None:
    """Without an endpoint in the environment nothing is recorded or sent."""
    before = timing.span
    client_of(photos, embedder, tmp_path)
    assert timing.span is before
    photos.close()
