"""Context: replay a conversation, fetch what a compression dropped, and its figures."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter
from litestar.response import Stream

from controlplane.answers import shown
from controlplane.auth import JSON, Scope, requires
from controlplane.background import Background
from controlplane.bodies import Strict
from controlplane.compressing import Compressor, Fitted, budget, summarised
from controlplane.errors import READ_STATUSES, deadline, refusals
from controlplane.instants import instant, microseconds
from controlplane.paging import LIMIT
from controlplane.replay import TOPIC, Replayed, missing, remember, replay, resume
from controlplane.resumed import Whole, history, whole
from controlplane.routes.conversations import PathId
from helix.adapters.curves import measured
from helix.client.wire import (
    PAGE_ROWS_MAX,
    CompressionHistory,
    CompressionReceipt,
    CompressionStats,
    ConversationStats,
    CurvePoint,
    Expanded,
    ExpandRequest,
    PastCompression,
    Replay,
    ReplayedMessage,
    ReplayGap,
    ReplayRequest,
    ReplayStats,
    ReplaySummary,
)
from helix.domain.conversations import messages as messages_of
from helix.domain.conversations import stats as stats_of
from helix.domain.ids import log_key
from helix.domain.positions import Position
from helix.errors import InvalidError
from helix.events import ContextCompressed, Message
from helix.ports import Credential, World

ANSWER_S_MAX = 30.0
INLINE_MESSAGES_MAX = 200  # more are put into words in a thread, away from other requests
LINES_AT_ONCE = 200
NDJSON = "application/x-ndjson"

A = TypeVar("A")
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_ROWS_MAX)]


@dataclass(frozen=True, slots=True)
class Desk:
    """What the routes of this file keep from one request to the next."""

    compressor: Compressor
    background: Background


@dataclass(frozen=True, slots=True)
class Told:
    """The history that a request asked for, where it came from, and when it was asked for."""

    said: list[Message]
    whole: Whole | None
    found: Replayed
    resumed_from: Position | None
    asked_ns: int

    @property
    def took_ms(self) -> float:
        """How long it has taken so far."""
        return round((time.monotonic_ns() - self.asked_ns) / 1e6, 3)


def desk(state: State) -> Desk:
    """The one desk of the application."""
    if "context_desk" not in state:
        state["context_desk"] = Desk(Compressor(), Background())
    return state["context_desk"]


DESK = {"desk": Provide(desk, sync_to_thread=False)}


@post(
    "/v1/context/replay",
    status_code=200,
    dto=Strict,
    return_dto=None,
    dependencies=DESK,
    opt=requires(Scope.READ, body=JSON),
    responses=refusals(*READ_STATUSES, 413, 415),
    summary="Replay a conversation, complete and in order",
)
async def replayed(
    data: JSONBody[ReplayRequest],
    request: Request[Credential, str, State],
    world: NamedDependency[World],
    desk: NamedDependency[Desk],
) -> Response[Replay] | Stream:
    """Every message up to `exact_up_to`; with a budget, those that matter and fit."""
    tenant = request.user.tenant
    if data.summarise and world.summariser is None:
        raise InvalidError(
            "`summarise`: no model is configured here: leave it out, or have the operator set"
            " `HELIX__SUMMARISER__URL`",
            field="summarise",
        )
    async with deadline("the replay", ANSWER_S_MAX):
        told = await _told(world, tenant, data, desk)
        fitted = await _fitted(world, desk, told, data)
        answer = await _off_loop(len(told.said), lambda: _answer(data, told, fitted))
    if fitted is not None and fitted.compressed.dropped:
        event = _event(world, tenant, data.conversation_id, fitted)
        desk.background.start(_publish(world, event), name="context-compressed")
    if NDJSON in request.headers.get("accept", ""):
        return Stream(_lines(answer), media_type=NDJSON)
    # Encoded here: the framework would do it on the loop, where other requests wait.
    body = await _off_loop(len(answer.messages), lambda: msgspec.json.encode(answer))
    return cast("Response[Replay]", Response(body, media_type="application/json"))


@post(
    "/v1/context/expand",
    status_code=200,
    dto=Strict,
    return_dto=None,
    dependencies=DESK,
    opt=requires(Scope.READ, body=JSON),
    responses=refusals(*READ_STATUSES, 413, 415),
    summary="Fetch messages of a conversation by their ids",
)
async def expanded(
    data: JSONBody[ExpandRequest],
    request: Request[Credential, str, State],
    world: NamedDependency[World],
    desk: NamedDependency[Desk],
) -> Expanded:
    """Those messages as they are now; ids that it has none of are named."""
    async with deadline("the messages", ANSWER_S_MAX):
        found = await replay(world, request.user.tenant, data.conversation_id)
    desk.background.start(remember(world, found), name="remember")
    wanted = set(data.message_ids)
    chosen = [message for message in messages_of(found.events) if message.message_id in wanted]
    there = {message.message_id for message in chosen}
    return Expanded(
        conversation_id=data.conversation_id,
        messages=shown(chosen),
        missing=[name for name in dict.fromkeys(data.message_ids) if name not in there],
    )


@get(
    "/v1/context/stats/{conversation_id:str}",
    opt=requires(Scope.READ),
    responses=refusals(*READ_STATUSES),
    summary="A conversation's figures",
)
async def stats(
    conversation_id: PathId,
    request: Request[Credential, str, State],
    world: NamedDependency[World],
) -> ConversationStats:
    """What its state says; counted anew where messages were edited or deleted."""
    tenant = request.user.tenant
    async with deadline("the conversation's state", ANSWER_S_MAX):
        state = await world.conversations.get(tenant, conversation_id)
        if state is None:
            raise missing(conversation_id)
        counted = Whole(state.message_count, state.tokens)
        if state.changes:
            counted = _counted(messages_of((await replay(world, tenant, conversation_id)).events))
    return ConversationStats(
        conversation_id=state.conversation_id,
        user_id=state.user_id,
        message_count=counted.messages,
        total_tokens=counted.tokens,
        event_count=state.event_count,
        changes=state.changes,
        outcome=state.outcome,
        created_at=instant(state.created_at),
        last_at=instant(state.last_at),
        timestamp=instant(world.clock()),
    )


@get(
    "/v1/context/compression/{conversation_id:str}",
    opt=requires(Scope.READ),
    responses=refusals(*READ_STATUSES),
    summary="How a conversation was compressed",
)
async def compressions(
    conversation_id: PathId,
    request: Request[Credential, str, State],
    world: NamedDependency[World],
    limit: Limit = LIMIT,
) -> CompressionHistory:
    """The latest compressions, newest first, each as it was measured."""
    tenant = request.user.tenant
    async with deadline("the conversation's compressions", ANSWER_S_MAX):
        made = await world.conversations.compressions(tenant, conversation_id, limit=limit)
        if not made and await world.conversations.get(tenant, conversation_id) is None:
            raise missing(conversation_id)
    return CompressionHistory(
        conversation_id=conversation_id, compressions=[_past(event) for event in made]
    )


async def _told(world: World, tenant: str, data: ReplayRequest, desk: Desk) -> Told:
    asked_ns = time.monotonic_ns()
    if data.resume_from_snapshot:
        told = await _resumed(world, tenant, data, asked_ns)
        if told is not None:
            return told
    found = await replay(world, tenant, data.conversation_id)
    desk.background.start(remember(world, found), name="remember")
    said = messages_of(found.events)
    return Told(_since(data, said), _counted(said), found, None, asked_ns)


async def _resumed(world: World, tenant: str, data: ReplayRequest, asked_ns: int) -> Told | None:
    found = await resume(world, tenant, data.conversation_id)
    if found is None:
        return None
    snapshot, later = found.snapshot, found.later
    said = history(snapshot, later.events)
    figures = whole(snapshot, later.events, said)
    return Told(_since(data, said), figures, later, snapshot.upto, asked_ns)


async def _fitted(world: World, desk: Desk, told: Told, data: ReplayRequest) -> Fitted | None:
    wanted = budget(data, told.said)
    if wanted is None:
        return None
    entire = data.since is None and told.resumed_from is None
    name = log_key(told.found.thread.tenant, data.conversation_id) if entire else ""
    fitted = await desk.compressor.fit(told.said, wanted, data, name=name)
    if world.summariser is None or not data.summarise:
        return fitted
    return await summarised(
        fitted, told.said, data, summariser=world.summariser, message_id=world.ids()
    )


def _since(data: ReplayRequest, said: list[Message]) -> list[Message]:
    if data.since is None:
        return said
    since = microseconds(data.since, field="since")
    return [message for message in said if message.created_at >= since]


def _counted(said: Sequence[Message]) -> Whole:
    counted = stats_of(said)
    return Whole(counted.message_count, counted.tokens)


def _answer(data: ReplayRequest, told: Told, fitted: Fitted | None) -> Replay:
    kept = told.said if fitted is None else fitted.compressed.kept
    found = told.found
    before, after = _tokens(told.said), _tokens(kept)
    figures = ReplayStats(
        total_messages=told.whole.messages if told.whole else None,
        total_tokens=told.whole.tokens if told.whole else None,
        events_replayed=len(found.events),
        replay_duration_ms=told.took_ms,
        compressed=len(kept) < len(told.said),
        compression_ratio=after / before if before else 1.0,
    )
    return Replay(
        conversation_id=data.conversation_id,
        messages=_cited(shown(kept), fitted.summary_id if fitted else ""),
        total_tokens=after,
        compressed=figures.compressed,
        exact_up_to=found.exact_up_to,
        degraded=found.degraded,
        sources=_sources(data, told),
        stats=figures,
        gap=ReplayGap(events=found.gap.events, reason=found.gap.reason) if found.gap else None,
        resumed_from=told.resumed_from,
        compression_stats=_measured(fitted) if fitted else None,
        receipt=_receipt(fitted) if fitted else None,
        curve=_curve(fitted) if fitted else None,
    )


def _cited(messages: list[ReplayedMessage], summary_id: str) -> list[ReplayedMessage]:
    """The same, where the summary names what it stands for as ours, not as its author's."""
    if not summary_id:
        return messages
    return [
        _as_summary(message) if message.metadata.message_id == summary_id else message
        for message in messages
    ]


def _as_summary(message: ReplayedMessage) -> ReplayedMessage:
    known = message.metadata
    metadata = msgspec.structs.replace(known, custom={}, cites=known.custom["cites"])
    return msgspec.structs.replace(message, metadata=metadata)


def _sources(data: ReplayRequest, told: Told) -> dict[str, int]:
    if not data.resume_from_snapshot:
        return told.found.sources
    return {**told.found.sources, "snapshot": int(told.resumed_from is not None)}


def _measured(fitted: Fitted) -> CompressionStats:
    receipt = fitted.compressed.receipt
    before = receipt.original_tokens
    return CompressionStats(
        strategy=receipt.strategy,
        original_messages=receipt.original_messages,
        compressed_messages=receipt.compressed_messages,
        original_tokens=before,
        compressed_tokens=receipt.compressed_tokens,
        compression_ratio=receipt.compressed_tokens / before if before else 1.0,
        quality_score=receipt.quality_score,
        duration_ms=fitted.took_us / 1000,
        llm_model=fitted.model,
    )


def _receipt(fitted: Fitted) -> CompressionReceipt:
    receipt = fitted.compressed.receipt
    return CompressionReceipt(
        kept=[name for name in _ids(fitted.compressed.kept) if name != fitted.summary_id],
        dropped=fitted.compressed.dropped,
        pins_kept=receipt.pins_kept,
        survival=receipt.survival,
        summary_refused=fitted.refused,
    )


def _ids(messages: Sequence[Message]) -> list[str]:
    return [message.message_id for message in messages]


def _curve(fitted: Fitted) -> CurvePoint | None:
    choice = fitted.budget.curve
    if choice is None:
        return None
    return CurvePoint(
        strategy=choice.strategy,
        ratio=choice.ratio,
        expected=choice.recall.mean,
        low=choice.recall.low,
        high=choice.recall.high,
        measured_on=measured().source.data_set,
    )


def _event(world: World, tenant: str, conversation_id: str, fitted: Fitted) -> ContextCompressed:
    receipt, now = fitted.compressed.receipt, world.clock()
    return ContextCompressed(
        event_id=world.ids(),
        tenant=tenant,
        occurred_at=now,
        ingested_at=now,
        conversation_id=conversation_id,
        strategy=receipt.strategy,
        tokens_max=receipt.tokens_max,
        original_messages=receipt.original_messages,
        compressed_messages=receipt.compressed_messages,
        original_tokens=receipt.original_tokens,
        compressed_tokens=receipt.compressed_tokens,
        pins_kept=receipt.pins_kept,
        survival=receipt.survival,
        quality_score=receipt.quality_score,
        took_us=fitted.took_us,
        model=fitted.model,
    )


async def _publish(world: World, event: ContextCompressed) -> None:
    await world.log.publish(TOPIC, log_key(event.tenant, event.conversation_id), [event])


def _past(event: ContextCompressed) -> PastCompression:
    before = event.original_tokens
    return PastCompression(
        timestamp=instant(event.ingested_at),
        strategy=event.strategy,
        max_tokens=event.tokens_max,
        original_messages=event.original_messages,
        compressed_messages=event.compressed_messages,
        original_tokens=before,
        compressed_tokens=event.compressed_tokens,
        ratio=event.compressed_tokens / before if before else 1.0,
        quality_score=event.quality_score,
        duration_ms=event.took_us / 1000,
        preserved=event.survival,
        llm_model=event.model,
    )


async def _off_loop(size: int, work: Callable[[], A]) -> A:
    """What the work gives, done in a thread where it is much."""
    return await asyncio.to_thread(work) if size > INLINE_MESSAGES_MAX else work()


def _tokens(messages: Sequence[Message]) -> int:
    return sum(message.tokens for message in messages)


def _lines(answer: Replay) -> Iterator[bytes]:
    """A message a line; the last line is the summary, so that a cut answer shows."""
    said = answer.messages
    for first in range(0, len(said), LINES_AT_ONCE):
        chunk = said[first : first + LINES_AT_ONCE]
        yield b"".join(msgspec.json.encode({"message": message}) + b"\n" for message in chunk)
    values = {name: getattr(answer, name) for name in ReplaySummary.__struct_fields__}
    yield msgspec.json.encode({"replay": ReplaySummary(**values)}) + b"\n"


ROUTES: tuple[HTTPRouteHandler, ...] = (replayed, expanded, stats, compressions)
