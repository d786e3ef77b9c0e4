"""Drafts: what clients say, checked, counted and made into events; one way for every route."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from controlplane.bodies import storable
from controlplane.edge import Named, Stamp
from controlplane.instants import microseconds
from helix.adapters.tokens import count
from helix.client.wire import (
    CONTENT_BYTES_MAX,
    BatchedBeginning,
    BatchedEdit,
    NewConversation,
    NewMessage,
    NewText,
)
from helix.errors import InvalidError, MissingError
from helix.events import (
    ConversationCompleted,
    ConversationCreated,
    Message,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    Outcome,
)

COUNTED_INLINE_CHARACTERS_MAX = 8192  # more text is counted in a thread, away from other requests
UTF8_BYTES_MAX = 4  # of one character


class Envelope(TypedDict):
    """What every event says besides its own."""

    event_id: str
    request: str
    tenant: str
    occurred_at: int
    ingested_at: int
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """One message of a conversation."""

    conversation_id: str
    message_id: str


def content(given: NewMessage | NewText | BatchedEdit, at: str = "") -> None:
    """`InvalidError` naming the field, unless the log can hold it and every store after it."""
    text = given.content
    if len(text) * UTF8_BYTES_MAX > CONTENT_BYTES_MAX and len(text.encode()) > CONTENT_BYTES_MAX:
        raise InvalidError(
            f"`{at}content` is over {CONTENT_BYTES_MAX} bytes: split the message",
            field=f"{at}content",
        )
    if isinstance(given, NewMessage):
        storable(given.metadata, field=f"{at}metadata")


async def counted(texts: Sequence[str]) -> list[int]:
    """The tokens of each text, as we count them."""
    if sum(map(len, texts)) <= COUNTED_INLINE_CHARACTERS_MAX:
        return [count(text) for text in texts]
    return await asyncio.to_thread(lambda: [count(text) for text in texts])


def began(
    stamp: Stamp, named: Named, conversation_id: str, given: NewConversation | BatchedBeginning
) -> ConversationCreated:
    """A conversation began."""
    return ConversationCreated(
        **_envelope(stamp, named, conversation_id),
        user_id=given.user_id,
        session_id=given.session_id,
        title=given.title,
        metadata=storable(given.metadata, field="metadata"),
    )


def added(
    stamp: Stamp, conversation_id: str, given: NewMessage, *, tokens: int, index: int = 0
) -> MessageAdded:
    """A turn was added; its own id names it the same in every route."""
    route = f"conversations/{conversation_id}/messages"
    named = stamp.thing(given.message_id or "", given, route=route, index=index)
    at = stamp.now
    if given.created_at is not None:
        at = microseconds(given.created_at, field="created_at")
    return MessageAdded(
        **_envelope(stamp, named, conversation_id, at),
        message=Message(
            message_id=given.message_id or named.event_id,
            role=given.role,
            content=given.content,
            name=given.name,
            model=given.model,
            tokens=tokens,
            tokens_stated=given.tokens or 0,
            created_at=at,
            metadata=given.metadata,
        ),
    )


def edited(stamp: Stamp, named: Named, place: Place, text: str, tokens: int) -> MessageEdited:
    """A turn says something else from now on."""
    return MessageEdited(
        **_envelope(stamp, named, place.conversation_id),
        message_id=place.message_id,
        content=text,
        tokens=tokens,
    )


def deleted(stamp: Stamp, named: Named, place: Place) -> MessageDeleted:
    """A turn was taken back."""
    return MessageDeleted(
        **_envelope(stamp, named, place.conversation_id),
        message_id=place.message_id,
    )


def ended(
    stamp: Stamp, named: Named, conversation_id: str, outcome: Outcome
) -> ConversationCompleted:
    """A conversation ended."""
    return ConversationCompleted(
        **_envelope(stamp, named, conversation_id),
        outcome=outcome,
    )


def missing_message(place: Place) -> MissingError:
    """What is answered where a conversation has no such message."""
    return MissingError(
        f"no message `{place.message_id}` in conversation `{place.conversation_id}`: check the id",
        code="MESSAGE_NOT_FOUND",
        conversation_id=place.conversation_id,
        message_id=place.message_id,
    )


def _envelope(stamp: Stamp, named: Named, conversation_id: str, at: int | None = None) -> Envelope:
    """Stamped now; `at` is when it happened, where that is not now."""
    return {
        "event_id": named.event_id,
        "request": named.request,
        "tenant": stamp.tenant,
        "occurred_at": stamp.now if at is None else at,
        "ingested_at": stamp.now,
        "conversation_id": conversation_id,
    }
