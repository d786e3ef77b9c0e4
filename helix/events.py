"""Every event on the wire: one tagged union, one codec."""

from typing import Annotated, Any, Literal

import msgspec

from helix.errors import InvalidError

EVENT_BYTES_MAX = 8 * 1024 * 1024  # a body of 4 MiB, escaped as JSON: log, topics and clients agree
Outcome = Literal["successful", "abandoned", "error"]
Role = Literal["system", "user", "assistant", "tool"]
Metadata = dict[str, Any]
# Keys of stores: PostgreSQL takes no NUL, and no index entry above 2,704 bytes.
Name = Annotated[str, msgspec.Meta(max_length=200, pattern=r"^[^\x00]*$")]
Micros = Annotated[int, msgspec.Meta(ge=0, le=4_102_444_800_000_000)]  # until the year 2100
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """What every event carries. The edge stamps it; times are microseconds since 1970 UTC."""

    event_id: str
    tenant: Name
    occurred_at: Micros  # the client's time where it gave one: data, never used to order or expire
    ingested_at: Micros
    version: int = 1
    trace_id: str = ""
    attempt: int = 1


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn as the client wrote it."""

    message_id: str
    role: Role
    content: str
    name: str = ""  # who spoke, where several share a role
    model: str = ""
    tokens: Tokens = 0  # counted by us with the default vocabulary when the client gave none
    created_at: Micros = 0
    metadata: Metadata = {}


class ConversationCreated(Event, frozen=True, kw_only=True, tag="conversation.created"):
    """A conversation began."""

    conversation_id: Name
    user_id: Name
    session_id: str = ""
    title: str = ""
    metadata: Metadata = {}


class MessageAdded(Event, frozen=True, kw_only=True, tag="conversation.message.added"):
    """A turn was added to a conversation."""

    conversation_id: Name
    message: Message


class ConversationCompleted(Event, frozen=True, kw_only=True, tag="conversation.completed"):
    """A conversation ended."""

    conversation_id: Name
    outcome: Outcome


class DeadLetter(Event, frozen=True, kw_only=True, tag="dead_letter"):
    """A record no worker could use: where it was, why, and its bytes as they came."""

    pipeline: str
    reason: str
    topic: str
    epoch: str
    partition: int
    offset: int
    value: bytes


ConversationEvent = ConversationCreated | MessageAdded | ConversationCompleted
AnyEvent = ConversationEvent | DeadLetter

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEvent)


def encode(event: AnyEvent) -> bytes:
    """The JSON bytes of an event, as they go on the wire."""
    return _encoder.encode(event)


def decode(data: bytes) -> AnyEvent:
    """The event in `data`; `InvalidError` naming the field when it is none of ours."""
    try:
        return _decoder.decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"undecodable event: {error}") from error
