"""The ancestor's published plan as a catalogue: sizes and images of its documents, kept to fail."""

from helix.topology.model import (
    Codec,
    Image,
    Kind,
    Placement,
    Port,
    Probe,
    ProbeKind,
    Server,
    Service,
    Size,
    Topic,
    Topology,
)

IMAGES = {
    "zookeeper": "confluentinc/cp-zookeeper:7.5.0",
    "kafka": "confluentinc/cp-kafka:7.5.0",
    "flink": "flink:1.19-java17",
    "redis": "redis:7",
    "rabbitmq": "rabbitmq:3.12",
    "postgres": "postgres:15",
    "clickhouse": "clickhouse/clickhouse-server:23.8-alpine",
    "neo4j": "neo4j:5.15-community",
    "spark-master": "bitnami/spark:3.5",
    "minio": "minio/minio:latest",
    "qdrant": "qdrant/qdrant:latest",
    "iceberg-rest": "tabulario/iceberg-rest:latest",
}


def _service(name: str, where: str, memory_gib: float, **ports: int) -> Service:
    listed = tuple(Port(name=key, number=number) for key, number in ports.items())
    return Service(
        name=name,
        kind=Kind.SERVER,
        role="published",
        image=name,
        ports=listed,
        placements=(
            Placement(server=where, size=Size(memory_mib=int(memory_gib * 1024), cores=1)),
        ),
        probe=Probe(kind=ProbeKind.TEXT, port=listed[0].name),
        absent="a plan on paper",
    )


def _topic(name: str, partitions: int, readers: tuple[str, ...]) -> Topic:
    return Topic(
        name=f"helixagent.{name}",
        partitions=partitions,
        retention_days=7,
        codec=Codec.LZ4,
        key="random",
        writer="published",
        readers=readers,
    )


ANCESTOR = Topology(
    servers=(
        Server(name="server-1", role="messaging and streaming", memory_gib=16, cores=8),
        Server(name="server-2", role="databases", memory_gib=32, cores=16),
        Server(name="server-3", role="processing", memory_gib=32, cores=16),
    ),
    services=(
        _service("zookeeper", "server-1", 1, client=2181),
        _service("kafka", "server-1", 4, broker=9092, jmx=9101),
        _service("flink", "server-1", 6, rest=8082, rpc=6123),
        _service("redis", "server-1", 2, redis=6379),
        _service("rabbitmq", "server-1", 2, amqp=5672),
        _service("postgres", "server-2", 4, sql=5432),
        _service(
            "clickhouse",
            "server-2",
            16,
            http=8123,
            native=9000,
        ),
        _service("neo4j", "server-2", 12, http=7474, bolt=7687),
        _service("spark-master", "server-3", 20, rpc=7077, ui=4040),
        _service("minio", "server-3", 4, s3=9000, console=9001),
        _service("qdrant", "server-3", 8, http=6333, grpc=6334),
        _service("iceberg-rest", "server-3", 1, http=8181),
    ),
    reservations=(),
    artifacts=(),
    images=tuple(
        Image(name=name, reference=reference, uid=1) for name, reference in IMAGES.items()
    ),
    topics=(
        _topic("memory.events", 12, ("memory",)),
        _topic("entities.updates", 8, ("knowledge",)),
        _topic("relationships.updates", 8, ()),
        _topic("conversations", 16, ("streams",)),
    ),
    buckets=(),
    collections=(),
    queues=(),
    tables=(),
    namespaces=(),
    nouns=(),
    profiles=(),
    replication_factor=3,
    in_sync_min=2,
)
