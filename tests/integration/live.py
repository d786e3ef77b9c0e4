"""What tests of a running stack share: workers of their own, and what is in log and stores."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from confluent_kafka import Message, TopicPartition

from helix.adapters import clickhouse, kafka, postgres
from helix.adapters.kafka import Epochs, Readers
from helix.adapters.world import connected
from helix.domain.ids import log_key
from helix.domain.positions import Position, Stored
from helix.errors import InvalidError, UnavailableError
from helix.events import AnyEvent, ConversationEvent, DeadLetter, decode
from helix.ports import Receipt, World
from helix.settings import Settings
from infra.passwords.changing import KEPT
from infra.provider import supervision
from infra.provider.client import Client as Supervisor
from infra.provider.secrets import current_version, set_version
from runtime.burial import TOPIC as DEAD_LETTERS
from tests.contract.promises import TOPIC
from tests.integration.running import Running
from tests.tree import ROOT
from tests.waiting import until

READY_S_MAX = 60.0
ANSWER_S_MAX = 10.0


def name() -> str:
    """An id no other run has."""
    return f"test-{uuid.uuid4()}"  # noqa: TID251 - a test is a composition root


class Workers:
    """A process of workers, as the stack runs it, or a program that starts them otherwise."""

    def __init__(self, stack: Running, *program: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        with (stack.root / f"workers-{self._port}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *(program or ("runtime", "--all"))],
                cwd=ROOT,
                env={"PATH": os.defpath} | stack.env | {"HELIX__HTTP__PORT": str(self._port)},
                stderr=log,
                stdout=log,
            )

    def ready(self) -> bool:
        """Whether they say that they are; a failure when they ended."""
        assert self.process.poll() is None, "the workers ended by themselves"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2):
                return True
        except (OSError, urllib.error.HTTPError):
            return False

    def ended(self) -> bool:
        """Whether the process is over."""
        return self.process.poll() is not None

    def end(self, number: int) -> float:
        """Send the signal; how long the process took to end."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - began


@contextlib.contextmanager
def workers(stack: Running, *program: str, ready: bool = True) -> Generator[Workers]:
    """Workers that are ready unless told otherwise, ended afterwards whatever happened."""
    running = Workers(stack, *program)
    try:
        if ready:
            until(running.ready, what="workers ready", s_max=READY_S_MAX)
        yield running
    finally:
        if not running.ended():
            running.process.send_signal(signal.SIGCONT)
            running.end(signal.SIGKILL)


@contextlib.contextmanager
def resting(stack: Running, service: str) -> Generator[None]:
    """A service of the stack is stopped for a while."""
    supervision.stop(stack.stack.home, service)
    try:
        yield
    finally:
        Supervisor(stack.stack.home).start(service)
        # Until it has become the program, it would lose the signal of the next stop.
        until(lambda: stack.states()[service].state == "RUNNING", what=f"{service} runs")


def reach(stack: Running) -> contextlib.AbstractAsyncContextManager[World]:
    """The stack's stores as a program reaches them."""
    return connected(stack.settings, clock=lambda: time.time_ns() // 1000, ids=name)


def published(
    stack: Running, conversations: dict[str, list[AnyEvent]], *, tenant: str = "t"
) -> list[Receipt]:
    """Publish whole conversations at once."""

    async def act() -> list[Receipt]:
        async with reach(stack) as world:
            calls = [
                world.log.publish(TOPIC, log_key(tenant, conversation), events)
                for conversation, events in conversations.items()
            ]
            return [receipt for part in await asyncio.gather(*calls) for receipt in part]

    return asyncio.run(act())


def counted(stack: Running, prefix: str) -> tuple[int, int, int]:
    """Messages in the states; rows and distinct events in the warm copy."""
    [[messages]] = postgres_rows(
        stack,
        "SELECT coalesce(sum(message_count), 0)::int AS n FROM conversations"
        " WHERE tenant = 't' AND conversation_id LIKE %(like)s",
        like=f"{prefix}%",
    )
    [(rows, distinct)] = clickhouse_rows(
        stack,
        "SELECT count(), uniqExact(event_id) FROM conversation_events"
        " WHERE tenant = 't' AND startsWith(conversation_id, {prefix:String})",
        prefix=prefix,
    )
    return messages, rows, distinct


def postgres_rows(stack: Running, statement: str, **values: object) -> list[tuple[Any, ...]]:
    """What PostgreSQL answers."""
    with (
        contextlib.closing(postgres.Session(stack.settings.postgres)) as session,
        session.transaction() as connection,
    ):
        return [
            tuple(row.values()) for row in connection.execute(statement.encode(), values).fetchall()
        ]


def clickhouse_rows(stack: Running, statement: str, **values: object) -> list[tuple[Any, ...]]:
    """What ClickHouse answers."""
    with contextlib.closing(clickhouse.Engine(stack.settings.clickhouse)) as engine:
        return [tuple(row) for row in engine.rows(statement, **values)]


def records(stack: Running, topic: str) -> Iterator[Message]:
    """Everything the log has of a topic by now, partition by partition, in order."""
    return kafka.records(stack.settings.kafka, topic)


def dead_letters(stack: Running) -> list[DeadLetter]:
    """Every letter in the dead-letter topic."""
    events = [decode(value) for m in records(stack, DEAD_LETTERS) if (value := m.value())]
    return [event for event in events if isinstance(event, DeadLetter)]


def said(stack: Running, tenant: str) -> list[Stored]:
    """The tenant's conversation events of the log, each event id once, read in plain Python."""
    epoch = Epochs(stack.settings.kafka).current(TOPIC).epoch
    first: dict[str, Stored] = {}
    for message in records(stack, TOPIC):
        value, partition, offset = message.value(), message.partition(), message.offset()
        assert isinstance(value, bytes)
        assert partition is not None
        assert offset is not None
        with contextlib.suppress(InvalidError):
            event = decode(value)
            if isinstance(event, ConversationEvent) and event.tenant == tenant:
                stored = Stored(position=Position(epoch, partition, offset), event=event)
                first.setdefault(event.event_id, stored)
    return list(first.values())


def caught_up(stack: Running) -> bool:
    """Whether every pipeline stands at the end of every partition of the conversations topic."""
    try:
        return not _behind(stack)
    except UnavailableError:
        return False


def _behind(stack: Running) -> Sequence[object]:
    now = Epochs(stack.settings.kafka).current(TOPIC)
    with contextlib.closing(Readers(stack.settings.kafka)) as readers:
        consumer = readers.take()
        ends = [
            consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=ANSWER_S_MAX)[
                1
            ]
            for partition in range(now.partitions)
        ]
        readers.give(consumer)
    places = postgres_rows(
        stack,
        'SELECT "partition", next FROM watermarks'
        " WHERE topic = %(topic)s AND epoch = %(epoch)s AND pipeline LIKE 'conversation-%%'",
        topic=TOPIC,
        epoch=now.epoch,
    )
    if len(places) < 2 * now.partitions:
        return ["not every partition was claimed"]
    return [place for place in places if place[1] != ends[int(str(place[0]))]]


def refused(old: Settings, new: Settings, names: Iterable[str]) -> set[str]:
    """Whose servers refuse the old password, of those that take the new one."""
    found: set[str] = set()
    for name_ in names:
        password = getattr(new, name_).password.reveal()
        KEPT[name_](new, password)
        try:
            KEPT[name_](old, password)
        except UnavailableError:
            found.add(name_)
    return found


@contextlib.contextmanager
def not_rolled_out(stack: Running, password: str) -> Generator[None]:
    """The password has another version that nobody was handed yet; afterwards the one it had."""
    home = stack.stack.home
    version = current_version(home, password)
    set_version(home, password, version + 1)
    try:
        yield
    finally:
        set_version(home, password, version)
