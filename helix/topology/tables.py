"""The catalogue as tables of text, for the command line and for docs/reference."""

from collections.abc import Iterator

from helix.topology import check
from helix.topology.model import Record, Service, Topology


class Grid(Record, frozen=True):
    """A titled table of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grids(topology: Topology) -> Iterator[Grid]:
    """Every table a reader of the catalogue wants, in reading order."""
    yield _servers(topology)
    yield losses(topology)
    yield _services(topology)
    yield _profiles(topology)
    yield _ports(topology)
    yield _artifacts(topology)
    yield _topics(topology)
    yield _holdings(topology)
    yield _tables(topology)


def _servers(topology: Topology) -> Grid:
    rows: list[tuple[str, ...]] = []
    for server in topology.servers:
        memory_gib, cores = check.booked(topology, server)
        rows.append(
            (
                server.name,
                server.role,
                f"{memory_gib:g} of {server.memory_gib:g}",
                f"{cores:g} of {server.cores}",
            )
        )
    columns = ("server", "role", "GiB booked", "cores booked")
    return Grid(title="Servers", columns=columns, rows=tuple(rows))


def losses(topology: Topology) -> Grid:
    """What each server's loss stops and impairs, and what goes on without its instance there."""
    columns = ("without", "stops", "impaired: runs on and lacks what it needs", "goes on elsewhere")
    rows = tuple(_loss(topology, server.name) for server in topology.servers)
    return Grid(title="The loss of a server", columns=columns, rows=rows)


def _loss(topology: Topology, server: str) -> tuple[str, ...]:
    stopped = check.stopped_with(topology, server)
    impaired = check.impaired_without(topology, server)
    elsewhere = {
        service.name
        for service in topology.services
        if server in {placement.server for placement in service.placements}
    } - stopped
    return server, *(
        ", ".join(sorted(names)) or "-" for names in (stopped, impaired, elsewhere - impaired)
    )


def _services(topology: Topology) -> Grid:
    columns = ("service", "role", "servers", "production MiB", "laptop MiB", "needs", "image")
    rows = tuple(
        (
            service.name,
            service.role,
            ", ".join(placement.server for placement in service.placements),
            ", ".join(str(placement.size.memory_mib) for placement in service.placements),
            str(service.laptop.memory_mib) if service.laptop else f"absent: {service.absent}",
            ", ".join(service.needs) or "-",
            topology.image(service.image).reference,
        )
        for service in topology.services
    )
    return Grid(title="Services", columns=columns, rows=rows)


def _profiles(topology: Topology) -> Grid:
    columns = ("profile", "purpose", "nouns", "services", "laptop MiB at most")
    rows = tuple(
        (
            profile.name,
            profile.purpose,
            ", ".join(profile.nouns),
            ", ".join(sorted(topology.served(profile.name))),
            str(check.laptop_mib(topology, topology.served(profile.name))),
        )
        for profile in topology.profiles
    )
    return Grid(title="Profiles", columns=columns, rows=rows)


def _ports(topology: Topology) -> Grid:
    columns = ("service", "port", "number", "reachable by", "probe")
    rows = tuple(
        (service.name, port.name, str(port.number), port.exposure, _probe(service, port.name))
        for service in topology.services
        for port in service.ports
    )
    return Grid(title="Ports", columns=columns, rows=rows)


def _probe(service: Service, port: str) -> str:
    if service.probe.port != port:
        return "-"
    return f"{service.probe.kind} {service.probe.path}".strip()


def _artifacts(topology: Topology) -> Grid:
    users = {
        artifact.name: [row.name for row in topology.services if row.artifact == artifact.name]
        for artifact in topology.artifacts
    }
    rows = tuple(
        (
            artifact.name,
            type(artifact).__name__.lower(),
            artifact.version,
            ", ".join(users[artifact.name]) or "-",
        )
        for artifact in topology.artifacts
    )
    columns = ("artifact", "kind", "version", "run by")
    return Grid(title="Local artifacts", columns=columns, rows=rows)


def _topics(topology: Topology) -> Grid:
    columns = ("topic", "partitions", "retention", "codec", "key after tenant", "writer", "readers")
    rows = tuple(
        (
            topic.name,
            str(topic.partitions),
            f"{topic.retention_days} d" if topic.retention_days else "compacted",
            topic.codec,
            topic.key,
            topic.writer,
            ", ".join(topic.readers),
        )
        for topic in topology.topics
    )
    return Grid(title="Topics", columns=columns, rows=rows)


def _holdings(topology: Topology) -> Grid:
    rows = (
        *(
            ("bucket", row.name, row.purpose, f"{row.expire_days} d" if row.expire_days else "-")
            for row in topology.buckets
        ),
        *(
            ("collection", row.name, row.purpose, f"{row.dimensions} dimensions")
            for row in topology.collections
        ),
        *(("queue", row.name, row.purpose, "quorum") for row in topology.queues),
        *(("namespace", name, "tables of the lake", "-") for name in topology.namespaces),
    )
    columns = ("kind", "name", "purpose", "setting")
    return Grid(title="Buckets, collections, queues, namespaces", columns=columns, rows=rows)


def _tables(topology: Topology) -> Grid:
    rows = tuple((row.name, row.store, row.owner, row.purpose) for row in topology.tables)
    return Grid(title="Tables", columns=("table", "store", "owner", "purpose"), rows=rows)
