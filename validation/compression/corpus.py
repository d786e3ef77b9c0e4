"""Meetings with questions and the turns that answer them; which tune and which judge."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from helix.adapters import tokens
from helix.domain.ranking import Floats, Ranking, words
from helix.errors import InvalidError
from helix.events import Message

SPLIT = Path(__file__).with_name("split.json")  # written before anything was tuned
SEED = 20
TUNE_COUNT = 20


class Turn(msgspec.Struct, frozen=True):
    """Who said what."""

    speaker: str
    content: str


class Query(msgspec.Struct, frozen=True):
    """A question, and the first and last turns of the spans that answer it."""

    relevant_text_span: list[tuple[str, str]]


class Transcript(msgspec.Struct, frozen=True):
    """A meeting as the corpus has it."""

    meeting_transcripts: list[Turn]
    specific_query_list: list[Query]


class Split(msgspec.Struct, frozen=True):
    """Which meetings the settings were chosen on and which only judge them, by id."""

    data_set: str
    sha256: str
    seed: int
    tune: list[str]
    held_out: list[str]


@dataclass(frozen=True, slots=True)
class Meeting:
    """A meeting as a conversation, with the turns that answer each question."""

    meeting_id: str
    history: list[Message]
    ranking: Ranking
    tokens: Floats  # of each turn
    words: list[frozenset[str]]  # those that say something, of each turn
    gold: list[NDArray[np.int64]]  # turns, one array a question


def read(path: Path) -> tuple[str, list[Transcript]]:
    """The digest of the corpus file and its meetings."""
    raw = path.read_bytes()
    lines = [line for line in raw.splitlines() if line]
    found = [msgspec.json.decode(line, type=Transcript) for line in lines]
    return hashlib.sha256(raw).hexdigest(), found


def meeting_id(transcript: Transcript) -> str:
    """An id made of what was said: the corpus gives none."""
    said = "".join(f"{turn.speaker}\t{turn.content}\n" for turn in transcript.meeting_transcripts)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def divided(digest: str, transcripts: list[Transcript]) -> Split:
    """The split: ids in order, shuffled by the seed, the first so many to tune."""
    ids = sorted(meeting_id(transcript) for transcript in transcripts)
    random.Random(SEED).shuffle(ids)  # noqa: S311 - a reproducible draw, no secret
    return Split(
        data_set="QMSum, validation split",
        sha256=digest,
        seed=SEED,
        tune=sorted(ids[:TUNE_COUNT]),
        held_out=sorted(ids[TUNE_COUNT:]),
    )


def split() -> Split:
    """The split as it was committed."""
    return msgspec.json.decode(SPLIT.read_bytes(), type=Split)


def meetings(path: Path) -> tuple[Split, list[Meeting]]:
    """The committed split and every meeting of the corpus; another corpus is refused."""
    digest, transcripts = read(path)
    committed = split()
    if digest != committed.sha256:
        raise InvalidError(
            f"`{path}` is not the {committed.data_set} of the split: its sha256 is {digest},"
            f" give the file whose sha256 is {committed.sha256}"
        )
    return committed, [_meeting(transcript) for transcript in transcripts]


def _meeting(transcript: Transcript) -> Meeting:
    history = [
        Message(
            message_id=str(index),
            role="user",
            name=turn.speaker,
            content=turn.content,
            tokens=tokens.count(turn.content),
        )
        for index, turn in enumerate(transcript.meeting_transcripts)
    ]
    gold = [_turns(query, len(history)) for query in transcript.specific_query_list]
    return Meeting(
        meeting_id=meeting_id(transcript),
        history=history,
        ranking=Ranking.of(history),
        tokens=np.array([message.tokens for message in history], np.float64),
        words=[frozenset(words(message.content)) for message in history],
        gold=[turns for turns in gold if len(turns)],
    )


def _turns(query: Query, height: int) -> NDArray[np.int64]:
    spans = [range(int(first), int(last) + 1) for first, last in query.relevant_text_span]
    return np.array(sorted({turn for span in spans for turn in span if turn < height}), np.int64)
