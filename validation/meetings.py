"""Real meetings as conversations: ingested over the API, compared with what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from helix.client.rest import Client
from helix.client.wire import Accepted, NewConversation, NewMessage, Replay

SAMPLE = Path(__file__).resolve().parent.parent / "tests" / "data" / "qmsum-sample" / "meeting.json"
BATCH_ROWS_MAX = 50
READABLE_S_MAX = 10


class Turn(msgspec.Struct, frozen=True):
    """Who said what."""

    speaker: str
    content: str


class Meeting(msgspec.Struct, frozen=True):
    """A meeting of the QMSum corpus: its turns in order."""

    meeting_transcripts: tuple[Turn, ...]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Its turns in order."""
        return self.meeting_transcripts


@dataclass(frozen=True, slots=True)
class Ingested:
    """The conversation a meeting became, and the place of its last event."""

    conversation_id: str
    last: Accepted


def read(path: Path = SAMPLE) -> Meeting:
    """The meeting in that file."""
    return msgspec.json.decode(path.read_bytes(), type=Meeting)


def read_lines(path: Path) -> list[Meeting]:
    """Every meeting of a corpus file: one JSON document a line."""
    lines = path.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Meeting) for line in lines if line]


def ingest(client: Client, meeting: Meeting, *, user_id: str) -> Ingested:
    """The meeting as a new conversation, complete, acknowledged turn by turn in order."""
    begun = client.create_conversation(NewConversation(user_id=user_id, title="A meeting"))
    turns = [
        NewMessage(role="user", content=turn.content, name=turn.speaker) for turn in meeting.turns
    ]
    for start in range(0, len(turns), BATCH_ROWS_MAX):
        client.add_messages(begun.conversation_id, turns[start : start + BATCH_ROWS_MAX])
    last = client.complete(begun.conversation_id, "successful", wait_s=READABLE_S_MAX)
    return Ingested(conversation_id=begun.conversation_id, last=last)


def same(meeting: Meeting, replay: Replay) -> list[str]:
    """Every difference between what was said and what came back; empty if there is none."""
    said = [(turn.speaker, turn.content) for turn in meeting.turns]
    back = [(message.metadata.name, message.content) for message in replay.messages]
    return [*_counted(said, back), *_compared(said, back)]


def _counted(said: Sequence[object], back: Sequence[object]) -> list[str]:
    return [] if len(said) == len(back) else [f"{len(said)} turns went in, {len(back)} came back"]


def _compared(said: Sequence[tuple[str, str]], back: Sequence[tuple[str, str]]) -> list[str]:
    return [
        f"turn {number}: {mine!r} came back as {theirs!r}"
        for number, (mine, theirs) in enumerate(zip(said, back, strict=False), 1)
        if mine != theirs
    ]
