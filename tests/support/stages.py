"""Stages of the service with a fake engine."""

from catalog.settings import ApiSettings
from embedding.embedder import Embedder
from search_api.serving.embed_queue import ServingStages, StageFactory
from search_api.telemetry.metrics import Metrics
from tests.support.data.models import FakeEngine, fake_embedder


def make_stages(engine: FakeEngine, **settings: float) -> tuple[ServingStages, Metrics]:
    metrics = Metrics()
    factory = StageFactory(ApiSettings.model_validate(settings), metrics)
    return factory.of(Embedder(fake_embedder().card, engine)), metrics
