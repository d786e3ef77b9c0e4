"""What Hypothesis draws: events and logs as they can come."""

from typing import Any

from hypothesis import strategies as st

from helix.domain.positions import Position, Stored
from helix.events import (
    ContextCompressed,
    ConversationCompleted,
    ConversationCreated,
    ConversationEvent,
    Message,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    Outcome,
    Role,
    Survival,
)

MICROS_MAX = 4_102_444_800_000_000
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")
OUTCOMES: tuple[Outcome, ...] = ("successful", "abandoned", "error")

texts = st.text(max_size=30)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
micros = st.integers(0, MICROS_MAX)
metadata = st.dictionaries(
    texts, st.none() | st.booleans() | st.integers(-9, 9) | texts, max_size=3
)

message_ids = st.sampled_from(["m1", "m2", "m3"]) | texts
counts = st.integers(0, 10_000)
shares = st.none() | st.floats(0, 1)

messages = st.builds(
    Message,
    message_id=message_ids,
    role=st.sampled_from(ROLES),
    content=texts,
    name=texts,
    model=texts,
    tokens=st.integers(0, 50),
    created_at=micros,
    metadata=metadata,
)


def events(
    conversation: str = "c", *, ids: st.SearchStrategy[str] = texts
) -> st.SearchStrategy[ConversationEvent]:
    """Any event of one conversation."""
    stamped: dict[str, st.SearchStrategy[Any]] = {
        "event_id": ids,
        "tenant": st.just("t"),
        "occurred_at": micros,
        "ingested_at": micros,
        "conversation_id": st.just(conversation),
    }
    return st.one_of(
        st.builds(
            ConversationCreated,
            **stamped,
            user_id=names,
            session_id=texts,
            title=texts,
            metadata=metadata,
        ),
        st.builds(MessageAdded, **stamped, message=messages),
        st.builds(
            MessageEdited,
            **stamped,
            message_id=message_ids,
            content=texts,
            tokens=st.integers(0, 50),
        ),
        st.builds(MessageDeleted, **stamped, message_id=message_ids),
        st.builds(ConversationCompleted, **stamped, outcome=st.sampled_from(OUTCOMES)),
        st.builds(
            ContextCompressed,
            **stamped,
            strategy=texts,
            tokens_max=counts,
            original_messages=counts,
            compressed_messages=counts,
            original_tokens=counts,
            compressed_tokens=counts,
            pins_kept=counts,
            survival=st.builds(Survival, entities=shares, numbers=shares, dates=shares),
            quality_score=st.floats(0, 1),
            took_us=counts,
            model=texts,
        ),
    )


def logs(*, ids: st.SearchStrategy[str] = texts) -> st.SearchStrategy[list[Stored]]:
    """The events of one conversation as one partition holds them: offsets rise, with holes."""

    def placed(drawn: tuple[list[ConversationEvent], list[int]]) -> list[Stored]:
        found, steps = drawn
        offset = 0
        log: list[Stored] = []
        for event, step in zip(found, steps, strict=False):
            offset += step
            log.append(Stored(position=Position("e", 0, offset), event=event))
        return log

    steps = st.lists(st.integers(1, 3), min_size=12, max_size=12)
    return st.tuples(st.lists(events(ids=ids), max_size=12), steps).map(placed)
