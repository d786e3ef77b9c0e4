"""Replay: what is remembered, the warm copy after it, then the log; complete, or it says so."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from controlplane import remembered
from helix.domain.conversations import Conversation, Snapshot, named
from helix.domain.conversations import replay as once_each
from helix.domain.ids import log_key
from helix.domain.positions import Position, Range, Stored
from helix.errors import MissingError, UnavailableError
from helix.events import ConversationEvent
from helix.ports import Applied, Standing, World

TOPIC = "helixagent.conversations"
TAIL_RECORDS_MAX = 200_000  # what one replay may read from the log within its deadline

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation and the partition of the log that holds it."""

    tenant: str
    conversation_id: str
    partition: int

    def holds(self, stored: Stored) -> bool:
        """Whether that event belongs to it."""
        event = stored.event
        return (
            isinstance(event, ConversationEvent)
            and event.conversation_id == self.conversation_id
            and event.tenant == self.tenant
        )


@dataclass(frozen=True, slots=True)
class Gap:
    """How many events no store gives any more, and why."""

    events: int
    reason: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """Every event of a conversation in order, each once, and how far that is known."""

    thread: Thread
    events: Sequence[Stored]
    exact_up_to: Position
    degraded: bool
    sources: dict[str, int]
    gap: Gap | None = None
    remembered: int = 0  # so many of the first events the cache holds already


@dataclass(frozen=True, slots=True)
class Resumed:
    """The latest snapshot, and every event after it."""

    snapshot: Snapshot
    later: Replayed


@dataclass(frozen=True, slots=True)
class _View:
    """What was known when the replay began; everything below `end` is in the log."""

    thread: Thread
    standing: Standing
    end: Position

    @property
    def stored_upto(self) -> int:
        """The offset up to which the warm copy has this incarnation of the topic."""
        mark = self.standing.events_next
        # A topic that was made anew starts again at 0: the copy of the old one comes before it.
        return mark.offset if mark is not None and mark.epoch == self.end.epoch else 0

    def reached(self, start: Position | None) -> Position | None:
        """The same place to start from, if this log still has it."""
        known = start is not None and start.epoch == self.end.epoch and start <= self.end
        return start if known else None


async def replay(world: World, tenant: str, conversation_id: str) -> Replayed:
    """The whole conversation; `MissingError` if no event of it exists."""
    thread = await _thread(world, tenant, conversation_id)
    key = remembered.key(tenant, conversation_id)
    view, base = await _together(_view(world, thread), remembered.find(world.cache, key))
    if base is not None and view.reached(base.upto) is None:
        base = None
    later = await _later(world, view, base.upto if base else None)
    found = later if base is None else _joined(base, later)
    short = _short(view, found.events)
    if short:
        found = await _mended(world, view, found, short)
    if not found.events:
        raise missing(conversation_id)
    return found


async def resume(world: World, tenant: str, conversation_id: str) -> Resumed | None:
    """The snapshot and what came after it; None where no snapshot leads to the present."""
    thread = await _thread(world, tenant, conversation_id)
    view, snapshot = await _together(
        _view(world, thread), world.conversations.snapshot(tenant, conversation_id)
    )
    if snapshot is None or view.reached(snapshot.upto) is None:
        return None
    later = await _later(world, view, snapshot.upto)
    later = replace(later, events=await _firsts(world, view, later))
    if _short(view, later.events, before=snapshot.event_count):
        return None
    return Resumed(snapshot, later)


async def remember(world: World, found: Replayed) -> None:
    """Keep the events for the next replay, where that saves it something."""
    if found.gap is None and remembered.worthwhile(len(found.events), found.remembered):
        key = remembered.key(found.thread.tenant, found.thread.conversation_id)
        base = remembered.Base(upto=found.exact_up_to, events=list(found.events))
        await remembered.keep(world.cache, key, base)


def missing(conversation_id: str) -> MissingError:
    """What is answered when nothing was ever said there."""
    return MissingError(
        f"no conversation `{conversation_id}`: check the id",
        code="CONVERSATION_NOT_FOUND",
        conversation_id=conversation_id,
    )


async def _thread(world: World, tenant: str, conversation_id: str) -> Thread:
    partition = await world.log.partition(TOPIC, log_key(tenant, conversation_id))
    return Thread(tenant, conversation_id, partition)


async def _view(world: World, thread: Thread) -> _View:
    standing, end = await _together(
        world.conversations.standing(
            TOPIC, thread.partition, thread.tenant, thread.conversation_id
        ),
        world.log.high_watermark(TOPIC, thread.partition),
    )
    # A store asked a moment later may be further: whatever it has passed is in the log as well.
    marks = (standing.states_next, standing.events_next)
    ends = [mark for mark in marks if mark is not None and mark.epoch == end.epoch]
    return _View(thread, standing, max([end, *ends]))


async def _later(world: World, view: _View, start: Position | None) -> Replayed:
    """Every event from there on, or from the beginning: by the warm copy, else from the log."""
    try:
        return await _warm(world, view, start)
    except UnavailableError as error:
        return await _cold(world, view, start, because=error)


async def _warm(world: World, view: _View, start: Position | None) -> Replayed:
    first = max(view.stored_upto, start.offset if start else 0)
    rows, tail = await _together(_rows(world, view, start), _tail(world, view, first))
    return Replayed(
        thread=view.thread,
        events=list(once_each([*rows, *tail])),
        exact_up_to=view.end,
        degraded=False,
        sources={"clickhouse": len(rows), "kafka": len(tail)},
    )


async def _rows(world: World, view: _View, start: Position | None) -> list[Stored]:
    mark, thread = view.standing.events_next, view.thread
    if mark is None or (start is not None and start.offset >= view.stored_upto):
        return []
    return await world.events.events(
        thread.tenant, thread.conversation_id, before=mark, first=start
    )


async def _cold(
    world: World, view: _View, start: Position | None, *, because: UnavailableError
) -> Replayed:
    """Without the warm copy: the conversation's own range of the log, found by its state."""
    first = start.offset if start is not None else _beginning(view, because)
    behind = view.end.offset - first
    if behind > TAIL_RECORDS_MAX:
        raise UnavailableError(
            because.service,
            f"{because.message}; the log would give the same by reading {behind} records, more"
            f" than a replay may ({TAIL_RECORDS_MAX}): try again when `{because.service}` is back",
            records=behind,
        ) from because
    events = await _tail(world, view, first)
    found = Replayed(
        thread=view.thread,
        events=list(once_each(events)),
        exact_up_to=view.end,
        degraded=True,
        sources={"kafka": len(events)},
    )
    if start is None and _short(view, found.events):
        raise because  # the log has let go of the beginning
    return found


def _beginning(view: _View, because: UnavailableError) -> int:
    """Where in the log the conversation begins, at the earliest."""
    state, upto = view.standing.state, view.standing.states_next
    if state is None:  # no event of it was folded, so all there are come later
        return upto.offset if upto is not None and upto.epoch == view.end.epoch else 0
    if state.epoch != view.end.epoch:
        raise because  # its log is gone, the warm copy alone has it
    return state.first_offset


async def _tail(world: World, view: _View, first: int) -> list[Stored]:
    """The conversation's records from that offset to the end."""
    behind = view.end.offset - first
    if behind > TAIL_RECORDS_MAX:
        raise UnavailableError(
            "workers",
            f"the read side is {behind} records behind partition {view.end.partition}, more than"
            f" a replay may read ({TAIL_RECORDS_MAX}): try again when `workers` has caught up",
            lag_records=behind,
        )
    return await _scanned(world, view, first, view.end.offset)


async def _scanned(world: World, view: _View, first: int, end: int) -> list[Stored]:
    if first >= end:
        return []
    span = Range(TOPIC, view.end.epoch, view.end.partition, first, end)
    # Ports promise an iterator; a generator must also be closed when the deadline cuts it short.
    records = cast("AsyncGenerator[Stored]", world.log.scan(span))
    try:
        async with aclosing(records):
            return [stored async for stored in records if view.thread.holds(stored)]
    except MissingError as error:
        raise UnavailableError("kafka", f"{error.message}: try again") from error


def _joined(base: remembered.Base, later: Replayed) -> Replayed:
    return replace(
        later,
        events=list(once_each([*base.events, *later.events])),
        sources={**later.sources, "cache": len(base.events)},
        remembered=len(base.events),
    )


async def _firsts(world: World, view: _View, later: Replayed) -> Sequence[Stored]:
    """The events without retries of what the snapshot holds, which remembers no event ids.

    The warm copy has each event at its first position only: retries are in what the log gave.
    """
    events, log_from = later.events, 0 if later.degraded else view.stored_upto
    doubtful = [
        stored.event.event_id
        for stored in events
        if stored.position.offset >= log_from and named(stored.event)
    ]
    if not doubtful:
        return events
    applied = await world.conversations.applied(view.thread.tenant, doubtful)
    return [stored for stored in events if not _retried(stored, applied)]


def _retried(stored: Stored, applied: dict[str, Applied]) -> bool:
    first = applied.get(stored.event.event_id)
    return first is not None and first.receipt.offset != stored.position.offset


def _short(view: _View, events: Sequence[Stored], *, before: int = 0) -> int:
    """How many events the state has counted that are not among these and those before them."""
    state = view.standing.state
    if state is None:
        return 0
    newer = 0
    for stored in reversed(events):
        if not _after(stored.position, state, view.end.epoch):
            break
        newer += 1
    return max(0, state.event_count - before - (len(events) - newer))


def _after(position: Position, state: Conversation, epoch: str) -> bool:
    """Whether the state has not come to that position yet."""
    if state.epoch != epoch:
        return position.epoch == epoch
    return position.epoch == epoch and position.offset > state.last_offset


async def _mended(world: World, view: _View, found: Replayed, short: int) -> Replayed:
    """With what the log still has of the events that the warm copy has let go of."""
    state = view.standing.state
    if state is None or state.epoch != view.end.epoch:
        return replace(found, gap=Gap(short, "the topic was made anew since they were said"))
    first, end = state.first_offset, view.stored_upto
    if end - first > TAIL_RECORDS_MAX:
        end = _first_stored(found.events, view)  # mostly it is the beginning that expired
    if end - first > TAIL_RECORDS_MAX:
        reason = f"they lie among {end - first} records of the log, more than a replay may read"
        return replace(found, gap=Gap(short, reason))
    scanned = await _scanned(world, view, first, end)
    events = _merged(found.events, scanned, view.end.epoch)
    left = _short(view, events)
    return replace(
        found,
        events=events,
        sources={**found.sources, "kafka": found.sources["kafka"] + len(scanned)},
        gap=Gap(left, "neither the warm copy nor the log has them any more") if left else None,
    )


def _first_stored(events: Sequence[Stored], view: _View) -> int:
    offsets = (s.position.offset for s in events if s.position.epoch == view.end.epoch)
    return min(next(offsets, view.stored_upto), view.stored_upto)


def _merged(events: Sequence[Stored], scanned: Sequence[Stored], epoch: str) -> list[Stored]:
    older = [stored for stored in events if stored.position.epoch != epoch]
    present = [stored for stored in events if stored.position.epoch == epoch]
    present = sorted([*present, *scanned], key=lambda stored: stored.position.offset)
    return list(once_each([*older, *present]))


async def _together(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Both answers; the first failure ends the other."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
