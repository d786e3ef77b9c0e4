"""Conversations: begin, add messages, complete, and read back by page."""

import asyncio
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter

from controlplane.answers import shown
from controlplane.auth import Scope, requires
from controlplane.bodies import Strict, json_only, storable
from controlplane.edge import Stamp, Write, publish, readable
from controlplane.errors import READ_STATUSES, WRITE_STATUSES, deadline, refusals
from controlplane.instants import microseconds
from controlplane.paging import LIMIT, Page, PageLimit, PageNumber
from controlplane.replay import TOPIC, missing
from helix.adapters.tokens import count
from helix.client.wire import (
    CONTENT_BYTES_MAX,
    PRINTABLE,
    Accepted,
    Completion,
    MessagesPage,
    NewConversation,
    NewMessage,
    NewMessages,
)
from helix.domain.conversations import messages as messages_of
from helix.domain.ids import log_key
from helix.errors import InvalidError
from helix.events import (
    ConversationCompleted,
    ConversationCreated,
    ConversationEvent,
    Message,
    MessageAdded,
)
from helix.ports import Credential, World

ANSWER_S_MAX = 10.0
COUNTED_INLINE_CHARACTERS_MAX = 8192  # more text is counted in a thread, away from other requests

PathId = Annotated[str, PathParameter(min_length=1, max_length=255, pattern=PRINTABLE)]


@post(
    "/v1/conversations",
    status_code=202,
    dto=Strict,
    return_dto=None,
    guards=[requires(Scope.WRITE), json_only],
    responses=refusals(*WRITE_STATUSES),
    summary="Begin a conversation",
)
async def create(
    data: JSONBody[NewConversation], write: NamedDependency[Write]
) -> Response[Accepted]:
    """The conversation's id, given or new."""
    stamp = write.stamp("conversations")
    event_id = stamp.event_id()
    event = ConversationCreated(
        event_id=event_id,
        tenant=stamp.tenant,
        occurred_at=stamp.now,
        ingested_at=stamp.now,
        conversation_id=data.conversation_id or event_id,
        user_id=data.user_id,
        session_id=data.session_id,
        title=data.title,
        metadata=storable(data.metadata, field="metadata"),
    )
    return await _accepted(write, event.conversation_id, [event])


@post(
    "/v1/conversations/{conversation_id:str}/messages",
    status_code=202,
    dto=Strict,
    return_dto=None,
    guards=[requires(Scope.WRITE), json_only],
    responses=refusals(*WRITE_STATUSES),
    summary="Add one message or a list of them",
)
async def add(
    conversation_id: PathId, data: JSONBody[NewMessage | NewMessages], write: NamedDependency[Write]
) -> Response[Accepted]:
    """Where each message went; a list keeps its order."""
    stamp = write.stamp(f"conversations/{conversation_id}/messages")
    given = [data] if isinstance(data, NewMessage) else data
    _distinct(given)
    checked = [
        _checked(message, "" if isinstance(data, NewMessage) else f"[{index}].")
        for index, message in enumerate(given)
    ]
    tokens = await _counted(checked)
    events = [
        _added(stamp, conversation_id, index, message, tokens[index])
        for index, message in enumerate(checked)
    ]
    return await _accepted(write, conversation_id, events)


@post(
    "/v1/conversations/{conversation_id:str}/complete",
    status_code=202,
    dto=Strict,
    return_dto=None,
    guards=[requires(Scope.WRITE), json_only],
    responses=refusals(*WRITE_STATUSES),
    summary="Complete a conversation",
)
async def complete(
    conversation_id: PathId, data: JSONBody[Completion], write: NamedDependency[Write]
) -> Response[Accepted]:
    """The conversation ended as told."""
    stamp = write.stamp(f"conversations/{conversation_id}/complete")
    event = ConversationCompleted(
        event_id=stamp.event_id(),
        tenant=stamp.tenant,
        occurred_at=stamp.now,
        ingested_at=stamp.now,
        conversation_id=conversation_id,
        outcome=data.outcome,
    )
    return await _accepted(write, conversation_id, [event])


@get(
    "/v1/conversations/{conversation_id:str}/messages",
    guards=[requires(Scope.READ)],
    responses=refusals(*READ_STATUSES),
    summary="Read a conversation's messages by page",
)
async def messages(
    request: Request[Credential, str, State],
    world: NamedDependency[World],
    conversation_id: PathId,
    page: PageNumber = 1,
    limit: PageLimit = LIMIT,
) -> Response[MessagesPage]:
    """What the warm copy holds, in order; replay adds what is still on its way."""
    async with deadline("the conversation's messages", ANSWER_S_MAX):
        said = await _said(world, request.user.tenant, conversation_id)
    asked = Page(number=page, limit=limit, total=len(said))
    answer = MessagesPage(
        conversation_id=conversation_id,
        messages=shown(said[asked.rows]),
        page=page,
        limit=limit,
        total=len(said),
    )
    path = f"/v1/conversations/{quote(conversation_id, safe='')}/messages"
    return Response(answer, headers=asked.headers(path))


async def _said(world: World, tenant: str, conversation_id: str) -> list[Message]:
    partition = await world.log.partition(TOPIC, log_key(tenant, conversation_id))
    mark = await world.events.watermark(TOPIC, partition)
    if mark is None:
        raise missing(conversation_id)
    events = await world.events.events(tenant, conversation_id, before=mark)
    if not events:
        raise missing(conversation_id)
    return messages_of(events)


async def _accepted(
    write: Write, conversation_id: str, events: Sequence[ConversationEvent]
) -> Response[Accepted]:
    async with deadline("the log's acknowledgement", ANSWER_S_MAX):
        accepted = await publish(write.world, conversation_id, events)
    headers: dict[str, str] = {}
    if write.wait_s and await readable(write, accepted):
        headers["Preference-Applied"] = f"wait={write.wait_s}"
    return Response(accepted, status_code=202, headers=headers)


def _distinct(given: Sequence[NewMessage]) -> None:
    seen: set[str] = set()
    for index, message in enumerate(given):
        if message.message_id is None:
            continue
        if message.message_id in seen:
            field = f"[{index}].message_id"
            twice = f"`{field}` occurs twice in this list: give each its own"
            raise InvalidError(twice, field=field)
        seen.add(message.message_id)


def _checked(message: NewMessage, at: str) -> NewMessage:
    """The same message, if the log can hold it and every store after it."""
    if len(message.content.encode()) > CONTENT_BYTES_MAX:
        raise InvalidError(
            f"`{at}content` is over {CONTENT_BYTES_MAX} bytes: split the message",
            field=f"{at}content",
        )
    storable(message.metadata, field=f"{at}metadata")
    return message


async def _counted(given: Sequence[NewMessage]) -> list[int]:
    """The tokens of each message: the client's count where it gave one, else ours."""
    uncounted = sum(len(message.content) for message in given if message.tokens is None)
    if uncounted <= COUNTED_INLINE_CHARACTERS_MAX:
        return [_tokens(message) for message in given]
    return await asyncio.to_thread(lambda: [_tokens(message) for message in given])


def _tokens(message: NewMessage) -> int:
    return count(message.content) if message.tokens is None else message.tokens


def _added(
    stamp: Stamp, conversation_id: str, index: int, given: NewMessage, tokens: int
) -> MessageAdded:
    at = stamp.now
    if given.created_at is not None:
        at = microseconds(given.created_at, field="created_at")
    event_id = stamp.event_id(index, own=given.message_id or "")
    return MessageAdded(
        event_id=event_id,
        tenant=stamp.tenant,
        occurred_at=at,
        ingested_at=stamp.now,
        conversation_id=conversation_id,
        message=Message(
            message_id=given.message_id or event_id,
            role=given.role,
            content=given.content,
            name=given.name,
            model=given.model,
            tokens=tokens,
            created_at=at,
            metadata=given.metadata,
        ),
    )


ROUTES: tuple[HTTPRouteHandler, ...] = (create, add, complete, messages)
