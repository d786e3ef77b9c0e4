"""What the processes of our own programs share: settings, output document, digest of their code."""

import hashlib

import msgspec

from helix.settings import PREFIX
from helix.topology.model import Exposure, Service, Topology, port_of
from infra import outputs
from infra.launch import Launch, Site, Tls, check
from infra.services import health, settings

CATALOG = "helix/topology/catalog.py"  # its rows count one by one: see _facts
QUERIES = ("sql/postgres/queries", "sql/clickhouse/queries", "sql/neo4j/queries")


def _document(site: Site, service: Service) -> str:
    return str(site.conf(service) / "outputs.json")


def files(site: Site, service: Service) -> dict[str, str]:
    """The stack's output document: where everything answers."""
    document = outputs.document(site, service.name)
    text = msgspec.json.format(msgspec.json.encode(document)).decode()
    return {_document(site, service): text + "\n"}


def process(site: Site, service: Service, *, module: tuple[str, ...]) -> Launch:
    """A program of ours: restarted when the code it imports changes, and only then."""
    listen, probe, tls = site.listen(service.name, "http"), service.probe, _tls(site, service)
    own = {
        f"{PREFIX}HTTP__HOST": listen.host,
        f"{PREFIX}HTTP__PORT": str(listen.port),
        f"{PREFIX}STACK__OUTPUTS": _document(site, service),
    }
    if tls:
        own |= {
            f"{PREFIX}HTTP__CERTIFICATE": tls.certificate,
            f"{PREFIX}HTTP__KEY": tls.key,
        }
    authority = tls.authority if tls else ""
    ask = health.program(site, listen, probe.path, probe.expect, authority=authority)
    return Launch(
        name=service.name,
        argv=(site.python, "-m", *module),
        check=check(site, service),
        cwd=str(site.root),
        env=settings.environment(site, service.name) | own,
        files=files(site, service),
        health=ask if site.tls(service) else (),
        digest=_digest(site, module[0]),
        stop_s_max=30,
    )


def _tls(site: Site, service: Service) -> Tls | None:
    """What a program answers clients with; the stack's own servers ask in plain."""
    open_to_clients = port_of(service, "http").exposure is Exposure.CLIENTS
    return site.tls(service) if open_to_clients else None


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
