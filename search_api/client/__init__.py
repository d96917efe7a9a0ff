"""The API from Python: typed requests and answers, sync (`Client`) and async (`AsyncClient`).

    from pathlib import Path

    from search_api.client import Client
    from search_api.schemas import SearchRequest

    with Client("http://127.0.0.1:8080") as api:
        response = api.search(SearchRequest(limit=5), photos=[Path("sofa.jpg").read_bytes()])
        for hit in response.hits:
            print(hit.listing_id, hit.score)

`Client(url, key="…")` where the API has keys. Both clients need the extra `client`.
"""

from search_api.client.async_client import AsyncClient
from search_api.client.calls import ApiError
from search_api.client.client import Client

__all__ = ["ApiError", "AsyncClient", "Client"]
