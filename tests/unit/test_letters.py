"""What is known and done about dead letters, without a log."""

import msgspec
import pytest

from helix.errors import InvalidError, MissingError
from helix.events import AnyEvent, DeadLetter, DeadLetterSettled, Settlement
from runtime import commands
from runtime.letters import Choice, Entry, ledger, raised


def letter(number: int, *, pipeline: str = "p", topic: str = "t") -> DeadLetter:
    return DeadLetter(
        event_id=f"{pipeline}-{number}",
        tenant="",
        occurred_at=number,
        ingested_at=number,
        pipeline=pipeline,
        reason="because",
        topic=topic,
        epoch="e",
        partition=number % 2,
        offset=number,
        value=b"x",
        size=1,
    )


def settled(letter_id: str, outcome: Settlement) -> DeadLetterSettled:
    return DeadLetterSettled(
        event_id="s", tenant="", occurred_at=0, ingested_at=0, letter_id=letter_id, outcome=outcome
    )


def ids(entries: list[Entry]) -> list[str]:
    return [entry.letter_id for entry in entries]


def test_a_letter_buried_twice_is_listed_once_and_the_oldest_comes_first() -> None:
    events: list[AnyEvent] = [letter(2), letter(1), letter(2)]

    assert ids(ledger(events)) == ["p-1", "p-2"]


def test_a_settled_letter_is_not_open_any_more() -> None:
    events = [letter(1), letter(2), settled("p-1", "replayed"), settled("unknown", "buried")]

    assert {entry.letter_id: entry.state for entry in ledger(events)} == {
        "p-1": "replayed",
        "p-2": "open",
    }


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (Choice(), ["p-1", "p-2", "q-3"]),
        (Choice(pipeline="q"), ["q-3"]),
        (Choice(topic="u"), ["q-3"]),
        (Choice(topic="t", partition=0), ["p-2"]),
        (Choice(topic="t", first=2), ["p-2"]),
        (Choice(topic="t", end=2), ["p-1"]),
        (Choice(topic="t", end=0), []),
        (Choice(ids=frozenset({"p-2"})), ["p-2"]),
        (Choice(states=frozenset({"open", "replayed"})), ["p-1", "p-2", "q-3", "p-4"]),
    ],
)
def test_a_choice_takes_what_it_names(choice: Choice, chosen: list[str]) -> None:
    letters = [letter(1), letter(2), letter(3, pipeline="q", topic="u"), letter(4)]

    assert ids(choice.of(ledger([*letters, settled("p-4", "replayed")]))) == chosen


def test_an_id_that_is_no_open_letter_is_named() -> None:
    events = [letter(1), settled("p-1", "buried")]

    with pytest.raises(MissingError, match="no open letter `p-1`"):
        Choice(ids=frozenset({"p-1"})).of(ledger(events))


def test_an_event_is_raised_by_one_attempt_and_keeps_fields_nobody_knows() -> None:
    value = (
        b'{"type":"conversation.completed","event_id":"e","tenant":"t","occurred_at":1,'
        b'"ingested_at":2,"conversation_id":"c","outcome":"successful","later":1.50}'
    )

    once, twice = raised(value), raised(raised(value))

    assert msgspec.json.decode(once) == msgspec.json.decode(value) | {"attempt": 2}
    assert b'"later":1.50' in twice
    assert msgspec.json.decode(twice)["attempt"] == 3


def test_bytes_that_are_no_event_are_sent_as_they_are() -> None:
    assert raised(b"no event") == b"no event"


@pytest.mark.parametrize("command", ["replay", "bury"])
def test_a_command_without_a_choice_says_how_to_choose(command: str) -> None:
    with pytest.raises(InvalidError, match="--all"):
        commands.choice(command, commands.given(command, []))


def test_offsets_without_their_topic_are_refused() -> None:
    with pytest.raises(InvalidError, match="--topic"):
        commands.choice("replay", commands.given("replay", ["--first", "3", "--all"]))


@pytest.mark.parametrize(
    ("command", "words", "states"),
    [
        ("letters", [], {"open"}),
        ("letters", ["--settled"], {"open", "replayed", "buried"}),
        ("replay", ["--all", "--again"], {"open", "replayed"}),
        ("bury", ["--id", "x"], {"open"}),
    ],
)
def test_what_was_settled_is_left_alone_unless_asked_for(
    command: str, words: list[str], states: set[str]
) -> None:
    assert commands.choice(command, commands.given(command, words)).states == states
