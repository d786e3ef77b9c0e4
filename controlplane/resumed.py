"""A conversation picked up where its snapshot ends: the snapshot's context, and what came after."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from helix.domain.conversations import Snapshot, messages
from helix.domain.positions import Position, Stored
from helix.events import Message, MessageAdded, MessageDeleted, MessageEdited


@dataclass(frozen=True, slots=True)
class Whole:
    """How much was said in the whole conversation."""

    messages: int
    tokens: int


def history(snapshot: Snapshot, later: Sequence[Stored]) -> list[Message]:
    """The context and the later messages, in order; changes of either are applied."""
    return messages([*_as_events(snapshot), *later])


def whole(snapshot: Snapshot, later: Sequence[Stored], said: Sequence[Message]) -> Whole | None:
    """The figures of all that was ever said; None where a change reaches what was compressed away.

    `said` is the history of the same two.
    """
    if _reaches_behind(snapshot, later):
        return None
    return Whole(
        messages=snapshot.stats.message_count - len(snapshot.context) + len(said),
        tokens=snapshot.stats.tokens - _tokens(snapshot.context) + _tokens(said),
    )


def _reaches_behind(snapshot: Snapshot, later: Sequence[Stored]) -> bool:
    known = {message.message_id for message in snapshot.context}
    for stored in later:
        match stored.event:
            case MessageAdded(message=message):
                known.add(message.message_id)
            case MessageEdited(message_id=changed) | MessageDeleted(message_id=changed):
                if changed not in known:
                    return True
            case _:
                pass
    return False


def _as_events(snapshot: Snapshot) -> Iterator[Stored]:
    """The context as if it had been said just so, for the fold that applies changes."""
    upto = snapshot.upto
    for index, message in enumerate(snapshot.context):
        event = MessageAdded(
            event_id=f"{upto.epoch}/{index}",  # like no event's own
            tenant=snapshot.tenant,
            occurred_at=message.created_at,
            ingested_at=snapshot.made_at,
            conversation_id=snapshot.conversation_id,
            message=message,
        )
        yield Stored(position=Position(upto.epoch, upto.partition, 0), event=event)


def _tokens(said: Sequence[Message]) -> int:
    return sum(message.tokens for message in said)
