"""Whatever dies, and whenever: what was acknowledged is there, once and in order."""

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from helix.adapters import murmur2
from helix.adapters.kafka import Epochs, client_config, producer_config
from helix.adapters.topics import TopicsAdmin
from helix.client.rest import Client
from helix.client.wire import NewMessage
from helix.errors import UnavailableError
from helix.events import AnyEvent
from helix.topology.catalog import CATALOG
from infra.provider import layout
from runtime.burial import HELD_BYTES_MAX
from tests.contract.promises import TOPIC, turns
from tests.integration.live import (
    caught_up,
    name,
    published,
    records,
    resting,
    workers,
)
from tests.integration.running import SCRATCH_PARTITIONS, Running
from tests.integration.stack.core.strangers import CONVERSATION, Tenant, routes
from tests.integration.survival import (
    SEED,
    held,
    hours,
    hours_of_the_log,
    key_of,
    of_the_log,
    survived,
    warm,
)
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

DEATHS = 2
PARTS = 6  # of what is published while a worker is about to die


def test_what_was_acknowledged_survives_every_server_killed_again_and_again(
    stack: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = survived(stack)

    with capsys.disabled():
        print(f"\n{figures}")  # noqa: T201 - the figures of the run


# One worker's death at the worst moment, and one that wakes up too late: table and log agree.


@pytest.fixture
def alone(stack: Running) -> Generator[None]:
    """The stack's own workers rest: every partition belongs to the workers of a test."""
    with resting(stack, "workers"):
        yield


def conversations(
    prefix: str, count: int, length: int, *, tenant: str
) -> dict[str, list[AnyEvent]]:
    """So many conversations of so many turns, of that tenant."""
    return {
        f"{prefix}-{number}": [
            msgspec.structs.replace(event, tenant=tenant)
            for event in turns(f"{prefix}-{number}", length)
        ]
        for number in range(count)
    }


@pytest.mark.usefixtures("alone")
def test_a_worker_killed_between_insert_and_its_note_inserts_nothing_twice(stack: Running) -> None:
    tenant = name()
    for death in range(DEATHS):
        with workers(stack, "tests.integration.stack.core.dying_workers", ready=False) as dying:
            for part in range(PARTS):
                some = conversations(f"{tenant}-{death}-{part}", 8, 20, tenant=tenant)
                published(stack, some, tenant=tenant)
            until(dying.ended, what="its death")
            assert dying.process.returncode == -signal.SIGKILL
    with workers(stack):
        until(lambda: caught_up(stack), what="the workers caught up")

    assert warm(stack, tenant) == of_the_log(stack, tenant)
    assert hours(stack, tenant) == hours_of_the_log(stack, tenant)


@pytest.mark.usefixtures("alone")
def test_a_worker_that_slept_through_the_loss_of_its_partitions_changes_nothing(
    stack: Running,
) -> None:
    tenant = name()
    with workers(stack) as sleeper, workers(stack):
        for round_ in range(4):
            some = conversations(f"{tenant}-{round_}", 24, 40, tenant=tenant)
            published(stack, some, tenant=tenant)
            if round_ == 1:
                sleeper.process.send_signal(signal.SIGSTOP)
            if round_ == 2:
                until(lambda: caught_up(stack), what="the other one took over")
                sleeper.process.send_signal(signal.SIGCONT)
        until(lambda: caught_up(stack), what="the workers caught up")
        until(sleeper.ready, what="the sleeper is back")

    assert warm(stack, tenant) == of_the_log(stack, tenant)
    assert hours(stack, tenant) == hours_of_the_log(stack, tenant)


# The same key, the same partition, whoever writes it.

KEYS = 1_000
JAVA_S_MAX = 120


def by_java(stack: Running, topic: str, keys: list[str]) -> None:
    """Kafka's own producer writes one record of each key."""
    broker: list[str] = json.loads(layout.spec(stack.stack.home, "kafka").read_text())["argv"]
    jars = broker[broker.index("-cp") + 1]
    subprocess.run(
        [
            *(broker[0], "-cp", jars, "org.apache.kafka.tools.ConsoleProducer"),
            *("--bootstrap-server", stack.settings.kafka.bootstrap, "--topic", topic),
            *("--reader-property", "parse.key=true", "--reader-property", "key.separator=\t"),
        ],
        input="".join(f"{key}\tjava\n" for key in keys).encode(),
        capture_output=True,
        check=True,
        timeout=JAVA_S_MAX,
    )


def test_a_key_goes_where_a_java_producer_sends_it(stack: Running, scratch: str) -> None:
    rng = random.Random(SEED)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789-/%äß語🙂"
    keys = list({"".join(rng.choices(letters, k=rng.randint(1, 60))) for _ in range(KEYS)})
    producer = Producer(producer_config(stack.settings.kafka))
    for key in keys:
        producer.produce(scratch, b"ours", key.encode())
    assert producer.flush(30) == 0

    by_java(stack, scratch, keys)

    found = {(m.key(), m.value()): m.partition() for m in records(stack, scratch)}
    placed = {key: murmur2.partition(key.encode(), SCRATCH_PARTITIONS) for key in keys}
    assert {key: found[key.encode(), b"ours"] for key in keys} == placed
    assert {key: found[key.encode(), b"java"] for key in keys} == placed


# What cannot be used is set aside, and is of use after all once the workers are better.


def letters(stack: Running, *options: str) -> list[dict[str, Any]]:
    """The dead letters that the command lists."""
    output = stack.told("runtime", "letters", "--json", *options)
    return [msgspec.json.decode(line) for line in output.splitlines()]


@pytest.mark.usefixtures("alone")
def test_a_dead_letter_is_replayed_once_the_workers_can_read_it(stack: Running) -> None:
    tenant = name()
    some = conversations(tenant, 3, 5, tenant=tenant)
    producer = Producer(producer_config(stack.settings.kafka))
    large = HELD_BYTES_MAX + time.monotonic_ns() % 100_000  # a letter does not hold that
    for size in (0, large):
        producer.produce(TOPIC, bytes(size), tenant.encode())
    assert producer.flush(30) == 0
    published(stack, some, tenant=tenant)
    with workers(stack, "tests.integration.stack.core.outdated_workers"):
        until(lambda: caught_up(stack), what="everything was handled")
    assert held(stack, tenant) == (0, 18, 18)
    reasons = Counter(letter["reason"].partition(":")[0] for letter in letters(stack))
    assert reasons["`MessageAdded` is of another topic"] == 15
    assert reasons["undecodable event"] >= 4

    for options in (["--all", "--dry-run"], ["--all"], ["--all", "--again"]):
        stack.told("runtime", "replay", *options)
    with workers(stack):
        until(lambda: caught_up(stack), what="everything was handled")

    assert held(stack, tenant) == (15, 18, 18)
    left = letters(stack)
    assert {letter["reason"].partition(":")[0] for letter in left} == {"undecodable event"}
    stack.told("runtime", "bury", "--all")
    assert letters(stack) == []
    sizes = Counter(letter["size"] for letter in letters(stack, "--settled"))
    assert sizes[large] == 3 * 2  # buried, and again after two replays


# A topic that is lost and made anew: positions begin again, conversations go on.

BEFORE, AFTER = 30, 100


def made_anew(stack: Running, topic: str) -> None:
    """The topic is deleted, and made as the catalogue has it."""
    admin = AdminClient(client_config(stack.settings.kafka), logger=None)
    old = Epochs(stack.settings.kafka).current(topic).epoch
    admin.delete_topics([topic])[topic].result(30)

    def again() -> bool:
        with contextlib.suppress(UnavailableError):
            TopicsAdmin(stack.settings.kafka).ensure(CATALOG.topics)
            return Epochs(stack.settings.kafka).current(topic).epoch != old
        return False

    until(again, what="the topic is there again")


def add(api: Client, conversation: str, numbers: Sequence[int]) -> None:
    """Messages with those numbers, each in a call of its own, tried until acknowledged."""
    for number in numbers:
        message = NewMessage(role="user", content=str(number), message_id=f"m{number}")

        def acknowledged(message: NewMessage = message) -> bool:
            try:
                api.add_messages(conversation, [message])
            except UnavailableError:
                return False
            return True

        until(acknowledged, what=f"message {number}")


def texts(api: Client, conversation: str) -> list[str]:
    """What a replay has, in its order."""
    return [message.content for message in api.replay(conversation).messages]


def test_a_topic_made_anew_loses_no_conversation(stack: Running) -> None:
    tenant = name()
    with Client(stack.url, key_of(stack, tenant)) as api:
        add(api, "old", range(BEFORE))
        until(lambda: caught_up(stack), what="the workers caught up")

        made_anew(stack, TOPIC)
        add(api, "new", range(AFTER))
        add(api, "old", range(BEFORE, BEFORE + 5))

        for _ in ("from the log", "from the stores"):
            assert texts(api, "new") == [str(number) for number in range(AFTER)]
            assert texts(api, "old") == [str(number) for number in range(BEFORE + 5)]
            until(lambda: caught_up(stack), what="the workers caught up")
    assert held(stack, tenant) == (AFTER + BEFORE + 5,) * 3


# A full disk under the warm copy: nothing is lost, nothing is refused, and it catches up.

SPARE_MIB = 64


def mount(*words: str) -> str:
    """Why it did not work; empty when it did."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ""


@pytest.fixture
def small_disk(stack: Running) -> Generator[Path]:
    """The warm copy's data on a file system of its own, with little room left."""
    home = stack.stack.home / "data" / "clickhouse"
    kept = home.with_name("clickhouse-kept")
    with resting(stack, "clickhouse"):
        home.rename(kept)
        home.mkdir()
        used = sum(f.stat().st_blocks * 512 for f in kept.rglob("*") if f.is_file())
        size = f"size={used // 2**20 + SPARE_MIB}m"
        if reason := mount("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(home)):
            home.rmdir()
            kept.rename(home)
            pytest.fail(f"no file system can be mounted here: {reason}")
        replace(kept, home)
    yield home
    with resting(stack, "clickhouse"):
        kept.mkdir()
        replace(home, kept)
        assert mount("umount", str(home)) == ""
        home.rmdir()
        kept.rename(home)


def fill(path: Path) -> None:
    """The file takes all that is left of its disk."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def replace(source: Path, target: Path) -> None:
    """Everything of one folder is in the other, and the first is gone."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
    for entry in source.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if not source.is_mount():
        source.rmdir()


@pytest.mark.needs("root")
def test_a_full_disk_of_the_warm_copy_delays_and_loses_nothing(
    stack: Running, small_disk: Path
) -> None:
    tenant = name()
    filler = small_disk / "filler"
    with Client(stack.url, key_of(stack, tenant)) as api:
        add(api, "c", range(10))
        until(lambda: caught_up(stack), what="the workers caught up")
        fill(filler)

        add(api, "c", range(10, 200))
        until(lambda: held(stack, tenant)[0] == 200, what="the states go on")
        assert not caught_up(stack)
        assert texts(api, "c") == [str(number) for number in range(200)]

        filler.unlink()
        until(lambda: caught_up(stack), what="the warm copy caught up")
        assert texts(api, "c") == [str(number) for number in range(200)]
    assert warm(stack, tenant) == of_the_log(stack, tenant)
    assert hours(stack, tenant) == hours_of_the_log(stack, tenant)


# Two tenants, the same ids everywhere: neither learns anything of the other.


def test_tenants_that_use_the_same_ids_see_and_touch_nothing_of_each_other(
    stack: Running,
) -> None:
    ours, theirs = (Tenant(stack.url, key_of(stack, name()), f"secret-{name()}") for _ in "ab")
    ours.begin(messages=7)
    theirs.begin(messages=3)
    until(lambda: caught_up(stack), what="the workers caught up")
    with Client(stack.url, ours.key) as api:
        before = api.replay(CONVERSATION).messages

    told: list[str] = []
    for method, path in routes(stack.url):
        answer = theirs.asks(method, path, event_id=ours.event_id)
        assert answer.status_code < 500, (method, path, answer.text)
        assert ours.secret not in answer.text + str(answer.headers), (method, path)
        told.append(answer.text)
    until(lambda: caught_up(stack), what="the workers caught up")

    assert any(theirs.secret in text for text in told)
    with Client(stack.url, ours.key) as api:
        assert api.replay(CONVERSATION).messages == before
        assert len(before) == 7
