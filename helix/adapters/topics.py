"""Topics are made and kept as the catalogue has them."""

from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from helix.adapters.kafka import ANSWER_S_MAX, Admin
from helix.errors import TopologyError
from helix.events import EVENT_BYTES_MAX
from helix.settings import Kafka
from helix.topology.catalog import CATALOG
from helix.topology.check import replication
from helix.topology.model import Topic

SEGMENT_MS = 86_400_000


class TopicsAdmin:
    """Topics as the catalogue has them."""

    def __init__(self, settings: Kafka) -> None:
        self._admin = Admin(settings)

    def ensure(self, topics: Iterable[Topic]) -> list[str]:
        """What was changed so that every topic is there; a changed partition count is refused."""
        with self._admin.asked() as admin:
            metadata = admin.list_topics(timeout=ANSWER_S_MAX)
            present = {name: len(found.partitions) for name, found in metadata.topics.items()}
            brokers = len(metadata.brokers)
            wanted = list(topics)
            for topic in wanted:
                _same_partitions(topic, present)
            made = [topic for topic in wanted if topic.name not in present]
            kept = [topic for topic in wanted if topic.name in present]
            return [*_create(admin, made, brokers), *_configure(admin, kept, brokers)]


def _create(admin: AdminClient, topics: list[Topic], brokers: int) -> list[str]:
    if not topics:
        return []
    asked = admin.create_topics(
        [
            NewTopic(
                topic.name,
                topic.partitions,
                replication_factor=replication(CATALOG, brokers)[0],
                config=topic_config(topic, brokers),
            )
            for topic in topics
        ],
        operation_timeout=ANSWER_S_MAX,
    )
    return [f"created {name}" for name, answer in asked.items() if _created(answer.result)]


def _configure(admin: AdminClient, topics: list[Topic], brokers: int) -> list[str]:
    """Set what differs from the catalogue."""
    wanted = {topic.name: topic_config(topic, brokers) for topic in topics}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in wanted]
    if not resources:
        return []
    changes: list[ConfigResource] = []
    for resource, answer in admin.describe_configs(resources).items():
        found = answer.result(timeout=ANSWER_S_MAX)
        differing = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in wanted[resource.name].items()
            if found[name].value != value
        ]
        if differing:
            changes.append(
                ConfigResource(ResourceType.TOPIC, resource.name, incremental_configs=differing)
            )
    if not changes:
        return []
    for answer in admin.incremental_alter_configs(changes).values():
        answer.result(timeout=ANSWER_S_MAX)
    return [f"configured {change.name}" for change in changes]


def topic_config(topic: Topic, brokers: int) -> dict[str, str]:
    """The settings of a topic as Kafka names them."""
    kept = (
        {"cleanup.policy": "delete", "retention.ms": str(topic.retention_days * 86_400_000)}
        if topic.retention_days
        else {"cleanup.policy": "compact"}
    )
    return kept | {
        "compression.type": topic.codec.value,
        "segment.ms": str(SEGMENT_MS),
        "max.message.bytes": str(EVENT_BYTES_MAX),
        "min.insync.replicas": str(replication(CATALOG, brokers)[1]),
        "unclean.leader.election.enable": "false",
    }


def _same_partitions(topic: Topic, present: dict[str, int]) -> None:
    found = present.get(topic.name, topic.partitions)
    if found != topic.partitions:
        raise TopologyError(
            f"`{topic.name}` has {found} partitions, the catalogue says {topic.partitions}: "
            "partition counts never change, give the topic a new name"
        )


def _created(result: Callable[..., object]) -> bool:
    try:
        result(timeout=ANSWER_S_MAX)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False  # somebody else bootstraps at the same time
        raise
    return True
