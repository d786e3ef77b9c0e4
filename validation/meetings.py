"""Real meetings as conversations: ingested over the API, compared with what comes back."""

from collections.abc import Sequence
from pathlib import Path

from helix.client import transcripts
from helix.client.ingest import Ingested
from helix.client.ingest import ingest as write
from helix.client.rest import Client
from helix.client.transcripts import Meeting, of_meeting
from helix.client.wire import Replay

SAMPLE = Path(__file__).resolve().parent.parent / "tests" / "data" / "qmsum-sample" / "meeting.json"


def read(path: Path = SAMPLE) -> Meeting:
    """The meeting in that file."""
    return read_lines(path)[0]


def read_lines(path: Path) -> list[Meeting]:
    """Every meeting of a corpus file: one JSON document a line."""
    return transcripts.meetings(path, path.read_bytes())


def ingest(client: Client, meeting: Meeting, *, user_id: str) -> Ingested:
    """The meeting as a new conversation, complete, acknowledged turn by turn in order."""
    return write(client, of_meeting(meeting), user_id=user_id)


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
