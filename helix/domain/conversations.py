"""What a conversation is: its state folded from events, and its messages replayed in order."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from helix.domain.positions import Position, Stored
from helix.errors import InvalidError
from helix.events import (
    ContextCompressed,
    ConversationCompleted,
    ConversationCreated,
    ConversationEvent,
    Event,
    Message,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    Metadata,
    Outcome,
)


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One row a conversation: who, how much, until when, and where its events are in the log."""

    tenant: str
    conversation_id: str
    user_id: str = ""
    session_id: str = ""
    title: str = ""
    metadata: Metadata = {}
    message_count: int = 0
    tokens: int = 0
    created_at: int
    last_at: int
    event_count: int = 0
    changes: int = 0  # edits and deletions: above 0 the counts below are those of a replay
    outcome: Outcome | None = None
    completed_at: int | None = None
    epoch: str
    partition: int
    first_offset: int
    last_offset: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a resume starts from: everything below `upto`, folded and compressed."""

    tenant: str
    conversation_id: str
    upto: Position
    event_count: int
    active_at: int  # the state's `last_at` when this was folded
    stats: "Stats"
    context: tuple[Message, ...]  # what the compression kept, in order
    made_at: int


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a conversation, counted from its messages."""

    message_count: int
    tokens: int
    by_role: dict[str, int]
    by_model: dict[str, int]
    first_at: int | None
    last_at: int | None


def fold(state: Conversation | None, stored: Stored) -> Conversation:
    """The state after the event; handed the same or an older position, the same state.

    An event that was published twice is given once: at its first position.
    """
    position, event = stored.position, stored.event
    if not isinstance(event, ConversationEvent):
        raise InvalidError(f"`{type(event).__name__}` says nothing about a conversation: bury it")
    if state is None:
        return _applied(_blank(position, event), event)
    if state.epoch == position.epoch and position.offset <= state.last_offset:
        return state
    return _applied(_moved(state, position), event)


def named(event: Event) -> bool:
    """Whether the log may hold the event again: its client retries it, or it was buried once."""
    return event.request != "" or event.attempt > 1


def replay(events: Iterable[Stored]) -> Iterator[Stored]:
    """The events in the given order, each event id once."""
    seen: set[str] = set()
    for stored in events:
        if stored.event.event_id not in seen:
            seen.add(stored.event.event_id)
            yield stored


def messages(events: Iterable[Stored]) -> list[Message]:
    """What was said, in order, each event id once: edited texts as they are now, none deleted.

    A message id stands for every message that carries it; a change of an id that nobody carries
    at that moment changes nothing, and a message added after its deletion is there.
    """
    said: dict[int, Message] = {}
    places: dict[str, list[int]] = {}
    for place, stored in enumerate(replay(events)):
        event = stored.event
        if isinstance(event, MessageAdded):
            places.setdefault(event.message.message_id, []).append(place)
            said[place] = event.message
        elif isinstance(event, MessageEdited):
            for edited in places.get(event.message_id, ()):
                said[edited] = _edited(said[edited], event)
        elif isinstance(event, MessageDeleted):
            for deleted in places.pop(event.message_id, ()):
                del said[deleted]
    return list(said.values())


def within(history: Sequence[Message], tokens_max: int) -> list[Message]:
    """The newest messages in order whose tokens stay within the bound; none goes over it."""
    if tokens_max < 0:
        raise InvalidError("`max_tokens` is negative: give 0 or more", field="max_tokens")
    left = tokens_max
    start = len(history)
    while start > 0 and history[start - 1].tokens <= left:
        start -= 1
        left -= history[start].tokens
    return list(history[start:])


def stats(history: Sequence[Message]) -> Stats:
    """Counts, tokens and times of the messages."""
    by_role: dict[str, int] = {}
    by_model: dict[str, int] = {}
    for message in history:
        by_role[message.role] = by_role.get(message.role, 0) + 1
        if message.model:
            by_model[message.model] = by_model.get(message.model, 0) + 1
    times = [message.created_at for message in history if message.created_at]
    return Stats(
        message_count=len(history),
        tokens=sum(message.tokens for message in history),
        by_role=by_role,
        by_model=by_model,
        first_at=min(times, default=None),
        last_at=max(times, default=None),
    )


def _blank(position: Position, event: ConversationEvent) -> Conversation:
    return Conversation(
        tenant=event.tenant,
        conversation_id=event.conversation_id,
        created_at=event.ingested_at,
        last_at=event.ingested_at,
        epoch=position.epoch,
        partition=position.partition,
        first_offset=position.offset,
        last_offset=position.offset,
    )


def _moved(state: Conversation, position: Position) -> Conversation:
    """The state at a later position; in a new epoch the range of offsets starts again."""
    first = state.first_offset if state.epoch == position.epoch else position.offset
    return msgspec.structs.replace(
        state,
        epoch=position.epoch,
        partition=position.partition,
        first_offset=first,
        last_offset=position.offset,
    )


def _applied(state: Conversation, event: ConversationEvent) -> Conversation:
    state = msgspec.structs.replace(state, event_count=state.event_count + 1)
    if isinstance(event, ContextCompressed):
        return state  # somebody read it: that is no activity
    state = msgspec.structs.replace(state, last_at=max(state.last_at, event.ingested_at))
    match event:
        case ConversationCreated():
            return _created(state, event)
        case MessageEdited() | MessageDeleted():
            return msgspec.structs.replace(state, changes=state.changes + 1)
        case MessageAdded():
            return msgspec.structs.replace(
                state,
                message_count=state.message_count + 1,
                tokens=state.tokens + event.message.tokens,
            )
        case ConversationCompleted():
            return msgspec.structs.replace(
                state, outcome=event.outcome, completed_at=event.occurred_at
            )


def _edited(message: Message, edit: MessageEdited) -> Message:
    # What its author's provider counted was said of the text that is gone.
    return msgspec.structs.replace(
        message, content=edit.content, tokens=edit.tokens, tokens_stated=0
    )


def _created(state: Conversation, event: ConversationCreated) -> Conversation:
    """The conversation with its description: the last one given stands, what is absent stays."""
    return msgspec.structs.replace(
        state,
        user_id=event.user_id,
        session_id=event.session_id or state.session_id,
        title=event.title or state.title,
        metadata={**state.metadata, **event.metadata},
        created_at=min(state.created_at, event.occurred_at),
    )
