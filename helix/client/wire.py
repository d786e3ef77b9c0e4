"""What goes over the REST wire: the same structs in the control plane and in the client."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from helix.domain.positions import Position
from helix.events import Outcome, Role

CONTENT_BYTES_MAX = 1024 * 1024
MESSAGES_MAX = 1000
PAGE_ROWS_DEFAULT = 50
PAGE_ROWS_MAX = 100
PAGES_MAX = 1_000_000
TOKENS_MAX = 1_000_000_000

PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Identifier = Annotated[str, Meta(min_length=1, max_length=255, pattern=PRINTABLE)]
# A conversation's id is a path segment of its own address, so it holds no slash.
ConversationId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/]+$")]
Label = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
# PostgreSQL's text cannot hold NUL, so no text may.
Text = Annotated[str, Meta(max_length=CONTENT_BYTES_MAX, pattern=r"^[^\x00]*$")]
Title = Annotated[str, Meta(max_length=1024, pattern=r"^[^\x00]*$")]
Instant = Annotated[datetime, Meta(tz=True)]
Tokens = Annotated[int, Meta(ge=1, le=TOKENS_MAX)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request body: misspelt fields are refused, never ignored."""


class NewConversation(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A conversation about to begin."""

    user_id: Identifier
    conversation_id: ConversationId | None = None
    session_id: Label = ""
    title: Title = ""
    metadata: dict[str, Any] = {}


class NewMessage(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A turn as its author gives it."""

    role: Role
    content: Text
    message_id: Identifier | None = None
    name: Label = ""
    model: Label = ""
    tokens: Tokens | None = None
    created_at: Instant | None = None
    metadata: dict[str, Any] = {}


NewMessages = Annotated[list[NewMessage], Meta(min_length=1, max_length=MESSAGES_MAX)]


class Completion(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a conversation ended."""

    outcome: Outcome


class ReplayRequest(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which conversation to replay, and how much of it."""

    conversation_id: Identifier
    max_tokens: Tokens | None = None  # absent: complete; present: a hard bound
    since: Instant | None = None
    compression_strategy: Literal["window"] | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A response body: unknown fields of a newer server are ignored."""


class Acknowledged(Answer, frozen=True, kw_only=True):
    """Where the broker put one event."""

    event_id: str
    topic: str
    partition: int
    offset: int


class Accepted(Answer, frozen=True, kw_only=True):
    """A write the broker acknowledged: every event, and the last one's place at the top."""

    conversation_id: str
    event_id: str
    topic: str
    partition: int
    offset: int
    events: list[Acknowledged]


class MessageMetadata(Answer, frozen=True, kw_only=True):
    """What is known of a message beside its text."""

    message_id: str
    model: str
    tokens: int
    name: str
    custom: dict[str, Any] = {}  # what the author attached


class ReplayedMessage(Answer, frozen=True, kw_only=True):
    """One turn, as it was said."""

    role: Role
    content: str
    timestamp: datetime
    metadata: MessageMetadata


class CompressionStats(Answer, frozen=True, kw_only=True):
    """What was measured while a replay was fitted into its budget."""

    strategy: str
    original_messages: int
    compressed_messages: int
    original_tokens: int
    compressed_tokens: int
    compression_ratio: float


class ReplaySummary(Answer, frozen=True, kw_only=True):
    """All of a replay but its messages: the last line of the NDJSON form."""

    conversation_id: str
    total_tokens: int
    compressed: bool
    exact_up_to: Position
    degraded: bool
    sources: dict[str, int]  # events read from each store
    compression_stats: CompressionStats | None = None


class Replay(ReplaySummary, frozen=True, kw_only=True):
    """A conversation, complete and in order up to `exact_up_to`."""

    messages: list[ReplayedMessage]


class MessagesPage(Answer, frozen=True, kw_only=True):
    """One page of a conversation's messages."""

    conversation_id: str
    messages: list[ReplayedMessage]
    page: int
    limit: int
    total: int


class ConversationStats(Answer, frozen=True, kw_only=True):
    """What the folded state says of a conversation."""

    conversation_id: str
    user_id: str
    message_count: int
    total_tokens: int
    outcome: str | None
    created_at: datetime | None
    last_at: datetime | None
    timestamp: datetime


Status = Literal["healthy", "degraded", "disabled", "unavailable"]


class Evidence(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """What a service was asked, when, how long it took, and what came of it."""

    service: str
    status: Status
    detail: str  # the answer, or why there is none
    asked_at: datetime | None = None
    took_ms: float | None = None
    server: str = ""
    address: str = ""
    lag_records: dict[str, float] | None = None


class HealthReport(Answer, frozen=True, kw_only=True):
    """The catalogue against reality."""

    status: Status
    running: bool
    components: dict[str, Status]
    services: list[Evidence]
    timestamp: datetime


class ShortHealth(Answer, frozen=True, kw_only=True):
    """The short form of the health report."""

    status: Status
    services: dict[str, Status]
    timestamp: datetime
    uptime_seconds: float
    version: str


class Failure(Answer, frozen=True, kw_only=True):
    """Why a request was refused."""

    code: str
    message: str
    timestamp: datetime
    details: dict[str, Any] = {}


class Refused(Answer, frozen=True, kw_only=True):
    """The envelope of every error."""

    error: Failure
