"""All routes. A router declares its scope; each route is a few lines: read, call, build the response."""

from fastapi import APIRouter

from search_api.routes import builds, catalogue, insights, listings, models, photos, runs, search, student, verdicts

router = APIRouter()
for module in (search, photos, listings, catalogue, insights, verdicts, models, builds, runs, student):
    router.include_router(module.router)
router.include_router(catalogue.image_router)
router.include_router(listings.write_router)
router.include_router(verdicts.write_router)
