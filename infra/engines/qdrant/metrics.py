"""The engine's figures in Prometheus' text format, under the server's own names."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from infra.engines.qdrant.collections import Collection

SECONDS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0)  # the server's buckets
LABELS = ("method", "endpoint", "status")


class CollectionFigures(Collector):
    """Counted when asked for."""

    def __init__(self, version: str, collections: Callable[[], Sequence[Collection]]) -> None:
        self._version = version
        self._collections = collections

    def collect(self) -> Iterable[Metric]:
        app = GaugeMetricFamily(
            "app_info", "information about qdrant server", labels=["name", "version"]
        )
        app.add_metric(["qdrant", self._version], 1)
        points = GaugeMetricFamily(
            "collection_points", "approximate amount of points per collection", labels=["id"]
        )
        running = GaugeMetricFamily(
            "collection_running_optimizations",
            "number of currently running optimization tasks per collection",
            labels=["id"],
        )
        collections = self._collections()
        total = 0
        for collection in collections:
            count = collection.shard.info().points_count
            total += count * collection.vectors
            points.add_metric([collection.name], count)
            running.add_metric([collection.name], int(collection.is_indexing))
        yield app
        yield GaugeMetricFamily("collections_total", "number of collections", len(collections))
        yield GaugeMetricFamily(
            "collections_vector_total", "total number of vectors in all collections", total
        )
        yield points
        yield running
        yield GaugeMetricFamily("app_status_recovery_mode", "is recovery mode enabled", 0)
        yield GaugeMetricFamily("cluster_enabled", "is cluster support enabled", 0)


class Metrics:
    """What is measured of every answer, and what is counted of the collections."""

    def __init__(self, version: str, collections: Callable[[], Sequence[Collection]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(CollectionFigures(version, collections))
        self._responses = Counter(
            "rest_responses", "total number of responses", LABELS, registry=self._registry
        )
        self._durations = Histogram(
            "rest_responses_duration_seconds",
            "response duration histogram",
            LABELS,
            buckets=SECONDS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)

    def observe(self, labels: tuple[str, str, int], seconds: float) -> None:
        """One answer: its method, its path as a template, its status."""
        self._responses.labels(*labels).inc()
        self._durations.labels(*labels).observe(seconds)

    def render(self) -> bytes:
        return generate_latest(self._registry)
