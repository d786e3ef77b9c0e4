"""What the programs need from outside, and `World`: all of it in one frozen struct."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from helix.domain.conversations import Conversation
from helix.domain.positions import Position, Range, Stored
from helix.events import AnyEvent

Clock = Callable[[], int]  # microseconds since 1970 UTC
Ids = Callable[[], str]  # a new unique id at every call


@dataclass(frozen=True, slots=True)
class Receipt:
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


@runtime_checkable
class EventLog(Protocol):
    """The log, as the edge needs it."""

    async def publish(self, topic: str, key: str, events: Sequence[AnyEvent]) -> list[Receipt]:
        """Receipts in order once every event is acknowledged; else `UnavailableError`."""
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

    async def ping(self) -> str: ...


@runtime_checkable
class ConversationEvents(Protocol):
    """The warm copy of the conversations topic."""

    async def watermark(self, topic: str, partition: int) -> Position | None:
        """The position up to which the warm copy is complete; None before the first record."""
        ...

    async def events(self, tenant: str, conversation_id: str, *, before: Position) -> list[Stored]:
        """Every event of the conversation below that position, in order, once each."""
        ...

    async def ping(self) -> str: ...


@runtime_checkable
class Keys(Protocol):
    """API keys, known by their hashes."""

    async def find(self, digest: str) -> Credential | None: ...


@dataclass(frozen=True, slots=True)
class World:
    """Everything a program reaches outside itself."""

    clock: Clock
    ids: Ids
    log: EventLog
    conversations: ConversationStates
    events: ConversationEvents
    keys: Keys
