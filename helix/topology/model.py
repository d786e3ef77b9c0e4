"""The types of the catalogue: what runs where, how big, on which port, what flows through."""

from enum import StrEnum

import msgspec

MIB_PER_GIB = 1024


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of the catalogue: immutable, compared by value, misspelt fields refused."""


class Server(Record, frozen=True):
    """A machine of the three-server plan."""

    name: str
    role: str
    memory_gib: float
    cores: int


class Size(Record, frozen=True):
    """What a service may use. The parts of a JVM or a cache must fit into `memory_mib`."""

    memory_mib: int
    cores: float
    heap_mib: int = 0
    cache_mib: int = 0
    overhead_mib: int = 0


class Exposure(StrEnum):
    """Who may reach a port."""

    LOOPBACK = "loopback"  # only processes of the same server
    SERVERS = "servers"  # only the stack's own servers: everybody else is kept out before a word
    CLIENTS = "clients"  # whoever reaches the server: TLS and credentials are required


class Port(Record, frozen=True):
    """A port a service listens on; a stack's offset is added to `number`."""

    name: str
    number: int
    exposure: Exposure = Exposure.CLIENTS
    sealed: bool = False  # speaks TLS to the stack's own servers too; to clients it always does

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS wherever the stack has certificates."""
        return self.sealed or self.exposure is Exposure.CLIENTS


class ProbeKind(StrEnum):
    """How a service is asked whether it works; each kind speaks the service's own protocol."""

    HTTP = "http"
    TEXT = "text"  # send a line over TCP, expect a prefix in the answer
    POSTGRES = "postgres"
    REDIS = "redis"
    KAFKA = "kafka"
    BOLT = "bolt"


class Probe(Record, frozen=True):
    """The question that proves a service works, and the part of its answer that says so."""

    kind: ProbeKind
    port: str
    path: str = ""
    send: str = ""
    expect: str = ""
    start_s_max: int = 60


class Metrics(Record, frozen=True):
    """Where Prometheus finds a service's figures."""

    port: str
    path: str = "/metrics"


class Volume(Record, frozen=True):
    """Data that outlives the process, kept by `destroy`."""

    name: str
    mount: str
    size_gib: int
    kept: bool = True


class Placement(Record, frozen=True):
    """One instance: on which server, how big in production."""

    server: str
    size: Size


class Kind(StrEnum):
    """Where a service's program comes from."""

    SERVER = "server"  # somebody else's server, fetched as an artifact
    ENGINE = "engine"  # a real engine behind its own wire interface, served by `infra/engines`
    APP = "app"  # one of our programs


class Image(Record, frozen=True):
    """A container image, and where in it the parts of the local artifacts are.

    With `base` it is ours: built from that image, with the parts in `adds` put in.
    """

    name: str
    reference: str  # repository:tag
    uid: int  # who the server runs as, never root
    base: str = ""
    parts: dict[str, str] = {}  # artifact, or artifact/path in it -> absolute path in the image
    adds: tuple[str, ...] = ()  # artifact/path of what the base image lacks
    java: str = ""
    python: str = ""


class Service(Record, frozen=True):
    """One row of the topology; `artifact` is what the local substrate runs, `image` the others."""

    name: str
    kind: Kind
    role: str
    image: str
    ports: tuple[Port, ...]
    placements: tuple[Placement, ...]
    probe: Probe
    artifact: str | None = None
    laptop: Size | None = (
        None  # None: absent from the local substrate, `absent` says what stands in
    )
    absent: str = ""
    needs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    metrics: Metrics | None = None


class Reservation(Record, frozen=True):
    """Memory and cores that jobs take on a server while they run: booked, so that they fit."""

    name: str
    server: str
    size: Size
    why: str


class Codec(StrEnum):
    """Compression of a topic's segments."""

    LZ4 = "lz4"
    ZSTD = "zstd"


class Topic(Record, frozen=True):
    """A log: keyed by tenant and `key`; exactly one noun writes it, at least one reads it."""

    name: str
    partitions: int
    retention_days: int  # 0: compacted, the last record of each key stays
    codec: Codec
    key: str
    writer: str
    readers: tuple[str, ...]


class Bucket(Record, frozen=True):
    """An object bucket; objects expire after `expire_days`, 0 means never."""

    name: str
    purpose: str
    expire_days: int = 0


class Collection(Record, frozen=True):
    """A vector collection: dense vectors beside BM25 sparse vectors."""

    name: str
    purpose: str
    dimensions: int


class Queue(Record, frozen=True):
    """A durable quorum queue of batch work."""

    name: str
    purpose: str


class Store(StrEnum):
    """Where a table lives."""

    POSTGRES = "postgres"
    CLICKHOUSE = "clickhouse"


class Table(Record, frozen=True):
    """A table: the noun that owns it is the only one that writes it."""

    name: str
    store: Store
    owner: str
    purpose: str


class Noun(Record, frozen=True):
    """What users keep here, and the services that serve it; what those need is needed as well."""

    name: str
    services: tuple[str, ...]


class Profile(Record, frozen=True):
    """Part of the platform by the nouns it serves: a stack runs what they need and nothing else."""

    name: str
    purpose: str
    nouns: tuple[str, ...]


class Maven(Record, frozen=True, tag="maven"):
    """Jars resolved from coordinates, verified against `infra/artifacts/<name>.lock`."""

    name: str
    version: str
    coordinates: tuple[str, ...]  # group:artifact:version[:classifier]
    sources: tuple[str, ...] = ()  # Java files of ours compiled against the jars
    transitive: bool = True  # False: the named jars alone, for bundles that carry their own


class Go(Record, frozen=True, tag="go", omit_defaults=True):
    """A program built from a pinned module, verified by `infra/artifacts/<name>/go.sum`."""

    name: str
    version: str
    module: str
    package: str
    linker_flags: str = ""
    files: tuple[str, ...] = ()  # patterns in the module's folder: what the program needs beside it


class Wheels(Record, frozen=True, tag="wheels"):
    """Python packages unpacked beside each other without their dependencies, pinned by hash."""

    name: str
    version: str
    packages: tuple[str, ...]  # distribution==version


class Debian(Record, frozen=True, tag="debian"):
    """System packages of the distribution, pinned by major version."""

    name: str
    version: str
    packages: tuple[str, ...]


class Locked(Record, frozen=True, tag="locked"):
    """A package of the project's own locked environment."""

    name: str
    version: str
    package: str


Artifact = Maven | Go | Wheels | Debian | Locked


class Topology(Record, frozen=True):
    """The whole catalogue as one value."""

    servers: tuple[Server, ...]
    services: tuple[Service, ...]
    reservations: tuple[Reservation, ...]
    artifacts: tuple[Artifact, ...]
    images: tuple[Image, ...]
    topics: tuple[Topic, ...]
    buckets: tuple[Bucket, ...]
    collections: tuple[Collection, ...]
    queues: tuple[Queue, ...]
    tables: tuple[Table, ...]
    namespaces: tuple[str, ...]
    nouns: tuple[Noun, ...]
    profiles: tuple[Profile, ...]
    replication_factor: int
    in_sync_min: int

    def service(self, name: str) -> Service:
        """The service of that name; KeyError if the catalogue has none."""
        return {service.name: service for service in self.services}[name]

    def image(self, name: str) -> Image:
        """The image of that name; KeyError if the catalogue has none."""
        return {image.name: image for image in self.images}[name]

    def profile(self, name: str) -> Profile:
        """The profile of that name; KeyError if the catalogue has none."""
        return {profile.name: profile for profile in self.profiles}[name]

    def served(self, profile: str) -> frozenset[str]:
        """Return the services of a profile: those of its nouns, and whatever they need."""
        services = {noun.name: noun.services for noun in self.nouns}
        names = {name for noun in self.profile(profile).nouns for name in services[noun]}
        needs = {service.name: service.needs for service in self.services}
        while more := {need for name in names for need in needs.get(name, ())} - names:
            names |= more
        return frozenset(names)

    def artifact(self, name: str) -> Artifact:
        """The artifact of that name; KeyError if the catalogue has none."""
        return {artifact.name: artifact for artifact in self.artifacts}[name]


def port_of(service: Service, name: str) -> Port:
    """The port of that name; KeyError if the service has none."""
    return {port.name: port for port in service.ports}[name]
