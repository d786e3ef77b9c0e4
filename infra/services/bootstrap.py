"""The task that makes topics, tables, buckets, collections, queues and namespaces."""

import hashlib

import msgspec

from helix.topology.model import Record
from infra.launch import Site
from infra.services import settings

NAME = "bootstrap"
PROGRAM = "workers"  # whose image and whose folders it runs with
# Redis is not here: nothing is made in a cache.
NEEDS = (
    "kafka",
    "postgres",
    "clickhouse",
    "neo4j",
    "minio",
    "qdrant",
    "rabbitmq",
    "iceberg-rest",
)
MIGRATIONS = ("sql/postgres/migrations", "sql/clickhouse/migrations", "sql/neo4j/migrations")


class Job(Record, frozen=True):
    """A command run to its end; another trigger runs it again."""

    name: str
    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    triggers: dict[str, str]


def job(site: Site) -> Job:
    """Run again when what it makes changes in the catalogue or in the migrations."""
    topology = site.topology
    made = {
        "topics": (topology.topics, topology.replication_factor, topology.in_sync_min),
        "buckets": topology.buckets,
        "collections": topology.collections,
        "queues": topology.queues,
        "namespaces": topology.namespaces,
    }
    triggers = {
        name: hashlib.sha256(msgspec.json.encode(rows)).hexdigest() for name, rows in made.items()
    }
    return Job(
        name=NAME,
        argv=(site.python, "-m", "runtime", "bootstrap"),
        cwd=str(site.root),
        env=settings.environment(site, PROGRAM),
        triggers=triggers | {"migrations": site.digest(*MIGRATIONS)},
    )
