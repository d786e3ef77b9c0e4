"""Facts of conversations."""

import msgspec
import pytest

from helix.adapters import tokens
from helix.domain.conversations import Conversation, fold, messages, named, stats, within
from helix.domain.positions import Position, Stored
from helix.errors import InvalidError
from helix.events import (
    ContextCompressed,
    ConversationCompleted,
    ConversationCreated,
    ConversationEvent,
    DeadLetter,
    Message,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    Survival,
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


def edited(message_id: str, content: str, tokens: int) -> MessageEdited:
    return MessageEdited(
        event_id=f"edit {message_id} {content}",
        tenant="t",
        occurred_at=1,
        ingested_at=200,
        conversation_id="c",
        message_id=message_id,
        content=content,
        tokens=tokens,
    )


def deleted(message_id: str) -> MessageDeleted:
    return MessageDeleted(
        event_id=f"delete {message_id}",
        tenant="t",
        occurred_at=1,
        ingested_at=300,
        conversation_id="c",
        message_id=message_id,
    )


def log(*events: ConversationEvent) -> list[Stored]:
    return [at(offset, event) for offset, event in enumerate(events)]


def folded(*events: ConversationEvent) -> Conversation:
    state: Conversation | None = None
    for stored in log(*events):
        state = fold(state, stored)
    assert state is not None
    return state


COMPRESSED = ContextCompressed(
    event_id="k",
    tenant="t",
    occurred_at=1,
    ingested_at=999,
    conversation_id="c",
    strategy="hybrid",
    tokens_max=100,
    original_messages=9,
    compressed_messages=3,
    original_tokens=200,
    compressed_tokens=90,
    pins_kept=1,
    survival=Survival(),
    quality_score=1.0,
    took_us=5,
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


def test_an_edit_and_a_deletion_are_counted_as_changes() -> None:
    state = folded(added(1), edited("m1", "new", tokens=9), deleted("m1"))

    assert (state.changes, state.event_count) == (2, 3)
    assert (state.message_count, state.tokens) == (1, 5)


def test_a_compression_is_no_activity() -> None:
    state = folded(added(1), COMPRESSED)

    assert (state.event_count, state.last_at) == (2, 101)
    assert COMPRESSED.ingested_at > state.last_at


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (added(1), False),
        (msgspec.structs.replace(added(1), request="digest"), True),
        (msgspec.structs.replace(added(1), attempt=2), True),
    ],
)
def test_an_event_with_a_request_or_an_attempt_may_come_again(
    event: MessageAdded, expected: bool
) -> None:
    assert named(event) is expected


def test_an_edited_message_has_its_latest_text() -> None:
    said = messages(log(added(1), added(2), edited("m1", "one", 2), edited("m1", "two", 3)))

    assert [(m.message_id, m.content, m.tokens) for m in said] == [
        ("m1", "two", 3),
        ("m2", "hi", 5),
    ]


def test_an_edit_forgets_what_the_provider_counted_of_the_old_text() -> None:
    event = added(1)
    stated = msgspec.structs.replace(
        event, message=msgspec.structs.replace(event.message, tokens_stated=7)
    )

    assert messages(log(stated, edited("m1", "new", 1)))[0].tokens_stated == 0


def test_a_deleted_message_is_left_out_and_not_brought_back_by_an_edit() -> None:
    said = messages(log(added(1), added(2), deleted("m1"), edited("m1", "back", 1)))

    assert [m.message_id for m in said] == ["m2"]


def test_a_message_that_is_added_again_after_its_deletion_is_there() -> None:
    again = msgspec.structs.replace(added(1), event_id="another")

    assert [m.message_id for m in messages(log(added(1), deleted("m1"), added(2), again))] == [
        "m2",
        "m1",
    ]


def test_an_id_stands_for_every_message_that_carries_it() -> None:
    twin = msgspec.structs.replace(added(1), event_id="another")

    assert [m.content for m in messages(log(added(1), twin, edited("m1", "new", 1)))] == ["new"] * 2
    assert messages(log(added(1), twin, deleted("m1"))) == []


def test_changes_of_a_message_nobody_added_do_nothing() -> None:
    assert messages(log(edited("m1", "x", 1), deleted("m1"), added(1))) == [added(1).message]


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("hello world", 2), ("<|endoftext|>", 7), ("aaaaaaaaaa" * 10, 13)],
)
def test_tokens_are_counted_exactly_without_a_network(text: str, expected: int) -> None:
    assert tokens.count(text) == expected
