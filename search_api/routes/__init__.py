"""All routes. A router declares its scope; each route is a few lines: read, ask, shape the answer."""

from fastapi import APIRouter

from search_api.routes import catalogue, listings, questions, search, student

router = APIRouter()
for part in (search, questions, listings, catalogue, student):
    router.include_router(part.router)
router.include_router(catalogue.pictures)
router.include_router(listings.changes)
