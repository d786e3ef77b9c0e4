"""What Hypothesis draws: events and logs as they can come."""

from hypothesis import strategies as st

from helix.domain.positions import Position, Stored
from helix.events import (
    ConversationCompleted,
    ConversationCreated,
    ConversationEvent,
    Message,
    MessageAdded,
    Outcome,
    Role,
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

messages = st.builds(
    Message,
    message_id=texts,
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
    one = st.just(conversation)
    tenant = st.just("t")
    return st.one_of(
        st.builds(
            ConversationCreated,
            event_id=ids,
            tenant=tenant,
            occurred_at=micros,
            ingested_at=micros,
            conversation_id=one,
            user_id=names,
            session_id=texts,
            title=texts,
            metadata=metadata,
        ),
        st.builds(
            MessageAdded,
            event_id=ids,
            tenant=tenant,
            occurred_at=micros,
            ingested_at=micros,
            conversation_id=one,
            message=messages,
        ),
        st.builds(
            ConversationCompleted,
            event_id=ids,
            tenant=tenant,
            occurred_at=micros,
            ingested_at=micros,
            conversation_id=one,
            outcome=st.sampled_from(OUTCOMES),
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
