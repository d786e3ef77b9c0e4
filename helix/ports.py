"""What the programs need from outside, and `World`: all of it in one frozen struct."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import msgspec

from helix.domain.conversations import Conversation, Snapshot
from helix.domain.positions import Position, Range, Stored
from helix.events import AnyEvent, ContextCompressed

Clock = Callable[[], int]  # microseconds since 1970 UTC
Ids = Callable[[], str]  # a new unique id at every call


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Where the broker acknowledged an event."""

    event_id: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Credential:
    """Who calls, for which tenant, and what they may do."""

    key_id: str
    tenant: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """A conversation's row, and how far both stores are in its partition, at one moment."""

    state: Conversation | None
    states_next: Position | None
    events_next: Position | None


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of one page of a list, and how many rows the whole list has."""

    total: int
    rows: Sequence[Conversation]


@dataclass(frozen=True, slots=True)
class Applied:
    """Where an event that its client named was applied first, and the request that named it."""

    receipt: Receipt
    request: str


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a key's requests in the running minute."""

    limit: int
    remaining: int
    reset_s: int
    allowed: bool


@dataclass(frozen=True, slots=True)
class CompressionFigures:
    """All compressions of a tenant by one strategy, averaged over them."""

    strategy: str
    count: int
    ratio_mean: float
    quality_mean: float
    took_ms_mean: float
    took_ms_p95: float


@dataclass(frozen=True, slots=True)
class Trend:
    """What was said in one period, from the rollup."""

    start: int  # microseconds since 1970 UTC
    conversations: int
    messages: int
    tokens: int


@runtime_checkable
class EventLog(Protocol):
    """The log, as the edge needs it."""

    async def publish(self, topic: str, key: str, events: Sequence[AnyEvent]) -> list[Receipt]:
        """Receipts in order once every event is acknowledged; else `UnavailableError`."""
        ...

    async def publish_all(self, topic: str, keyed: Sequence[tuple[str, AnyEvent]]) -> list[Receipt]:
        """The same for events of several keys; those of one key keep their order."""
        ...

    async def partition(self, topic: str, key: str) -> int:
        """The partition that key goes to."""
        ...

    async def high_watermark(self, topic: str, partition: int) -> Position:
        """The position after the last record of the partition, in its current epoch."""
        ...

    def scan(self, span: Range) -> AsyncIterator[Stored]:
        """The records of that range of one partition, in order."""
        ...

    async def ping(self) -> str: ...


@runtime_checkable
class ConversationStates(Protocol):
    """One row a conversation, folded from its events."""

    async def get(self, tenant: str, conversation_id: str) -> Conversation | None: ...

    async def standing(
        self, topic: str, partition: int, tenant: str, conversation_id: str
    ) -> Standing:
        """The row, and the positions up to which the rows and the warm copy are complete."""
        ...

    async def listed(self, tenant: str, *, user_id: str = "", text: str = "", rows: slice) -> Found:
        """A tenant's conversations, the latest active first: of that user, with that in the title.

        `rows` are the wanted rows of the list; empty `user_id` or `text` asks for all.
        """
        ...

    async def snapshot(self, tenant: str, conversation_id: str) -> Snapshot | None:
        """The latest snapshot of the conversation, None before the first."""
        ...

    async def compressions(
        self, tenant: str, conversation_id: str, *, limit: int
    ) -> list[ContextCompressed]:
        """The latest compressions of the conversation, newest first."""
        ...

    async def compression_figures(self, tenant: str) -> list[CompressionFigures]:
        """Every strategy that was used, with its averages."""
        ...

    async def applied(self, tenant: str, event_ids: Sequence[str]) -> dict[str, Applied]:
        """Those of the events that were applied already, by event id."""
        ...

    async def ping(self) -> str: ...


@runtime_checkable
class ConversationEvents(Protocol):
    """The warm copy of the conversations topic."""

    async def watermark(self, topic: str, partition: int) -> Position | None:
        """The position up to which the warm copy is complete; None before the first record."""
        ...

    async def events(
        self, tenant: str, conversation_id: str, *, before: Position, first: Position | None = None
    ) -> list[Stored]:
        """Every event of the conversation from `first` up to and without `before`, in order.

        Without `first`, from the beginning, earlier incarnations of the topic included.
        """
        ...

    async def event(self, tenant: str, event_id: str) -> Stored | None:
        """One event by its id, None where the warm copy has none of that id."""
        ...

    async def trends(self, tenant: str, *, since: int, period_s: int) -> list[Trend]:
        """Periods of that length since then, oldest first; periods without events are left out."""
        ...

    async def ping(self) -> str: ...


@runtime_checkable
class Keys(Protocol):
    """API keys, known by their hashes."""

    async def find(self, digest: str) -> Credential | None: ...


@runtime_checkable
class Cache(Protocol):
    """Bytes kept for a while: everything in it can be computed again."""

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """What is kept under each key; `UnavailableError` when the cache is away."""
        ...

    async def put(self, values: dict[str, bytes], *, ttl_s: int) -> None:
        """Keep the values for so long."""
        ...

    async def ping(self) -> str: ...


@runtime_checkable
class Limits(Protocol):
    """Requests counted by key and minute."""

    async def take(self, key_id: str, *, limit: int) -> Allowance:
        """Count one request; when the shared counter is away, count in this process alone."""
        ...


@runtime_checkable
class Summariser(Protocol):
    """A model that may write summaries."""

    model: str

    async def summarise(self, text: str, *, tokens_max: int) -> str:
        """The model's summary, unjudged; `UnavailableError` when it gives none in time."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """Everything a program reaches outside itself."""

    clock: Clock
    ids: Ids
    log: EventLog
    conversations: ConversationStates
    events: ConversationEvents
    keys: Keys
    cache: Cache
    limits: Limits
    summariser: Summariser | None = None
