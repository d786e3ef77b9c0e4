"""Makes in every store what the catalogue says; run again, it changes nothing."""

import hashlib
import threading
import time
from collections.abc import Callable

import msgspec

from helix.adapters import clickhouse, lake, minio, neo4j, postgres, qdrant, rabbitmq
from helix.adapters.topics import TopicsAdmin
from helix.errors import UnavailableError
from helix.ports import Credential
from helix.settings import Settings
from helix.topology.catalog import CATALOG

WAIT_S_MAX = 120.0  # for one store
RETRY_S = 1.0
SCOPES = frozenset({"read", "write", "analytics", "admin"})
BOOTSTRAP_KEY = Credential(key_id="bootstrap", tenant="default", scopes=SCOPES)


class Step(msgspec.Struct, frozen=True):
    """One store's part: what it changes, told line by line; nothing the second time."""

    name: str
    service: str
    apply: Callable[[Settings], list[str]]


def run(
    settings: Settings,
    *,
    told: Callable[[str], None],
    steps: tuple[Step, ...] | None = None,
    wait_s_max: float = WAIT_S_MAX,
) -> None:
    """Apply every step in order, telling each one's outcome; each store is waited for."""
    disabled = settings.stack.disabled.split(",")
    for step in STEPS if steps is None else steps:
        if step.service in disabled:
            told(f"{step.name}: `{step.service}` is switched off")
            continue
        changes = _patiently(step, settings, told, wait_s_max)
        told(f"{step.name}: {', '.join(changes) or 'nothing to change'}")


def _patiently(
    step: Step, settings: Settings, told: Callable[[str], None], wait_s_max: float
) -> list[str]:
    until = time.monotonic() + wait_s_max
    said = ""
    while True:
        try:
            return step.apply(settings)
        except UnavailableError as error:
            if time.monotonic() >= until:
                raise UnavailableError(
                    error.service,
                    f"{step.name}: gave up after {wait_s_max:.0f} s: {error.message}; "
                    "start it and run bootstrap again",
                ) from error
            if error.message != said:
                told(f"{step.name}: waiting: {error.message}")
                said = error.message
            threading.Event().wait(RETRY_S)  # between two looks at the store


def _postgres(settings: Settings) -> list[str]:
    session = postgres.Session(settings.postgres)
    try:
        return [f"ran {name}" for name in postgres.migrate(session)]
    finally:
        session.close()


def _api_key(settings: Settings) -> list[str]:
    key = settings.stack.api_key.reveal()
    if not key:
        return []
    session = postgres.Session(settings.postgres)
    try:
        digest = hashlib.sha256(key.encode()).hexdigest()
        changed = postgres.put_api_key(session, BOOTSTRAP_KEY, digest)
        return [f"key `{BOOTSTRAP_KEY.key_id}`"] if changed else []
    finally:
        session.close()


def _clickhouse(settings: Settings) -> list[str]:
    engine = clickhouse.Engine(settings.clickhouse)
    try:
        return [f"ran {name}" for name in clickhouse.migrate(engine)]
    finally:
        engine.close()


def _topics(settings: Settings) -> list[str]:
    return TopicsAdmin(settings.kafka).ensure(CATALOG.topics)


def _neo4j(settings: Settings) -> list[str]:
    return [f"ran {name}" for name in neo4j.migrate(settings.neo4j)]


def _buckets(settings: Settings) -> list[str]:
    return minio.ensure(settings.minio, CATALOG.buckets)


def _collections(settings: Settings) -> list[str]:
    return qdrant.ensure(settings.qdrant, CATALOG.collections)


def _queues(settings: Settings) -> list[str]:
    return rabbitmq.ensure(settings.rabbitmq, CATALOG.queues)


def _namespaces(settings: Settings) -> list[str]:
    return lake.ensure(settings.iceberg, CATALOG.namespaces)


STEPS = (
    Step("topics", "kafka", _topics),
    Step("postgres", "postgres", _postgres),
    Step("api-key", "postgres", _api_key),
    Step("clickhouse", "clickhouse", _clickhouse),
    Step("neo4j", "neo4j", _neo4j),
    Step("buckets", "minio", _buckets),
    Step("collections", "qdrant", _collections),
    Step("queues", "rabbitmq", _queues),
    Step("namespaces", "iceberg-rest", _namespaces),
)
