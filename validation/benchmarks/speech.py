"""What the benchmarks say: words of a real meeting, cut to the size of a usual message."""

import functools
import random

import msgspec

from helix.adapters.tokens import count
from helix.client.wire import NewMessage
from helix.events import Message, MessageAdded
from validation import meetings

CHARACTERS = 560  # of a message: an event of about 900 bytes on the wire
TENANT = "bench"
STARTED_US = 4_000_000_000_000_000  # far ahead: no retention takes any of it meanwhile
SEED = 7


def said(number: int) -> str:
    """The text of that message, the same in every run."""
    text = _text()
    start = random.Random(SEED + number).randrange(len(text) - CHARACTERS)  # noqa: S311 - not secret
    return text[start : start + CHARACTERS]


@functools.cache
def bodies(messages: int) -> tuple[bytes, ...]:
    """So many messages as clients send them."""
    return tuple(
        msgspec.json.encode(NewMessage(role="user", content=said(number), name="Ann"))
        for number in range(messages)
    )


@functools.cache
def events(messages: int, conversations: int) -> tuple[MessageAdded, ...]:
    """So many messages as the edge stamps them, spread over the conversations in turn."""
    return tuple(
        added(number, f"conversation-{number % conversations}") for number in range(messages)
    )


def added(number: int, conversation_id: str) -> MessageAdded:
    """That message as an event of the conversation."""
    text = said(number)
    at = STARTED_US + number
    event_id = f"00000000-0000-4000-8000-{number:012d}"
    return MessageAdded(
        event_id=event_id,
        tenant=TENANT,
        occurred_at=at,
        ingested_at=at,
        conversation_id=conversation_id,
        message=Message(
            message_id=event_id,
            role="user",
            content=text,
            name="Ann",
            tokens=count(text),
            created_at=at,
        ),
    )


@functools.cache
def _text() -> str:
    return " ".join(turn.content for turn in meetings.read().turns)
