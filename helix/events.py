"""Every event on the wire: one tagged union, one codec."""

from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from helix.errors import InvalidError

EVENT_BYTES_MAX = 8 * 1024 * 1024  # a body of 4 MiB, escaped as JSON: log, topics and clients agree
Outcome = Literal["successful", "abandoned", "error"]
Role = Literal["system", "user", "assistant", "tool"]
Settlement = Literal["replayed", "buried"]
Metadata = dict[str, Any]
# Keys of stores: PostgreSQL takes no NUL, and no index entry above 2,704 bytes. `decode` refuses a
# NUL: as a pattern of the type it would cost a third of a decode.
Name = Annotated[str, msgspec.Meta(max_length=200, title="a key without NUL")]
Micros = Annotated[int, msgspec.Meta(ge=0, le=4_102_444_800_000_000)]  # until the year 2100
Tokens = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class Event(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False
):
    """What every event carries. The edge stamps it; times are microseconds since 1970 UTC."""

    event_id: str
    tenant: Name
    occurred_at: Micros  # the client's time where it gave one: data, never used to order or expire
    ingested_at: Micros
    version: int = 1
    trace_id: str = ""
    attempt: int = 1  # raised when a dead letter is published again
    request: str = ""  # digest of the request whose client named it: a retry makes the same id


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One turn as the client wrote it."""

    message_id: str
    role: Role
    content: str
    name: str = ""  # who spoke, where several share a role
    model: str = ""
    tokens: Tokens = 0  # counted by us, so that a budget is a promise
    tokens_stated: Tokens = 0  # what the author's provider counted, where it said so
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


class MessageEdited(Event, frozen=True, kw_only=True, tag="conversation.message.edited"):
    """A turn's text was replaced; the log keeps what it was."""

    conversation_id: Name
    message_id: str
    content: str
    tokens: Tokens


class MessageDeleted(Event, frozen=True, kw_only=True, tag="conversation.message.deleted"):
    """A turn was taken back: replays leave it out."""

    conversation_id: Name
    message_id: str


class ConversationCompleted(Event, frozen=True, kw_only=True, tag="conversation.completed"):
    """A conversation ended."""

    conversation_id: Name
    outcome: Outcome


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """The share of distinct things of a class that a compression kept; None where none occurred."""

    entities: float | None = None
    numbers: float | None = None
    dates: float | None = None


class ContextCompressed(Event, frozen=True, kw_only=True, tag="conversation.context.compressed"):
    """A replay was fitted into a budget: what was measured, kept for history and statistics."""

    conversation_id: Name
    strategy: str
    tokens_max: Tokens
    original_messages: int
    compressed_messages: int
    original_tokens: int
    compressed_tokens: int
    pins_kept: int
    survival: Survival
    quality_score: float
    took_us: int
    model: str = ""  # the summariser's, where one was used


class DeadLetter(Event, frozen=True, kw_only=True, tag="dead_letter"):
    """A record no worker could use: where it was, why, and its bytes as they came."""

    pipeline: str
    reason: str
    topic: str
    epoch: str
    partition: int
    offset: int
    value: bytes  # empty where the record has more bytes than a letter holds: the log has them
    key: bytes = b""
    size: int = -1  # bytes of the record's value; -1 where the letter does not say


class DeadLetterSettled(Event, frozen=True, kw_only=True, tag="dead_letter.settled"):
    """An operator decided about a dead letter: published again, or given up for ever."""

    letter_id: str
    outcome: Settlement


ConversationEvent = (
    ConversationCreated
    | MessageAdded
    | MessageEdited
    | MessageDeleted
    | ConversationCompleted
    | ContextCompressed
)
AnyEvent = ConversationEvent | DeadLetter | DeadLetterSettled

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyEvent)
_NUL = rb"\u0000"  # the only way JSON writes it
_NAMES = {
    kind: [
        field
        for field, declared in get_type_hints(kind, include_extras=True).items()
        if declared == Name
    ]
    for kind in get_args(AnyEvent)
}


def encode(event: AnyEvent) -> bytes:
    """The JSON bytes of an event, as they go on the wire."""
    return _encoder.encode(event)


def decode(data: bytes) -> AnyEvent:
    """The event in `data`; `InvalidError` naming the field when it is none of ours."""
    try:
        event = _decoder.decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"undecodable event: {error}") from error
    if _NUL in data:
        _without_nul(event)
    return event


def _without_nul(event: AnyEvent) -> None:
    for field in _NAMES[type(event)]:
        if "\x00" in getattr(event, field):
            raise InvalidError(
                f"undecodable event: `{field}` has a NUL character - at `$.{field}`", field=field
            )
