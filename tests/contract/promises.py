"""What the ports promise, whatever stands behind them: run on fakes and on real stores."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import msgspec
import pytest

from helix.domain.conversations import messages
from helix.domain.ids import log_key
from helix.domain.positions import Position, Range, Stored
from helix.events import (
    AnyEvent,
    ContextCompressed,
    ConversationCreated,
    Message,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    Survival,
)
from helix.ports import Applied, Found, Receipt, Standing, Trend, World

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


@pytest.mark.anyio
class LogPromises:
    """The order of the log, and what a scan gives."""

    async def test_receipts_come_in_order_from_one_partition(
        self, connect: Connect, name: str
    ) -> None:
        async with connect() as world:
            key = log_key("t", name)
            receipts = await world.log.publish(TOPIC, key, turns(name, 20))

            assert [r.event_id for r in receipts] == [e.event_id for e in turns(name, 20)]
            assert {r.partition for r in receipts} == {await world.log.partition(TOPIC, key)}
            offsets = [r.offset for r in receipts]
            assert offsets == sorted(set(offsets))

    async def test_a_scan_gives_what_was_published_in_order(
        self, connect: Connect, name: str
    ) -> None:
        async with connect() as world:
            receipts = await world.log.publish(TOPIC, log_key("t", name), turns(name, 20))
            partition = receipts[0].partition
            high = await world.log.high_watermark(TOPIC, partition)
            span = Range(TOPIC, high.epoch, partition, receipts[0].offset, high.offset)
            found = [stored async for stored in world.log.scan(span)]

            mine = [stored.event for stored in found if _of(stored, name)]
            assert mine == turns(name, 20)
            assert high.offset > receipts[-1].offset

    async def test_a_scan_of_nothing_ends_at_once(self, connect: Connect) -> None:
        async with connect() as world:
            high = await world.log.high_watermark(TOPIC, 0)
            span = Range(TOPIC, high.epoch, 0, high.offset, high.offset)

            assert [stored async for stored in world.log.scan(span)] == []


@pytest.mark.anyio
class ConversationPromises:
    """States of conversations follow the log, each record once."""

    async def test_the_state_follows_the_log(self, connect: Connect, name: str) -> None:
        async with connect() as world:
            receipts = await world.log.publish(TOPIC, log_key("t", name), turns(name, 20))

            async def folded() -> int | None:
                state = await world.conversations.get("t", name)
                full = state is not None and state.last_offset >= receipts[-1].offset
                return state.message_count if state is not None and full else None

            assert await until(folded) == 20

    async def test_another_tenant_sees_nothing(self, connect: Connect, name: str) -> None:
        async with connect() as world:
            await world.log.publish(TOPIC, log_key("t", name), turns(name, 1))
            await until(lambda: world.conversations.get("t", name))
            high = await world.log.high_watermark(TOPIC, 0)

            assert await world.conversations.get("other", name) is None
            assert await world.events.events("other", name, before=high) == []

    async def test_a_retry_of_a_named_event_is_applied_once(
        self, connect: Connect, name: str
    ) -> None:
        async with connect() as world:
            events = [_named(event) for event in turns(name, 3)]
            key = log_key("t", name)
            firsts = await world.log.publish(TOPIC, key, events)
            again = await world.log.publish(TOPIC, key, events)
            await _copied(world, name, again[-1])

            state = await world.conversations.get("t", name)
            ids = [event.event_id for event in events]
            found = await world.conversations.applied("t", [*ids, "nobody's"])
            assert state is not None
            assert (state.message_count, state.event_count) == (3, 4)
            assert found == {first.event_id: Applied(first, "digest") for first in firsts}
            assert await world.conversations.applied("other", ids) == {}
            end = await world.log.high_watermark(TOPIC, firsts[0].partition)
            warm = await world.events.events("t", name, before=end)
            assert [s.position.offset for s in warm] == [first.offset for first in firsts]

    async def test_edits_and_deletions_are_in_the_state_and_in_the_warm_copy(
        self, connect: Connect, name: str
    ) -> None:
        async with connect() as world:
            events = [*turns(name, 3), *_changes(name)]
            receipts = await world.log.publish(TOPIC, log_key("t", name), events)
            standing = await _copied(world, name, receipts[-1])
            end = await world.log.high_watermark(TOPIC, receipts[0].partition)
            warm = await world.events.events("t", name, before=end)

            assert standing.state is not None
            assert standing.state.changes == 2
            texts = [message.content for message in messages(warm)]
            assert texts == ["turn 0", "better"]

    async def test_a_list_is_one_tenants_the_latest_active_first(
        self, connect: Connect, name: str
    ) -> None:
        async with connect() as world:
            for number in range(3):
                one = f"{name} {number}"
                begun = _titled(one, user=name, title=f"Trip {number} to 100% \\o/")
                receipts = await world.log.publish(TOPIC, log_key("t", one), [begun])
                await _copied(world, one, receipts[-1])
            listed = world.conversations.listed

            found = await listed("t", user_id=name, rows=slice(0, 2))
            assert (found.total, _names(found)) == (3, [f"{name} 2", f"{name} 1"])
            found = await listed("t", user_id=name, rows=slice(2, 4))
            assert (found.total, _names(found)) == (3, [f"{name} 0"])
            found = await listed("t", user_id=name, rows=slice(9, 10))
            assert (found.total, _names(found)) == (3, [])
            found = await listed("t", user_id=name, text="TRIP 1 to 100% \\O", rows=slice(0, 9))
            assert (found.total, _names(found)) == (1, [f"{name} 1"])
            assert (await listed("t", user_id=name, text="%", rows=slice(0, 9))).total == 3
            assert (await listed("t", user_id=name, text="_", rows=slice(0, 9))).total == 0
            assert (await listed("other", user_id=name, rows=slice(0, 9))).total == 0

    async def test_nothing_is_known_of_a_conversation_nobody_began(
        self, connect: Connect, name: str
    ) -> None:
        async with connect() as world:
            standing = await world.conversations.standing(TOPIC, 0, "t", f"no {name}")

            assert standing.state is None
            assert await world.conversations.snapshot("t", f"no {name}") is None
            assert await world.conversations.compressions("t", f"no {name}", limit=9) == []


@pytest.mark.anyio
class CompressionPromises:
    """Compressions are kept with their figures."""

    async def test_compressions_are_kept_newest_first_and_averaged(
        self, connect: Connect, name: str
    ) -> None:
        async with connect() as world:
            events = [_compressed(name, number) for number in range(1, 5)]
            receipts = await world.log.publish(TOPIC, log_key(name, name), events)
            await _copied(world, name, receipts[-1], tenant=name)

            latest = await world.conversations.compressions(name, name, limit=2)
            assert latest == [events[3], events[2]]
            (figures,) = await world.conversations.compression_figures(name)
            assert (figures.strategy, figures.count) == ("hybrid", 4)
            assert figures.ratio_mean == pytest.approx(0.25)
            assert figures.quality_mean == pytest.approx(0.5)
            assert figures.took_ms_mean == pytest.approx(2.5)
            assert figures.took_ms_p95 == pytest.approx(3.85)
            assert await world.conversations.compression_figures(f"not {name}") == []


@pytest.mark.anyio
class EventPromises:
    """The warm copy gives what the log had, whole, in ranges and counted."""

    async def test_the_warm_copy_and_the_tail_are_the_whole_conversation(
        self, connect: Connect, name: str
    ) -> None:
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

    async def test_the_warm_copy_gives_a_range_and_single_events(
        self, connect: Connect, name: str
    ) -> None:
        async with connect() as world:
            receipts = await world.log.publish(TOPIC, log_key("t", name), turns(name, 9))
            await _copied(world, name, receipts[-1])
            end = await world.log.high_watermark(TOPIC, receipts[0].partition)
            first = Position(end.epoch, end.partition, receipts[4].offset)
            old = Position("an epoch that is gone", end.partition, receipts[4].offset)

            ids = [receipt.event_id for receipt in receipts]
            events = world.events.events
            assert _ids(await events("t", name, before=end, first=first)) == ids[4:]
            assert _ids(await events("t", name, before=first)) == ids[:4]
            assert _ids(await events("t", name, before=end, first=old)) == ids
            assert await events("t", name, before=end, first=end) == []
            found = await world.events.event("t", ids[5])
            assert found is not None
            assert (found.event.event_id, found.position.offset) == (ids[5], receipts[5].offset)
            assert await world.events.event("other", ids[5]) is None
            assert await world.events.event("t", "nobody's") is None

    async def test_trends_count_by_period(self, connect: Connect, name: str) -> None:
        async with connect() as world:
            hour = 3_600_000_000
            events = [_at(event, tenant=name) for event in turns(name, 3)]
            late = [_at(event, tenant=name, by=hour) for event in turns(f"{name} 2", 2)]
            for some in (events, late):
                receipts = await world.log.publish(TOPIC, log_key(name, name), some)
                one = str(getattr(some[0], "conversation_id", ""))
                await _copied(world, one, receipts[-1], tenant=name)

            start = NOW // hour * hour
            trends = world.events.trends
            assert await trends(name, since=NOW, period_s=3600) == [
                Trend(start=start, conversations=1, messages=3, tokens=6),
                Trend(start=start + hour, conversations=1, messages=2, tokens=4),
            ]
            assert len(await trends(name, since=NOW + hour, period_s=3600)) == 1
            days = await trends(name, since=NOW, period_s=86_400)  # one, or two at midnight
            assert sum(day.conversations for day in days) == 2
            assert sum(day.messages for day in days) == 5
            assert await trends(f"not {name}", since=NOW, period_s=3600) == []


@pytest.mark.anyio
class KeyPromises:
    """A key belongs to whom it was given."""

    async def test_an_unknown_key_is_nobodys(self, connect: Connect) -> None:
        async with connect() as world:
            assert await world.keys.find("0" * 64) is None


class WorldPromises(
    LogPromises, ConversationPromises, CompressionPromises, EventPromises, KeyPromises
):
    """All of them: inherit it and give the fixtures `connect` and `name`."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


async def _copied(world: World, name: str, last: Receipt, *, tenant: str = "t") -> Standing:
    """Both stores have the record: as `until` waits."""

    async def look() -> Standing | None:
        found = await world.conversations.standing(last.topic, last.partition, tenant, name)
        marks = found.states_next, found.events_next
        done = all(mark is not None and mark.offset > last.offset for mark in marks)
        return found if done else None

    return await until(look)


def _named(event: AnyEvent) -> AnyEvent:
    return msgspec.structs.replace(event, request="digest")


def _at(event: AnyEvent, *, tenant: str, by: int = 0) -> AnyEvent:
    return msgspec.structs.replace(event, tenant=tenant, ingested_at=NOW + by)


def _changes(conversation: str) -> list[AnyEvent]:
    stamped: dict[str, Any] = {
        "tenant": "t",
        "occurred_at": NOW,
        "ingested_at": NOW,
        "conversation_id": conversation,
    }
    run = uuid.uuid5(uuid.NAMESPACE_URL, conversation)
    return [
        MessageEdited(event_id=f"{run}-e", message_id="m2", content="better", tokens=1, **stamped),
        MessageDeleted(event_id=f"{run}-d", message_id="m1", **stamped),
    ]


def _titled(conversation: str, *, user: str, title: str) -> AnyEvent:
    began = turns(conversation, 0)[0]
    number = int(conversation.rpartition(" ")[2])
    return msgspec.structs.replace(began, user_id=user, title=title, ingested_at=NOW + number)


def _compressed(conversation: str, number: int) -> ContextCompressed:
    run = uuid.uuid5(uuid.NAMESPACE_URL, conversation)
    return ContextCompressed(
        event_id=f"{run}-k{number}",
        tenant=conversation,
        occurred_at=NOW,
        ingested_at=NOW + number,
        conversation_id=conversation,
        strategy="hybrid",
        tokens_max=100,
        original_messages=9,
        compressed_messages=3,
        original_tokens=100,
        compressed_tokens=number * 10,
        pins_kept=1,
        survival=Survival(entities=0.5, dates=1.0),
        quality_score=number / 5,
        took_us=number * 1000,
    )


def _ids(found: list[Stored]) -> list[str]:
    return [stored.event.event_id for stored in found]


def _names(found: Found) -> list[str]:
    return [state.conversation_id for state in found.rows]


def _of(stored: Stored, name: str) -> bool:
    return getattr(stored.event, "conversation_id", "") == name
