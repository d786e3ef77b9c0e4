"""Somebody without credentials, or with those of another authority, at every port of a fleet."""

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx

from helix.adapters.probes import Check, ask
from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from helix.topology.model import Exposure, ProbeKind
from infra.certificates.vault import authority
from infra.composition import now
from infra.launch import Address
from tests.integration.fleet.deployed import Deployed

REACH_S_MAX = 2.0
ANSWER_S_MAX = 5.0
REFUSED = {401, 403}
AMQP_START = b"AMQP\x00\x00\x09\x01"
# Connection.StartOk: no properties, PLAIN with a guest's name, and a locale.
AMQP_GUEST = b"\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US"
AMQP_TUNE = b"\x00\x0a\x00\x1e"

Port = tuple[str, str]
Tried = tuple[Port, str, Address]
Try = Callable[[Address, str], bool]


class Papers:
    """What a stranger shows: a certificate of an authority of their own."""

    def __init__(self, folder: Path) -> None:
        mine = authority(folder, now=now)
        self.ca = self._file(folder / "ca.pem", mine.lookup("tls.ca"))
        self.certificate = self._file(folder / "crt.pem", mine.lookup("tls.operator.certificate"))
        self.key = self._file(folder / "key.pem", mine.lookup("tls.operator.key"))

    @staticmethod
    def _file(path: Path, text: str) -> str:
        path.write_text(text)
        return str(path)


def ports(fleet: Deployed, *, exposed: bool) -> list[Tried]:
    """Every port of every instance that is meant for clients, or that is not, with its server."""
    return [
        ((service, port.name), one.server, one.ports[port.name])
        for service, found in fleet.outputs.services.items()
        for one in found
        for port in CATALOG.service(service).ports
        if (port.exposure is Exposure.CLIENTS) is exposed
    ]


def reached(host: str, port: int) -> bool:
    """Whether a connection to it is taken."""
    try:
        with socket.create_connection((host, port), timeout=REACH_S_MAX):
            return True
    except OSError:
        return False


def http(path: str, *, post: str = "") -> Try:
    """Asked over TLS, with trust in the stack's authority and no credentials."""

    def act(at: Address, ca: str) -> bool:
        url = f"https://{at}{path}"
        with httpx.Client(verify=ssl.create_default_context(cafile=ca), trust_env=False) as client:
            answer = (
                client.post(url, content=post, headers={"content-type": "application/json"})
                if post
                else client.get(url)
            )
        return answer.status_code not in REFUSED

    return act


def any_of(*tries: Try) -> Try:
    """More than one way in."""

    def act(at: Address, ca: str) -> bool:
        return any(one(at, ca) for one in tries)

    return act


def figures(service: str) -> Try:
    """Asked for what Prometheus alone is told."""
    metrics = CATALOG.service(service).metrics
    assert metrics is not None
    return http(metrics.path)


def without_certificate(at: Address, ca: str) -> bool:
    """Asked over TLS where the server wants to see a certificate."""
    with httpx.Client(verify=ssl.create_default_context(cafile=ca), trust_env=False) as client:
        try:
            client.get(f"https://{at}/overview")
        except httpx.TransportError:
            return False
    return True


def probe(kind: ProbeKind, *, user: str = "helix", path: str = "") -> Try:
    """Asked in the store's own protocol with a wrong password."""

    def act(at: Address, ca: str) -> bool:
        return answered(
            Check(
                service=kind,
                kind=kind,
                host=at.host,
                port=at.port,
                user=user,
                password="guessed",
                path=path,
                ca=ca,
            )
        )

    return act


def answered(check: Check) -> bool:
    """Whether a probe was told anything."""
    try:
        ask(check, timeout_s=ANSWER_S_MAX)
    except UnavailableError:
        return False
    return True


def guest_of_the_queue(at: Address, ca: str) -> bool:
    """A login over AMQP with the credentials that a fresh server has."""
    context = ssl.create_default_context(cafile=ca)
    with (
        socket.create_connection((at.host, at.port), timeout=ANSWER_S_MAX) as plain,
        context.wrap_socket(plain, server_hostname=at.host) as wire,
    ):
        wire.sendall(AMQP_START)
        wire.recv(4096)
        method = b"\x00\x0a\x00\x0b" + AMQP_GUEST
        wire.sendall(b"\x01\x00\x00" + len(method).to_bytes(4, "big") + method + b"\xce")
        with contextlib.suppress(OSError):
            return AMQP_TUNE in wire.recv(4096)
    return False


# Every port that clients may reach: how somebody without credentials would try.
TRIES: dict[Port, Try] = {
    ("kafka", "broker"): probe(ProbeKind.KAFKA),
    ("postgres", "sql"): probe(ProbeKind.POSTGRES, path="helix"),
    ("clickhouse", "http"): http("/?query=SELECT%201"),
    ("neo4j", "bolt"): probe(ProbeKind.BOLT, user="neo4j"),
    ("neo4j", "http"): http("/db/neo4j/tx/commit", post='{"statements": []}'),
    ("minio", "s3"): any_of(http("/"), figures("minio")),
    ("redis", "redis"): probe(ProbeKind.REDIS),
    ("rabbitmq", "amqp"): guest_of_the_queue,
    ("rabbitmq", "management"): http("/api/overview"),
    ("qdrant", "http"): any_of(http("/collections"), figures("qdrant")),
    ("iceberg-rest", "http"): http("/v1/namespaces"),
    ("flink-jobmanager", "rest"): without_certificate,
    ("control-plane", "http"): any_of(http("/v1/conversations"), figures("control-plane")),
}
