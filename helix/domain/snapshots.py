"""Snapshots: a conversation up to a position, folded and compressed; taken from the one before."""

from collections.abc import Callable, Iterable, Sequence

from helix.domain.conversations import Snapshot, Stats, messages, stats
from helix.domain.positions import Position, Stored
from helix.errors import InvalidError
from helix.events import (
    ContextCompressed,
    ConversationEvent,
    Message,
    MessageDeleted,
    MessageEdited,
)

Compress = Callable[[list[Message]], Sequence[Message]]


def taken(
    before: Snapshot | None,
    events: Sequence[Stored],
    *,
    upto: Position,
    made_at: int,
    compress: Compress,
) -> Snapshot:
    """The snapshot up to that position: all below it, when `events` are those since `before`.

    Where `reaches_back(events)`, only all events from the beginning give it, without `before`.
    """
    if not events or not isinstance(events[0].event, ConversationEvent):
        raise InvalidError("a snapshot is made of a conversation's events: give at least one")
    said = messages(events)
    told = [*before.context, *said] if before else said
    return Snapshot(
        tenant=events[0].event.tenant,
        conversation_id=events[0].event.conversation_id,
        upto=upto,
        event_count=(before.event_count if before else 0) + len(events),
        active_at=max(before.active_at if before else 0, _active_at(events)),
        stats=combined(before.stats, stats(said)) if before else stats(said),
        context=tuple(compress(told)),
        made_at=made_at,
    )


def reaches_back(events: Iterable[Stored]) -> bool:
    """Whether one of the events may change what an earlier snapshot has compressed away."""
    return any(isinstance(stored.event, MessageEdited | MessageDeleted) for stored in events)


def combined(earlier: Stats, later: Stats) -> Stats:
    """The figures of both parts of a conversation together."""
    return Stats(
        message_count=earlier.message_count + later.message_count,
        tokens=earlier.tokens + later.tokens,
        by_role=_added(earlier.by_role, later.by_role),
        by_model=_added(earlier.by_model, later.by_model),
        first_at=min(_known(earlier.first_at, later.first_at), default=None),
        last_at=max(_known(earlier.last_at, later.last_at), default=None),
    )


def _added(some: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return {name: some.get(name, 0) + more.get(name, 0) for name in {**some, **more}}


def _known(*times: int | None) -> list[int]:
    return [time for time in times if time is not None]


def _active_at(events: Iterable[Stored]) -> int:
    return max(
        (s.event.ingested_at for s in events if not isinstance(s.event, ContextCompressed)),
        default=0,
    )
