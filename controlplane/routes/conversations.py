"""Conversations: begin, add, edit and delete messages, complete, and read back by page."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter, QueryParameter
from litestar.response.base import ASGIResponse

from controlplane.answers import shown
from controlplane.auth import DIRECT, JSON, Scope, requires
from controlplane.bodies import Strict
from controlplane.drafts import (
    Place,
    added,
    began,
    content,
    counted,
    deleted,
    edited,
    ended,
    missing_message,
)
from controlplane.edge import Check, Write, Writing, answered, publish, writing
from controlplane.errors import READ_STATUSES, WRITE_STATUSES, accepting, deadline, refusals
from controlplane.instants import instant
from controlplane.paging import LIMIT, Page, PageLimit, PageNumber
from controlplane.replay import TOPIC, missing, replay
from helix.client.wire import (
    PRINTABLE,
    Accepted,
    Acknowledged,
    Completion,
    ConversationDetails,
    ConversationRow,
    ConversationsPage,
    MessagesPage,
    NewConversation,
    NewMessage,
    NewMessages,
    NewText,
)
from helix.domain.conversations import Conversation, fold
from helix.domain.conversations import messages as messages_of
from helix.domain.ids import log_key
from helix.errors import InvalidError
from helix.events import ConversationEvent, Message
from helix.ports import Credential, Receipt, World

ANSWER_S_MAX = 10.0

Asked = Request[Credential, str, State]
ACCEPTED = accepting(Accepted) | refusals(*WRITE_STATUSES)
PathId = Annotated[str, PathParameter(min_length=1, max_length=255, pattern=PRINTABLE)]
SearchText = Annotated[str, QueryParameter(max_length=255, pattern=r"^[^\x00]*$")]


@post(
    "/v1/conversations",
    status_code=202,
    dto=Strict,
    return_dto=None,
    opt=requires(Scope.WRITE, body=JSON) | {DIRECT: True},
    responses=ACCEPTED,
    operation_class=Writing,
    summary="Begin a conversation",
)
async def create(data: JSONBody[NewConversation], request: Asked) -> ASGIResponse:
    """The conversation's id, given or new."""
    write = writing(request)
    stamp = write.stamp("conversations", data)
    named = stamp.named()
    event = began(stamp, named, data.conversation_id or named.event_id, data)
    return await _accepted(write, [event])


@post(
    "/v1/conversations/{conversation_id:str}/messages",
    status_code=202,
    dto=Strict,
    return_dto=None,
    opt=requires(Scope.WRITE, body=JSON) | {DIRECT: True},
    responses=ACCEPTED,
    operation_class=Writing,
    summary="Add one message or a list of them",
)
async def add(
    conversation_id: PathId, data: JSONBody[NewMessage | NewMessages], request: Asked
) -> ASGIResponse:
    """Where each message went; a list keeps its order."""
    write = writing(request)
    stamp = write.stamp(f"conversations/{conversation_id}/messages", data)
    given = [data] if isinstance(data, NewMessage) else data
    _distinct(given)
    for index, message in enumerate(given):
        content(message, "" if isinstance(data, NewMessage) else f"[{index}].")
    tokens = await counted([message.content for message in given])
    events = [
        added(stamp, conversation_id, message, tokens=tokens[index], index=index)
        for index, message in enumerate(given)
    ]
    return await _accepted(write, events)


@patch(
    "/v1/conversations/{conversation_id:str}/messages/{message_id:str}",
    status_code=202,
    dto=Strict,
    return_dto=None,
    opt=requires(Scope.WRITE, body=JSON) | {DIRECT: True},
    responses=ACCEPTED | refusals(404),
    operation_class=Writing,
    summary="Replace a message's text",
)
async def edit(
    conversation_id: PathId,
    message_id: PathId,
    data: JSONBody[NewText],
    request: Asked,
) -> ASGIResponse:
    """Replays show the new text from now on; the log keeps what it was."""
    write = writing(request)
    stamp = write.stamp(f"conversations/{conversation_id}/messages/{message_id}/edit", data)
    content(data)
    place = Place(conversation_id, message_id)
    tokens = (await counted([data.content]))[0]
    event = edited(stamp, stamp.named(), place, data.content, tokens)
    return await _accepted(write, [event], _there(write, place))


@delete(
    "/v1/conversations/{conversation_id:str}/messages/{message_id:str}",
    status_code=202,
    opt=requires(Scope.WRITE),
    responses=ACCEPTED | refusals(404),
    operation_class=Writing,
    summary="Delete a message",
)
async def take_back(conversation_id: PathId, message_id: PathId, request: Asked) -> ASGIResponse:
    """Replays leave it out from now on; the log keeps that it was there."""
    write = writing(request)
    stamp = write.stamp(f"conversations/{conversation_id}/messages/{message_id}/delete", None)
    place = Place(conversation_id, message_id)
    event = deleted(stamp, stamp.named(), place)
    return await _accepted(write, [event], _there(write, place))


@post(
    "/v1/conversations/{conversation_id:str}/complete",
    status_code=202,
    dto=Strict,
    return_dto=None,
    opt=requires(Scope.WRITE, body=JSON) | {DIRECT: True},
    responses=ACCEPTED,
    operation_class=Writing,
    summary="Complete a conversation",
)
async def complete(
    conversation_id: PathId, data: JSONBody[Completion], request: Asked
) -> ASGIResponse:
    """The conversation ended as told."""
    write = writing(request)
    stamp = write.stamp(f"conversations/{conversation_id}/complete", data)
    return await _accepted(write, [ended(stamp, stamp.named(), conversation_id, data.outcome)])


@get(
    "/v1/conversations",
    opt=requires(Scope.READ),
    responses=refusals(*READ_STATUSES),
    summary="List conversations",
)
async def listed(
    request: Asked,
    world: NamedDependency[World],
    user_id: SearchText = "",
    q: SearchText = "",
    page: PageNumber = 1,
    limit: PageLimit = LIMIT,
) -> Response[ConversationsPage]:
    """The latest active first: all, one user's, or those with `q` in their title."""
    wanted = Page(number=page, limit=limit, total=0)
    async with deadline("the list of conversations", ANSWER_S_MAX):
        found = await world.conversations.listed(
            request.user.tenant, user_id=user_id, text=q, rows=wanted.rows
        )
    answer = ConversationsPage(
        conversations=[_row(state) for state in found.rows],
        page=page,
        limit=limit,
        total=found.total,
    )
    headers = Page(number=page, limit=limit, total=found.total).headers(
        "/v1/conversations", {"user_id": user_id, "q": q}
    )
    return Response(answer, headers=headers)


@get(
    "/v1/conversations/{conversation_id:str}",
    opt=requires(Scope.READ),
    responses=refusals(*READ_STATUSES),
    summary="Read what is known of a conversation",
)
async def details(
    request: Asked, world: NamedDependency[World], conversation_id: PathId
) -> ConversationDetails:
    """Its description and exact counts: from the state, or replayed where that cannot tell."""
    tenant = request.user.tenant
    async with deadline("the conversation", ANSWER_S_MAX):
        state = await world.conversations.get(tenant, conversation_id)
        if state is None or state.changes:
            state = await _replayed(world, tenant, conversation_id)
    row = _row(state)
    return ConversationDetails(
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        session_id=row.session_id,
        title=row.title,
        outcome=row.outcome,
        created_at=row.created_at,
        last_at=row.last_at,
        message_count=state.message_count,
        total_tokens=state.tokens,
        completed_at=None if state.completed_at is None else instant(state.completed_at),
        metadata=state.metadata,
    )


@get(
    "/v1/conversations/{conversation_id:str}/messages",
    opt=requires(Scope.READ),
    responses=refusals(*READ_STATUSES),
    summary="Read a conversation's messages by page",
)
async def messages(
    request: Asked,
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


async def _replayed(world: World, tenant: str, conversation_id: str) -> Conversation:
    """The state as its events give it now, with the counts of what is left of the messages."""
    found = await replay(world, tenant, conversation_id)
    state: Conversation | None = None
    for stored in found.events:
        state = fold(state, stored)
    if state is None:
        raise missing(conversation_id)
    said = messages_of(found.events)
    tokens = sum(message.tokens for message in said)
    return msgspec.structs.replace(state, message_count=len(said), tokens=tokens)


def _row(state: Conversation) -> ConversationRow:
    return ConversationRow(
        conversation_id=state.conversation_id,
        user_id=state.user_id,
        session_id=state.session_id,
        title=state.title,
        outcome=state.outcome,
        created_at=instant(state.created_at),
        last_at=instant(state.last_at),
        message_count=None if state.changes else state.message_count,
        total_tokens=None if state.changes else state.tokens,
    )


def _there(write: Write, place: Place) -> Check:
    """`MissingError` unless the conversation has that message now."""

    async def check() -> None:
        found = await replay(write.world, write.tenant, place.conversation_id)
        if all(message.message_id != place.message_id for message in messages_of(found.events)):
            raise missing_message(place)

    return check


async def _accepted(
    write: Write, events: Sequence[ConversationEvent], check: Check | None = None
) -> ASGIResponse:
    async with deadline("the log's acknowledgement", ANSWER_S_MAX):
        receipts = await publish(write, events, check)
    conversation_id, last = events[-1].conversation_id, receipts[-1]
    accepted = Accepted(
        conversation_id=conversation_id,
        event_id=last.event_id,
        topic=last.topic,
        partition=last.partition,
        offset=last.offset,
        events=[_acknowledged(receipt) for receipt in receipts],
    )
    return await answered(write, accepted, {conversation_id: last})


def _acknowledged(receipt: Receipt) -> Acknowledged:
    return Acknowledged(
        event_id=receipt.event_id,
        topic=receipt.topic,
        partition=receipt.partition,
        offset=receipt.offset,
    )


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


ROUTES: tuple[HTTPRouteHandler, ...] = (
    create,
    add,
    edit,
    take_back,
    complete,
    listed,
    details,
    messages,
)
