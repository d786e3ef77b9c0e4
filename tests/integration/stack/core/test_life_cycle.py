"""A stack changes, breaks, recovers, stops and starts again, as its user expects."""

import os
import random
import signal
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.provider.reaper import supervisors
from tests.integration.planted import at_postgres
from tests.integration.running import Running, changes, stack_named

KILLS = 5
OFFSET = 10_000
SEED = 20_261_121
CATALOG_FILE = "helix/topology/catalog.py"
HEAP = ("heap_mib=160, cache_mib=128", "heap_mib=168, cache_mib=120")
INTERVAL = ('interval.ms": 300_000', 'interval.ms": 300_001')
DOCSTRING = ('"""', '"""Edited. ')
# A heap size, a broker setting, a worker, a route.
EDITS = (
    (CATALOG_FILE, HEAP, "kafka"),
    ("infra/services/kafka.py", INTERVAL, "kafka"),
    ("runtime/loop.py", DOCSTRING, "workers"),
    ("controlplane/app.py", DOCSTRING, "control-plane"),
)
MIGRATION = "sql/postgres/migrations/9999_a_test.sql"
UNDONE = at_postgres("DROP TABLE a_test", "DELETE FROM migrations WHERE version = 9999")


def restarted(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """The services whose process is another one."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


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


@contextmanager
def added(path: Path, text: str) -> Generator[None]:
    """One more file, and taken away afterwards."""
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()


def test_a_change_restarts_exactly_its_process_and_a_migration_none(stack: Running) -> None:
    before = stack.pids()
    with ExitStack() as edits:
        for file, edit, service in EDITS:
            unchanged = stack.pids()
            change: Callable[[str], str] = lambda text, edit=edit: text.replace(*edit, 1)  # noqa: E731
            edits.enter_context(edited(stack.root / file, change))
            stack.apply()
            assert restarted(unchanged, stack.pids()) == {service}, file

        unchanged = stack.pids()
        table = "CREATE TABLE IF NOT EXISTS a_test (id text PRIMARY KEY);\n"
        edits.enter_context(added(stack.root / MIGRATION, table))
        edits.callback(UNDONE, stack)
        assert changes(stack.apply()) == [("1", "updated")]
        assert restarted(unchanged, stack.pids()) == set()
    stack.up()

    assert restarted(before, stack.pids()) == {service for _, _, service in EDITS}


def test_up_recovers_from_a_killed_supervisor(stack: Running) -> None:
    for supervisor in supervisors(stack.stack.home):
        os.kill(supervisor, signal.SIGKILL)

    stack.up()

    assert stack.running() == set(stack.outputs.services)
    assert stack.is_healthy()


@dataclass(frozen=True)
class Beside:
    """A second stack, and how many lines its `up` tells."""

    stack: Running
    lines: int


@pytest.fixture(scope="module")
def beside(stack: Running) -> Generator[Beside]:
    """Another small stack on the same machine."""
    other = stack_named("test-beside", root=stack.root, offset=OFFSET, profile="core")
    try:
        yield Beside(other, lines=len(other.up().splitlines()))
    finally:
        other.purge()


def test_down_leaves_nothing_and_up_answers_with_the_old_data(beside: Beside) -> None:
    told = beside.stack.tell()
    beside.stack.down()
    beside.stack.assert_stopped()
    assert (beside.stack.stack.home / "secret").exists()
    beside.stack.up()

    assert beside.stack.misquoted(told) == []


def test_up_recovers_from_being_killed_at_any_point(beside: Beside) -> None:
    told = beside.stack.tell()
    dice = random.Random(SEED)
    for _ in range(KILLS):
        beside.stack.down()
        kill_after(beside.stack, dice.randrange(beside.lines))
    beside.stack.up()

    assert beside.stack.is_healthy()
    assert beside.stack.running() == set(beside.stack.outputs.services)
    assert beside.stack.misquoted(told) == []


def kill_after(stack: Running, lines: int) -> None:
    """Bring the stack up, and kill the command once it has told so many lines."""
    command = stack.start(*stack.bring_up)
    assert command.stdout is not None
    for _ in range(lines):
        command.stdout.readline()
    os.kill(command.pid, signal.SIGKILL)
    command.communicate()


def test_two_stacks_run_side_by_side_and_purge_leaves_no_file(
    stack: Running, beside: Beside
) -> None:
    assert stack.is_healthy()
    assert beside.stack.is_healthy()

    beside.stack.purge()

    beside.stack.assert_gone()
    assert stack.is_healthy()
