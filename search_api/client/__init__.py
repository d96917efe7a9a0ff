"""Python client of the API, with typed requests and responses: sync (`Client`) and async (`AsyncClient`).

    from pathlib import Path

    from search_api.client import Client
    from search_api.schemas import SearchRequest

    with Client("http://127.0.0.1:8080") as api:
        response = api.search(SearchRequest(limit=5), photos=[Path("sofa.jpg").read_bytes()])
        for hit in response.hits:
            print(hit.listing_id, hit.score)

If the API requires a key: `Client(url, key="…")`. Both clients need the extra `client`.
"""

from search_api.client.async_client import AsyncClient
from search_api.client.calls import ApiError
from search_api.client.client import Client

__all__ = ["ApiError", "AsyncClient", "Client"]
