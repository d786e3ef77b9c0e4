"""Health: evidence for every service, readiness, and this program's own figures."""

import asyncio
from collections.abc import Awaitable

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from controlplane.auth import FIGURES, OPEN, Scope, requires
from controlplane.errors import deadline, refusals
from controlplane.health import Health
from helix.client.wire import HealthReport, ShortHealth, Status
from helix.errors import UnavailableError
from helix.ports import World

ANSWER_S_MAX = 8.0  # beyond the look's own limit, so that late services are reported as late
READY_S_MAX = 1.5  # within the time a probe of ours waits
VERSION = "0.1.0"
# The worst of several instances stands for the service.
WORST: tuple[Status, ...] = ("disabled", "healthy", "degraded", "unavailable")


@get(
    "/v1/bigdata/health",
    opt=requires(Scope.READ),
    responses=refusals(401, 403, 504),
    summary="The catalogue against reality, with evidence",
)
async def bigdata(health: NamedDependency[Health]) -> Response[HealthReport]:
    """Every service: what was asked, when, how long, what came back; 503 without the log."""
    async with deadline("the health checks", ANSWER_S_MAX):
        report = await health.report()
    return Response(report, status_code=503 if report.status == "unavailable" else 200)


@get("/health", opt={OPEN: True}, responses=refusals(504), summary="Health in short")
async def short(
    health: NamedDependency[Health], world: NamedDependency[World], started_at: NamedDependency[int]
) -> ShortHealth:
    """One word a service."""
    async with deadline("the health checks", ANSWER_S_MAX):
        report = await health.report()
    services: dict[str, Status] = {}
    for evidence in report.services:
        before = services.get(evidence.service, "disabled")
        worse = WORST.index(evidence.status) > WORST.index(before)
        services[evidence.service] = evidence.status if worse else before
    return ShortHealth(
        status=report.status,
        services=services,
        timestamp=report.timestamp,
        uptime_seconds=(world.clock() - started_at) / 1_000_000,
        version=VERSION,
    )


@get("/livez", opt={OPEN: True}, media_type=MediaType.TEXT, summary="Whether the process lives")
async def live() -> str:
    """It answers, so it lives."""
    return "alive"


@get(
    "/readyz",
    opt={OPEN: True},
    media_type=MediaType.TEXT,
    responses=refusals(503),
    summary="Whether it can serve",
)
async def ready(world: NamedDependency[World]) -> str:
    """`ready` once the log and the stores it reads answer; 503 naming what does not."""
    await asyncio.gather(
        _answers("kafka", world.log.ping()),
        _answers("postgres", world.conversations.ping()),
        _answers("clickhouse", world.events.ping()),
    )
    return "ready"


@get("/metrics", opt={FIGURES: True}, include_in_schema=False)
async def metrics(registry: NamedDependency[CollectorRegistry]) -> Response[bytes]:
    """The figures of this process, for Prometheus."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _answers(service: str, ping: Awaitable[str]) -> None:
    try:
        async with asyncio.timeout(READY_S_MAX):
            await ping
    except TimeoutError as error:
        reason = f"`{service}` gave no answer within {READY_S_MAX:g} s: wait or look at its log"
        raise UnavailableError(service, reason) from error


ROUTES: tuple[HTTPRouteHandler, ...] = (bigdata, short, live, ready, metrics)
