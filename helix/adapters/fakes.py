"""A World in memory that keeps the promises of the ports: for tests, and for trying things out."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from helix.adapters import murmur2
from helix.adapters.clickhouse import in_order
from helix.domain.conversations import Conversation, fold
from helix.domain.positions import Position, Range, Stored
from helix.errors import MissingError, UnavailableError
from helix.events import AnyEvent, ConversationEvent, decode, encode
from helix.ports import Credential, Receipt, World

PARTITIONS = 4
EPOCH = "epoch-1"


@dataclass
class FakeLog:
    """Lists of records, one a partition; `away` makes every call fail."""

    partitions: int = PARTITIONS
    epoch: str = EPOCH
    away: bool = False
    records: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)

    async def publish(self, topic: str, key: str, events: Sequence[AnyEvent]) -> list[Receipt]:
        partition = await self.partition(topic, key)
        log = self.records.setdefault((topic, partition), [])
        receipts: list[Receipt] = []
        for event in events:
            receipts.append(Receipt(event.event_id, topic, partition, len(log)))
            log.append(encode(event))
        return receipts

    async def partition(self, topic: str, key: str) -> int:  # noqa: ARG002 - every topic alike
        self._answer()
        return murmur2.partition(key.encode(), self.partitions)

    async def high_watermark(self, topic: str, partition: int) -> Position:
        self._answer()
        return Position(self.epoch, partition, len(self.records.get((topic, partition), [])))

    async def scan(self, span: Range) -> AsyncIterator[Stored]:
        self._answer()
        if span.epoch != self.epoch:
            raise MissingError(f"`{span.topic}` was made anew: positions of {span.epoch} are gone")
        for stored in self.stored(span.topic, span.partition)[span.first : span.end]:
            yield stored

    async def ping(self) -> str:
        self._answer()
        return "in memory"

    def stored(self, topic: str, partition: int) -> list[Stored]:
        """Every record of the partition with its position."""
        return [
            Stored(position=Position(self.epoch, partition, offset), event=decode(value))
            for offset, value in enumerate(self.records.get((topic, partition), []))
        ]

    def all(self) -> Iterator[tuple[str, Stored]]:
        """Every record of every partition, with its topic."""
        for topic, partition in self.records:
            for stored in self.stored(topic, partition):
                yield topic, stored

    def _answer(self) -> None:
        if self.away:
            raise UnavailableError("kafka")


@dataclass
class FakeStates:
    """Folds the log when asked, so the worker is never behind; `away` makes every call fail."""

    log: FakeLog
    away: bool = False

    async def get(self, tenant: str, conversation_id: str) -> Conversation | None:
        await self.ping()
        state: Conversation | None = None
        for _, stored in self.log.all():
            if _of(stored, tenant, conversation_id):
                state = fold(state, stored)
        return state

    async def ping(self) -> str:
        if self.away:
            raise UnavailableError("postgres")
        return "in memory"


@dataclass
class FakeEvents:
    """The warm copy: complete up to `lag` records before the end; `away` makes every call fail."""

    log: FakeLog
    lag: int = 0
    away: bool = False

    async def watermark(self, topic: str, partition: int) -> Position | None:
        await self.ping()
        end = len(self.log.records.get((topic, partition), []))
        return Position(self.log.epoch, partition, max(0, end - self.lag)) if end else None

    async def events(self, tenant: str, conversation_id: str, *, before: Position) -> list[Stored]:
        await self.ping()
        return in_order(
            [
                stored
                for _, stored in self.log.all()
                if _of(stored, tenant, conversation_id)
                and (stored.position.epoch != before.epoch or stored.position < before)
            ]
        )

    async def ping(self) -> str:
        if self.away:
            raise UnavailableError("clickhouse")
        return "in memory"


@dataclass
class FakeKeys:
    """Credentials by the hash of their key."""

    known: dict[str, Credential] = field(default_factory=dict)

    async def find(self, digest: str) -> Credential | None:
        return self.known.get(digest)


def _of(stored: Stored, tenant: str, conversation_id: str) -> bool:
    event = stored.event
    return (
        isinstance(event, ConversationEvent)
        and event.tenant == tenant
        and event.conversation_id == conversation_id
    )


def counting(start: int = 1_700_000_000_000_000, step: int = 1) -> Callable[[], int]:
    """A clock that moves on by `step` microseconds at every look."""
    now = start - step

    def clock() -> int:
        nonlocal now
        now += step
        return now

    return clock


def numbered(prefix: str = "id") -> Callable[[], str]:
    """Ids that count."""
    count = 0

    def ids() -> str:
        nonlocal count
        count += 1
        return f"{prefix}-{count}"

    return ids


def world(keys: dict[str, Credential] | None = None) -> World:
    """A whole world in memory; its parts are the fakes above."""
    log = FakeLog()
    return World(
        clock=counting(),
        ids=numbered(),
        log=log,
        conversations=FakeStates(log),
        events=FakeEvents(log),
        keys=FakeKeys(keys or {}),
    )
