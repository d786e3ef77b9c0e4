"""What was said, as files hold it: meetings, messages by the line, plain text."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args

import msgspec

from helix.client.wire import CONTENT_BYTES_MAX, ConversationId, NewMessage
from helix.errors import InvalidError
from helix.events import Outcome, Role

FILE_BYTES_MAX = 512 * 1024 * 1024
DIGEST_CHARACTERS = 16  # of sha256: enough to tell any two files of one tenant apart

Format = Literal["qmsum", "jsonl", "text"]
FORMATS: tuple[Format, ...] = get_args(Format)

T = TypeVar("T")

_ROLE = re.compile(rf"({'|'.join(get_args(Role))}):\s*(.*)", re.IGNORECASE)


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


class Line(NewMessage, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message that says which conversation it belongs to."""

    conversation_id: ConversationId | None = None


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to be written; writing it again under the same `key` changes nothing."""

    messages: Sequence[NewMessage]
    key: str = ""  # empty: nothing to recognise it by
    conversation_id: str | None = None
    title: str = ""
    outcome: Outcome | None = None  # None: it may go on


def read(path: Path, form: Format | None = None) -> list[Transcript]:
    """Every conversation of the file; `InvalidError` names the line that cannot be read."""
    data = _bytes(path)
    digest = hashlib.sha256(data).hexdigest()[:DIGEST_CHARACTERS]
    match form or guessed(path, data):
        case "qmsum":
            found = [of_meeting(meeting) for meeting in meetings(path, data)]
        case "jsonl":
            found = _of_lines(path, data)
        case "text":
            found = [Transcript(messages=_of_text(path, data))]
    if not any(transcript.messages for transcript in found):
        raise InvalidError(f"`{path}` holds no message: check the file, or name `--format`")
    return [_named(transcript, digest, number) for number, transcript in enumerate(found, 1)]


def guessed(path: Path, data: bytes) -> Format:
    """What the file seems to hold."""
    if not data.lstrip().startswith(b"{"):
        return "text"
    if path.suffix == ".json" or b'"meeting_transcripts"' in data.partition(b"\n")[0]:
        return "qmsum"
    return "jsonl"


def meetings(path: Path, data: bytes) -> list[Meeting]:
    """Every meeting of a file: one document in all, or one a line."""
    try:
        return [msgspec.json.decode(data, type=Meeting)]
    except msgspec.DecodeError:
        return [_decoded(path, number, line, Meeting) for number, line in _lines(data)]


def of_meeting(meeting: Meeting) -> Transcript:
    """A meeting as a conversation that has ended."""
    said = [
        NewMessage(role="user", content=turn.content, name=turn.speaker) for turn in meeting.turns
    ]
    return Transcript(messages=said, title="A meeting", outcome="successful")


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise InvalidError(f"`{path}` is over {FILE_BYTES_MAX} bytes: split it")
        return path.read_bytes()
    except OSError as error:
        raise InvalidError(f"`{path}` cannot be read: {error.strerror}: check the path") from error


def _of_lines(path: Path, data: bytes) -> list[Transcript]:
    """One message a line; a conversation is all lines of one id, in their order."""
    said: dict[str | None, list[NewMessage]] = {}
    for number, text in _lines(data):
        line = _decoded(path, number, text, Line)
        fields = {name: getattr(line, name) for name in NewMessage.__struct_fields__}
        said.setdefault(line.conversation_id, []).append(NewMessage(**fields))
    return [Transcript(conversation_id=name, messages=lines) for name, lines in said.items()]


def _of_text(path: Path, data: bytes) -> list[NewMessage]:
    """One message a line; `assistant:` at its beginning says whose, otherwise it is the user's."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise InvalidError(f"`{path}` is no UTF-8 text: convert it with `iconv`") from error
    return [
        _said(path, number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()
    ]


def _said(path: Path, number: int, line: str) -> NewMessage:
    if len(line.encode()) > CONTENT_BYTES_MAX:
        raise InvalidError(f"`{path}` line {number} is over {CONTENT_BYTES_MAX} bytes: split it")
    found = _ROLE.fullmatch(line)
    if found is None:
        return NewMessage(role="user", content=line)
    return msgspec.convert({"role": found[1].lower(), "content": found[2]}, NewMessage)


def _lines(data: bytes) -> list[tuple[int, bytes]]:
    return [(number, line) for number, line in enumerate(data.splitlines(), 1) if line.strip()]


def _decoded(path: Path, number: int, line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidError(
            f"`{path}` line {number}: {error}: mend it, or name `--format`"
        ) from error


def _named(transcript: Transcript, digest: str, number: int) -> Transcript:
    key = f"{digest}-{number}"
    return msgspec.structs.replace(
        transcript, key=key, conversation_id=transcript.conversation_id or key
    )
