"""All routes. A router declares its scope; each route is a few lines: read, ask, shape the answer."""

from fastapi import APIRouter

from search_api.routes import builds, catalogue, insights, listings, models, photos, runs, search, student, verdicts

router = APIRouter()
for part in (search, photos, listings, catalogue, insights, verdicts, models, builds, runs, student):
    router.include_router(part.router)
router.include_router(catalogue.pictures)
router.include_router(listings.changes)
router.include_router(verdicts.changes)
