"""What the processes of our own programs share: settings, output document, digest of their code."""

import hashlib

import msgspec

from helix.settings import PREFIX
from helix.topology.model import Service, Topology
from infra import outputs
from infra.launch import Launch, Site, check
from infra.services import settings

CATALOG = "helix/topology/catalog.py"  # its rows count one by one: see _facts
QUERIES = ("sql/postgres/queries", "sql/clickhouse/queries", "sql/neo4j/queries")


def _document(site: Site, service: Service) -> str:
    return str(site.conf(service) / "outputs.json")


def files(site: Site, service: Service) -> dict[str, str]:
    """The stack's output document: where everything answers."""
    text = msgspec.json.format(msgspec.json.encode(outputs.document(site))).decode()
    return {_document(site, service): text + "\n"}


def process(site: Site, service: Service, *, module: tuple[str, ...]) -> Launch:
    """A program of ours: restarted when the code it imports changes, and only then."""
    address = site.address(service.name, "http")
    own = {
        f"{PREFIX}HTTP__HOST": address.host,
        f"{PREFIX}HTTP__PORT": str(address.port),
        f"{PREFIX}STACK__OUTPUTS": _document(site, service),
    }
    return Launch(
        name=service.name,
        argv=(site.python, "-m", *module),
        check=check(site, service),
        cwd=str(site.root),
        env=settings.environment(site) | own,
        files=files(site, service),
        digest=_digest(site, module[0]),
        stop_s_max=30,
    )


def _digest(site: Site, program: str) -> str:
    """Of what the program imports and reads: a heap of Kafka's or a migration is none of it."""
    code = site.digest("helix", program, *QUERIES, "requirements.lock", without=CATALOG)
    facts = msgspec.json.encode(_facts(site.topology))
    return hashlib.sha256(code.encode() + facts).hexdigest()


def _facts(topology: Topology) -> tuple[object, ...]:
    """What of the catalogue a running program acts on; sizes and images it only shows."""
    ports = [(service.name, service.ports, service.probe) for service in topology.services]
    return (
        ports,
        topology.topics,
        topology.buckets,
        topology.collections,
        topology.queues,
        topology.tables,
        topology.namespaces,
    )
