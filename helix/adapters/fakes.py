"""A World in memory that keeps the promises of the ports: for tests, and for trying things out."""

import statistics
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from helix.adapters import murmur2
from helix.adapters.clickhouse import in_order, since
from helix.domain import snapshots
from helix.domain.conversations import Conversation, Snapshot, fold, named, within
from helix.domain.positions import Position, Range, Stored
from helix.errors import MissingError, UnavailableError
from helix.events import (
    AnyEvent,
    ContextCompressed,
    ConversationEvent,
    MessageAdded,
    decode,
    encode,
)
from helix.ports import (
    Allowance,
    Applied,
    CompressionFigures,
    Credential,
    Found,
    Receipt,
    Standing,
    Trend,
    World,
)

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
        return await self.publish_all(topic, [(key, event) for event in events])

    async def publish_all(self, topic: str, keyed: Sequence[tuple[str, AnyEvent]]) -> list[Receipt]:
        receipts: list[Receipt] = []
        for key, event in keyed:
            partition = await self.partition(topic, key)
            log = self.records.setdefault((topic, partition), [])
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

    def firsts(self) -> Iterator[tuple[str, Stored]]:
        """Every record that workers apply: an event its client named, at its first position."""
        seen: set[tuple[str, str]] = set()
        for topic, stored in self.all():
            name = stored.event.tenant, stored.event.event_id
            if not named(stored.event) or name not in seen:
                seen.add(name)
                yield topic, stored

    def _answer(self) -> None:
        if self.away:
            raise UnavailableError("kafka")


@dataclass
class FakeStates:
    """Folds the log when asked, so the worker is never behind; `away` makes every call fail."""

    log: FakeLog
    warm: "FakeEvents"
    away: bool = False
    snapshots: dict[tuple[str, str], Snapshot] = field(default_factory=dict)

    async def standing(
        self, topic: str, partition: int, tenant: str, conversation_id: str
    ) -> Standing:
        state = await self.get(tenant, conversation_id)
        end = len(self.log.records.get((topic, partition), []))
        return Standing(
            state=state,
            states_next=Position(self.log.epoch, partition, end) if end else None,
            events_next=self.warm.complete(topic, partition),
        )

    async def get(self, tenant: str, conversation_id: str) -> Conversation | None:
        await self.ping()
        return self._rows().get((tenant, conversation_id))

    async def listed(self, tenant: str, *, user_id: str = "", text: str = "", rows: slice) -> Found:
        await self.ping()
        found = [
            state
            for state in self._rows().values()
            if state.tenant == tenant
            and user_id in ("", state.user_id)
            and text.lower() in state.title.lower()
        ]
        found.sort(key=lambda state: (-state.last_at, state.conversation_id))
        return Found(len(found), found[rows])

    async def snapshot(self, tenant: str, conversation_id: str) -> Snapshot | None:
        await self.ping()
        return self.snapshots.get((tenant, conversation_id))

    async def compressions(
        self, tenant: str, conversation_id: str, *, limit: int
    ) -> list[ContextCompressed]:
        await self.ping()
        found = self._compressions(tenant, conversation_id)
        return sorted(found, key=lambda event: (event.ingested_at, event.event_id))[::-1][:limit]

    async def compression_figures(self, tenant: str) -> list[CompressionFigures]:
        await self.ping()
        by_strategy: dict[str, list[ContextCompressed]] = {}
        for event in self._compressions(tenant, None):
            by_strategy.setdefault(event.strategy, []).append(event)
        return [_figures(name, by_strategy[name]) for name in sorted(by_strategy)]

    async def applied(self, tenant: str, event_ids: Sequence[str]) -> dict[str, Applied]:
        await self.ping()
        found: dict[str, Applied] = {}
        for topic, stored in self.log.firsts():
            event, place = stored.event, stored.position
            if event.tenant == tenant and event.event_id in event_ids and named(event):
                receipt = Receipt(event.event_id, topic, place.partition, place.offset)
                found[event.event_id] = Applied(receipt, event.request)
        return found

    def take_snapshot(self, tenant: str, conversation_id: str, *, tokens_max: int) -> Snapshot:
        """What the workers would do now, with the plainest of compressions."""
        events = [s for _, s in self.log.firsts() if _of(s, tenant, conversation_id)]
        last = events[-1].position
        found = snapshots.taken(
            None,
            events,
            upto=Position(last.epoch, last.partition, last.offset + 1),
            made_at=events[-1].event.ingested_at,
            compress=lambda said: within(said, tokens_max),
        )
        self.snapshots[tenant, conversation_id] = found
        return found

    def _rows(self) -> dict[tuple[str, str], Conversation]:
        rows: dict[tuple[str, str], Conversation] = {}
        for _, stored in self.log.firsts():
            if isinstance(stored.event, ConversationEvent):
                key = stored.event.tenant, stored.event.conversation_id
                rows[key] = fold(rows.get(key), stored)
        return rows

    def _compressions(
        self, tenant: str, conversation_id: str | None
    ) -> Iterator[ContextCompressed]:
        for _, stored in self.log.firsts():
            event = stored.event
            if (
                isinstance(event, ContextCompressed)
                and event.tenant == tenant
                and conversation_id in (None, event.conversation_id)
            ):
                yield event

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
        return self.complete(topic, partition)

    async def events(
        self, tenant: str, conversation_id: str, *, before: Position, first: Position | None = None
    ) -> list[Stored]:
        await self.ping()
        found = in_order(
            [
                stored
                for _, stored in self.log.firsts()
                if _of(stored, tenant, conversation_id)
                and (stored.position.epoch != before.epoch or stored.position < before)
            ]
        )
        return found if first is None else since(found, first, current=before.epoch)

    async def event(self, tenant: str, event_id: str) -> Stored | None:
        await self.ping()
        for topic, stored in self.log.firsts():
            event, end = stored.event, self.complete(topic, stored.position.partition)
            copied = end is not None and stored.position.offset < end.offset
            if copied and (event.tenant, event.event_id) == (tenant, event_id):
                return stored
        return None

    async def trends(self, tenant: str, *, since: int, period_s: int) -> list[Trend]:
        await self.ping()
        period = period_s * 1_000_000
        found: dict[int, list[ConversationEvent]] = {}
        for _, stored in self.log.firsts():
            event = stored.event
            if isinstance(event, ConversationEvent) and event.tenant == tenant:
                found.setdefault(event.ingested_at // period * period, []).append(event)
        return [
            _trend(start, found[start])
            for start in sorted(found)
            if start >= since // period * period
        ]

    def complete(self, topic: str, partition: int) -> Position | None:
        """How far the copy is, known even while it is away."""
        end = len(self.log.records.get((topic, partition), []))
        return Position(self.log.epoch, partition, max(0, end - self.lag)) if end else None

    async def ping(self) -> str:
        if self.away:
            raise UnavailableError("clickhouse")
        return "in memory"


@dataclass
class FakeCache:
    """A dictionary that forgets nothing; `away` makes every call fail."""

    away: bool = False
    kept: dict[str, bytes] = field(default_factory=dict)

    async def get(self, keys: Sequence[str]) -> list[bytes | None]:
        await self.ping()
        return [self.kept.get(key) for key in keys]

    async def put(self, values: dict[str, bytes], *, ttl_s: int) -> None:  # noqa: ARG002 - never
        await self.ping()
        self.kept.update(values)

    async def ping(self) -> str:
        if self.away:
            raise UnavailableError("redis")
        return "in memory"


@dataclass
class FakeLimits:
    """Requests counted in a minute that never ends."""

    used: dict[str, int] = field(default_factory=dict)

    async def take(self, key_id: str, *, limit: int) -> Allowance:
        used = self.used[key_id] = self.used.get(key_id, 0) + 1
        return Allowance(limit, max(0, limit - used), 60, allowed=used <= limit)


@dataclass
class FakeKeys:
    """Credentials by the hash of their key."""

    known: dict[str, Credential] = field(default_factory=dict)

    async def find(self, digest: str) -> Credential | None:
        return self.known.get(digest)


def _figures(strategy: str, events: Sequence[ContextCompressed]) -> CompressionFigures:
    took_ms = sorted(event.took_us / 1000 for event in events)
    ratios = [e.compressed_tokens / e.original_tokens if e.original_tokens else 1.0 for e in events]
    place = 0.95 * (len(took_ms) - 1)
    low, part = took_ms[int(place)], place - int(place)
    high = took_ms[min(int(place) + 1, len(took_ms) - 1)]
    return CompressionFigures(
        strategy=strategy,
        count=len(events),
        ratio_mean=statistics.fmean(ratios),
        quality_mean=statistics.fmean(event.quality_score for event in events),
        took_ms_mean=statistics.fmean(took_ms),
        took_ms_p95=low + (high - low) * part,
    )


def _trend(start: int, events: Sequence[ConversationEvent]) -> Trend:
    said = [event.message for event in events if isinstance(event, MessageAdded)]
    return Trend(
        start=start,
        conversations=len({event.conversation_id for event in events}),
        messages=len(said),
        tokens=sum(message.tokens for message in said),
    )


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
    events = FakeEvents(log)
    return World(
        clock=counting(),
        ids=numbered(),
        log=log,
        conversations=FakeStates(log, events),
        events=events,
        keys=FakeKeys(keys or {}),
        cache=FakeCache(),
        limits=FakeLimits(),
    )
