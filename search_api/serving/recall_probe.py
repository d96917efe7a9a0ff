"""The recall probe: now and then a stored photo is searched for as everybody's are, and exactly, and both compared."""

import logging
import threading
from collections import defaultdict, deque

import numpy as np

from catalog.errors import MarketlensError
from catalog.listing import Embeddings, StoredPhoto
from catalog.store.filters import SearchFilter
from search_api.serving.live_catalogue import Live, LiveCatalogue
from search_api.telemetry.metrics import Metrics

# Photos of a build that are asked for in turn, spread over its ids.
_SAMPLE = 256
_HITS = 10
# Of a category, the mean over so many of its photos is shown.
_REMEMBERED = 50
_ALL = SearchFilter()

logger = logging.getLogger("marketlens.api")


class RecallProbe:
    """Measures in a thread of its own, one photo at a time, and not while photos wait to be embedded."""

    def __init__(self, catalogue: LiveCatalogue, metrics: Metrics, seconds: float) -> None:
        """Ask for one photo every `seconds`; 0 for never."""
        self._catalogue = catalogue
        self._metrics = metrics
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
        self._build = ""
        self._photos: list[StoredPhoto] = []
        self._embeddings: Embeddings = np.empty((0, 0), np.float32)
        self._next = 0
        self._found: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))

    def start(self) -> None:
        """Measure from here on."""
        if self._seconds:
            self._thread.start()

    def close(self) -> None:
        """Stop; a measurement that has begun ends first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def measure(self, live: Live) -> None:
        """Ask for one photo, and show its category's recall. Raises what a search raises."""
        if self._build != live.info.name:
            self._photos, self._embeddings = live.photos.reader.sample(_SAMPLE)
            self._build, self._next = live.info.name, 0
            self._forget()
        if not self._photos:
            return
        photo, query = self._photos[self._next], self._embeddings[self._next : self._next + 1]
        self._next = (self._next + 1) % len(self._photos)
        exact, found = (
            {hit.photo_id for hit in live.photos.reader.search(query, _ALL, _HITS, group_by="photo", exact=exact).hits}
            for exact in (True, False)
        )
        if exact:
            category = photo.photo.listing.category
            self._found[category].append(len(exact & found) / len(exact))
            self._metrics.recall.labels(category).set(float(np.mean(self._found[category])))

    def _forget(self) -> None:
        for category in self._found:
            self._metrics.recall.labels(category).set(float("nan"))  # a build's figure is not the next one's
        self._found.clear()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                live = self._catalogue.current()
                if not live.stages.embed.depth:
                    self.measure(live)
            except MarketlensError:
                pass  # the store is away: its readers say so, and there is nothing to measure
            except Exception:
                logger.exception("measuring recall failed")
