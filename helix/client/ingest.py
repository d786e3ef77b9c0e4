"""Conversations written batch by batch, so that writing them again changes nothing."""

from collections.abc import Callable

import msgspec

from helix.client.rest import Client
from helix.client.transcripts import Transcript
from helix.client.wire import Accepted, NewConversation

BATCH_ROWS_MAX = 50
READABLE_S_MAX = 10

Told = Callable[[int], object]  # the number of messages just acknowledged


class Ingested(msgspec.Struct, frozen=True):
    """The conversation a transcript became, and the place of its last event."""

    conversation_id: str
    last: Accepted


def ingest(
    client: Client,
    transcript: Transcript,
    *,
    user_id: str,
    batch_rows: int = BATCH_ROWS_MAX,
    told: Told = lambda _: None,
) -> Ingested:
    """The transcript as a conversation, acknowledged in order and readable at the end.

    Every request carries a key made of the transcript's own and of its place, so a run that broke
    off is repeated from the start at no harm: with the same `user_id` and `batch_rows`.
    """
    begin = NewConversation(
        user_id=user_id, conversation_id=transcript.conversation_id, title=transcript.title
    )
    last = client.create_conversation(begin, key=_key(transcript, "begin"))
    found = last.conversation_id
    said = transcript.messages
    for start in range(0, len(said), batch_rows):
        batch = said[start : start + batch_rows]
        wait_s = READABLE_S_MAX if start + batch_rows >= len(said) and not transcript.outcome else 0
        last = client.add_messages(found, batch, wait_s=wait_s, key=_key(transcript, str(start)))
        told(len(batch))
    if transcript.outcome:
        key = _key(transcript, "end")
        last = client.complete(found, transcript.outcome, wait_s=READABLE_S_MAX, key=key)
    return Ingested(conversation_id=found, last=last)


def _key(transcript: Transcript, place: str) -> str:
    return f"{transcript.key}-{place}" if transcript.key else ""
