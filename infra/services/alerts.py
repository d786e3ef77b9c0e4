"""The alert rules: what an operator must know, with what to look at first."""

from helix.budgets import LAG_RECORDS, LAG_RECORDS_MAX
from helix.topology.model import Record

PARTS_MAX = 300  # of one partition; the server itself slows inserts down at 1,000
DISK_FREE_RATIO_MIN = 0.1
MEMORY_FREE_RATIO_MIN = 0.05


class Alert(Record, frozen=True):
    """A condition that must hold for `for_s` seconds before anybody is told."""

    name: str
    expr: str
    for_s: int
    severity: str
    summary: str


ALERTS = (
    Alert(
        name="ServiceDown",
        expr="up == 0",
        for_s=60,
        severity="page",
        summary="`{{ $labels.job }}` does not answer: read its log, then `make status`",
    ),
    Alert(
        name="StoreDown",
        expr='up{job=~"kafka|clickhouse|neo4j|minio|qdrant"} == 0 or pg_up == 0 or redis_up == 0',
        for_s=15,
        severity="page",
        summary="the store behind `{{ $labels.job }}` is away: its pipelines wait, nothing is lost",
    ),
    Alert(
        name="PipelineBehind",
        expr=f"sum by (pipeline) ({LAG_RECORDS}) > {LAG_RECORDS_MAX}",
        for_s=60,
        severity="page",
        summary="pipeline `{{ $labels.pipeline }}` is {{ $value }} records behind its topic",
    ),
    Alert(
        name="EventsBuried",
        expr="sum by (pipeline) (increase(helix_pipeline_dead_letters_total[5m])) > 0",
        for_s=0,
        severity="ticket",
        summary="pipeline `{{ $labels.pipeline }}` buried events: `python -m runtime bury` lists",
    ),
    Alert(
        name="ClickHouseTooManyParts",
        expr=f"ClickHouseAsyncMetrics_MaxPartCountForPartition > {PARTS_MAX}",
        for_s=60,
        severity="page",
        summary="ClickHouse merges slower than it is fed: look for small inserts, then its disk",
    ),
    Alert(
        name="DiskNearlyFull",
        expr=f"node_filesystem_avail_bytes / node_filesystem_size_bytes < {DISK_FREE_RATIO_MIN}",
        for_s=300,
        severity="page",
        summary="`{{ $labels.mountpoint }}` is nearly full: free space or lower a retention",
    ),
    Alert(
        name="MemoryNearlyFull",
        expr=(
            f"node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < {MEMORY_FREE_RATIO_MIN}"
        ),
        for_s=300,
        severity="ticket",
        summary="the machine is short of memory: switch a service off or add memory",
    ),
)


def rules() -> dict[str, object]:
    """All of them in the form Prometheus reads."""
    return {
        "groups": [
            {
                "name": "helix",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.expr,
                        "for": f"{alert.for_s}s",
                        "labels": {"severity": alert.severity},
                        "annotations": {"summary": alert.summary},
                    }
                    for alert in ALERTS
                ],
            }
        ]
    }
