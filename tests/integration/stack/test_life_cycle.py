"""A stack comes up, changes, breaks, recovers and goes, as its user expects."""

import os
import random
import re
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from helix.client.rest import Client
from helix.topology.catalog import CATALOG
from infra.provider.reaper import leftovers, supervisors
from tests.integration.live import refused
from tests.integration.planted import found
from tests.integration.running import Running, stack_named
from tests.waiting import until
from validation.meetings import ingest, read, same

NO_OP_S_MAX = 30.0
KILLS = 5
SEED = 20_261_121
HEALTH_S_MAX = 120.0
UNAUTHORIZED = 401
CHANGED = re.compile(r"^\s*[+~-]+\s+(\d+) (created|updated|deleted|replaced)", re.MULTILINE)


def changes(output: str) -> list[tuple[str, str]]:
    """What Pulumi's last summary counts beside `unchanged`."""
    *_, summary = output.split("Resources:")
    return CHANGED.findall(summary)


def restarted(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """The services whose process is another one."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def report(stack: Running) -> dict[str, tuple[str, str]]:
    """Status and time of asking of every service; nothing while the API itself is away."""
    key = {"Authorization": f"Bearer {stack.api_key}"}
    try:
        answer = httpx.get(f"{stack.url}/v1/bigdata/health", headers=key, timeout=10)
    except httpx.HTTPError:
        return {}
    rows = answer.json()["services"]
    return {row["service"]: (row["status"], row.get("asked_at", "")) for row in rows}


def health(stack: Running) -> dict[str, str]:
    """What the API says of every service."""
    return {name: status for name, (status, _) in report(stack).items()}


def ports_held(stack: Running) -> list[str]:
    """Listening addresses of the machine that belong to the stack."""
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    held = {int(row.split()[1].split(":")[1], 16) for row in listening if row.split()[3] == "0A"}
    return [
        f"{service.name}.{port.name}"
        for service in CATALOG.services
        for port in service.ports
        if port.number + stack.offset in held
    ]


@contextmanager
def edited(path: Path, change: Callable[[str], str]) -> Generator[None]:
    """The file changed, and put back afterwards."""
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    try:
        yield
    finally:
        path.write_text(text)


def test_a_second_up_changes_nothing_within_half_a_minute(stack: Running) -> None:
    started = time.monotonic()
    output = stack.run("infra.stack", "pulumi", *stack.chosen, "--", "up", "--yes")
    took_s = time.monotonic() - started

    assert changes(output) == []
    assert took_s < NO_OP_S_MAX


CATALOG_FILE = "helix/topology/catalog.py"
HEAP = ("heap_mib=160, cache_mib=128", "heap_mib=168, cache_mib=120")
INTERVAL = ('interval.ms": 300_000', 'interval.ms": 300_001')
DOCSTRING = ('"""', '"""Edited. ')


@pytest.mark.parametrize(
    ("file", "edit", "service"),
    [
        pytest.param(CATALOG_FILE, HEAP, "kafka", id="a heap size"),
        pytest.param("infra/services/kafka.py", INTERVAL, "kafka", id="a broker setting"),
        pytest.param("runtime/loop.py", DOCSTRING, "workers", id="a worker"),
        pytest.param("controlplane/app.py", DOCSTRING, "control-plane", id="a route"),
    ],
)
def test_a_change_restarts_exactly_its_process(
    stack: Running, file: str, edit: tuple[str, str], service: str
) -> None:
    before = stack.pids()
    with edited(stack.root / file, lambda text: text.replace(*edit, 1)):
        stack.up()
        changed = stack.pids()
    stack.up()

    assert restarted(before, changed) == {service}
    assert restarted(changed, stack.pids()) == {service}


def test_a_new_migration_runs_only_the_bootstrap(stack: Running) -> None:
    before = stack.pids()
    migration = stack.root / "sql/postgres/migrations/9999_a_test.sql"
    migration.write_text("CREATE TABLE IF NOT EXISTS a_test (id text PRIMARY KEY);\n")
    try:
        output = stack.run("infra.stack", "pulumi", *stack.chosen, "--", "up", "--yes")
    finally:
        migration.unlink()
    stack.up()

    assert changes(output) == [("1", "updated")]
    assert restarted(before, stack.pids()) == set()


def test_every_killed_service_comes_back_by_itself(stack: Running) -> None:
    seen_away: set[str] = set()
    for service in sorted(stack.states()):
        stale = report(stack)[service]
        pid = stack.pids()[service]
        stack.kill(service)

        def back(service: str = service, pid: int = pid, stale: object = stale) -> bool:
            found = report(stack).get(service, ("unavailable", ""))
            if found == stale:
                return False  # asked before the kill
            if found[0] == "unavailable":
                seen_away.add(service)
            return stack.pids()[service] not in {0, pid} and found[0] == "healthy"

        until(back, s_max=HEALTH_S_MAX, what=f"`{service}` healthy after kill -9")
    until(
        lambda: set(health(stack).values()) <= {"healthy", "disabled"},
        s_max=HEALTH_S_MAX,
        what="everything healthy",
    )
    output = stack.run("infra.stack", "pulumi", *stack.chosen, "--", "up", "--yes")

    assert changes(output) == []
    assert seen_away >= {"kafka", "neo4j", "control-plane", "rabbitmq", "flink-jobmanager"}


def test_up_recovers_from_a_killed_supervisor(stack: Running) -> None:
    for supervisor in supervisors(stack.stack.home):
        os.kill(supervisor, signal.SIGKILL)

    stack.up()

    names = [state for state in stack.states().values() if state.state == "RUNNING"]
    assert len(names) == len(stack.outputs.services)
    assert set(health(stack).values()) <= {"healthy", "disabled"}


def test_up_recovers_from_being_killed_at_any_point(stack: Running) -> None:
    dice = random.Random(SEED)
    for _ in range(KILLS):
        stack.down()
        command = stack.start("infra.stack", "up", *stack.chosen, "--offset", str(stack.offset))
        time.sleep(dice.uniform(1.0, 40.0))  # the point of the kill is what is drawn
        os.kill(command.pid, signal.SIGKILL)
        command.communicate()

    stack.up()

    assert set(health(stack).values()) <= {"healthy", "disabled"}
    running = [pid for state in stack.states().values() if (pid := state.pid)]
    assert len(running) == len(set(running)) == len(stack.outputs.services)


def test_down_leaves_nothing_and_up_answers_with_the_old_data(stack: Running) -> None:
    with Client(stack.url, stack.api_key) as client:
        meeting = read()
        told = ingest(client, meeting, user_id="before").conversation_id
    stack.down()
    held, left = ports_held(stack), leftovers(stack.stack.home)
    stack.up()
    with Client(stack.url, stack.api_key) as client:
        replayed = client.replay(told)

    assert held == []
    assert left == set()
    assert (stack.stack.home / "secret").exists()
    assert same(meeting, replayed) == []


def test_every_password_changes_and_the_old_ones_open_nothing(stack: Running) -> None:
    with Client(stack.url, stack.api_key) as client:
        meeting = read()
        told = ingest(client, meeting, user_id="before").conversation_id
    old, kept = stack.settings, {"postgres", "neo4j", "rabbitmq"}
    stack.run("infra.passwords", "rotate", *stack.chosen)
    stack.up()
    new = stack.settings
    with Client(stack.url, stack.api_key) as client:
        replayed = client.replay(told)

    assert same(meeting, replayed) == []
    assert refused(old, new, kept) == kept
    key = {"Authorization": f"Bearer {old.stack.api_key.reveal()}"}
    assert httpx.get(f"{stack.url}/v1/conversations", headers=key).status_code == UNAUTHORIZED
    assert [name for kind, name in found(stack) if kind == "secret_age"] == []


def test_two_stacks_run_side_by_side_and_purge_leaves_no_file(stack: Running) -> None:
    other = stack_named("test-beside", root=stack.root, offset=10_000)
    try:
        other.up()

        assert set(health(other).values()) <= {"healthy", "disabled"}
        assert set(health(stack).values()) <= {"healthy", "disabled"}
    finally:
        other.purge()
    assert not other.stack.home.exists()
    assert ports_held(other) == []
    assert leftovers(other.stack.home) == set()
