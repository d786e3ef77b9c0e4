"""Stored events, as the API shows them."""

from collections.abc import Iterable

from controlplane.instants import instant
from helix.client.wire import MessageMetadata, ReplayedMessage
from helix.events import Message


def shown(messages: Iterable[Message]) -> list[ReplayedMessage]:
    """The messages in their order."""
    return [_shown(message) for message in messages]


def _shown(message: Message) -> ReplayedMessage:
    return ReplayedMessage(
        role=message.role,
        content=message.content,
        timestamp=instant(message.created_at),
        metadata=MessageMetadata(
            message_id=message.message_id,
            model=message.model,
            tokens=message.tokens,
            name=message.name,
            custom=message.metadata,
        ),
    )
