"""Servers that speak TLS alone, met by our own clients: let in, or refused with the reason.

They run on the configuration that is shipped to servers of several machines.
"""

import asyncio
import contextlib
import functools
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest
import uvicorn

from controlplane.app import create
from controlplane.health import Monitor, Probes
from controlplane.listening import listening
from helix.adapters import clickhouse, fakes, lake, minio, neo4j, postgres, qdrant, redis
from helix.adapters.probes import Check, ask
from helix.adapters.topics import TopicsAdmin
from helix.adapters.trust import NOT_HERE, NOT_SIGNED, REFUSED
from helix.client import calls
from helix.client.rest import Client
from helix.errors import UnavailableError
from helix.ports import Credential
from helix.settings import (
    Clickhouse,
    Http,
    Iceberg,
    Kafka,
    Minio,
    Neo4j,
    Postgres,
    Qdrant,
    Redis,
    Secret,
    Settings,
)
from helix.topology.catalog import CATALOG
from helix.topology.model import ProbeKind
from infra.launch import Address, Launch
from loadtest.report import Record
from tests.integration.alone import shipped
from tests.integration.alone.authority import Certificates, certificates
from tests.tree import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

HOST = "127.0.0.1"
PASSWORD = "the-password"
WRONG = "another-password"
START_S_MAX = 60
STOP_S_MAX = 1.0  # their data is thrown away
ENV = dict(os.environ)  # noqa: TID251 - a test is a composition root


@dataclass(frozen=True)
class Caller:
    """Whom a client trusts, and what it says who it is."""

    ca: str
    password: str = PASSWORD


@dataclass(frozen=True)
class Peer:
    """A server as it is shipped, and how one of our clients uses it."""

    launch: Launch
    folder: Path
    use: Callable[[Caller], object]

    def asked(self, caller: Caller) -> str:
        """What the probe says."""
        check = self.launch.check
        password = check.password and caller.password
        return ask(msgspec.structs.replace(check, password=password, ca=caller.ca))


def use_postgres(at: Address, caller: Caller) -> None:
    settings = Postgres(host=at.host, port=at.port, password=Secret(caller.password), ca=caller.ca)
    with (
        contextlib.closing(postgres.Session(settings)) as session,
        session.transaction() as connection,
    ):
        connection.execute("SELECT 1")


def use_redis(at: Address, caller: Caller) -> None:
    async def put() -> None:
        server = redis.Server(
            Redis(host=at.host, port=at.port, password=Secret(caller.password), ca=caller.ca)
        )
        try:
            await redis.Cache(server).put({"a": b"b"}, ttl_s=1)
        finally:
            await server.close()

    asyncio.run(put())


def use_minio(at: Address, caller: Caller) -> None:
    settings = Minio(host=at.host, port=at.port, password=Secret(caller.password), ca=caller.ca)
    minio.ensure(settings, CATALOG.buckets[:1])


def use_clickhouse(at: Address, caller: Caller) -> None:
    settings = Clickhouse(
        host=at.host,
        port=at.port,
        database="default",
        password=Secret(caller.password),
        ca=caller.ca,
    )
    with contextlib.closing(clickhouse.Engine(settings)) as engine:
        assert engine.rows("SELECT 1") == [(1,)]


def use_qdrant(at: Address, caller: Caller) -> None:
    settings = Qdrant(host=at.host, port=at.port, password=Secret(caller.password), ca=caller.ca)
    qdrant.ensure(settings, CATALOG.collections[:1])


def use_neo4j(at: Address, caller: Caller) -> None:
    settings = Neo4j(host=at.host, port=at.port, password=Secret(caller.password), ca=caller.ca)
    with neo4j.connected(settings) as driver:
        assert driver.execute_query("RETURN 1 AS one").records[0]["one"] == 1


def use_kafka(at: Address, caller: Caller) -> None:
    settings = Kafka(
        bootstrap=str(at), user="helix", password=Secret(caller.password), ca=caller.ca
    )
    TopicsAdmin(settings).ensure(CATALOG.topics[:1])


def use_iceberg(at: Address, caller: Caller) -> None:
    settings = Iceberg(host=at.host, port=at.port, token=Secret(caller.password), ca=caller.ca)
    lake.ensure(settings, CATALOG.namespaces[:1])


# Who is used how, and at which port. A server comes behind those it needs.
PEERS: dict[str, tuple[str, Callable[[Address, Caller], None]]] = {
    "postgres": ("sql", use_postgres),
    "redis": ("redis", use_redis),
    "minio": ("s3", use_minio),
    "clickhouse": ("http", use_clickhouse),
    "qdrant": ("http", use_qdrant),
    "neo4j": ("bolt", use_neo4j),
    "kafka": ("broker", use_kafka),
    "iceberg-rest": ("http", use_iceberg),
}
# Their health needs no login: whoever asks may be a load balancer.
ANSWER_ALL = {"minio", "clickhouse", "qdrant"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One that every account may enter: PostgreSQL refuses to run as root."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def certs(folder: Path) -> Certificates:
    (folder / "certificates").mkdir()
    return certificates(folder / "certificates")


@pytest.fixture(scope="module")
def secrets(folder: Path) -> Callable[[str], str]:
    """What the servers are given: certificates of their own authority, and `PASSWORD`."""
    (folder / "authority").mkdir()
    return shipped.lookup(folder / "authority", list(PEERS), PASSWORD)


@pytest.fixture(scope="module")
def ca(folder: Path, secrets: Callable[[str], str]) -> str:
    """Whom a client of the servers has to trust."""
    path = folder / "ca.pem"
    path.write_text(secrets("tls.ca"))
    return str(path)


@pytest.fixture(scope="module")
def peers(folder: Path, secrets: Callable[[str], str], ca: str) -> Iterator[dict[str, Peer]]:
    """All servers, each started as soon as those it needs answer."""
    here, made = shipped.site(list(PEERS)), dict[str, Peer]()
    for name, (port, use) in PEERS.items():
        own, at = folder / name, here.address(name, port)
        launch = shipped.shipped(here, name, own, secrets)
        made[name] = Peer(launch, own, functools.partial(use, at))
    servers: list[subprocess.Popen[bytes]] = []
    right = Caller(ca)

    def bring(name: str) -> None:
        peer = made[name]
        for needed in CATALOG.service(name).needs:
            until(_answers(made[needed], right), s_max=START_S_MAX, what=f"`{needed}` answers")
        servers.append(shipped.started(peer.launch, peer.folder))
        until(_answers(peer, right), s_max=START_S_MAX, what=f"`{name}` answers")

    try:
        with ThreadPoolExecutor(len(made)) as pool:
            starting = {name: pool.submit(bring, name) for name in made}
        for name, start in starting.items():
            assert not start.exception(), shipped.log(made[name].folder).read_text()[-2000:]
        yield made
    finally:
        _end(servers)


def _end(servers: list[subprocess.Popen[bytes]]) -> None:
    """Ask all to stop at once, and wait for none longer than for all."""
    for server in servers:
        server.terminate()
    deadline = time.monotonic() + STOP_S_MAX
    for server in servers:
        try:
            server.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _answers(peer: Peer, caller: Caller) -> Callable[[], bool]:
    def look() -> bool:
        with contextlib.suppress(UnavailableError):
            return bool(peer.asked(caller))
        return False

    return look


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, peers: dict[str, Peer]) -> Peer:
    return peers[request.param]


def test_who_trusts_the_authority_and_knows_the_password_is_let_in(peer: Peer, ca: str) -> None:
    peer.use(Caller(ca))

    assert peer.asked(Caller(ca))


def test_a_server_of_another_authority_is_not_trusted(peer: Peer, certs: Certificates) -> None:
    stranger = Caller(certs.other_ca)

    for meet in (peer.use, peer.asked):
        with pytest.raises(UnavailableError, match=NOT_SIGNED):
            meet(stranger)


def test_a_wrong_password_is_refused_and_not_repeated(peer: Peer, ca: str) -> None:
    meeting = [peer.use] if peer.launch.name in ANSWER_ALL else [peer.use, peer.asked]

    for meet in meeting:
        with pytest.raises(UnavailableError, match=REFUSED) as caught:
            meet(Caller(ca, WRONG))
        assert WRONG not in str(caught.value)


# PostgreSQL's clients take up TLS where it is offered, asked or not.
@pytest.mark.parametrize("peer", sorted(PEERS.keys() - {"postgres"}), indirect=True)
def test_a_plain_client_gets_nothing(peer: Peer) -> None:
    for meet in (peer.use, peer.asked):
        with pytest.raises(UnavailableError):
            meet(Caller(""))


def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    elsewhere = certificates(tmp_path, hosts=("somewhere-else",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(elsewhere.certificate, elsewhere.key)
    with socket.create_server((HOST, 0)) as plain:
        port = plain.getsockname()[1]
        thread = threading.Thread(target=_shake, args=(context, plain))
        thread.start()
        check = Check(
            service="web", kind=ProbeKind.HTTP, host=HOST, port=port, path="/", ca=elsewhere.ca
        )
        with pytest.raises(UnavailableError, match=NOT_HERE):
            ask(check)
        thread.join()


def _shake(context: ssl.SSLContext, plain: socket.socket) -> None:
    """One handshake, as far as the client lets it come."""
    connection, _ = plain.accept()
    with connection, contextlib.suppress(OSError):
        context.wrap_socket(connection, server_side=True).close()


@pytest.fixture(scope="module")
def api(certs: Certificates) -> Iterator[str]:
    """The API over fakes, served as the control plane serves it."""
    credential = Credential("k", "acme", frozenset({"read", "write"}))
    world = fakes.world({hashlib.sha256(PASSWORD.encode()).hexdigest(): credential})
    monitor = Monitor((), world.clock, Probes(ask=lambda _: "asked"))
    app = create(world, Settings(), CATALOG, monitor)
    http = Http(port=0, certificate=certs.certificate, key=certs.key)
    bound = socket.create_server((HOST, 0))
    server = uvicorn.Server(listening(app, http, world.clock))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    until(lambda: server.started, s_max=START_S_MAX, what="the API answers")
    yield f"{HOST}:{bound.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    bound.close()
    monitor.close()


def test_the_api_answers_whoever_trusts_its_authority(api: str, certs: Certificates) -> None:
    with Client(f"https://{api}", PASSWORD, ca=certs.ca) as client:
        assert client.health().running


def test_an_api_that_is_not_trusted_is_named_with_what_to_set(
    api: str, certs: Certificates
) -> None:
    for ca in ("", certs.other_ca):
        with (
            Client(f"https://{api}", PASSWORD, ca=ca) as client,
            pytest.raises(UnavailableError, match=r"not trusted.*HELIX_CA"),
        ):
            client.health()


def test_the_api_speaks_no_tls_older_than_1_2(api: str, certs: Certificates) -> None:
    context = ssl.create_default_context(cafile=certs.ca)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    host, _, port = api.partition(":")
    with (
        socket.create_connection((host, int(port))) as plain,
        context.wrap_socket(plain, server_hostname=host) as wire,
    ):
        agreed = wire.cipher()

    assert agreed is not None
    assert "GCM" in agreed[0]


def test_a_plain_request_to_the_api_is_not_answered(api: str) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{api}{calls.health().path}")


def test_the_load_test_trusts_the_same_authority_and_no_other(
    api: str, certs: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "load.json"
    env = {**ENV, "HELIX_URL": f"https://{api}", "HELIX_API_KEY": PASSWORD}
    plan = ["--users", "2", "--rate", "4", "--minutes", "0.03", "--record", str(path)]
    words = [sys.executable, "-m", "loadtest", *plan]
    done, refused = (
        subprocess.run(
            words, cwd=ROOT, env=env | {"HELIX_CA": ca}, capture_output=True, text=True, check=False
        )
        for ca in (certs.ca, certs.other_ca)
    )

    assert msgspec.json.decode(path.read_bytes(), type=Record).errors == [], done.stdout
    assert (refused.returncode, "HELIX_CA" in refused.stderr) == (2, True)


def test_a_container_asks_its_own_server_by_one_command(api: str, certs: Certificates) -> None:
    words = [sys.executable, "-m", "helix.adapters.probes", "http", api, "/livez", "alive"]
    done = subprocess.run([*words, "--ca", certs.ca], cwd=ROOT, capture_output=True, check=False)
    refused = subprocess.run(words, cwd=ROOT, capture_output=True, check=False)

    assert (done.returncode, refused.returncode) == (0, 1), done.stderr
    assert api in refused.stderr.decode()
