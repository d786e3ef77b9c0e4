"""Where the stack put everything: its output document, or the catalogue's defaults."""

from pathlib import Path

import msgspec

from helix.errors import TopologyError
from helix.settings import Settings
from helix.topology.model import Service, Topology


class Address(msgspec.Struct, frozen=True):
    """Where a port answers."""

    host: str
    port: int


class Instance(msgspec.Struct, frozen=True):
    """One running instance of a service."""

    ports: dict[str, Address]
    server: str = ""


class Outputs(msgspec.Struct, frozen=True):
    """The part of the stack's output document that says where services answer."""

    services: dict[str, tuple[Instance, ...]]


def outputs(settings: Settings) -> Outputs | None:
    """The document the settings name; None without one, `TopologyError` if it is unreadable."""
    if not settings.stack.outputs:
        return None
    try:
        return msgspec.json.decode(Path(settings.stack.outputs).read_bytes(), type=Outputs)
    except (OSError, msgspec.DecodeError) as error:
        raise TopologyError(
            f"unreadable output document `{settings.stack.outputs}`: {error}: run `make up` again"
        ) from error


def instances(
    topology: Topology, settings: Settings, found: Outputs | None
) -> dict[str, tuple[Instance, ...]]:
    """Every service that is placed here, with its addresses.

    Where the settings name the address of an only instance it wins: it is the one this program
    really talks to.
    """
    named = _named(settings)
    placed = found.services if found else {s.name: _default(s) for s in topology.services}
    return {
        name: (_overlaid(run[0], named.get(name, {})),) if len(run) == 1 else run
        for name, run in placed.items()
        if run
    }


def _default(service: Service) -> tuple[Instance, ...]:
    """One instance on this machine, unless the laptop does without the service."""
    if service.laptop is None:
        return ()
    ports = {port.name: Address("127.0.0.1", port.number) for port in service.ports}
    return (Instance(ports=ports, server="local"),)


def _overlaid(instance: Instance, named: dict[str, Address]) -> Instance:
    return Instance(ports={**instance.ports, **named}, server=instance.server)


def _named(settings: Settings) -> dict[str, dict[str, Address]]:
    host, _, port = settings.kafka.bootstrap.partition(",")[0].rpartition(":")
    wildcard = settings.http.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    own = "127.0.0.1" if wildcard else settings.http.host
    return {
        "kafka": {"broker": Address(host, int(port))},
        "postgres": {"sql": Address(settings.postgres.host, settings.postgres.port)},
        "clickhouse": {"http": Address(settings.clickhouse.host, settings.clickhouse.port)},
        "neo4j": {"bolt": Address(settings.neo4j.host, settings.neo4j.port)},
        "qdrant": {"http": Address(settings.qdrant.host, settings.qdrant.port)},
        "minio": {"s3": Address(settings.minio.host, settings.minio.port)},
        "redis": {"redis": Address(settings.redis.host, settings.redis.port)},
        "rabbitmq": {"amqp": Address(settings.rabbitmq.host, settings.rabbitmq.port)},
        "iceberg-rest": {"http": Address(settings.iceberg.host, settings.iceberg.port)},
        "control-plane": {"http": Address(own, settings.http.port)},
    }
