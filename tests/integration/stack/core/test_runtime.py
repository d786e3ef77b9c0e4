"""The flow on real servers: nothing lost, nothing doubled, whoever dies when."""

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Generator

import msgspec
import pytest
from confluent_kafka import Producer

from helix.adapters import clickhouse, postgres
from helix.adapters.kafka import producer_config
from helix.adapters.postgres import Claim, Owned
from helix.domain.conversations import fold
from helix.domain.ids import log_key
from helix.domain.positions import Position, Range, Stored
from helix.errors import ConflictError
from helix.events import encode
from runtime.sinks import Record, Slice
from runtime.workers.conversations import EventSink, StateSink, to_row
from tests.contract.promises import TOPIC, Connect, WorldPromises, turns
from tests.integration.live import (
    counted,
    dead_letters,
    name,
    published,
    reach,
    resting,
    workers,
)
from tests.integration.running import Running
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

CONVERSATIONS = 24
TURNS = 500
STOP_S_MAX = 5.5  # the promise of five seconds, and half of one for the process to end


@pytest.fixture(scope="module", autouse=True)
def alone(stack: Running) -> Generator[None]:
    """The stack's own workers rest: every partition belongs to the workers of a test."""
    with resting(stack, "workers"):
        yield


class TestRealStores(WorldPromises):
    """The promises of the ports, on the stores themselves."""

    @pytest.fixture(scope="class", autouse=True)
    @staticmethod
    def running(stack: Running) -> Generator[None]:
        with workers(stack):
            yield

    @pytest.fixture
    def connect(self, stack: Running) -> Connect:
        return functools.partial(reach, stack)

    @pytest.fixture(name="name")
    def new_name(self) -> str:
        return name()


def test_workers_killed_again_and_again_lose_nothing_and_double_nothing(stack: Running) -> None:
    prefix = name()
    conversations = {f"{prefix}-{n}": turns(f"{prefix}-{n}", TURNS) for n in range(CONVERSATIONS)}
    chaos = threading.Thread(target=published, args=(stack, conversations))
    chaos.start()
    for seen in (0, 1, CONVERSATIONS * TURNS // 2):
        with workers(stack) as victim:
            until(
                lambda seen=seen: sum(counted(stack, prefix)[:2]) >= seen,
                what=f"{seen} records saved",
            )
            victim.end(signal.SIGKILL)
    chaos.join()

    with workers(stack):
        messages = CONVERSATIONS * TURNS
        rows = CONVERSATIONS * (TURNS + 1)
        until(lambda: counted(stack, prefix)[0] >= messages, what="states")
        until(lambda: counted(stack, prefix)[2] >= rows, what="warm copy")

    assert counted(stack, prefix) == (messages, rows, rows)


def test_workers_told_to_stop_end_within_five_seconds(stack: Running) -> None:
    with workers(stack) as running:
        assert running.end(signal.SIGTERM) < STOP_S_MAX
        assert running.process.returncode == 0


def test_workers_told_to_stop_save_what_they_have_in_hand(stack: Running) -> None:
    prefix = name()
    with workers(stack) as running:
        published(
            stack, {f"{prefix}-{n}": turns(f"{prefix}-{n}", 20) for n in range(CONVERSATIONS)}
        )
        # The warm copy's batch still waits for more, the states have theirs.
        until(lambda: counted(stack, prefix)[0] == CONVERSATIONS * 20, what="states")
        running.end(signal.SIGTERM)

    assert counted(stack, prefix)[1] == CONVERSATIONS * 21


def test_a_record_nobody_can_read_is_buried_and_the_rest_goes_on(stack: Running) -> None:
    conversation = name()
    garbage = f"no event {name()}".encode()
    producer = Producer(producer_config(stack.settings.kafka))
    key = log_key("t", conversation)
    producer.produce(TOPIC, garbage, key)
    for event in turns(conversation, 3):
        producer.produce(TOPIC, encode(event), key)
    assert producer.flush(30) == 0

    with workers(stack):
        until(lambda: counted(stack, conversation)[0] == 3, what="the messages behind it")
        until(lambda: counted(stack, conversation)[1] == 4, what="the rows behind it")

    letters = [letter for letter in dead_letters(stack) if letter.value == garbage]
    assert {letter.pipeline for letter in letters} == {"conversation-states", "conversation-events"}
    assert all(letter.topic == TOPIC and "undecodable" in letter.reason for letter in letters)


# The fence and the doubtful insert, without a log: an epoch of the test's own.


def slice_of(claim: Claim, epoch: str, conversation: str, count: int) -> Slice:
    """A range of that many messages, at the claim's place."""
    records = [
        Record(Stored(position=Position(epoch, 0, claim.next + n), event=event), encode(event))
        for n, event in enumerate(turns(conversation, count - 1))
    ]
    span = Range(TOPIC, epoch, claim.partition, claim.next, claim.next + count)
    return Slice(Owned(span, claim.generation), records)


@pytest.fixture
def epoch() -> str:
    return name()


@pytest.fixture
def states(stack: Running) -> Generator[Callable[[], StateSink]]:
    """Opens sinks of states, closed at the end."""
    with contextlib.ExitStack() as kept:
        yield lambda: kept.enter_context(
            contextlib.closing(StateSink(stack.settings, "test", fold))
        )


@pytest.fixture
def events(stack: Running) -> Generator[Callable[[], EventSink]]:
    """Opens sinks of events, closed at the end."""
    with contextlib.ExitStack() as kept:
        yield lambda: kept.enter_context(
            contextlib.closing(EventSink(stack.settings, "test", to_row))
        )


def begun(stack: Running, part: Slice) -> None:
    """The range is noted as about to be inserted."""
    with contextlib.closing(postgres.Session(stack.settings.postgres)) as session:
        postgres.Watermarks(session, "test").begin([part.owned])


def test_a_worker_that_lost_its_partition_saves_nothing(
    stack: Running, epoch: str, states: Callable[[], StateSink]
) -> None:
    zombie, owner = states(), states()
    [early] = zombie.claim(TOPIC, epoch, [0])
    [late] = owner.claim(TOPIC, epoch, [0])
    owner.save([slice_of(late, epoch, f"{epoch}-owner", 5)])

    for claim in (early, Claim(0, 5, early.generation)):
        with pytest.raises(ConflictError, match="lost 1 of 1"):
            zombie.save([slice_of(claim, epoch, f"{epoch}-zombie", 5)])

    assert counted(stack, f"{epoch}-owner")[0] == 4
    assert counted(stack, f"{epoch}-zombie")[0] == 0


def test_an_insert_in_doubt_is_made_again_under_its_token(
    stack: Running, epoch: str, events: Callable[[], EventSink]
) -> None:
    dead, heir = events(), events()
    [claim] = dead.claim(TOPIC, epoch, [0])
    part = slice_of(claim, epoch, epoch, 5)
    crash_before_finish(stack, part)
    assert counted(stack, epoch)[1] == 5

    [again] = heir.claim(TOPIC, epoch, [0])
    assert (again.pending, again.next) == (part.owned.span, 0)
    heir.save([Slice(Owned(part.owned.span, again.generation), part.records)])

    assert counted(stack, epoch)[1] == 5
    [after] = heir.claim(TOPIC, epoch, [0])
    assert (after.pending, after.next) == (None, 5)


def crash_before_finish(stack: Running, part: Slice) -> None:
    """Everything up to the insert, and nothing after it."""
    begun(stack, part)
    rows = b"".join(map(to_row, part.records))
    with contextlib.closing(clickhouse.Engine(stack.settings.clickhouse)) as engine:
        engine.insert(
            "conversation_events", clickhouse.EVENTS_COLUMNS, rows, token=part.owned.span.token
        )


def test_another_range_is_refused_while_one_is_in_doubt(
    stack: Running, epoch: str, events: Callable[[], EventSink]
) -> None:
    sink = events()
    [claim] = sink.claim(TOPIC, epoch, [0])
    begun(stack, slice_of(claim, epoch, epoch, 5))

    with pytest.raises(ConflictError):
        sink.save([slice_of(claim, epoch, epoch, 3)])


def test_a_nul_character_does_not_stop_the_states(
    stack: Running, epoch: str, states: Callable[[], StateSink]
) -> None:
    sink = states()
    [claim] = sink.claim(TOPIC, epoch, [0])
    part = slice_of(claim, epoch, epoch, 1)
    created = msgspec.structs.replace(part.records[0].stored.event, title="a\0b\\u0000")
    stored = Stored(position=Position(epoch, 0, claim.next), event=created)

    sink.save([Slice(part.owned, [Record(stored, encode(created))])])

    assert title(stack, epoch) == "a\ufffdb\\u0000"


def title(stack: Running, conversation: str) -> str | None:
    """The title the conversation's state has."""

    async def act() -> str | None:
        async with reach(stack) as world:
            state = await world.conversations.get("t", conversation)
            return None if state is None else state.title

    return asyncio.run(act())
