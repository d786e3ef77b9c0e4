"""Drift planted behind a stack's back, each kind with its undoing."""

import contextlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

import httpx
import minio
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic
from minio.commonconfig import ENABLED
from minio.versioningconfig import SUSPENDED, VersioningConfig

from helix.adapters import clickhouse, neo4j, postgres
from helix.adapters.kafka import Admin
from helix.adapters.minio import client
from helix.adapters.trust import scheme, verified
from infra.drift import schemas
from tests.integration.running import COMMAND_S_MAX, Running

AUDIT = "helixagent.audit"
STRAY = "helixagent.nobody-declared-this"
BUCKET = "helixagent-audit"
ANSWER_S_MAX = 30.0
PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": ["*"]},
            "Action": ["s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{BUCKET}/*"],
        }
    ],
}


@dataclass(frozen=True)
class Planted:
    """Something done behind the stack's back, how it is undone, and the drift it is."""

    plant: Callable[[Running], object]
    undo: Callable[[Running], object]
    kind: str
    name: str


def drift(stack: Running, *options: str) -> subprocess.CompletedProcess[str]:
    """The command as `make drift` runs it."""
    return subprocess.run(
        [str(stack.root / ".venv/bin/python"), "-m", "infra.drift", *stack.chosen, *options],
        cwd=stack.root,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


def found(stack: Running) -> list[tuple[str, str]]:
    """Kind and name of everything that is not as declared."""
    done = drift(stack, "--json")
    rows = json.loads(done.stdout)
    assert done.returncode == (1 if rows else 0), done.stderr
    return [(row["kind"], row["name"]) for row in rows]


def bootstrap(stack: Running) -> None:
    """What a sentence of drift says to run."""
    python = str(stack.root / ".venv/bin/python")
    stack.run("infra.stack", "exec", *stack.chosen, "--", python, "-m", "runtime", "bootstrap")


def configured(operation: AlterConfigOpType, name: str, value: str) -> Callable[[Running], object]:
    """Somebody with `kafka-configs`."""

    def act(stack: Running) -> None:
        entry = ConfigEntry(name, value, incremental_operation=operation)
        change = ConfigResource(ResourceType.TOPIC, AUDIT, incremental_configs=[entry])
        with Admin(stack.settings.kafka).asked() as admin:
            admin.incremental_alter_configs([change])[change].result(timeout=ANSWER_S_MAX)

    return act


def make_topic(stack: Running) -> None:
    with Admin(stack.settings.kafka).asked() as admin:
        admin.create_topics([NewTopic(STRAY, 1)])[STRAY].result(timeout=ANSWER_S_MAX)


def delete_topic(stack: Running) -> None:
    with Admin(stack.settings.kafka).asked() as admin:
        admin.delete_topics([STRAY])[STRAY].result(timeout=ANSWER_S_MAX)


def at_postgres(*statements: str) -> Callable[[Running], object]:
    """Somebody at PostgreSQL's shell."""

    def act(stack: Running) -> None:
        with (
            contextlib.closing(postgres.Session(stack.settings.postgres)) as session,
            session.transaction() as connection,
        ):
            for statement in statements:
                connection.execute(statement.encode())

    return act


def at_clickhouse(statement: str) -> Callable[[Running], object]:
    """Somebody at ClickHouse's."""

    def act(stack: Running) -> None:
        with contextlib.closing(clickhouse.Engine(stack.settings.clickhouse)) as engine:
            engine.run(statement)

    return act


def at_neo4j(statement: LiteralString) -> Callable[[Running], object]:
    """Somebody at Neo4j's."""

    def act(stack: Running) -> None:
        with neo4j.connected(stack.settings.neo4j) as driver:
            driver.execute_query(statement)

    return act


def drop_payload_index(stack: Running) -> None:
    store = stack.settings.qdrant
    answer = httpx.delete(
        f"{scheme(store.ca)}://{store.host}:{store.port}/collections/entities/index/tenant",
        headers={"api-key": store.password.reveal()},
        verify=verified(store.ca),
    )
    answer.raise_for_status()


def objects(stack: Running) -> minio.Minio:
    """Somebody with the root key of the object store."""
    return client(stack.settings.minio)


def versions(status: str) -> Callable[[Running], object]:
    return lambda stack: objects(stack).set_bucket_versioning(BUCKET, VersioningConfig(status))


def redis_file(stack: Running) -> Path:
    return stack.stack.home / "conf" / "redis" / "redis.conf"


def worker_file(stack: Running) -> Path:
    return stack.root / "runtime" / "loop.py"


def append(path: Path, line: str) -> None:
    path.write_text(path.read_text() + line)


def take_away(path: Path, line: str) -> None:
    path.write_text(path.read_text().removesuffix(line))


def leave(_: Running) -> None:
    """What bootstrap mends in the end."""


EDIT, COMMENT = "maxclients 7\n", "# edited\n"
GRAPH_CONSTRAINT = (
    "CREATE CONSTRAINT conversation_id FOR (c:Conversation) REQUIRE (c.tenant, c.id) IS UNIQUE"
)
PLANTED = [
    Planted(
        configured(AlterConfigOpType.SET, "retention.ms", "1000000"),
        leave,
        "topic",
        f"{AUDIT} retention.ms",
    ),
    Planted(
        configured(AlterConfigOpType.SET, "retention.bytes", "1000000000"),
        configured(AlterConfigOpType.DELETE, "retention.bytes", ""),
        "topic",
        f"{AUDIT} retention.bytes",
    ),
    Planted(make_topic, delete_topic, "topic", STRAY),
    Planted(
        at_postgres("ALTER TABLE conversations ADD COLUMN mood text"),
        at_postgres("ALTER TABLE conversations DROP COLUMN mood"),
        "ddl",
        "postgres conversations mood",
    ),
    Planted(
        at_postgres("INSERT INTO migrations (version, name, digest) VALUES (999, 'x', 'y')"),
        at_postgres("DELETE FROM migrations WHERE version = 999"),
        "ddl",
        "postgres migration 0999",
    ),
    Planted(
        at_clickhouse("ALTER TABLE conversation_hours MODIFY TTL hour + INTERVAL 9 DAY"),
        at_clickhouse("ALTER TABLE conversation_hours REMOVE TTL"),
        "ddl",
        "clickhouse conversation_hours ENGINE",
    ),
    Planted(
        at_postgres("DROP INDEX conversations_by_user"),
        at_postgres(schemas.recorded("postgres").indexes["conversations_by_user"]),
        "index",
        "postgres conversations_by_user",
    ),
    Planted(
        at_neo4j("DROP CONSTRAINT conversation_id"),
        at_neo4j(GRAPH_CONSTRAINT),
        "index",
        "neo4j conversation_id",
    ),
    Planted(drop_payload_index, leave, "index", "qdrant entities payload index tenant"),
    Planted(
        lambda stack: objects(stack).delete_bucket_lifecycle(BUCKET),
        leave,
        "bucket_policy",
        f"{BUCKET} expiry",
    ),
    Planted(
        lambda stack: objects(stack).set_bucket_policy(BUCKET, json.dumps(PUBLIC)),
        lambda stack: objects(stack).delete_bucket_policy(BUCKET),
        "bucket_policy",
        f"{BUCKET} anonymous access",
    ),
    Planted(versions(ENABLED), versions(SUSPENDED), "bucket_policy", f"{BUCKET} versioning"),
    Planted(
        lambda stack: append(redis_file(stack), EDIT),
        lambda stack: take_away(redis_file(stack), EDIT),
        "config",
        "redis {home}/conf/redis/redis.conf",
    ),
    Planted(
        lambda stack: append(worker_file(stack), COMMENT),
        lambda stack: take_away(worker_file(stack), COMMENT),
        "image",
        "workers code",
    ),
]
