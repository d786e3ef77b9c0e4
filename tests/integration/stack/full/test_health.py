"""Health, figures and status of the whole catalogue."""

import httpx
from rich.console import Console

from helix.client.rest import Client
from helix.topology.catalog import CATALOG
from tests.integration.running import Running
from tests.waiting import until
from validation.demo import demo
from validation.status import show

BACK_S_MAX = 120


def test_health_has_evidence_for_the_whole_catalogue(api: Client) -> None:
    until(lambda: api.health().status == "healthy", s_max=BACK_S_MAX, what="everything is healthy")

    report = api.health()

    assert {row.service for row in report.services} == {row.name for row in CATALOG.services}
    assert all(row.detail for row in report.services)
    # Workers that joined the group again know their lag after their first look at the log.
    until(
        lambda: any(row.lag_records for row in api.health().services if row.service == "workers"),
        s_max=BACK_S_MAX,
        what="the workers' lag is known",
    )


def test_prometheus_is_told_what_strangers_are_not(stack: Running) -> None:
    targets = f"http://{stack.outputs.addresses()['prometheus']}/api/v1/targets"
    asking = {"clickhouse", "control-plane", "minio", "qdrant"}

    def told() -> bool:
        found = httpx.get(targets).json()["data"]["activeTargets"]
        return asking <= {one["labels"]["job"] for one in found if one["health"] == "up"}

    until(told, s_max=BACK_S_MAX, what="Prometheus gets the figures")


def test_demo_and_status_pass(api: Client) -> None:
    assert demo(api, Console())
    assert show(api.health(), Console()) == 0
