"""The recall probe: search for a stored photo regularly, as users search and exactly, and compare the results."""

import logging
import threading
from collections import defaultdict, deque

import numpy as np

from catalog.errors import MarketlensError
from catalog.listing import Embeddings, StoredPhoto
from catalog.store.filters import SearchFilter
from search_api.serving.live_catalogue import LiveBuild, LiveCatalogue
from search_api.telemetry.metrics import Metrics

# Photos of a build to search for in turn, spread over its ids.
_SAMPLE_PHOTOS = 256
_HITS = 10
# A category's recall is the mean over this many of its latest photos.
_WINDOW = 50
_NO_FILTER = SearchFilter()

logger = logging.getLogger("marketlens.api")


class RecallProbe:
    """Measures recall in a background thread, one photo at a time, and not while photos wait to be embedded."""

    def __init__(self, catalogue: LiveCatalogue, metrics: Metrics, seconds: float) -> None:
        """Search for one photo every `seconds`; 0 means never."""
        self._catalogue = catalogue
        self._metrics = metrics
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
        self._build = ""
        self._photos: list[StoredPhoto] = []
        self._embeddings: Embeddings = np.empty((0, 0), np.float32)
        self._next = 0
        self._recalls: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_WINDOW))

    def start(self) -> None:
        """Start measuring."""
        if self._seconds:
            self._thread.start()

    def close(self) -> None:
        """Stop, after the current measurement has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def measure(self, live: LiveBuild) -> None:
        """Search for one photo, and update the recall of its category. Raises what a search raises."""
        if self._build != live.info.name:
            self._photos, self._embeddings = live.photos.reader.sample(_SAMPLE_PHOTOS)
            self._build, self._next = live.info.name, 0
            self._reset()
        if not self._photos:
            return
        photo, query = self._photos[self._next], self._embeddings[self._next : self._next + 1]
        self._next = (self._next + 1) % len(self._photos)
        reader = live.photos.reader
        exact, found = (
            {hit.photo_id for hit in reader.search(query, _NO_FILTER, _HITS, group_by="photo", exact=exact).hits}
            for exact in (True, False)
        )
        if exact:
            category = photo.photo.listing.category
            self._recalls[category].append(len(exact & found) / len(exact))
            self._metrics.recall.labels(category).set(float(np.mean(self._recalls[category])))

    def _reset(self) -> None:
        for category in self._recalls:
            self._metrics.recall.labels(category).set(float("nan"))  # the old build's figure says nothing of the new
        self._recalls.clear()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                live = self._catalogue.current()
                if not live.stages.embed.depth:
                    self.measure(live)
            except MarketlensError:
                pass  # the store is unreachable: requests report it, and there is nothing to measure
            except Exception:
                # The thread continues whatever the error is: the next measurement may succeed.
                logger.exception("measuring recall failed")
