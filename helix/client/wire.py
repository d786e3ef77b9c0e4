"""What goes over the REST wire: the same structs in the control plane and in the client."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from helix.domain.positions import Position
from helix.events import Outcome, Role, Survival

CONTENT_BYTES_MAX = 1024 * 1024
MESSAGES_MAX = 1000
EVENTS_MAX = 1000
PAGE_ROWS_DEFAULT = 50
PAGE_ROWS_MAX = 100
PAGES_MAX = 1_000_000
TOKENS_MAX = 1_000_000_000
PINS_MAX = 1000
QUERY_CHARACTERS_MAX = 4096

Granularity = Literal["hourly", "daily"]

# No control characters, nor the one that stands for bytes which were no text: ids stay apart.
PRINTABLE = r"^[^\x00-\x1f\x7f\ufffd]+$"
Identifier = Annotated[str, Meta(min_length=1, max_length=255, pattern=PRINTABLE)]
# A conversation's id is a path segment of its own address, so it holds no slash.
ConversationId = Annotated[
    str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f\ufffd/]+$")
]
Label = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
# PostgreSQL's text cannot hold NUL, so no text may.
Text = Annotated[str, Meta(max_length=CONTENT_BYTES_MAX, pattern=r"^[^\x00]*$")]
Query = Annotated[str, Meta(max_length=QUERY_CHARACTERS_MAX, pattern=r"^[^\x00]*$")]
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


class NewText(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a message says from now on."""

    content: Text


class Completion(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a conversation ended."""

    outcome: Outcome


class BatchedEvent(Body, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """An event as its author gives it; ids and times are the platform's to add."""

    conversation_id: ConversationId


class BatchedBeginning(BatchedEvent, frozen=True, kw_only=True, tag="conversation.created"):
    """A conversation began."""

    user_id: Identifier
    session_id: Label = ""
    title: Title = ""
    metadata: dict[str, Any] = {}


class BatchedMessage(BatchedEvent, frozen=True, kw_only=True, tag="conversation.message.added"):
    """A turn was added."""

    message: NewMessage


class BatchedEdit(BatchedEvent, frozen=True, kw_only=True, tag="conversation.message.edited"):
    """A turn says something else from now on; nothing happens where there is no such turn."""

    message_id: Identifier
    content: Text


class BatchedDeletion(BatchedEvent, frozen=True, kw_only=True, tag="conversation.message.deleted"):
    """A turn was taken back; nothing happens where there is no such turn."""

    message_id: Identifier


class BatchedEnd(BatchedEvent, frozen=True, kw_only=True, tag="conversation.completed"):
    """A conversation ended."""

    outcome: Outcome


NewEvent = BatchedBeginning | BatchedMessage | BatchedEdit | BatchedDeletion | BatchedEnd
NewEvents = Annotated[list[NewEvent], Meta(min_length=1, max_length=EVENTS_MAX)]


Strategy = Literal["window", "entity", "full", "hybrid"]


class ReplayRequest(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which conversation to replay, and how much of it."""

    conversation_id: Identifier
    max_tokens: Tokens | None = None  # absent: complete; present: a hard bound
    since: Instant | None = None
    resume_from_snapshot: bool = False  # the latest snapshot's context, and what came after it
    compression_strategy: Strategy | None = None  # alone: to about 0.30 of the tokens
    recall: Annotated[float, Meta(gt=0, le=1)] | None = None  # the cheapest that keeps so much
    query: Query = ""  # what it is read for
    pins: Annotated[list[Identifier], Meta(max_length=PINS_MAX)] = []  # messages that must stay
    pin_last: Annotated[int, Meta(ge=0, le=PINS_MAX)] | None = None  # so many of the last as well
    summarise: bool = False  # by the configured model, if its summary is good enough


class ExpandRequest(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages to fetch by their ids: those a compression dropped, say."""

    conversation_id: Identifier
    message_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=MESSAGES_MAX)]


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


class Refusal(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """Why one of several events was refused."""

    code: str
    message: str
    field: str = ""


class Verdict(Answer, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the event at that index of a batch: its place in the log, or why not."""

    index: int
    accepted: bool
    event_id: str | None = None
    partition: int | None = None
    offset: int | None = None
    error: Refusal | None = None


class BatchAccepted(Answer, frozen=True, kw_only=True):
    """A batch of which at least one event is in the log, acknowledged."""

    accepted: int
    rejected: int
    topic: str
    events: list[Verdict]


class MessageMetadata(Answer, frozen=True, kw_only=True, gc=False):
    """What is known of a message beside its text."""

    message_id: str
    model: str
    tokens: int
    name: str
    custom: dict[str, Any] = {}  # what the author attached
    cites: list[str] | None = None  # the messages it stands for, where it was not said so


class ReplayedMessage(Answer, frozen=True, kw_only=True, gc=False):
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
    quality_score: float  # of what had to stay, the share that stayed: measured
    duration_ms: float
    llm_model: str = ""  # whose summary it is, where one was taken


class CompressionReceipt(Answer, frozen=True, kw_only=True):
    """What became of each message, and of what they name."""

    kept: list[str]
    dropped: list[str]
    pins_kept: int
    survival: Survival
    summary_refused: str | None = None  # why the model's summary was not taken


class CurvePoint(Answer, frozen=True, kw_only=True):
    """The measured point that an asked recall led to: the recall expected, and its interval."""

    strategy: Strategy
    ratio: float
    expected: float
    low: float
    high: float
    measured_on: str


class ReplayGap(Answer, frozen=True, kw_only=True):
    """How many events are missing from the replay, and why."""

    events: int
    reason: str


class ReplayStats(Answer, frozen=True, kw_only=True):
    """The whole conversation behind a replay, and the work of replaying it."""

    total_messages: int | None  # None: changes reach behind the snapshot it was resumed from
    total_tokens: int | None
    events_replayed: int
    replay_duration_ms: float
    compressed: bool
    compression_ratio: float


class ReplaySummary(Answer, frozen=True, kw_only=True):
    """All of a replay but its messages: the last line of the NDJSON form."""

    conversation_id: str
    total_tokens: int
    compressed: bool
    exact_up_to: Position
    degraded: bool
    sources: dict[str, int]  # events read from each store
    stats: ReplayStats
    gap: ReplayGap | None = None
    resumed_from: Position | None = None  # None although asked for: there was no snapshot to use
    compression_stats: CompressionStats | None = None
    receipt: CompressionReceipt | None = None
    curve: CurvePoint | None = None


class Replay(ReplaySummary, frozen=True, kw_only=True):
    """A conversation, complete and in order up to `exact_up_to`."""

    messages: list[ReplayedMessage]


class Expanded(Answer, frozen=True, kw_only=True):
    """The messages asked for, in the conversation's order, and the ids it has none of."""

    conversation_id: str
    messages: list[ReplayedMessage]
    missing: list[str]


class PastCompression(Answer, frozen=True, kw_only=True):
    """One compression of a conversation, as it was measured."""

    timestamp: datetime
    strategy: str
    max_tokens: int
    original_messages: int
    compressed_messages: int
    original_tokens: int
    compressed_tokens: int
    ratio: float
    quality_score: float
    duration_ms: float
    preserved: Survival
    llm_model: str


class CompressionHistory(Answer, frozen=True, kw_only=True):
    """The latest compressions of a conversation, newest first."""

    conversation_id: str
    compressions: list[PastCompression]


class MessagesPage(Answer, frozen=True, kw_only=True):
    """One page of a conversation's messages."""

    conversation_id: str
    messages: list[ReplayedMessage]
    page: int
    limit: int
    total: int


class ConversationRow(Answer, frozen=True, kw_only=True):
    """One conversation of a list."""

    conversation_id: str
    user_id: str
    session_id: str
    title: str
    outcome: str | None
    created_at: datetime
    last_at: datetime
    # Absent where messages were edited or deleted: the conversation itself is asked for those.
    message_count: int | None
    total_tokens: int | None


class ConversationsPage(Answer, frozen=True, kw_only=True):
    """One page of a tenant's conversations, the latest active first."""

    conversations: list[ConversationRow]
    page: int
    limit: int
    total: int


class ConversationDetails(ConversationRow, frozen=True, kw_only=True):
    """One conversation with its exact counts and what was attached to it."""

    message_count: int  # pyright: ignore[reportIncompatibleVariableOverride] - frozen, so it may narrow
    total_tokens: int  # pyright: ignore[reportIncompatibleVariableOverride] - as above
    completed_at: datetime | None
    metadata: dict[str, Any]


class StoredEvent(Answer, frozen=True, kw_only=True):
    """An event as the log holds it, and where."""

    topic: str
    position: Position
    event: dict[str, Any]


class TrendRow(Answer, frozen=True, kw_only=True):
    """What was said in one period; periods in which nothing was said are left out."""

    date: datetime
    conversation_count: int
    message_count: int
    total_tokens: int
    avg_messages_per_conv: float | None


class Trends(Answer, frozen=True, kw_only=True):
    """What was said, by period, oldest first."""

    granularity: Granularity
    stats: list[TrendRow]


class StrategyFigures(Answer, frozen=True, kw_only=True):
    """The compressions by one strategy, averaged over them."""

    count: int
    avg_ratio: float
    avg_quality: float
    avg_compression_time_ms: float
    p95_compression_time_ms: float


class CompressionTotals(Answer, frozen=True, kw_only=True):
    """Every compression of a tenant; null where there was none."""

    total_compressions: int
    strategies: dict[str, StrategyFigures]
    avg_compression_time_ms: float | None


class ConversationStats(Answer, frozen=True, kw_only=True):
    """What the folded state says of a conversation; after changes, what its replay says."""

    conversation_id: str
    user_id: str
    message_count: int
    total_tokens: int
    event_count: int
    changes: int  # messages edited or deleted
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
