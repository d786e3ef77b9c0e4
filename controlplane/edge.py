"""The edge: stamps what comes in, publishes it, and waits for the read side where asked to."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import HeaderParameter

from controlplane.replay import TOPIC
from helix.client.wire import Accepted, Acknowledged
from helix.domain.ids import event_id, log_key
from helix.errors import InvalidError, UnavailableError
from helix.events import ConversationEvent
from helix.ports import Credential, Ids, Receipt, World

KEY_CHARACTERS_MAX = 255
WAIT_S_MAX = 10
POLL_S = 0.02

_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the edge adds to the events of one request."""

    tenant: str
    route: str
    key: str  # the client's Idempotency-Key, or empty
    now: int
    ids: Ids = field(repr=False)

    def event_id(self, index: int = 0, *, own: str = "") -> str:
        """The same at every retry if the client named the request or the thing; else a new one."""
        if self.key:
            return event_id(self.tenant, self.route, self.key, index)
        return event_id(self.tenant, self.route, own) if own else self.ids()


@dataclass(frozen=True, slots=True)
class Write:
    """One request to write: who asks, under which key, and how long they would wait."""

    world: World
    tenant: str
    key: str
    wait_s: int

    def stamp(self, route: str) -> Stamp:
        """The stamp of a request to that route."""
        now = self.world.clock()
        return Stamp(tenant=self.tenant, route=route, key=self.key, now=now, ids=self.world.ids)


async def write(
    request: Request[Credential, str, State],
    world: NamedDependency[World],
    idempotency_key: Annotated[str | None, HeaderParameter(name="Idempotency-Key")] = None,
    prefer: Annotated[str | None, HeaderParameter(name="Prefer")] = None,
) -> Write:
    """The `write` dependency of the routes."""
    return Write(
        world=world,
        tenant=request.user.tenant,
        key=plain(idempotency_key),
        wait_s=wait_s(prefer),
    )


def plain(given: str | None) -> str:
    """The header's value; `InvalidError` if it is empty, too long or not plain text."""
    if given is None:
        return ""
    if not _KEY.fullmatch(given):
        raise InvalidError(
            f"`Idempotency-Key` is not 1 to {KEY_CHARACTERS_MAX} printable characters: shorten it",
            field="Idempotency-Key",
        )
    return given


def wait_s(prefer: str | None) -> int:
    """How long the client prefers to wait for the read side, bounded; 0 if it does not say."""
    asked = _WAIT.search(prefer or "")
    return min(int(asked[1]), WAIT_S_MAX) if asked else 0


async def publish(
    world: World, conversation_id: str, events: Sequence[ConversationEvent]
) -> Accepted:
    """The events are in the log, acknowledged, in their order."""
    key = log_key(events[0].tenant, conversation_id)
    receipts = await world.log.publish(TOPIC, key, events)
    last = receipts[-1]
    return Accepted(
        conversation_id=conversation_id,
        event_id=last.event_id,
        topic=last.topic,
        partition=last.partition,
        offset=last.offset,
        events=[_acknowledged(receipt) for receipt in receipts],
    )


async def readable(write: Write, accepted: Accepted) -> bool:
    """Whether the read side shows the write, waiting for it no longer than the client asked."""
    try:
        async with asyncio.timeout(write.wait_s):
            while not await _shown(write.world, write.tenant, accepted):  # noqa: ASYNC110 - another process moves it
                await asyncio.sleep(POLL_S)
    except (TimeoutError, UnavailableError):
        return False  # the write is acknowledged all the same
    return True


async def _shown(world: World, tenant: str, accepted: Accepted) -> bool:
    mark = await world.events.watermark(TOPIC, accepted.partition)
    if mark is None or mark.offset <= accepted.offset:
        return False
    state = await world.conversations.get(tenant, accepted.conversation_id)
    return state is not None and state.last_offset >= accepted.offset


def _acknowledged(receipt: Receipt) -> Acknowledged:
    return Acknowledged(
        event_id=receipt.event_id,
        topic=receipt.topic,
        partition=receipt.partition,
        offset=receipt.offset,
    )
