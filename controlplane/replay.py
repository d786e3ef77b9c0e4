"""Replay: the warm copy up to its watermark, the log from there on; complete, or it says so."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from helix.domain.conversations import replay as once_each
from helix.domain.ids import log_key
from helix.domain.positions import Position, Range, Stored
from helix.errors import MissingError, UnavailableError
from helix.events import ConversationEvent
from helix.ports import World

TOPIC = "helixagent.conversations"
TAIL_RECORDS_MAX = 200_000  # what one replay may read from the log within its deadline


@dataclass(frozen=True, slots=True)
class Replayed:
    """Every event of a conversation in order, each once, and how far that is known."""

    events: Sequence[Stored]
    exact_up_to: Position
    degraded: bool
    sources: dict[str, int]


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


async def replay(world: World, tenant: str, conversation_id: str) -> Replayed:
    """The whole conversation; `MissingError` if no event of it exists."""
    partition = await world.log.partition(TOPIC, log_key(tenant, conversation_id))
    thread = Thread(tenant, conversation_id, partition)
    end = await world.log.high_watermark(TOPIC, partition)
    try:
        found = await _warm(world, thread, end)
    except UnavailableError as error:
        found = await _cold(world, thread, end, because=error)
    if not found.events:
        raise missing(conversation_id)
    return found


def missing(conversation_id: str) -> MissingError:
    """What is answered when nothing was ever said there."""
    return MissingError(
        f"no conversation `{conversation_id}`: check the id",
        code="CONVERSATION_NOT_FOUND",
        conversation_id=conversation_id,
    )


async def _warm(world: World, thread: Thread, end: Position) -> Replayed:
    mark = await world.events.watermark(TOPIC, thread.partition)
    # A topic that was made anew starts again at 0: the copy of the old one comes before all of it.
    same = mark is not None and mark.epoch == end.epoch
    first = mark.offset if mark is not None and same else 0
    if mark is None:
        rows, tail = [], await _tail(world, thread, end, first=first)
    else:
        rows, tail = await asyncio.gather(
            world.events.events(thread.tenant, thread.conversation_id, before=mark),
            _tail(world, thread, end, first=first),
        )
    return Replayed(
        events=list(once_each([*rows, *tail])),
        exact_up_to=Position(end.epoch, end.partition, max(first, end.offset)),
        degraded=False,
        sources={"clickhouse": len(rows), "kafka": len(tail)},
    )


async def _cold(
    world: World, thread: Thread, end: Position, *, because: UnavailableError
) -> Replayed:
    """Without the warm copy: the conversation's own range of the log, found by its state."""
    state = await world.conversations.get(thread.tenant, thread.conversation_id)
    if state is None or state.epoch != end.epoch:
        raise because  # nothing left says where in the log it begins
    events = await _tail(world, thread, end, first=state.first_offset)
    return Replayed(
        events=list(once_each(events)),
        exact_up_to=end,
        degraded=True,
        sources={"kafka": len(events)},
    )


async def _tail(world: World, thread: Thread, end: Position, *, first: int) -> list[Stored]:
    behind = end.offset - first
    if behind <= 0:
        return []
    if behind > TAIL_RECORDS_MAX:
        raise UnavailableError(
            "workers",
            f"the read side is {behind} records behind partition {end.partition}, more than a"
            f" replay may read ({TAIL_RECORDS_MAX}): try again when `workers` has caught up",
            lag_records=behind,
        )
    span = Range(TOPIC, end.epoch, end.partition, first, end.offset)
    # Ports promise an iterator; a generator must also be closed when the deadline cuts it short.
    records = cast("AsyncGenerator[Stored]", world.log.scan(span))
    async with aclosing(records):
        return [stored async for stored in records if thread.holds(stored)]
