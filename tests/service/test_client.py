"""The Python client: its methods against the real service, its error handling against mocked responses."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from catalog.settings import MilvusSettings
from embedding.embedder import Embedder
from search_api import schemas
from search_api.auth.api_keys import create_key
from search_api.client import ApiError, AsyncClient, Client
from search_api.schemas import PutListing, PutPhoto, SearchRequest
from tests.support.data.exports import MakeExport
from tests.support.data.insight_files import duplicate, suggestion, write_insights
from tests.support.data.models import FakeEngine
from tests.support.data.pictures import jpeg, picture
from tests.support.servers.serving import make_app, serving

Outcome = httpx.Response | Exception


@pytest.fixture
def address(make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path) -> Iterator[str]:
    """A service with ten listings of two photos."""
    app = make_app(make_export(listings=10, photos_each=2), embedder, lite, photos=tmp_path / "photos")
    insights = ([suggestion("l1", "Garden", "Home", ["l2-0"])], [duplicate("l0", "l2")])
    write_insights(tmp_path / "insights", app.state.catalogue.photos, *insights)
    with serving(app) as address:
        yield address


def mocked_client(*outcomes: Outcome, **options: int) -> tuple[Client, list[httpx.Request]]:
    """Return a client that gets these outcomes, the last one repeatedly, and the list of its requests."""
    requests: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        outcome = outcomes[min(len(requests), len(outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    client = Client("http://api.example/", "secret", **options)
    client._http = httpx.Client(transport=httpx.MockTransport(respond), headers=client._headers)
    return client, requests


def refusal(status: int, **headers: str) -> httpx.Response:
    problem = schemas.Problem(
        title="t", status=status, detail="d", code="c", hint="h", request_id="r", errors=[{"field": "limit"}]
    )
    return httpx.Response(status, text=problem.model_dump_json(), headers=headers)


def test_an_error_has_the_fields_of_its_problem() -> None:
    """The error has the API's detail, hint, code, invalid fields and request id."""
    client, _ = mocked_client(refusal(422))
    with pytest.raises(ApiError) as caught:
        client.categories()
    error = caught.value
    assert (error.status, error.code, error.detail, error.hint, error.request_id) == (422, "c", "d", "h", "r")
    assert error.errors == [{"field": "limit"}]


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (httpx.ReadTimeout("slow"), "took too long"),
        (httpx.ReadError("cut"), "No answer from the API at http://api.example"),
        (httpx.Response(502, text="<h1>Bad gateway</h1>"), "status 502"),
        (httpx.Response(200, text="<h1>Welcome</h1>"), "status 200"),
    ],
)
def test_every_failure_is_one_error(response: Outcome, words: str) -> None:
    """Every failure raises the same exception, with a hint."""
    with pytest.raises(ApiError, match=words) as caught:
        mocked_client(response)[0].categories()
    assert caught.value.hint


@pytest.mark.parametrize("address", ["ftp://x", "http://[", "not an address"])
def test_an_invalid_address(address: str) -> None:
    """An invalid address raises the same error as an API that is down."""
    with pytest.raises(ApiError, match="No answer from the API"):
        Client(address).ready()


@pytest.mark.parametrize("key", ["mlk_wrong", "schlüssel", "ключ"])
def test_a_wrong_key_is_the_apis_to_refuse(
    key: str, make_export: MakeExport, embedder: Embedder, lite: MilvusSettings, tmp_path: Path
) -> None:
    """Any text can be sent as a key, and the API refuses a wrong one."""
    create_key(tmp_path / "keys.json", "ann", "read")
    app = make_app(make_export(), embedder, lite)
    with serving(app) as address, Client(address, key) as api, pytest.raises(ApiError, match="API key") as caught:
        api.categories()
    assert caught.value.status == 401


def test_nobody_listening() -> None:
    """If the API is down, the hint says how to start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ApiError, match=address) as caught:
        Client(address).ready()
    assert "marketlens serve" in caught.value.hint


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_api_is_asked_again(status: int) -> None:
    """The client retries after Retry-After, and finally raises the API's error."""
    welcome = httpx.Response(200, json={"categories": []})
    client, requests = mocked_client(refusal(status, **{"Retry-After": "0"}), welcome)
    assert client.categories().categories == []
    assert len(requests) == 2
    client, requests = mocked_client(refusal(status, **{"Retry-After": "0"}), tries=2)
    with pytest.raises(ApiError, match="d"):
        client.categories()
    assert len(requests) == 2


@pytest.mark.parametrize("response", [refusal(503), refusal(404), refusal(500), httpx.ReadTimeout("slow")])
def test_no_retry_without_retry_after(response: Outcome) -> None:
    """Without Retry-After the client does not retry: the request might run twice, or in vain."""
    client, requests = mocked_client(response)
    with pytest.raises(ApiError):
        client.categories()
    assert len(requests) == 1


def test_defaults_are_not_sent() -> None:
    """The key is sent; defaults are not, so that those of the API apply."""
    client, requests = mocked_client(httpx.Response(400))
    with pytest.raises(ApiError):
        client.search(SearchRequest(listing_id="l1"))
    assert requests[0].headers["authorization"] == "Bearer secret"
    assert json.loads(requests[0].content) == {"listing_id": "l1"}


def test_addresses_of_photos_keep_their_signature() -> None:
    """The size is appended to the existing query."""
    client = Client("http://api.example/")
    assert client.photo_address("/v1/photos/a%2Fb/image", 100) == "http://api.example/v1/photos/a%2Fb/image?size=100"
    signed = client.photo_address("/v1/photos/a/image?signature=x.y", 100)
    assert signed == "http://api.example/v1/photos/a/image?signature=x.y&size=100"


def test_every_method_reaches_its_route(address: str) -> None:
    """Every method of the client works with the service, including uploads."""
    with Client(address) as api:
        assert api.ready().photos == 20
        photo = jpeg(picture(4))
        answer = api.search(SearchRequest(limit=3), [photo])
        assert answer.hits[0].listing_id == "l4"
        assert api.search(SearchRequest(query_id=answer.query_id, limit=3)).hits == answer.hits
        two = api.search_batch([SearchRequest(uploads=[0], limit=1), SearchRequest(listing_id="nobody")], [photo])
        assert two[0].answer and two[0].answer.hits == answer.hits[:1]
        assert two[1].problem and two[1].problem.code == "not_found"
        assert "l4" not in [hit.listing_id for hit in api.similar("l4").hits]
        assert api.embed(schemas.EmbedRequest(photo_id="l4-0")).dim == 2048
        with pytest.raises(ApiError, match="knows no categories"):
            api.classify(schemas.ClassifyRequest(photo_id="l4-0"))
        assert api.listing("l4").title == "Thing 4"
        assert len(api.categories().categories) == 2
        new = api.put_listing("new/one", PutListing(title="New", photos=[PutPhoto(photo_id="n", upload=0)]), [photo])
        assert new == api.listing("new/one")
        assert api.remove_listing("new/one").photos == 1
        with pytest.raises(ApiError, match="'nobody'") as caught:
            api.explain(schemas.ExplainRequest(photo_id="l4-0", hit_photo_id="nobody"))
        assert caught.value.status == 404


def test_insights_and_verdicts(address: str) -> None:
    """Every question can be read, decided and withdrawn, with default and with explicit arguments."""
    with Client(address) as api:
        assert api.whoami() == schemas.Caller(name="", scope="admin", keys_needed=False)
        assert (api.insights().photos, api.map().total_photos, len(api.map(3).columns.x)) == (20, 20, 3)
        assert api.confusion().categories == ["Garden", "Home"]
        assert api.insight_photos().total == 20
        assert len(api.insight_photos("Home", "Home", True, 1, 2).photos) == 2
        (suggested,) = api.suggestions().suggestions
        assert api.suggestions("Garden", "Home", 0, 1, True).suggestions == [suggested]
        question = schemas.WrongCategory(
            listing_id=suggested.listing_id,
            category=suggested.category,
            suggested_category=suggested.suggested_category,
        )
        verdict = api.decide(schemas.PutVerdict(question=question, decision="accept"))
        assert verdict.question == question
        assert api.suggestions().remaining == 0
        assert api.verdicts().verdicts == api.verdicts("wrong_category", "accept", 10, 1).verdicts == [verdict]
        assert api.withdraw(verdict.verdict_id) == verdict
        assert api.suggestions().suggestions == [suggested]
        (group,) = api.duplicates().groups
        assert api.duplicates("same_photo", 0, 1, True).groups == [group]
        pair = schemas.Duplicate(listing_ids=[listing.listing_id for listing in group.listings])
        api.decide(schemas.PutVerdict(question=pair, decision="skip", note="Later."))
        assert (api.duplicates().remaining, api.duplicates(skipped=True).remaining) == (0, 1)


def test_operations(address: str) -> None:
    """Builds, runs, models and activity work; what cannot be done raises the API's error."""
    with Client(address) as api:
        (live,) = api.builds().builds
        for refused in (lambda: api.promote(live.name), api.rollback, lambda: api.plot("no/model", "../x")):
            with pytest.raises(ApiError) as caught:
                refused()
            assert caught.value.status in {404, 409}
        (run,) = api.runs(5).runs
        assert (run.written, api.rejected(run.run_id, 0, 5).total) == (20, 0)
        assert api.activity().seconds > 0
        assert api.models().unreadable


def test_async_asks_the_same(address: str) -> None:
    """Both clients return the same for these methods."""
    methods = ["whoami", "insights", "map", "confusion", "insight_photos", "suggestions", "duplicates", "verdicts"]
    methods += ["builds", "runs", "models"]

    async def ask() -> list[object]:
        async with AsyncClient(address) as api:
            answers = [await getattr(api, name)() for name in methods]
            assert (await api.activity()).seconds > 0  # its points change all the time
            put = schemas.PutVerdict(question=schemas.Duplicate(listing_ids=["a", "b"]), decision="reject")
            made = await api.decide(put)
            assert await api.withdraw(made.verdict_id) == made
            for refused in (api.promote("x"), api.rollback(), api.rejected("x"), api.plot("x", "y")):
                with pytest.raises(ApiError) as caught:
                    await refused
                assert caught.value.status == 404
        return answers

    with Client(address) as api:
        assert [getattr(api, name)() for name in methods] == asyncio.run(ask())


def test_a_picture_is_bytes() -> None:
    """A plot is returned as bytes, and its request is retried if the API is busy."""
    client, requests = mocked_client(refusal(503, **{"Retry-After": "0"}), httpx.Response(200, content=b"PNG"))
    assert client.plot("f", "a/b.png") == b"PNG"
    assert [str(request.url) for request in requests] == ["http://api.example/v1/models/f/plots/a%2Fb.png"] * 2


def test_pages_end_and_hold_everything_once(address: str, engine: FakeEngine) -> None:
    """All pages together contain all listings, and the photo is embedded only once."""
    with Client(address) as api:
        before = engine.photos
        pages = list(api.pages(SearchRequest(limit=4), [jpeg(picture(4))]))
        found = [hit.listing_id for page in pages for hit in page.hits]
        assert sorted(found) == sorted(f"l{number}" for number in range(10))
        assert [len(page.hits) for page in pages] == [4, 4, 2]
        assert engine.photos == before + 1


def test_async_answers_are_the_same(address: str) -> None:
    """Both clients have the same methods and return the same results."""

    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)

    async def ask() -> list[schemas.SearchResponse]:
        async with AsyncClient(address) as api:
            return [page async for page in api.pages(SearchRequest(listing_id="l4", limit=6))]

    with Client(address) as api:
        pages = list(api.pages(SearchRequest(listing_id="l4", limit=6)))
    assert [page.hits for page in asyncio.run(ask())] == [page.hits for page in pages]


def test_photo_addresses_use_the_public_url() -> None:
    """In a cluster the dashboard uses http://api:8080, which a browser that loads photos cannot reach."""
    with Client("http://api:8080", public_url="https://shop.example/") as inside, Client("http://shop:8080") as plain:
        assert inside.photo_address("/v1/photos/p1?sig=s", 200) == "https://shop.example/v1/photos/p1?sig=s&size=200"
        assert plain.photo_address("/v1/photos/p1", 200) == "http://shop:8080/v1/photos/p1?size=200"
