"""Analytics: what was said over time, and how well it was compressed."""

from typing import Annotated

from litestar import Request, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from controlplane.auth import Scope, requires
from controlplane.errors import READ_STATUSES, deadline, refusals
from controlplane.instants import instant
from helix.client.wire import (
    CompressionTotals,
    Granularity,
    StrategyFigures,
    TrendRow,
    Trends,
)
from helix.ports import CompressionFigures, Credential, Trend, World

ANSWER_S_MAX = 30.0
DAYS_DEFAULT = 7
DAYS_MAX = 30  # what the warm copy holds
DAY_S = 86_400
PERIODS_S: dict[Granularity, int] = {"hourly": 3_600, "daily": DAY_S}
US_PER_S = 1_000_000

Days = Annotated[int, QueryParameter(ge=1, le=DAYS_MAX)]
Period = Annotated[Granularity, QueryParameter()]
Asked = Request[Credential, str, State]


@get(
    "/v1/analytics/conversations/trends",
    opt=requires(Scope.READ, Scope.ANALYTICS),
    responses=refusals(*READ_STATUSES),
    summary="Conversations, messages and tokens over time",
)
async def trends(
    request: Asked,
    world: NamedDependency[World],
    days: Days = DAYS_DEFAULT,
    granularity: Period = "daily",
) -> Trends:
    """Whole periods in UTC, the running one last; what was said is counted when it came in."""
    period_s = PERIODS_S[granularity]
    start_s = (world.clock() // US_PER_S - days * DAY_S) // period_s * period_s
    async with deadline("the trends", ANSWER_S_MAX):
        rows = await world.events.trends(
            request.user.tenant, since=start_s * US_PER_S, period_s=period_s
        )
    return Trends(granularity=granularity, stats=[_trend(row) for row in rows])


@get(
    "/v1/analytics/compression/stats",
    opt=requires(Scope.READ, Scope.ANALYTICS),
    responses=refusals(*READ_STATUSES),
    summary="How much compressions kept, by strategy",
)
async def compression(request: Asked, world: NamedDependency[World]) -> CompressionTotals:
    """Averages over everything the tenant ever had compressed."""
    async with deadline("the compressions", ANSWER_S_MAX):
        rows = await world.conversations.compression_figures(request.user.tenant)
    count = sum(row.count for row in rows)
    took_ms = sum(row.took_ms_mean * row.count for row in rows)
    return CompressionTotals(
        total_compressions=count,
        strategies={row.strategy: _figures(row) for row in rows},
        avg_compression_time_ms=took_ms / count if count else None,
    )


def _trend(row: Trend) -> TrendRow:
    per_one = row.messages / row.conversations if row.conversations else None
    return TrendRow(
        date=instant(row.start),
        conversation_count=row.conversations,
        message_count=row.messages,
        total_tokens=row.tokens,
        avg_messages_per_conv=per_one,
    )


def _figures(row: CompressionFigures) -> StrategyFigures:
    return StrategyFigures(
        count=row.count,
        avg_ratio=row.ratio_mean,
        avg_quality=row.quality_mean,
        avg_compression_time_ms=row.took_ms_mean,
        p95_compression_time_ms=row.took_ms_p95,
    )


ROUTES: tuple[HTTPRouteHandler, ...] = (trends, compression)
