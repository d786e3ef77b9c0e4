"""Health: every service of the catalogue is asked, at once, and the answer is the evidence."""

import asyncio
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from controlplane.instants import instant
from controlplane.placement import Instance
from helix.adapters.probes import ANSWER_S_MAX, Check, ask
from helix.budgets import LAG_RECORDS, LAG_RECORDS_MAX
from helix.client.wire import Evidence, HealthReport, Status
from helix.errors import UnavailableError
from helix.ports import Clock
from helix.settings import Settings
from helix.topology.model import Service, Topology, port_of

LOOK_S_MAX = 5.0
FRESH_S = 1.0  # many callers, one look
LAG_BYTES_MAX = 4 * 1024 * 1024
WORKERS = "workers"
LOG = "kafka"
# What each part of the platform stands on.
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "infinite_context": ("kafka", "postgres", "clickhouse", "workers"),
}

Ask = Callable[[Check], str]
Lag = Callable[[Check], dict[str, float]]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a service and how it is asked; without a check it is absent here."""

    service: str
    server: str = ""
    check: Check | None = None
    absent: str = ""


@runtime_checkable
class Health(Protocol):
    """Whoever can say how everything is."""

    async def report(self) -> HealthReport: ...


def questions(
    topology: Topology, settings: Settings, placed: Mapping[str, Sequence[Instance]]
) -> tuple[Question, ...]:
    """What to ask of every service of the catalogue, in its order."""
    return tuple(
        question
        for service in topology.services
        for question in _of(service, settings, placed.get(service.name, ()))
    )


def _of(service: Service, settings: Settings, run: Sequence[Instance]) -> list[Question]:
    if not run:
        why = service.absent or "not part of this stack"
        return [Question(service=service.name, absent=why)]
    return [
        Question(
            service=service.name,
            server=instance.server,
            check=_check(service, settings, instance),
        )
        for instance in run
    ]


def _check(service: Service, settings: Settings, instance: Instance) -> Check:
    probe = service.probe
    at = instance.ports[probe.port]
    ca = _authority(service.name, settings) if port_of(service, probe.port).tls else ""
    user, password, path = _credentials(service.name, settings)
    return Check(
        service=service.name,
        kind=probe.kind,
        host=at.host,
        port=at.port,
        path=path or probe.path,
        send=probe.send,
        expect=probe.expect,
        user=user,
        password=password,
        ca=ca,
        certificate=settings.http.certificate if ca else "",
        key=settings.http.key if ca else "",
    )


def _authority(service: str, settings: Settings) -> str:
    """Who signed what the service shows to whoever asks; empty without TLS."""
    authorities = {
        "kafka": settings.kafka.ca,
        "postgres": settings.postgres.ca,
        "clickhouse": settings.clickhouse.ca,
        "neo4j": settings.neo4j.ca,
        "qdrant": settings.qdrant.ca,
        "minio": settings.minio.ca,
        "redis": settings.redis.ca,
        "rabbitmq": settings.rabbitmq.ca,
        "iceberg-rest": settings.iceberg.ca,
    }
    return authorities.get(service, settings.stack.ca)


def _credentials(service: str, settings: Settings) -> tuple[str, str, str]:
    """User, password and, for PostgreSQL, the database."""
    match service:
        case "postgres":
            group = settings.postgres
            return group.user, group.password.reveal(), group.database
        case "neo4j":
            return settings.neo4j.user, settings.neo4j.password.reveal(), ""
        case "redis":
            return "", settings.redis.password.reveal(), ""
        case "kafka":
            return settings.kafka.user, settings.kafka.password.reveal(), ""
        case "iceberg-rest":
            return "", settings.iceberg.token.reveal(), ""
        case _:
            return "", "", ""


def lag(check: Check, *, timeout_s: float = ANSWER_S_MAX) -> dict[str, float]:
    """How many records each pipeline is behind, by the workers' own metrics."""
    url = f"http://{check.host}:{check.port}/metrics"
    with urllib.request.urlopen(url, timeout=timeout_s) as answer:
        text = answer.read(LAG_BYTES_MAX).decode(errors="replace")
    behind: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == LAG_RECORDS else ():
            name = sample.labels.get("pipeline", "")
            behind[name] = behind.get(name, 0.0) + sample.value
    return behind


@dataclass(frozen=True, slots=True)
class Probes:
    """How questions are put; blocking, so they are put from threads."""

    ask: Ask = ask
    lag: Lag = lag


class Monitor:
    """Asks everything at once, each within its limit, all within `LOOK_S_MAX`."""

    def __init__(
        self, asked: Sequence[Question], clock: Clock, probes: Probes | None = None
    ) -> None:
        self._questions = asked
        self._clock = clock
        self._probes = probes or Probes()
        # Threads of its own: slow services must not take those the requests need.
        self._threads = ThreadPoolExecutor(max(1, len(asked)), thread_name_prefix="health")
        self._look = asyncio.Lock()
        self._seen: tuple[float, HealthReport] | None = None

    async def report(self) -> HealthReport:
        """The evidence, at most `FRESH_S` old."""
        async with self._look:
            if self._seen is None or time.monotonic() - self._seen[0] >= FRESH_S:
                self._seen = (time.monotonic(), await self._report())
            return self._seen[1]

    def close(self) -> None:
        """Let go of the threads; those still asking end with their limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _report(self) -> HealthReport:
        services = await self._everything()
        return HealthReport(
            status=overall(services),
            running=True,
            components=components(services),
            services=services,
            timestamp=instant(self._clock()),
        )

    async def _everything(self) -> list[Evidence]:
        loop = asyncio.get_running_loop()
        asked_at = self._clock()
        asking = [
            loop.run_in_executor(self._threads, self._evidence, question)
            for question in self._questions
        ]
        if asking:
            await asyncio.wait(asking, timeout=LOOK_S_MAX)
        return [
            answer.result() if answer.done() else _late(question, asked_at)
            for question, answer in zip(self._questions, asking, strict=True)
        ]

    def _evidence(self, question: Question) -> Evidence:
        check = question.check
        if check is None:
            return Evidence(service=question.service, status="disabled", detail=question.absent)
        asked_at, started_at = self._clock(), time.monotonic()
        status, detail, behind = self._asked(check)
        return Evidence(
            service=question.service,
            status=status,
            detail=detail,
            asked_at=instant(asked_at),
            took_ms=round((time.monotonic() - started_at) * 1000, 1),
            server=question.server,
            address=f"{check.host}:{check.port}",
            lag_records=behind,
        )

    def _asked(self, check: Check) -> tuple[Status, str, dict[str, float] | None]:
        try:
            answer = self._probes.ask(check)
        except UnavailableError as error:
            return "unavailable", _reason(check, error), None
        if check.service != WORKERS:
            return "healthy", answer, None
        try:
            behind = self._probes.lag(check)
        except (OSError, ValueError) as error:
            return "degraded", f"{answer}; lag unknown: {error}", None
        worst = max(behind.values(), default=0.0)
        if worst > LAG_RECORDS_MAX:
            return "degraded", f"{answer}; {worst:.0f} records behind", behind
        return "healthy", answer, behind


def _reason(check: Check, error: UnavailableError) -> str:
    """Why there is no answer; service and address have their own fields."""
    return error.message.removeprefix(f"`{check.service}` at {check.host}:{check.port}: ")


def overall(services: Sequence[Evidence]) -> Status:
    """Unavailable without the log, degraded if anything else is amiss."""
    worst = {evidence.status for evidence in services} - {"healthy", "disabled"}
    if any(e.service == LOG and e.status == "unavailable" for e in services):
        return "unavailable"
    return "degraded" if worst else "healthy"


def components(services: Sequence[Evidence]) -> dict[str, Status]:
    """The parts of the platform, by what they stand on."""
    return {
        name: overall([evidence for evidence in services if evidence.service in needs])
        for name, needs in COMPONENTS.items()
    }


def _late(question: Question, asked_at: int) -> Evidence:
    return Evidence(
        service=question.service,
        status="unavailable",
        detail=f"no answer within {LOOK_S_MAX:g} s",
        asked_at=instant(asked_at),
        took_ms=LOOK_S_MAX * 1000,
        server=question.server,
    )
