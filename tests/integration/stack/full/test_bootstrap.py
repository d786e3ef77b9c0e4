"""Bootstrap on real stores: killed at any step and run again, it ends in the same state."""

import contextlib
import functools
import os
import subprocess
import sys
import uuid
from collections.abc import Generator
from dataclasses import dataclass

import msgspec
import psycopg
import pytest
from psycopg import sql

from helix.adapters import clickhouse, lake, postgres
from helix.topology.catalog import CATALOG
from infra.services.postgres import DATABASE_LAKE
from runtime.bootstrap import STEPS
from tests.integration.live import postgres_rows
from tests.integration.running import Running
from tests.tree import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

RUN_S_MAX = 120
STEP_NAMES = [step.name for step in STEPS]


@contextlib.contextmanager
def databases(stack: Running) -> Generator[dict[str, str]]:
    """The stack's environment with databases of the test's own, empty at first."""
    fresh = f"test_{uuid.uuid4().hex}"  # noqa: TID251 - a test is a composition root
    names = {"HELIX__POSTGRES__DATABASE": fresh, "HELIX__CLICKHOUSE__DATABASE": fresh}
    admin = psycopg.connect(postgres.conninfo(stack.settings.postgres), autocommit=True)
    admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(fresh)))
    yield {"PATH": os.defpath} | stack.env | names
    admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(fresh)))
    admin.close()
    engine = clickhouse.Engine(stack.settings.clickhouse)
    engine.run(f"DROP DATABASE IF EXISTS {fresh}")
    engine.close()


@dataclass(frozen=True)
class WholeRun:
    """One run that nothing interrupted: where, what its steps said, and what it left."""

    env: dict[str, str]
    told: dict[str, str]
    state: list[object]


@pytest.fixture(scope="module")
def whole(stack: Running) -> Generator[WholeRun]:
    """Bootstrap of empty databases in one run."""
    with databases(stack) as env:
        told = lines(env)
        yield WholeRun(env, told, state(stack, env))


def start(env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "runtime", "bootstrap"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(env: dict[str, str]) -> dict[str, str]:
    """One whole run: what each step said."""
    process = start(env)
    out, _ = process.communicate(timeout=RUN_S_MAX)
    assert process.returncode == 0, out
    return dict(line.split(": ", 1) for line in out.splitlines())


def killed_after(step: str, env: dict[str, str]) -> None:
    """A run that ends the moment it tells that step's line."""
    process = start(env)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"{step}:"):
            break
    process.kill()
    process.communicate()


def state(stack: Running, env: dict[str, str]) -> list[object]:
    """The schema and the rows bootstrap answers for."""
    fresh = env["HELIX__POSTGRES__DATABASE"]
    session = postgres.Session(msgspec.structs.replace(stack.settings.postgres, database=fresh))
    with session.transaction() as connection:
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'public' ORDER BY 1, 2"
        ).fetchall()
        ran = connection.execute("SELECT version, digest FROM migrations").fetchall()
        keys = connection.execute("SELECT tenant, key_id, digest, scopes FROM api_keys").fetchall()
    session.close()
    engine = clickhouse.Engine(stack.settings.clickhouse)
    columns = engine.rows(
        "SELECT table, name, type FROM system.columns"
        " WHERE database = {database:String} ORDER BY 1, 2",
        database=fresh,
    )
    engine.close()
    return [rows, ran, keys, columns]


def test_a_second_run_changes_nothing(stack: Running, whole: WholeRun) -> None:
    assert list(whole.told) == STEP_NAMES
    assert all(whole.state)
    assert set(lines(whole.env).values()) == {"nothing to change"}
    assert state(stack, whole.env) == whole.state


def test_killed_after_every_step_in_turn_it_ends_in_the_state_of_one_whole_run(
    stack: Running, whole: WholeRun
) -> None:
    with databases(stack) as env:
        for step in STEP_NAMES:
            killed_after(step, env)
        lines(env)

        assert state(stack, env) == whole.state
        assert set(lines(env).values()) == {"nothing to change"}
        assert state(stack, env) == whole.state


def test_an_edited_migration_stops_bootstrap(stack: Running, whole: WholeRun) -> None:
    fresh = whole.env["HELIX__POSTGRES__DATABASE"]
    settings = msgspec.structs.replace(stack.settings.postgres, database=fresh)
    with psycopg.connect(postgres.conninfo(settings), autocommit=True) as connection:
        connection.execute("UPDATE migrations SET digest = 'edited ' || digest")
        process = start(whole.env)
        process.communicate(timeout=RUN_S_MAX)
        connection.execute("UPDATE migrations SET digest = substr(digest, 8)")

    assert process.returncode == 1
    assert state(stack, whole.env) == whole.state


def test_the_lake_answers_at_once_after_its_database_left_it(stack: Running) -> None:
    """A server that stops ends every connection by code 57P01, as is done here."""
    lists = functools.partial(lake.ensure, stack.settings.iceberg, CATALOG.namespaces)
    everyone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %(lake)s"

    assert lists() == []
    ended = postgres_rows(stack, everyone, lake=DATABASE_LAKE)

    assert (True,) in ended
    assert lists() == []
