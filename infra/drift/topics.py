"""Topics as the catalogue has them against those of the brokers."""

from collections.abc import Iterable

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigEntry, ConfigResource, ConfigSource
from confluent_kafka.admin._resource import ResourceType

from helix.adapters.kafka import ANSWER_S_MAX, Admin
from helix.adapters.topics import topic_config
from helix.settings import Settings
from helix.topology.catalog import CATALOG
from helix.topology.check import replication
from helix.topology.model import Topic
from infra.drift.model import Cure, Cures, Drift, Kind, Things, compared

PREFIX = "helixagent."  # of every topic of ours
PARTITIONS = "partitions"
REPLICATION = "replication factor"
CURES = Cures(
    missing=Cure.BOOTSTRAP,
    differing=Cure.BOOTSTRAP,
    parts={PARTITIONS: Cure.MOVE, REPLICATION: Cure.MOVE},
)


def look(settings: Settings) -> list[Drift]:
    """What differs; topics of others are left alone."""
    with Admin(settings.kafka).asked() as admin:
        brokers = len(admin.list_topics(timeout=ANSWER_S_MAX).brokers)
        wanted = declared(CATALOG.topics, brokers)
        return compared(Kind.TOPIC, wanted, _live(admin, wanted), CURES)


def declared(topics: Iterable[Topic], brokers: int) -> dict[str, dict[str, str]]:
    """What bootstrap makes on that many brokers."""
    factor, _ = replication(CATALOG, brokers)
    return {
        topic.name: {
            PARTITIONS: str(topic.partitions),
            REPLICATION: str(factor),
            **topic_config(topic, brokers),
        }
        for topic in topics
    }


def _live(admin: AdminClient, wanted: Things) -> Things:
    found = admin.list_topics(timeout=ANSWER_S_MAX).topics
    ours = {name: topic for name, topic in found.items() if name.startswith(PREFIX)}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in ours]
    asked = admin.describe_configs(resources) if resources else {}
    configs = {
        resource.name: answer.result(timeout=ANSWER_S_MAX) for resource, answer in asked.items()
    }
    return {
        name: {
            PARTITIONS: str(len(topic.partitions)),
            REPLICATION: str(min(len(one.replicas) for one in topic.partitions.values())),
            **_set(configs[name], known=wanted.get(name, {})),
        }
        for name, topic in ours.items()
    }


def _set(config: dict[str, ConfigEntry], *, known: Iterable[str]) -> dict[str, str]:
    """The settings the catalogue speaks of, and whatever else was set for this topic alone."""
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG
    return {
        name: str(entry.value)
        for name, entry in config.items()
        if name in known or ConfigSource(entry.source) is own
    }
