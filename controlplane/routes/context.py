"""Context: replay a conversation, and its figures."""

from collections.abc import Iterator, Sequence

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from litestar.response import Stream

from controlplane.answers import shown
from controlplane.auth import Scope, requires
from controlplane.bodies import Strict, json_only
from controlplane.errors import READ_STATUSES, deadline, refusals
from controlplane.instants import instant, microseconds
from controlplane.replay import Replayed, missing, replay
from controlplane.routes.conversations import PathId
from helix.client.wire import (
    CompressionStats,
    ConversationStats,
    Replay,
    ReplayRequest,
    ReplaySummary,
)
from helix.domain.conversations import messages as messages_of
from helix.domain.conversations import within
from helix.events import Message
from helix.ports import Credential, World

ANSWER_S_MAX = 30.0
TARGET_RATIO = 0.30  # of the tokens, where a strategy is named without a bound
NDJSON = "application/x-ndjson"


@post(
    "/v1/context/replay",
    status_code=200,
    dto=Strict,
    return_dto=None,
    guards=[requires(Scope.READ), json_only],
    responses=refusals(*READ_STATUSES, 413, 415),
    summary="Replay a conversation, complete and in order",
)
async def replayed(
    data: JSONBody[ReplayRequest],
    request: Request[Credential, str, State],
    world: NamedDependency[World],
) -> Response[Replay] | Stream:
    """Every message up to `exact_up_to`; with `max_tokens` the newest that fit."""
    async with deadline("the replay", ANSWER_S_MAX):
        found = await replay(world, request.user.tenant, data.conversation_id)
    answer = _answer(data, found)
    if NDJSON in request.headers.get("accept", ""):
        return Stream(_lines(answer), media_type=NDJSON)
    return Response(answer)


@get(
    "/v1/context/stats/{conversation_id:str}",
    guards=[requires(Scope.READ)],
    responses=refusals(*READ_STATUSES),
    summary="A conversation's figures",
)
async def stats(
    conversation_id: PathId,
    request: Request[Credential, str, State],
    world: NamedDependency[World],
) -> ConversationStats:
    """What the state folded from its events says."""
    async with deadline("the conversation's state", ANSWER_S_MAX):
        state = await world.conversations.get(request.user.tenant, conversation_id)
    if state is None:
        raise missing(conversation_id)
    return ConversationStats(
        conversation_id=state.conversation_id,
        user_id=state.user_id,
        message_count=state.message_count,
        total_tokens=state.tokens,
        outcome=state.outcome,
        created_at=instant(state.created_at),
        last_at=instant(state.last_at),
        timestamp=instant(world.clock()),
    )


def _answer(data: ReplayRequest, found: Replayed) -> Replay:
    said = messages_of(found.events)
    if data.since is not None:
        since = microseconds(data.since, field="since")
        said = [message for message in said if message.created_at >= since]
    kept = _kept(data, said)
    fitted = data.max_tokens is not None or data.compression_strategy is not None
    return Replay(
        conversation_id=data.conversation_id,
        messages=shown(kept),
        total_tokens=_tokens(kept),
        compressed=len(kept) < len(said),
        exact_up_to=found.exact_up_to,
        degraded=found.degraded,
        sources=found.sources,
        compression_stats=_measured(said, kept) if fitted else None,
    )


def _kept(data: ReplayRequest, said: list[Message]) -> list[Message]:
    if data.max_tokens is not None:
        return within(said, data.max_tokens)
    if data.compression_strategy is not None:
        return within(said, int(_tokens(said) * TARGET_RATIO))
    return said


def _measured(said: Sequence[Message], kept: Sequence[Message]) -> CompressionStats:
    before, after = _tokens(said), _tokens(kept)
    return CompressionStats(
        strategy="window",
        original_messages=len(said),
        compressed_messages=len(kept),
        original_tokens=before,
        compressed_tokens=after,
        compression_ratio=after / before if before else 1.0,
    )


def _tokens(messages: Sequence[Message]) -> int:
    return sum(message.tokens for message in messages)


def _lines(answer: Replay) -> Iterator[bytes]:
    """A message a line; the last line is the summary, so that a cut answer shows."""
    for message in answer.messages:
        yield msgspec.json.encode({"message": message}) + b"\n"
    values = {name: getattr(answer, name) for name in ReplaySummary.__struct_fields__}
    yield msgspec.json.encode({"replay": ReplaySummary(**values)}) + b"\n"


ROUTES: tuple[HTTPRouteHandler, ...] = (replayed, stats)
