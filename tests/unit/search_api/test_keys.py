"""Keys, scopes, signed photo URLs and rate limits."""

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient

import search_api.auth.signed_urls
from catalog.errors import InvalidSetting, NotFound
from catalog.settings import ApiSettings, IndexSettings, MilvusSettings, Settings
from catalog.store.collection import PhotoCollection
from embedding.embedder import Embedder
from search_api.app import create_app
from search_api.auth.api_keys import KeyFile, KeyRing, create_key, is_public, read_keys, revoke_key, rotate_secret
from search_api.dependencies import needs
from tests.support.commands import RunHere
from tests.support.data.catalogues import ingest_export
from tests.support.data.exports import MakeExport

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what must be refused
UNAUTHORIZED = {"title": "Unauthorized", "status": 401, "code": "unauthorized"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api-keys.json"


@pytest.fixture
def make_client(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, keys: Path) -> Iterator[object]:
    """Return a function that starts a service with the given settings over one small catalogue."""
    photos = PhotoCollection.connect(lite, IndexSettings(), consistency="Session")
    ingest_export(make_export(listings=4), embedder, photos)
    clients = []

    def make(**settings: object) -> TestClient:
        app = create_app(
            Settings(api=ApiSettings.model_validate({"keys": keys, "rate_limit": ""} | settings)), embedder, photos
        )
        for scope in ("write", "admin"):
            app.add_api_route(f"/needs/{scope}", lambda: "ok", dependencies=[needs_dependency(scope)])
        clients.append(TestClient(app).__enter__())
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__()


def needs_dependency(scope):
    from fastapi import Depends

    return Depends(needs(scope))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def constant(response) -> dict[str, object]:
    """Return a response's body without the request id, which always differs."""
    return {key: value for key, value in response.json().items() if key != "request_id"}


def test_a_key_is_shown_once_and_kept_as_a_hash(keys: Path) -> None:
    """The file holds neither the key nor anything that reveals it, and only its owner can read it."""
    token = create_key(keys, "shop", "read")
    assert len(token) > 43
    assert token not in keys.read_text()
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert [(key.name, key.scope) for key in read_keys(keys)] == [("shop", "read")]
    assert create_key(keys, "other", "admin") != token
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    with pytest.raises(InvalidSetting, match="already"):
        create_key(keys, "shop", "admin")
    with pytest.raises(InvalidSetting, match="not a valid key name"):
        create_key(keys, "a\nb", "read")
    revoke_key(keys, "shop")
    assert [key.name for key in read_keys(keys)] == ["other"]
    with pytest.raises(NotFound):
        revoke_key(keys, "shop")


def test_the_error_of_a_damaged_file_does_not_show_it(keys: Path) -> None:
    """A damaged file raises a readable error that does not show its content."""
    create_key(keys, "shop", "read")
    secret = KeyFile.read(keys).secret
    keys.write_text(keys.read_text().replace('"keys"', '"kezs":1,"keys"').replace('"shop"', "7"))
    with pytest.raises(InvalidSetting) as error:
        KeyRing(keys, public=False)
    assert secret not in error.value.message + error.value.hint


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_scopes(make_client, keys: Path, header: str) -> None:
    """Each scope includes those before it: 401 without a key, 403 with a narrower scope."""
    tokens = {scope: create_key(keys, scope, scope) for scope in ("read", "write", "admin")}
    client = make_client()
    paths = {"read": "/v1/categories", "write": "/needs/write", "admin": "/needs/admin"}
    for scope_of_key, token in tokens.items():
        sent = bearer(token) if header == "Authorization" else {header: token}
        statuses = {scope: client.get(path, headers=sent).status_code for scope, path in paths.items()}
        allowed = list(tokens)[: list(tokens).index(scope_of_key) + 1]
        assert statuses == {scope: 200 if scope in allowed else 403 for scope in paths}
    for path in paths.values():
        response = client.get(path)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_all_invalid_keys_get_the_same_response(make_client, keys: Path) -> None:
    """Missing, malformed, unknown and revoked keys get identical responses, which do not reveal any key."""
    revoked = create_key(keys, "old", "admin")
    create_key(keys, "shop", "read")
    revoke_key(keys, "old")
    client = make_client()
    wrong = [{}, bearer(""), bearer("x"), bearer(revoked), bearer(revoked[:-1]), {"Authorization": "Basic eDp5"}]
    wrong += [{"X-API-Key": "mlk_" + "A" * 43}, {"X-API-Key": b"\xff"}, bearer("k" * 5_000)]
    answers = [client.get("/v1/categories", headers=[*headers.items()]) for headers in wrong]
    assert all(constant(answer) == constant(answers[0]) for answer in answers)
    assert constant(answers[0]).items() >= UNAUTHORIZED.items()
    searched = client.post("/v1/search", json={"listing_id": "l1"})
    assert constant(searched) == constant(answers[0])


def test_changes_of_the_key_file_apply_at_once(make_client, keys: Path) -> None:
    """A key is valid from creation to revocation, without a restart; a lost file does not open the service."""
    client = make_client()
    assert client.get("/v1/categories").status_code == 200
    token = create_key(keys, "shop", "read")
    assert client.get("/v1/categories").status_code == 401
    assert client.get("/v1/categories", headers=bearer(token)).status_code == 200
    revoke_key(keys, "shop")
    assert client.get("/v1/categories", headers=bearer(token)).status_code == 401
    keys.unlink()
    assert client.get("/v1/categories").status_code == 401, "a lost file does not open the service"


@pytest.mark.parametrize("damage", ["cut", "gone", "without its secret"])
def test_a_damaged_file_lets_nobody_in_and_ends_nothing(make_client, keys: Path, damage: str) -> None:
    """If the key file is damaged or lost while the service runs: 401, not 500; once it is restored, its keys work."""
    token = create_key(keys, "shop", "read")
    client = make_client()
    assert client.get("/v1/categories", headers=bearer(token)).status_code == 200
    aside = keys.rename(keys.with_suffix(".aside"))
    if damage == "cut":
        keys.write_bytes(aside.read_bytes()[:50])
    if damage == "without its secret":
        keys.write_text(KeyFile.read(aside).model_dump_json(exclude={"secret"}))
    assert client.get("/v1/categories", headers=bearer(token)).status_code == 401
    assert client.get("/livez").status_code == 200
    aside.replace(keys)
    assert client.get("/v1/categories", headers=bearer(token)).status_code == 200


def test_wrong_keys_take_no_longer(keys: Path) -> None:
    """The time reveals neither a key's position among fifty nor whether it exists."""
    tokens = [create_key(keys, f"k{number}", "read") for number in range(50)]
    ring = KeyRing(keys, public=True)

    def seconds(token: str) -> float:
        started = time.perf_counter()
        ring.find(token)
        return time.perf_counter() - started

    # Interleaved, so that the machine is equally busy for each; the minimum is the run without interference.
    tried = (tokens[0], tokens[-1], "mlk_" + "A" * 43)
    times = [min(times) for times in zip(*([seconds(token) for token in tried] for _ in range(300)), strict=True)]
    assert max(times) < 1.5 * min(times)


def test_photos_are_shown_to_who_has_their_address(make_client, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photo_url works without a key, only for its photo, and until it expires."""
    token = create_key(keys, "shop", "read")
    client = make_client(photo_url_seconds=7200)
    hits = client.post("/v1/search", json={"listing_id": "l1"}, headers=bearer(token)).json()["hits"]
    url, other = hits[0]["photo_url"], hits[1]["photo_url"]
    assert client.get(url).status_code == 200
    assert client.get(f"{url}&size=100").headers["content-type"] == "image/jpeg"
    signature = parse_qs(urlsplit(url).query)["signature"][0]
    path, other_path = urlsplit(url).path, urlsplit(other).path
    longer = client.app.state.photo_urls.url(f"{hits[0]['photo_id']}.b")  # an id that continues after a dot
    for wrong in (
        path,
        f"{other_path}?signature={signature}",
        f"{path}?signature={signature[:-1]}",
        f"{path}?signature=.é",
        f"{path}?signature=b.{parse_qs(urlsplit(longer).query)['signature'][0]}",
    ):
        assert client.get(wrong).status_code == 401
    assert client.get(path, headers=bearer(token)).status_code == 200
    assert client.get("/v1/categories", params={"signature": signature}).status_code == 401
    monkeypatch.setattr(search_api.auth.signed_urls, "time", SimpleNamespace(time=lambda: time.time() + 3 * 3600))
    assert client.get(url).status_code == 401


def test_addresses_end_with_their_secret(make_client, keys: Path) -> None:
    """A new secret invalidates old URLs in a running service; new URLs work, and keys stay valid."""
    token = create_key(keys, "shop", "read")
    client = make_client()

    def address() -> str:
        return client.get("/v1/listings/l1", headers=bearer(token)).json()["photos"][0]["photo_url"]

    before = address()
    assert client.get(before).status_code == 200
    rotate_secret(keys)
    assert client.get(before).status_code == 401
    assert client.get(address()).status_code == 200


def test_a_file_without_a_secret_is_refused(keys: Path) -> None:
    """Otherwise each process would sign with its own secret. Start and commands raise a readable error."""
    create_key(keys, "shop", "read")
    keys.write_text(KeyFile.read(keys).model_dump_json(exclude={"secret"}))
    for start in (
        lambda: KeyRing(keys, public=False),
        lambda: create_key(keys, "other", "read"),
        lambda: rotate_secret(keys),
    ):
        with pytest.raises(InvalidSetting, match="cannot be read as a file of API keys"):
            start()


def test_photo_urls_stay_equal_for_an_hour(make_client, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs stay equal for an hour, so that a browser finds the photo in its cache."""
    token = create_key(keys, "shop", "read")
    client = make_client()
    seconds = iter(range(36_000, 39_600, 300))
    monkeypatch.setattr(search_api.auth.signed_urls, "time", SimpleNamespace(time=lambda: next(seconds)))
    urls = {client.get("/v1/listings/l1", headers=bearer(token)).json()["photos"][0]["photo_url"] for _ in range(2)}
    assert len(urls) == 1


def test_probes_and_documentation_are_open(make_client, keys: Path) -> None:
    """Without a key, load balancers get only the status; the API's description is public."""
    token = create_key(keys, "shop", "read")
    client = make_client()
    assert client.get("/livez").status_code == 200
    fields = {key for key, value in client.get("/readyz").json().items() if value is not None}
    assert fields == {"status"}
    assert client.get("/readyz", headers=bearer(token)).json()["photos"] == 8
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=bearer(token)).status_code == 403
    assert client.get("/metrics", headers=bearer(create_key(keys, "boss", "admin"))).status_code == 200


def test_too_many_requests(make_client, keys: Path) -> None:
    """Each key and each address without a key has its own limit; probes are not counted."""
    tokens = [create_key(keys, name, "read") for name in ("a", "b")]
    client = make_client(rate_limit="3/minute")
    answers = [client.get("/v1/categories", headers=bearer(tokens[0])) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["ratelimit-limit"] == "3"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert (answers[-1].json()["code"], answers[-1].headers["content-type"]) == (
        "too_many_requests",
        "application/problem+json",
    )
    assert client.get("/v1/categories", headers=bearer(tokens[1])).status_code == 200
    assert [client.get("/v1/categories").status_code for _ in range(4)] == [401, 401, 401, 429]
    assert {client.get("/livez").status_code for _ in range(9)} == {200}


def test_without_keys_nobody_is_counted(make_client) -> None:
    """A service without keys has no rate limit: it runs on the user's own machine."""
    client = make_client(rate_limit="1/minute")
    assert {client.get("/v1/categories").status_code for _ in range(4)} == {200}


def test_an_invalid_rate(make_client) -> None:
    """An invalid rate fails at the start, with a readable error."""
    with pytest.raises(InvalidSetting, match="RATE_LIMIT"):
        make_client(rate_limit="often")


@pytest.mark.parametrize(
    ("host", "public"),
    [("127.0.0.1", False), ("127.8.9.1", False), ("::1", False), ("localhost", False)]
    + [(host, True) for host in (EVERYWHERE, "::", "192.168.1.5", "shop.example", "")],
)
def test_loopback(host: str, public: bool) -> None:
    """A host is public if other machines can connect to it."""
    assert is_public(host) is public


def test_others_are_not_served_without_a_key(make_client, tmp_path: Path, run_here: RunHere) -> None:
    """On a public address, `serve` refuses to start without a key and says how to create one; the app returns 401."""
    client = make_client(host=EVERYWHERE)
    assert client.get("/v1/categories").status_code == 401
    result = run_here("serve", "--host", EVERYWHERE, cwd=tmp_path)
    assert result.returncode == 2
    assert "marketlens keys create" in result.stderr
