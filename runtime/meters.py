"""The figures of the workers, for Prometheus and for readiness."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from helix.budgets import LAG_RECORDS

SAVE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Meters:
    """Every figure, registered in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.lag_records = Gauge(
            LAG_RECORDS,
            "Records in the log that the pipeline has not saved",
            ("pipeline", "partition"),
            registry=self.registry,
        )
        self.lag_s = Gauge(
            "helix_pipeline_lag_seconds",
            "Age of the oldest record the last batch saved; 0 when nothing waits",
            ("pipeline",),
            registry=self.registry,
        )
        self.events = Counter(
            "helix_pipeline_events",
            "Events saved",
            ("pipeline",),
            registry=self.registry,
        )
        self.batches = Counter(
            "helix_pipeline_batches", "Batches saved", ("pipeline",), registry=self.registry
        )
        self.dead_letters = Counter(
            "helix_pipeline_dead_letters",
            "Records sent to the dead-letter topic",
            ("pipeline",),
            registry=self.registry,
        )
        self.snapshots = Counter(
            "helix_snapshots", "Snapshots of conversations kept", registry=self.registry
        )
        self.save_s = Histogram(
            "helix_pipeline_save_seconds",
            "Time one save takes",
            ("pipeline",),
            buckets=SAVE_BUCKETS_S,
            registry=self.registry,
        )


class Readiness:
    """Which pipelines work, and what keeps the others from it."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._blockers = dict.fromkeys(names, "not assigned yet")

    def ready(self, name: str) -> None:
        """The pipeline has its partitions and its store."""
        self._blockers[name] = ""

    def blocked(self, name: str, why: str) -> None:
        """The pipeline waits for something."""
        self._blockers[name] = why

    def blockers(self) -> list[str]:
        """One sentence for each pipeline that does not work; empty when all do."""
        return [f"{name}: {why}" for name, why in self._blockers.items() if why]
