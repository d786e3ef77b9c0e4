"""Health and keys: what is asked where, what silence means, and how long a key is remembered."""

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from controlplane import health
from controlplane.auth import FRESH_S, STALE_S_MAX, Keyring
from controlplane.health import Monitor, Probes, Question, questions
from controlplane.placement import Address, Instance, instances, outputs
from helix.adapters import fakes
from helix.adapters.probes import Check
from helix.errors import TopologyError, UnavailableError
from helix.ports import Credential
from helix.settings import Settings, Stack
from helix.topology.catalog import CATALOG
from helix.topology.model import ProbeKind

WORKERS = Question(
    service="workers", check=Check(service="workers", kind=ProbeKind.HTTP, host="h", port=1)
)
CREDENTIAL = Credential("k", "acme", frozenset({"read"}))


class Keys:
    """A store of one key, which can be switched off or emptied."""

    def __init__(self) -> None:
        self.found: Credential | None = CREDENTIAL
        self.away = False
        self.asked = 0

    async def find(self, digest: str) -> Credential | None:
        self.asked += 1
        if self.away:
            raise UnavailableError("postgres")
        return self.found if digest else None


def looked(question: Question, probes: Probes) -> health.HealthReport:
    monitor = Monitor([question], fakes.counting(), probes)
    try:
        return asyncio.run(monitor.report())
    finally:
        monitor.close()


def document(folder: Path, text: str) -> Settings:
    path = folder / "outputs.json"
    path.write_text(text)
    return Settings(stack=Stack(outputs=str(path)))


def test_workers_far_behind_are_degraded() -> None:
    report = looked(WORKERS, Probes(ask=lambda _: "ready", lag=lambda _: {"a": 1e6}))

    assert report.services[0].status == "degraded"
    assert "1000000 records behind" in report.services[0].detail


def test_workers_whose_lag_is_unknown_are_degraded() -> None:
    def no_lag(_: Check) -> dict[str, float]:
        raise OSError("refused")

    report = looked(WORKERS, Probes(ask=lambda _: "ready", lag=no_lag))

    assert report.services[0].detail == "ready; lag unknown: refused"


def test_a_service_that_never_answers_is_late_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOK_S_MAX", 0.05)
    released = threading.Event()

    def hang(_: Check) -> str:
        released.wait()
        return ""

    async def look() -> health.HealthReport:
        try:
            return await monitor.report()
        finally:
            released.set()

    monitor = Monitor([WORKERS], fakes.counting(), Probes(ask=hang))
    report = asyncio.run(look())
    monitor.close()

    assert report.services[0].status == "unavailable"
    assert "no answer within" in report.services[0].detail


def test_many_callers_share_one_look() -> None:
    asked: list[Check] = []

    def ask(check: Check) -> str:
        asked.append(check)
        return "fine"

    async def many() -> None:
        await asyncio.gather(*(monitor.report() for _ in range(10)))

    check = Check(service="redis", kind=ProbeKind.REDIS, host="h", port=1)
    monitor = Monitor([Question(service="redis", check=check)], fakes.counting(), Probes(ask=ask))
    asyncio.run(many())
    monitor.close()

    assert len(asked) == 1


def test_the_output_document_says_what_is_asked_where(tmp_path: Path) -> None:
    ports = {"client": {"host": "10.0.0.1", "port": 12181}}
    text = msgspec.json.encode(
        {"stack": "x", "services": {"zookeeper": [{"server": "server-1", "ports": ports}]}}
    )
    settings = document(tmp_path, text.decode())

    placed = instances(CATALOG, settings, outputs(settings))
    asked = {row.service: row for row in questions(CATALOG, settings, placed)}

    zookeeper = asked["zookeeper"].check
    assert zookeeper is not None
    assert (zookeeper.host, zookeeper.port) == ("10.0.0.1", 12181)
    assert asked["zookeeper"].server == "server-1"
    assert asked["neo4j"].absent == "not part of this stack"


def test_settings_name_the_address_of_an_only_instance() -> None:
    settings = Settings()
    moved = msgspec.structs.replace(
        settings, redis=msgspec.structs.replace(settings.redis, port=1234)
    )

    placed = instances(CATALOG, moved, None)

    assert placed["redis"] == (
        Instance(ports={"redis": Address("127.0.0.1", 1234)}, server="local"),
    )


@pytest.mark.parametrize("text", ["{", "{}", '{"services": {"kafka": [{"ports": {"a": {}}}]}}'])
def test_an_unreadable_output_document_stops_the_program(tmp_path: Path, text: str) -> None:
    with pytest.raises(TopologyError, match="make up"):
        outputs(document(tmp_path, text))


def test_a_key_is_looked_up_once_while_it_is_fresh() -> None:
    keys, now = Keys(), [0.0]
    ring = Keyring(keys, monotonic=lambda: now[0])

    async def use() -> Credential | None:
        return await ring.credential("key")

    assert asyncio.run(use()) == CREDENTIAL
    now[0] = FRESH_S - 1
    assert asyncio.run(use()) == CREDENTIAL
    assert keys.asked == 1


def test_a_revoked_key_stops_working_once_it_is_no_longer_fresh() -> None:
    keys, now = Keys(), [0.0]
    ring = Keyring(keys, monotonic=lambda: now[0])
    asyncio.run(ring.credential("key"))
    keys.found, now[0] = None, FRESH_S + 1

    assert asyncio.run(ring.credential("key")) is None


def test_a_known_key_outlives_the_store_of_keys_for_a_bounded_time() -> None:
    keys, now = Keys(), [0.0]
    ring = Keyring(keys, monotonic=lambda: now[0])
    asyncio.run(ring.credential("key"))
    keys.away, now[0] = True, STALE_S_MAX - 1

    assert asyncio.run(ring.credential("key")) == CREDENTIAL
    now[0] = STALE_S_MAX + 1
    with pytest.raises(UnavailableError):
        asyncio.run(ring.credential("key"))
