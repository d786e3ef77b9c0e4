"""Records sent to the log one by one, and waited for together."""

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from helix.adapters.kafka import SERVICE, away, producer_config
from helix.errors import HelixError, UnavailableError
from helix.settings import Kafka

PARTITION_BY_KEY = -1


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A record about to be sent."""

    topic: str
    value: bytes
    key: bytes | None
    partition: int = PARTITION_BY_KEY
    headers: dict[str, str | bytes | None] = {}


class Sender:
    """Sends records, and tells whether the log has them."""

    def __init__(self, settings: Kafka) -> None:
        self._producer = Producer(producer_config(settings), logger=None)
        self._wait_s_max = settings.deliver_ms_max / 1000
        self._failure: HelixError | None = None

    def send(self, record: Outgoing) -> None:
        """The record is on its way; `UnavailableError` where it cannot be."""
        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                record.partition,
                on_delivery=self._acked,
                headers=record.headers,
            )
        except BufferError as error:
            raise UnavailableError(SERVICE) from error
        except KafkaException as error:
            raise away(error) from error

    def flush(self) -> None:
        """Everything sent is acknowledged when this returns; else the error that says why not."""
        left = self._producer.flush(self._wait_s_max)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if left:
            raise UnavailableError(SERVICE)

    def _acked(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failure = away(error)
