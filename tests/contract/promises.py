"""What the ports promise, whatever stands behind them: run on fakes and on real stores."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from helix.domain.conversations import messages
from helix.domain.ids import log_key
from helix.domain.positions import Range, Stored
from helix.events import AnyEvent, ConversationCreated, Message, MessageAdded
from helix.ports import World

TOPIC = "helixagent.conversations"
CATCH_UP_S_MAX = 30.0
NOW = time.time_ns() // 1_000  # the warm copy drops what was ingested longer than 30 days ago
T = TypeVar("T")
Connect = Callable[[], AbstractAsyncContextManager[World]]


def turns(conversation: str, count: int) -> list[AnyEvent]:
    """A conversation of that many messages, never the same ids twice."""
    run = uuid.uuid5(uuid.NAMESPACE_URL, conversation)
    created = ConversationCreated(
        event_id=f"{run}-c",
        tenant="t",
        occurred_at=NOW,
        ingested_at=NOW,
        conversation_id=conversation,
        user_id="u",
    )
    return [created, *(_turn(f"{run}", conversation, number) for number in range(count))]


def _turn(run: str, conversation: str, number: int) -> MessageAdded:
    text = Message(message_id=f"m{number}", role="user", content=f"turn {number}", tokens=2)
    return MessageAdded(
        event_id=f"{run}-{number}",
        tenant="t",
        occurred_at=NOW,
        ingested_at=NOW + number,
        conversation_id=conversation,
        message=text,
    )


async def until(look: Callable[[], Awaitable[T | None]]) -> T:
    """The first thing that look finds, within the bound."""
    end = time.monotonic() + CATCH_UP_S_MAX
    while (found := await look()) is None:
        assert time.monotonic() < end, "not there in time"
        await asyncio.sleep(0.05)
    return found


class WorldPromises:
    """Inherit it and give `connect` and `name`: every method is one promise."""

    def test_receipts_come_in_order_from_one_partition(self, connect: Connect, name: str) -> None:
        async def act() -> None:
            async with connect() as world:
                key = log_key("t", name)
                receipts = await world.log.publish(TOPIC, key, turns(name, 20))

                assert [r.event_id for r in receipts] == [e.event_id for e in turns(name, 20)]
                assert {r.partition for r in receipts} == {await world.log.partition(TOPIC, key)}
                offsets = [r.offset for r in receipts]
                assert offsets == sorted(set(offsets))

        asyncio.run(act())

    def test_a_scan_gives_what_was_published_in_order(self, connect: Connect, name: str) -> None:
        async def act() -> None:
            async with connect() as world:
                receipts = await world.log.publish(TOPIC, log_key("t", name), turns(name, 20))
                partition = receipts[0].partition
                high = await world.log.high_watermark(TOPIC, partition)
                span = Range(TOPIC, high.epoch, partition, receipts[0].offset, high.offset)
                found = [stored async for stored in world.log.scan(span)]

                mine = [stored.event for stored in found if _of(stored, name)]
                assert mine == turns(name, 20)
                assert high.offset > receipts[-1].offset

        asyncio.run(act())

    def test_a_scan_of_nothing_ends_at_once(self, connect: Connect) -> None:
        async def act() -> None:
            async with connect() as world:
                high = await world.log.high_watermark(TOPIC, 0)
                span = Range(TOPIC, high.epoch, 0, high.offset, high.offset)

                assert [stored async for stored in world.log.scan(span)] == []

        asyncio.run(act())

    def test_the_state_follows_the_log(self, connect: Connect, name: str) -> None:
        async def act() -> None:
            async with connect() as world:
                receipts = await world.log.publish(TOPIC, log_key("t", name), turns(name, 20))

                async def folded() -> int | None:
                    state = await world.conversations.get("t", name)
                    full = state is not None and state.last_offset >= receipts[-1].offset
                    return state.message_count if state is not None and full else None

                assert await until(folded) == 20

        asyncio.run(act())

    def test_the_warm_copy_and_the_tail_are_the_whole_conversation(
        self, connect: Connect, name: str
    ) -> None:
        async def act() -> None:
            async with connect() as world:
                receipts = await world.log.publish(TOPIC, log_key("t", name), turns(name, 20))
                partition = receipts[0].partition
                mark = await until(lambda: world.events.watermark(TOPIC, partition))
                high = await world.log.high_watermark(TOPIC, partition)
                warm = await world.events.events("t", name, before=mark)
                span = Range(TOPIC, high.epoch, partition, mark.offset, high.offset)
                tail = [stored async for stored in world.log.scan(span) if _of(stored, name)]

                texts = [message.content for message in messages([*warm, *tail])]
                assert texts == [f"turn {number}" for number in range(20)]

        asyncio.run(act())

    def test_another_tenant_sees_nothing(self, connect: Connect, name: str) -> None:
        async def act() -> None:
            async with connect() as world:
                await world.log.publish(TOPIC, log_key("t", name), turns(name, 1))
                await until(lambda: world.conversations.get("t", name))
                high = await world.log.high_watermark(TOPIC, 0)

                assert await world.conversations.get("other", name) is None
                assert await world.events.events("other", name, before=high) == []

        asyncio.run(act())

    def test_an_unknown_key_is_nobodys(self, connect: Connect) -> None:
        async def act() -> None:
            async with connect() as world:
                assert await world.keys.find("0" * 64) is None

        asyncio.run(act())


def _of(stored: Stored, name: str) -> bool:
    return getattr(stored.event, "conversation_id", "") == name
