"""Facts of conversations."""

import pytest

from helix.adapters import tokens
from helix.domain.conversations import Conversation, fold, stats, within
from helix.domain.positions import Position, Stored
from helix.errors import InvalidError
from helix.events import (
    ConversationCompleted,
    ConversationCreated,
    ConversationEvent,
    DeadLetter,
    Message,
    MessageAdded,
)


def at(offset: int, event: ConversationEvent, *, epoch: str = "e") -> Stored:
    return Stored(position=Position(epoch, 3, offset), event=event)


def added(number: int, *, tokens: int = 5) -> MessageAdded:
    message = Message(message_id=f"m{number}", role="user", content="hi", tokens=tokens)
    return MessageAdded(
        event_id=f"e{number}",
        tenant="t",
        occurred_at=number,
        ingested_at=100 + number,
        conversation_id="c",
        message=message,
    )


CREATED = ConversationCreated(
    event_id="e0",
    tenant="t",
    occurred_at=90,
    ingested_at=100,
    conversation_id="c",
    user_id="u",
    title="First",
)


def test_a_conversation_counts_its_messages_and_tokens() -> None:
    state = fold(fold(fold(None, at(7, CREATED)), at(9, added(1))), at(12, added(2)))

    assert (state.message_count, state.tokens) == (2, 10)
    assert (state.first_offset, state.last_offset, state.last_at) == (7, 12, 102)
    assert (state.user_id, state.title, state.created_at) == ("u", "First", 90)


def test_a_message_before_its_conversation_was_created_counts() -> None:
    state = fold(fold(None, at(1, added(1))), at(2, CREATED))

    assert (state.user_id, state.message_count) == ("u", 1)


def test_the_same_event_at_a_later_position_counts_once() -> None:
    state = fold(fold(None, at(1, added(1))), at(2, added(1)))

    assert (state.message_count, state.last_offset) == (1, 2)


def test_a_completed_conversation_knows_its_outcome() -> None:
    done = ConversationCompleted(
        event_id="e9",
        tenant="t",
        occurred_at=50,
        ingested_at=200,
        conversation_id="c",
        outcome="error",
    )

    state = fold(fold(None, at(1, CREATED)), at(2, done))

    assert (state.outcome, state.completed_at) == ("error", 50)


def test_a_new_epoch_starts_the_range_again() -> None:
    state = fold(fold(None, at(50, CREATED)), at(0, added(1), epoch="later"))

    assert (state.epoch, state.first_offset, state.last_offset) == ("later", 0, 0)
    assert state.message_count == 1


def test_an_event_that_is_no_conversations_is_refused() -> None:
    letter = DeadLetter(
        event_id="d",
        tenant="",
        occurred_at=1,
        ingested_at=1,
        pipeline="p",
        reason="r",
        topic="t",
        epoch="e",
        partition=0,
        offset=0,
        value=b"",
    )

    with pytest.raises(InvalidError, match="DeadLetter"):
        fold(None, Stored(position=Position("e", 0, 1), event=letter))


def test_a_budget_keeps_the_newest_messages() -> None:
    history = [added(number, tokens=10).message for number in range(5)]

    assert [m.message_id for m in within(history, 25)] == ["m3", "m4"]
    assert within(history, 9) == []


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(InvalidError, match="max_tokens"):
        within([], -1)


def test_stats_count_roles_and_models() -> None:
    history = [
        Message(message_id="1", role="user", content="", tokens=1, created_at=5),
        Message(message_id="2", role="assistant", content="", tokens=2, model="m", created_at=9),
    ]

    found = stats(history)

    assert found.by_role == {"user": 1, "assistant": 1}
    assert (found.by_model, found.tokens, found.first_at, found.last_at) == ({"m": 1}, 3, 5, 9)


def test_stats_of_nothing_have_no_times() -> None:
    assert stats([]).first_at is None


def test_only_the_last_ids_are_remembered() -> None:
    state: Conversation | None = None
    for number in range(40):
        state = fold(state, at(number, added(number)))

    assert state is not None
    assert state.recent_ids == tuple(f"e{number}" for number in range(24, 40))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("hello world", 2), ("<|endoftext|>", 7), ("aaaaaaaaaa" * 10, 13)],
)
def test_tokens_are_counted_exactly_without_a_network(text: str, expected: int) -> None:
    assert tokens.count(text) == expected
