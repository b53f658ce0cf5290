"""What a server counts, in the format of Prometheus; several worker processes are summed."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter("sage_pl_requests", "Requests", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "sage_pl_request_seconds", "Seconds to an answer", ["path"], buckets=_SECONDS, registry=registry
        )
        self.batches = Histogram("sage_pl_batch_queries", "Queries of a batch", buckets=_SIZES, registry=registry)
        self.lists = Counter("sage_pl_lists", "Lists of items, by source", ["source"], registry=registry)
        self.events = Counter("sage_pl_events", "Events that were added", registry=registry)
        self.items = Counter("sage_pl_items", "Items that were added", registry=registry)
        self.reloads = Counter("sage_pl_reloads", "Exports that replaced an earlier one", registry=registry)

    def text(self) -> bytes:
        """All of them, those of the other workers included."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)
