"""What flows where: one row a pipeline."""

from collections.abc import Callable
from types import UnionType
from typing import Any

import msgspec

from helix.adapters.postgres import EVENTS_PIPELINE, STATES_PIPELINE, TOPIC
from helix.domain import conversations
from helix.events import ConversationEvent
from helix.settings import Settings
from helix.topology.model import Store
from runtime.sinks import Sink
from runtime.workers.conversations import EventSink, StateSink, to_row


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """One topic, one pure function, one store."""

    name: str
    noun: str  # who reads: one of the topic's readers in the catalogue
    topic: str
    events: UnionType  # the only ones it takes; others are buried
    function: Callable[..., object]
    store: Store
    sink: Callable[[Settings, str, Any], Sink]
    gather_s: float  # how long a batch may wait for more: latency against the cost of a save

    def open(self, settings: Settings) -> Sink:
        """The pipeline's store, its function inside."""
        return self.sink(settings, self.name, self.function)


PIPELINES = (
    Pipeline(
        name=STATES_PIPELINE,
        noun="conversations",
        topic=TOPIC,
        events=ConversationEvent,
        function=conversations.fold,
        store=Store.POSTGRES,
        sink=StateSink,
        gather_s=0.0,
    ),
    Pipeline(
        name=EVENTS_PIPELINE,
        noun="conversations",
        topic=TOPIC,
        events=ConversationEvent,
        function=to_row,
        store=Store.CLICKHOUSE,
        sink=EventSink,
        gather_s=1.0,  # each insert makes a part on disk; a replay reads the rest from the log
    ),
)
