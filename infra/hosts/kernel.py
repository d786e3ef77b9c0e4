"""What the servers of the catalogue ask of a machine's kernel."""

from collections.abc import Iterable
from enum import StrEnum

from helix.topology.model import Record


class Relation(StrEnum):
    """How a setting is judged: a machine that is more generous already is left alone."""

    EXACTLY = "="
    AT_LEAST = ">="


class Setting(Record, frozen=True):
    """A kernel setting and who needs it; without `services` every server does."""

    name: str
    relation: Relation
    value: int
    services: tuple[str, ...] = ()


SETTINGS = (
    # Each segment of a log, each part of a table is a mapping.
    Setting(
        name="vm.max_map_count",
        relation=Relation.AT_LEAST,
        value=262_144,
        services=("kafka", "clickhouse", "qdrant", "neo4j"),
    ),
    # A swapped-out heap misses its heartbeats.
    Setting(name="vm.swappiness", relation=Relation.EXACTLY, value=1),
    # A snapshot forks: the copy is never written in full, and refusing it stops the writes.
    Setting(name="vm.overcommit_memory", relation=Relation.EXACTLY, value=1, services=("redis",)),
    Setting(name="net.core.somaxconn", relation=Relation.AT_LEAST, value=4096),
    Setting(name="fs.file-max", relation=Relation.AT_LEAST, value=1_048_576),
    # The container engine watches files for each container.
    Setting(name="fs.inotify.max_user_instances", relation=Relation.AT_LEAST, value=1024),
    Setting(name="fs.inotify.max_user_watches", relation=Relation.AT_LEAST, value=131_072),
)


def settings(services: Iterable[str]) -> list[Setting]:
    """What a machine that runs those services needs."""
    here = set(services)
    return [one for one in SETTINGS if not one.services or here & set(one.services)]
