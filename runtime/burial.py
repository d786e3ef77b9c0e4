"""The dead-letter topic: records no worker can use, kept with their reason and their bytes."""

from collections.abc import Sequence

from confluent_kafka import Message

from helix.domain.ids import derived_id, log_key
from helix.events import EVENT_BYTES_MAX, DeadLetter, encode
from helix.settings import Kafka
from runtime.sending import Outgoing, Sender

TOPIC = "helixagent.dead-letters"
REASON_CHARS_MAX = 500
HELD_BYTES_MAX = EVENT_BYTES_MAX // 2  # of key and value together: in JSON they are a third larger


class Burial:
    """Sends dead letters and waits for their acknowledgement."""

    def __init__(self, settings: Kafka) -> None:
        self._sender = Sender(settings)

    def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Every letter is in the topic when this returns; else `UnavailableError`."""
        for letter in letters:
            key = log_key(letter.tenant, letter.topic).encode()
            self._sender.send(Outgoing(topic=TOPIC, value=encode(letter), key=key))
        self._sender.flush()


def letter(message: Message, pipeline: str, *, epoch: str, reason: str, now: int) -> DeadLetter:
    """What is kept of a record: the same id however often the pipeline buries it."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    place = f"{topic}:{epoch}:{partition}:{offset}"
    key, value = _bytes(message.key()), _bytes(message.value())
    holds = len(key) + len(value) <= HELD_BYTES_MAX
    return DeadLetter(
        event_id=derived_id(place, pipeline),
        tenant="",  # nobody's: what could not be decoded names no tenant to believe
        occurred_at=now,
        ingested_at=now,
        pipeline=pipeline,
        reason=reason[:REASON_CHARS_MAX],
        topic=topic or "",
        epoch=epoch,
        partition=-1 if partition is None else partition,
        offset=-1 if offset is None else offset,
        value=value if holds else b"",
        key=key if holds else b"",
        size=len(value),
    )


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""  # a record may have no key, or no value
