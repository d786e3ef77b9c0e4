"""What must hold of a catalogue. Every check returns sentences; none means sound."""

import graphlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator

from helix.topology.model import (
    MIB_PER_GIB,
    Locked,
    Placement,
    Server,
    Service,
    Size,
    Store,
    Topology,
)

RESERVE = 0.10  # of each server's memory and cores, kept for the system and for peaks
PORT_MAX = 65_535
LITERAL_SECRET = re.compile(r"(password|secret|token|api[_-]?key)\s*[=:]\s*[^\s${]+", re.IGNORECASE)
VERSION = re.compile(r"(\d+)(?:\.\d+)*")


def faults(topology: Topology) -> list[str]:
    """Every way in which the catalogue does not hold, as sentences that name the rows."""
    return [fault for check in CHECKS for fault in check(topology)]


def replicas(service: Service) -> int:
    """How many instances the production plan runs."""
    return len(service.placements)


def replication(topology: Topology, brokers: int) -> tuple[int, int]:
    """Replication factor and minimum in-sync replicas on that many brokers.

    The catalogue's own where the brokers allow it; a smaller cluster holds what it can and keeps
    one replica to spare, a single broker none.
    """
    factor = min(topology.replication_factor, brokers)
    return factor, max(1, min(topology.in_sync_min, factor - 1))


def stopped_with(topology: Topology, server: str) -> set[str]:
    """What the loss of that server stops: services with no instance elsewhere."""
    return {
        service.name
        for service in topology.services
        if all(placement.server == server for placement in service.placements)
    }


def impaired_without(topology: Topology, server: str) -> set[str]:
    """What runs on without something it needs: of its work, what needs that fails and says so."""
    stopped = stopped_with(topology, server)
    lost = set(stopped)
    while more := {s.name for s in topology.services if lost & set(s.needs)} - lost:
        lost |= more
    return lost - stopped


def booked(topology: Topology, server: Server) -> tuple[float, float]:
    """Memory in GiB and cores that the plan books on a server."""
    sizes = [size for where, size in _sizes(topology) if where == server.name]
    return (
        sum(size.memory_mib for size in sizes) / MIB_PER_GIB,
        round(sum(size.cores for size in sizes), 6),
    )


def laptop_mib(topology: Topology, services: Collection[str]) -> int:
    """Return the memory limits in MiB of those services on one machine, added up."""
    rows = [topology.service(name).laptop for name in services]
    return sum(size.memory_mib for size in rows if size)


def _sizes(topology: Topology) -> Iterator[tuple[str, Size]]:
    for service in topology.services:
        for placement in service.placements:
            yield placement.server, placement.size
    for reservation in topology.reservations:
        yield reservation.server, reservation.size


def capacity(topology: Topology) -> Iterator[str]:
    """Memory and cores fit each server after the reserve; every placement names a server."""
    known = {server.name for server in topology.servers}
    for where in sorted({where for where, _ in _sizes(topology)} - known):
        yield f"`{where}` is placed on but is no server of the catalogue"
    whole = sum(booked(topology, server)[0] for server in topology.servers)
    have_gib = sum(server.memory_gib for server in topology.servers)
    if whole > have_gib * (1 - RESERVE):
        yield f"the whole plan asks for {whole:g} GiB of {have_gib:g} GiB and keeps no reserve"
    for server in topology.servers:
        memory_gib, cores = booked(topology, server)
        for unit, asked, have in (
            ("GiB", memory_gib, server.memory_gib),
            ("cores", cores, float(server.cores)),
        ):
            if asked > have * (1 - RESERVE):
                yield (
                    f"`{server.name}` is over-booked: {asked:g} {unit} asked of "
                    f"{have * (1 - RESERVE):g} ({have:g} less a tenth in reserve)"
                )


def parts(topology: Topology) -> Iterator[str]:
    """Heap, cache and overhead of every size fit its memory."""
    for service in topology.services:
        sizes = [placement.size for placement in service.placements]
        for size in [*sizes, *([service.laptop] if service.laptop else [])]:
            asked = size.heap_mib + size.cache_mib + size.overhead_mib
            if asked > size.memory_mib:
                yield (
                    f"`{service.name}` asks for {asked} MiB of heap, cache and overhead "
                    f"in {size.memory_mib} MiB"
                )


def instance(service: Service, index: int) -> int:
    """The instance's number among those of its service on its server, from 0."""
    server = service.placements[index].server
    return sum(placement.server == server for placement in service.placements[:index])


def _numbers(service: Service) -> Iterator[tuple[int, str]]:
    """Every port number the service may take on some server, with the port's name."""
    per_server = Counter(placement.server for placement in service.placements)
    for port in service.ports:
        for step in range(max(per_server.values(), default=1)):
            yield port.number + step, port.name


def ports(topology: Topology) -> Iterator[str]:
    """Port numbers are unique over the whole catalogue and in range."""
    holders: dict[int, list[str]] = {}
    for service in topology.services:
        for number, name in _numbers(service):
            holders.setdefault(number, []).append(f"{service.name}.{name}")
    for number, names in sorted(holders.items()):
        if len(names) > 1:
            yield f"port {number} is claimed by {' and '.join(f'`{name}`' for name in names)}"
        if not 0 < number <= PORT_MAX:
            yield f"port {number} of `{names[0]}` is no port number"


def images(topology: Topology) -> Iterator[str]:
    """Images carry a version, its major is that of the local artifact, nobody runs as root."""
    for image in topology.images:
        for reference in filter(None, (image.reference, image.base)):
            yield from _unpinned(image.name, reference)
        if image.uid == 0:
            yield f"the image of `{image.name}` runs as root: give it a `uid`"
    known = {image.name: image for image in topology.images}
    majors = {artifact.name: _major(artifact.version) for artifact in topology.artifacts}
    for service in topology.services:
        if service.image not in known:
            yield f"`{service.name}` runs image `{service.image}`, which is not in the catalogue"
        elif service.artifact in majors:
            tag = _tag(known[service.image].reference)
            version, local = VERSION.search(tag), majors[service.artifact]
            if version and version[1] != local and not _dated(tag):
                yield (
                    f"`{service.name}` runs major {version[1]} as image "
                    f"and {local} as local artifact"
                )


def _unpinned(name: str, reference: str) -> Iterator[str]:
    tag = _tag(reference)
    if tag == "latest" or not VERSION.search(tag):
        yield f"the image of `{name}` is not pinned: `{reference}`"
    elif reference.startswith("bitnami"):
        yield f"`{name}` uses a discontinued image: `{reference}`"


def _tag(reference: str) -> str:
    """What stands after the last colon; empty without one."""
    return reference.rpartition(":")[2] if ":" in reference else ""


def _major(version: str) -> str:
    found = VERSION.search(version)
    return found[1] if found else version


def _dated(tag: str) -> bool:
    """Some projects release by date: such a tag has no major to compare."""
    return tag.startswith("RELEASE.")


def needs(topology: Topology) -> Iterator[str]:
    """`needs` name known services and contain no circle."""
    graph = {service.name: set(service.needs) for service in topology.services}
    for name, wanted in graph.items():
        for missing in sorted(wanted - set(graph)):
            yield f"`{name}` needs `{missing}`, which is not in the catalogue"
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        yield f"services need each other in a circle: {' -> '.join(error.args[1])}"


def probes(topology: Topology) -> Iterator[str]:
    """Probe and metrics use a declared port."""
    for service in topology.services:
        declared = {port.name for port in service.ports}
        if service.probe.port not in declared:
            yield f"the probe of `{service.name}` asks port `{service.probe.port}`, not declared"
        if service.metrics and service.metrics.port not in declared:
            yield f"the metrics of `{service.name}` are on port `{service.metrics.port}`, unknown"


def artifacts(topology: Topology) -> Iterator[str]:
    """Every service runs locally from a known artifact or says why it is absent."""
    known = {artifact.name for artifact in topology.artifacts}
    for service in topology.services:
        if service.artifact and service.artifact not in known:
            yield f"`{service.name}` runs from artifact `{service.artifact}`, which is unknown"
        if service.laptop is None and not service.absent:
            yield f"`{service.name}` has no laptop size and does not say what stands in for it"
    for artifact in topology.artifacts:
        if not isinstance(artifact, Locked) and not VERSION.match(artifact.version):
            yield f"artifact `{artifact.name}` is not pinned: `{artifact.version}`"


def topics(topology: Topology) -> Iterator[str]:
    """Every topic has one writer, at least one reader, and settings a broker can hold."""
    for topic in topology.topics:
        if not topic.writer:
            yield f"topic `{topic.name}` has no writer"
        if not topic.readers:
            yield f"topic `{topic.name}` is read by nobody"
        if topic.partitions < 1:
            yield f"topic `{topic.name}` has {topic.partitions} partitions"


def durability(topology: Topology) -> Iterator[str]:
    """Replicas fit the brokers, and losing one broker does not stop the writes."""
    factor, in_sync = topology.replication_factor, topology.in_sync_min
    brokers = sum(replicas(row) for row in topology.services if row.name == "kafka")
    if topology.topics and factor > brokers:
        yield f"replication factor {factor} is asked of {brokers} broker(s)"
    if factor > 1 and in_sync >= factor:
        yield f"minimum in-sync {in_sync} of {factor} replicas: one lost broker stops every write"


def names(topology: Topology) -> Iterator[str]:
    """Names are unique within their kind."""
    tables = [f"{table.store}.{table.name}" for table in topology.tables]
    for kind, rows in (
        ("server", [row.name for row in topology.servers]),
        ("service", [row.name for row in topology.services]),
        ("artifact", [row.name for row in topology.artifacts]),
        ("image", [row.name for row in topology.images]),
        ("topic", [row.name for row in topology.topics]),
        ("bucket", [row.name for row in topology.buckets]),
        ("collection", [row.name for row in topology.collections]),
        ("noun", [row.name for row in topology.nouns]),
        ("profile", [row.name for row in topology.profiles]),
        ("queue", [row.name for row in topology.queues]),
        ("table", tables),
    ):
        for name, count in Counter(rows).items():
            if count > 1:
                yield f"{kind} `{name}` stands {count} times in the catalogue"


def profiles(topology: Topology) -> Iterator[str]:
    """Nouns name services and profiles name nouns; every service serves a noun of some profile."""
    services = {service.name for service in topology.services}
    nouns = {noun.name for noun in topology.nouns}
    unknown = [
        *((f"noun `{row.name}`", name) for row in topology.nouns for name in row.services),
        *((f"profile `{row.name}`", name) for row in topology.profiles for name in row.nouns),
    ]
    missing = [(who, name) for who, name in unknown if name not in services | nouns]
    for who, name in missing:
        yield f"{who} names `{name}`, which is not in the catalogue"
    if missing or not topology.profiles:
        return
    served = {name for profile in topology.profiles for name in topology.served(profile.name)}
    for name in sorted(services - served):
        yield f"`{name}` serves no noun of any profile: nobody would run it"


def stores(topology: Topology) -> Iterator[str]:
    """Tables live in a store of the catalogue."""
    known = {service.name for service in topology.services}
    for store in sorted({table.store for table in topology.tables}, key=Store):
        if store not in known:
            yield f"tables live in `{store}`, which is not in the catalogue"


def secrets(topology: Topology) -> Iterator[str]:
    """No row holds a literal secret: secrets are named, never written."""
    for service in topology.services:
        for text in _texts(service):
            if LITERAL_SECRET.search(text):
                yield f"`{service.name}` holds a literal secret: `{text[:40]}`"


def _texts(service: Service) -> Iterable[str]:
    return (service.probe.path, service.probe.send, service.role, service.absent)


def placements(topology: Topology) -> Iterator[str]:
    """Every service is placed, and no server carries two brokers or two peers of a quorum."""
    for service in topology.services:
        if not service.placements:
            yield f"`{service.name}` is placed nowhere"
        quorum = service.name in {"kafka", "zookeeper"}
        for server, count in _by_server(service.placements).items():
            if quorum and count > 1:
                yield f"`{service.name}` has {count} instances on `{server}`: no quorum survives it"


def _by_server(rows: Iterable[Placement]) -> Counter[str]:
    return Counter(row.server for row in rows)


CHECKS: tuple[Callable[[Topology], Iterator[str]], ...] = (
    names,
    capacity,
    parts,
    placements,
    ports,
    images,
    needs,
    profiles,
    probes,
    artifacts,
    topics,
    durability,
    stores,
    secrets,
)
