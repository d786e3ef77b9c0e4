"""Replay over a world in memory: what is remembered, stored and still in the log, as one."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane import remembered
from controlplane import replay as replaying
from controlplane.replay import TOPIC, Replayed, remember, replay, resume
from controlplane.resumed import Whole, history, whole
from helix.adapters import fakes
from helix.domain.conversations import Snapshot, messages, stats
from helix.domain.ids import log_key
from helix.domain.positions import Position, Stored
from helix.errors import MissingError, UnavailableError
from helix.events import (
    ConversationCreated,
    ConversationEvent,
    Message,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
)
from helix.ports import World

TENANT, CONVERSATION = "acme", "c1"
KEY = log_key(TENANT, CONVERSATION)

A = TypeVar("A")


class Stage:
    """A world in memory and a hand on each of its parts."""

    def __init__(self) -> None:
        self.world: World = fakes.world()
        self.log = cast("fakes.FakeLog", self.world.log)
        self.warm = cast("fakes.FakeEvents", self.world.events)
        self.states = cast("fakes.FakeStates", self.world.conversations)
        self.cache = cast("fakes.FakeCache", self.world.cache)
        self.said = 0
        self.written = 0

    def publish(self, *events: ConversationEvent) -> None:
        self.written += len(events)
        run(self.world.log.publish(TOPIC, KEY, events))

    def say(self, *texts: str, request: str = "") -> None:
        self.publish(*(self.added(text, request=request) for text in texts))

    def added(self, text: str, *, request: str = "") -> MessageAdded:
        self.said += 1
        name = f"m{self.said}"
        message = Message(message_id=name, role="user", content=text, tokens=10)
        return MessageAdded(**stamp(f"e-{name}"), request=request, message=message)

    def whole(self) -> list[Message]:
        """What a plain fold of the log says: the truth."""
        partition = run(self.world.log.partition(TOPIC, KEY))
        return messages(self.log.stored(TOPIC, partition))

    def replay(self) -> Replayed:
        return run(replay(self.world, TENANT, CONVERSATION))

    def remember(self) -> None:
        run(remember(self.world, self.replay()))


def run(work: Coroutine[Any, Any, A]) -> A:
    return asyncio.run(work)


def stamp(event_id: str) -> dict[str, Any]:
    at = 1_700_000_000_000_000
    place = {"tenant": TENANT, "conversation_id": CONVERSATION}
    return {"event_id": event_id, "occurred_at": at, "ingested_at": at, **place}


def edited(name: str, text: str, event_id: str = "edit") -> MessageEdited:
    return MessageEdited(**stamp(event_id), request="r", message_id=name, content=text, tokens=3)


def deleted(name: str, event_id: str = "delete") -> MessageDeleted:
    return MessageDeleted(**stamp(event_id), request="r", message_id=name)


def texts(found: Replayed) -> list[str]:
    return [message.content for message in messages(found.events)]


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a conversation of one event is worth remembering."""
    monkeypatch.setattr(remembered, "EVENTS_MIN", 1)
    monkeypatch.setattr(remembered, "NEW_EVENTS_MIN", 1)


def test_a_lagging_copy_is_completed_from_the_log(stage: Stage) -> None:
    stage.say("1", "2", "3")
    stage.warm.lag = 2

    found = stage.replay()

    assert texts(found) == ["1", "2", "3"]
    assert found.sources == {"clickhouse": 1, "kafka": 2}
    assert found.exact_up_to.offset == 3
    assert not found.degraded


def test_a_conversation_that_only_the_log_knows_is_found(stage: Stage) -> None:
    stage.say("1", "2")
    stage.warm.lag = 9

    assert texts(stage.replay()) == ["1", "2"]


def test_nothing_said_is_missing(stage: Stage) -> None:
    with pytest.raises(MissingError, match="c1"):
        stage.replay()


def test_edits_and_deletions_are_applied_from_every_source(stage: Stage) -> None:
    stage.say("1", "2", "3")
    stage.publish(edited("m1", "one"), deleted("m2"))
    for lag in range(6):
        stage.warm.lag = lag

        assert texts(stage.replay()) == ["one", "3"]


def test_without_the_copy_the_log_gives_the_same_marked(stage: Stage) -> None:
    stage.say("1", "2")
    stage.publish(edited("m1", "one"))
    before = stage.replay()
    stage.warm.away = True

    found = stage.replay()

    assert found.events == before.events
    assert found.exact_up_to == before.exact_up_to
    assert found.degraded
    assert found.sources == {"kafka": 3}


def test_without_the_copy_an_unknown_conversation_is_still_missing(stage: Stage) -> None:
    stage.warm.away = True

    with pytest.raises(MissingError):
        stage.replay()


def test_a_log_too_long_to_read_names_the_store_that_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "TAIL_RECORDS_MAX", 2)
    stage.say("1", "2", "3")
    stage.warm.away = True

    with pytest.raises(UnavailableError, match="3 records") as caught:
        stage.replay()

    assert caught.value.service == "clickhouse"
    assert caught.value.details["records"] == 3


def test_a_copy_too_far_behind_is_passed_by_where_the_conversation_is_short(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = run(stage.world.log.partition(TOPIC, KEY))
    keys = (log_key(TENANT, f"other-{n}") for n in range(999))
    same = next(key for key in keys if run(stage.log.partition(TOPIC, key)) == partition)
    other = msgspec.structs.replace(stage.added("x"), conversation_id="other")
    run(stage.world.log.publish(TOPIC, same, [other] * 5))
    stage.say("1", "2")
    stage.warm.lag = 7
    monkeypatch.setattr(replaying, "TAIL_RECORDS_MAX", 3)

    found = stage.replay()

    assert texts(found) == ["1", "2"]
    assert found.degraded


@pytest.mark.parametrize("service", ["postgres", "kafka"])
def test_what_cannot_be_known_is_refused_by_name(stage: Stage, service: str) -> None:
    stage.say("1")
    stage.states.away = service == "postgres"
    stage.log.away = service == "kafka"

    with pytest.raises(UnavailableError) as caught:
        stage.replay()

    assert caught.value.service == service


def test_a_topic_made_anew_meanwhile_is_to_be_tried_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.say("1")
    stage.warm.lag = 1

    async def before(topic: str, partition: int) -> Position:
        del topic
        return Position("epoch-0", partition, 5)

    monkeypatch.setattr(stage.log, "high_watermark", before)

    with pytest.raises(UnavailableError, match="again"):
        stage.replay()


@pytest.mark.usefixtures("small")
def test_the_second_replay_reads_only_what_is_new(stage: Stage) -> None:
    stage.say("1", "2")
    stage.remember()
    stage.say("3")

    found = stage.replay()

    assert texts(found) == ["1", "2", "3"]
    assert found.sources == {"clickhouse": 1, "kafka": 0, "cache": 2}


@pytest.mark.usefixtures("small")
def test_what_is_remembered_serves_while_the_copy_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.say("1", "2", "3")
    stage.remember()
    stage.say("4")
    stage.warm.away = True
    monkeypatch.setattr(replaying, "TAIL_RECORDS_MAX", 1)

    found = stage.replay()

    assert texts(found) == ["1", "2", "3", "4"]
    assert found.sources == {"kafka": 1, "cache": 3}


@pytest.mark.usefixtures("small")
def test_a_retry_of_what_is_remembered_adds_nothing(stage: Stage) -> None:
    said = stage.added("1", request="r")
    stage.publish(said)
    stage.remember()
    stage.publish(said)
    stage.warm.lag = 1

    assert texts(stage.replay()) == ["1"]


@pytest.mark.usefixtures("small")
def test_without_the_cache_nothing_is_remembered_and_nothing_fails(stage: Stage) -> None:
    stage.say("1")
    stage.cache.away = True
    stage.remember()

    assert texts(stage.replay()) == ["1"]
    assert not stage.cache.kept


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("junk", [b"", b"junk", b"(\xb5/\xfd\x04\x00\t\x00\x00a\xff\xff\xff\xff"])
def test_junk_in_the_cache_is_passed_by(stage: Stage, junk: bytes) -> None:
    stage.say("1")
    stage.remember()
    stage.cache.kept = dict.fromkeys(stage.cache.kept, junk)

    assert texts(stage.replay()) == ["1"]


@pytest.mark.usefixtures("small")
def test_a_memory_of_an_earlier_topic_is_passed_by(stage: Stage) -> None:
    stage.say("1")
    stage.remember()
    stage.log.epoch = "epoch-2"

    assert stage.replay().sources == {"clickhouse": 1, "kafka": 0}


def test_a_short_conversation_is_not_worth_remembering(stage: Stage) -> None:
    stage.say("1")
    stage.remember()

    assert not stage.cache.kept


def test_a_large_conversation_is_not_remembered(
    stage: Stage, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del small
    monkeypatch.setattr(remembered, "BYTES_MAX", 10)
    stage.say("1")
    stage.remember()

    assert not stage.cache.kept


@dataclass
class Expired(fakes.FakeEvents):
    """A warm copy whose first records are past their time."""

    kept_from: int = 0

    async def events(
        self, tenant: str, conversation_id: str, *, before: Position, first: Position | None = None
    ) -> list[Stored]:
        found = await super().events(tenant, conversation_id, before=before, first=first)
        return [stored for stored in found if stored.position.offset >= self.kept_from]


def expiring(stage: Stage, kept_from: int) -> None:
    warm = Expired(stage.log, kept_from=kept_from)
    stage.states.warm = warm
    stage.world = replace(stage.world, events=warm)
    stage.warm = warm


def test_what_the_copy_has_let_go_of_is_read_from_the_log(stage: Stage) -> None:
    stage.say("1", "2", "3")
    expiring(stage, 2)

    found = stage.replay()

    assert texts(found) == ["1", "2", "3"]
    assert found.gap is None
    assert found.sources == {"clickhouse": 1, "kafka": 3}


def test_a_gap_that_nothing_can_fill_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.say("1", "2", "3", "4")
    expiring(stage, 3)
    monkeypatch.setattr(replaying, "TAIL_RECORDS_MAX", 2)

    found = stage.replay()

    assert texts(found) == ["4"]
    assert found.gap is not None
    assert found.gap.events == 3


@pytest.mark.usefixtures("small")
def test_a_replay_with_a_gap_is_not_remembered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.say("1", "2", "3", "4")
    expiring(stage, 3)
    monkeypatch.setattr(replaying, "TAIL_RECORDS_MAX", 2)
    stage.remember()

    assert not stage.cache.kept


def snapshot_of(stage: Stage, upto: int, *, dropped: Sequence[str] = ()) -> Snapshot:
    """A snapshot of the log below that offset, whose compression dropped those messages."""
    partition = run(stage.world.log.partition(TOPIC, KEY))
    events = stage.log.stored(TOPIC, partition)[:upto]
    said = messages(events)
    return Snapshot(
        tenant=TENANT,
        conversation_id=CONVERSATION,
        upto=Position(stage.log.epoch, partition, upto),
        event_count=len({stored.event.event_id for stored in events}),
        active_at=0,
        stats=stats(said),
        context=tuple(message for message in said if message.message_id not in dropped),
        made_at=0,
    )


def snapped(stage: Stage, monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot) -> None:
    async def latest(tenant: str, conversation_id: str) -> Snapshot:
        assert (tenant, conversation_id) == (TENANT, CONVERSATION)
        return snapshot

    monkeypatch.setattr(stage.states, "snapshot", latest)


def test_a_resume_is_the_snapshot_and_what_came_after(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.say("1", "2", "3")
    snapshot = snapshot_of(stage, 3, dropped=["m2"])
    snapped(stage, monkeypatch, snapshot)
    stage.say("4")
    stage.publish(edited("m3", "three"))
    for lag in range(5):
        stage.warm.lag = lag
        found = run(resume(stage.world, TENANT, CONVERSATION))

        assert found is not None
        said = history(found.snapshot, found.later.events)
        assert [message.content for message in said] == ["1", "three", "4"]
        assert whole(snapshot, found.later.events, said) == Whole(messages=4, tokens=33)
        assert len(found.later.events) == 2


def test_figures_are_unknown_where_a_change_reaches_behind_the_snapshot(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.say("1", "2")
    snapped(stage, monkeypatch, snapshot_of(stage, 2, dropped=["m1"]))
    stage.publish(deleted("m1"))

    found = run(resume(stage.world, TENANT, CONVERSATION))

    assert found is not None
    said = history(found.snapshot, found.later.events)
    assert [message.content for message in said] == ["2"]
    assert whole(found.snapshot, found.later.events, said) is None


def test_a_retry_of_what_a_snapshot_holds_adds_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stage.added("1", request="r")
    stage.publish(said)
    snapped(stage, monkeypatch, snapshot_of(stage, 1, dropped=["m1"]))
    stage.publish(said)
    stage.warm.lag = 1

    found = run(resume(stage.world, TENANT, CONVERSATION))

    assert found is not None
    assert list(found.later.events) == []


def test_without_a_snapshot_nothing_is_resumed(stage: Stage) -> None:
    stage.say("1")

    assert run(resume(stage.world, TENANT, CONVERSATION)) is None


@pytest.mark.parametrize("upto", [Position("epoch-0", 0, 1), Position(fakes.EPOCH, 9, 10_000)])
def test_a_snapshot_that_does_not_lead_to_this_log_is_passed_by(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, upto: Position
) -> None:
    stage.say("1")
    snapped(stage, monkeypatch, msgspec.structs.replace(snapshot_of(stage, 1), upto=upto))

    assert run(resume(stage.world, TENANT, CONVERSATION)) is None


def test_a_resume_that_lacks_events_is_none(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.say("1", "2", "3")
    snapped(stage, monkeypatch, snapshot_of(stage, 1))
    expiring(stage, 2)
    snapped(stage, monkeypatch, snapshot_of(stage, 1))

    assert run(resume(stage.world, TENANT, CONVERSATION)) is None


def numbered(name: str, number: int) -> MessageAdded:
    message = Message(message_id=name, role="user", content=f"{number}", tokens=1)
    return MessageAdded(**stamp(f"{name}/{number}"), request="r", message=message)


def changed(name: str, number: int) -> MessageEdited:
    return edited(name, f"changed {number}", f"edit-{number}")


def gone(name: str, number: int) -> MessageDeleted:
    return deleted(name, f"delete-{number}")


@dataclass(frozen=True)
class Reading:
    """A replay, and what is amiss meanwhile."""

    lag: int
    cache_away: bool
    copy_away: bool
    then_snapshot: bool


# Few names, so that some come twice: retries, which their request makes known as such.
ids = st.sampled_from([f"m{n}" for n in range(5)])
numbers = st.integers(0, 3)
writes = st.one_of(
    st.builds(numbered, ids, numbers),
    st.builds(changed, ids, numbers),
    st.builds(gone, ids, numbers),
    st.just(ConversationCreated(**stamp("created"), user_id="u", request="r")),
)
readings = st.builds(Reading, st.integers(0, 8), st.booleans(), st.booleans(), st.booleans())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(writes, readings), min_size=2, max_size=25))
def test_however_it_was_read_before_a_replay_is_the_fold_of_the_log(
    steps: list[ConversationEvent | Reading],
) -> None:
    stage = Stage()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "EVENTS_MIN", 1)
        patch.setattr(remembered, "NEW_EVENTS_MIN", 1)
        for step in steps:
            if not isinstance(step, Reading):
                stage.publish(step)
            elif stage.written:
                read_alike(stage, step)


def read_alike(stage: Stage, reading: Reading) -> None:
    stage.warm.lag, stage.cache.away = reading.lag, reading.cache_away
    stage.warm.away = reading.copy_away

    found = stage.replay()
    resumed = run(resume(stage.world, TENANT, CONVERSATION))

    assert messages(found.events) == stage.whole()
    assert found.exact_up_to.offset == stage.written
    assert found.gap is None
    if resumed is not None:
        assert history(resumed.snapshot, resumed.later.events) == stage.whole()
    run(remember(stage.world, found))
    if reading.then_snapshot:
        stage.states.take_snapshot(TENANT, CONVERSATION, tokens_max=10_000)
