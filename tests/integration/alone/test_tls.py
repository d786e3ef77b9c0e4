"""Servers that speak TLS alone, met by our own clients: let in, or refused with the reason."""

import asyncio
import contextlib
import hashlib
import json
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
from infra.artifacts import fetch
from infra.toolchain.java import java_command
from loadtest.report import Record
from tests.integration.alone.authority import PASSWORD as STORE_PASSWORD
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
    """A server, how one of our clients uses it, and how it is asked whether it works."""

    argv: tuple[str, ...]
    use: Callable[[Caller], object]
    check: Check
    first: tuple[tuple[str, ...], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    account: str = ""

    def asked(self, caller: Caller) -> str:
        """What the probe says."""
        password = self.check.password and caller.password
        return ask(
            Check(
                service=self.check.service,
                kind=self.check.kind,
                host=HOST,
                port=self.check.port,
                path=self.check.path,
                expect=self.check.expect,
                user=self.check.user,
                password=password,
                ca=caller.ca,
            )
        )


@dataclass(frozen=True)
class Place:
    """Where one server is started: a folder of its own and free ports."""

    folder: Path
    certs: Certificates

    @property
    def port(self) -> int:
        with socket.create_server((HOST, 0)) as free:
            return free.getsockname()[1]

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


def of_postgres(place: Place) -> Peer:
    port, programs = place.port, f"/usr/lib/postgresql/{CATALOG.artifact('postgres').version}/bin"
    data, key = place.folder / "data", place.folder / "own.key"
    shutil.copy(place.certs.key, key)
    key.chmod(0o600)
    secret = place.write("password", PASSWORD)
    hba = place.write("hba", "hostssl all all 127.0.0.1/32 scram-sha-256\n")
    options = {
        "listen_addresses": HOST,
        "unix_socket_directories": "",
        "fsync": "off",
        "hba_file": hba,
        "ssl": "on",
        "ssl_cert_file": place.certs.certificate,
        "ssl_key_file": str(key),
        "ssl_min_protocol_version": "TLSv1.2",
    }
    at = Postgres(host=HOST, port=port, database="postgres")

    def use(caller: Caller) -> None:
        settings = Postgres(
            host=at.host,
            port=at.port,
            database=at.database,
            password=Secret(caller.password),
            ca=caller.ca,
        )
        with (
            contextlib.closing(postgres.Session(settings)) as session,
            session.transaction() as connection,
        ):
            connection.execute("SELECT 1")

    return Peer(
        first=(
            (
                f"{programs}/initdb",
                *("-D", str(data), "-U", at.user, f"--pwfile={secret}", "--no-sync"),
                *("--auth-host=scram-sha-256", "--auth-local=reject"),
            ),
        ),
        argv=(
            f"{programs}/postgres",
            *("-D", str(data), "-p", str(port)),
            *(f"--{name}={value}" for name, value in options.items()),
        ),
        account="postgres",
        use=use,
        check=Check(
            service="postgres",
            kind=ProbeKind.POSTGRES,
            host=HOST,
            port=port,
            path=at.database,
            user=at.user,
            password=PASSWORD,
        ),
    )


def of_redis(place: Place) -> Peer:
    port = place.port
    config = place.write(
        "redis.conf",
        f"bind {HOST}\nport 0\ntls-port {port}\nrequirepass {PASSWORD}\nsave ''\n"
        f"tls-cert-file {place.certs.certificate}\ntls-key-file {place.certs.key}\n"
        f"tls-ca-cert-file {place.certs.ca}\ntls-auth-clients no\ndir {place.folder}\n",
    )

    def use(caller: Caller) -> None:
        async def put() -> None:
            server = redis.Server(
                Redis(host=HOST, port=port, password=Secret(caller.password), ca=caller.ca)
            )
            try:
                await redis.Cache(server).put({"a": b"b"}, ttl_s=1)
            finally:
                await server.close()

        asyncio.run(put())

    return Peer(
        argv=("redis-server", config),
        use=use,
        check=Check(
            service="redis",
            kind=ProbeKind.REDIS,
            host=HOST,
            port=port,
            expect="PONG",
            password=PASSWORD,
        ),
    )


def of_minio(place: Place) -> Peer:
    port, folder = place.port, place.folder / "certificates"
    folder.mkdir()
    shutil.copy(place.certs.certificate, folder / "public.crt")
    shutil.copy(place.certs.key, folder / "private.key")
    cache = fetch.cache_folder(ENV)

    def use(caller: Caller) -> None:
        minio.ensure(
            Minio(host=HOST, port=port, password=Secret(caller.password), ca=caller.ca),
            CATALOG.buckets[:1],
        )

    return Peer(
        argv=(
            str(fetch.path(CATALOG.artifact("minio"), cache) / "bin" / "minio"),
            *("server", str(place.folder / "data"), f"--address={HOST}:{port}"),
            *(f"--certs-dir={folder}", "--quiet"),
        ),
        env={
            "MINIO_ROOT_USER": "helix",
            "MINIO_ROOT_PASSWORD": PASSWORD,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
        },
        use=use,
        check=Check(
            service="minio",
            kind=ProbeKind.HTTP,
            host=HOST,
            port=port,
            path="/minio/health/live",
        ),
    )


def of_clickhouse(place: Place) -> Peer:
    port = place.port
    config = place.write(
        "clickhouse.json",
        json.dumps(
            {
                "host": HOST,
                "port": port,
                "certificate": place.certs.certificate,
                "key": place.certs.key,
                "metrics": {"host": HOST, "port": place.port},
                "data": str(place.folder / "data"),
                "memory_mib_max": 1024,
                "threads": 2,
                "users": [{"name": "helix", "password": PASSWORD, "role": "admin"}],
            }
        ),
    )

    def use(caller: Caller) -> None:
        settings = Clickhouse(
            host=HOST,
            port=port,
            database="default",
            password=Secret(caller.password),
            ca=caller.ca,
        )
        with contextlib.closing(clickhouse.Engine(settings)) as engine:
            assert engine.rows("SELECT 1") == [(1,)]

    return Peer(
        argv=(sys.executable, "-m", "infra.engines.clickhouse", config),
        use=use,
        check=Check(
            service="clickhouse",
            kind=ProbeKind.HTTP,
            host=HOST,
            port=port,
            path="/ping",
            expect="Ok.",
        ),
    )


def of_qdrant(place: Place) -> Peer:
    port = place.port
    config = place.write(
        "qdrant.json",
        json.dumps(
            {
                "host": HOST,
                "port": port,
                "certificate": place.certs.certificate,
                "key": place.certs.key,
                "data": str(place.folder / "data"),
                "api_key": PASSWORD,
            }
        ),
    )

    def use(caller: Caller) -> None:
        qdrant.ensure(
            Qdrant(host=HOST, port=port, password=Secret(caller.password), ca=caller.ca),
            CATALOG.collections[:1],
        )

    return Peer(
        argv=(sys.executable, "-m", "infra.engines.qdrant", config),
        use=use,
        check=Check(
            service="qdrant", kind=ProbeKind.HTTP, host=HOST, port=port, path="/", expect="qdrant"
        ),
    )


def java(artifact: str, main: str, *arguments: str, folders: tuple[str, ...] = ()) -> list[str]:
    """A main class of an artifact, with little memory and a quick start."""
    found = fetch.path(CATALOG.artifact(artifact), fetch.cache_folder(ENV))
    classpath = ":".join([*(str(found / name) for name in folders), str(found / "lib" / "*")])
    command = java_command(ENV, report=print)
    options = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    return [str(command), *options, "-cp", classpath, main, *arguments]


def of_neo4j(place: Place) -> Peer:
    port = place.port
    policy = "".join(
        f"dbms.ssl.policy.bolt.{name}={value}\n"
        for name, value in {
            "enabled": "true",
            "base_directory": place.folder,
            "private_key": place.certs.key,
            "public_certificate": place.certs.certificate,
            "client_auth": "NONE",
            "tls_versions": "TLSv1.3,TLSv1.2",
        }.items()
    )
    place.write(
        "neo4j.conf",
        f"server.default_listen_address={HOST}\nserver.bolt.listen_address={HOST}:{port}\n"
        f"server.bolt.tls_level=REQUIRED\n{policy}server.http.enabled=false\n"
        "server.memory.pagecache.size=16m\ndbms.usage_report.enabled=false\n",
    )
    for name in ("trusted", "revoked", "data", "logs", "run"):
        (place.folder / name).mkdir()
    secret = place.write("password.args", f"--\n{PASSWORD}\n")

    def use(caller: Caller) -> None:
        settings = Neo4j(host=HOST, port=port, password=Secret(caller.password), ca=caller.ca)
        with neo4j.connected(settings) as driver:
            assert driver.execute_query("RETURN 1 AS one").records[0]["one"] == 1

    tool = java("neo4j", "org.neo4j.cli.AdminTool", "dbms", "set-initial-password", f"@{secret}")
    server = java(
        "neo4j",
        "org.neo4j.server.CommunityEntryPoint",
        f"--home-dir={place.folder}",
        f"--config-dir={place.folder}",
        "--console-mode",
    )
    return Peer(
        first=(tuple(tool),),
        argv=tuple(server),
        env={"NEO4J_HOME": str(place.folder), "NEO4J_CONF": str(place.folder)},
        use=use,
        check=Check(
            service="neo4j",
            kind=ProbeKind.BOLT,
            host=HOST,
            port=port,
            user="neo4j",
            password=PASSWORD,
        ),
    )


def of_kafka(place: Place) -> Peer:
    port, controller = place.port, place.port
    login = "org.apache.kafka.common.security"
    config = place.write(
        "server.properties",
        f"""\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={HOST}:{controller}
listeners=SASL_SSL://{HOST}:{port},CONTROLLER://{HOST}:{controller}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:SASL_SSL
inter.broker.listener.name=SASL_SSL
controller.listener.names=CONTROLLER
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
sasl.mechanism.controller.protocol=PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required \
username="helix" password="{PASSWORD}";
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={login}.plain.PlainLoginModule required \
username="controller" password="{PASSWORD}" user_controller="{PASSWORD}";
ssl.keystore.type=PEM
ssl.keystore.location={place.certs.bundle}
ssl.truststore.type=PEM
ssl.truststore.location={place.certs.ca}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:helix;User:controller
log.dirs={place.folder / "log"}
offsets.topic.replication.factor=1
log.cleaner.dedupe.buffer.size=16777216
""",
    )
    scram = f"SCRAM-SHA-512=[name=helix,password={PASSWORD}]"
    storage = java(
        "kafka",
        "kafka.tools.StorageTool",
        *("format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", config, "--standalone"),
        *("--add-scram", scram),
    )

    def use(caller: Caller) -> None:
        settings = Kafka(
            bootstrap=f"{HOST}:{port}",
            user="helix",
            password=Secret(caller.password),
            ca=caller.ca,
        )
        TopicsAdmin(settings).ensure(CATALOG.topics[:1])

    return Peer(
        first=(tuple(storage),),
        argv=tuple(java("kafka", "kafka.Kafka", config)),
        use=use,
        check=Check(
            service="kafka",
            kind=ProbeKind.KAFKA,
            host=HOST,
            port=port,
            user="helix",
            password=PASSWORD,
        ),
    )


def of_iceberg(place: Place) -> Peer:
    port = place.port
    config = place.write(
        "rest.properties",
        f"rest.host={HOST}\nrest.port={port}\nrest.token={PASSWORD}\n"
        f"rest.tls.keystore={place.certs.store}\nrest.tls.password={STORE_PASSWORD}\n"
        "catalog-impl=org.apache.iceberg.inmemory.InMemoryCatalog\n",
    )

    def use(caller: Caller) -> None:
        settings = Iceberg(host=HOST, port=port, token=Secret(caller.password), ca=caller.ca)
        lake.ensure(settings, CATALOG.namespaces[:1])

    return Peer(
        argv=tuple(java("iceberg-rest", "IcebergRest", config, folders=("classes",))),
        use=use,
        check=Check(
            service="iceberg-rest",
            kind=ProbeKind.HTTP,
            host=HOST,
            port=port,
            path="/v1/config",
            expect="defaults",
            password=PASSWORD,
        ),
    )


PEERS: dict[str, Callable[[Place], Peer]] = {
    "postgres": of_postgres,
    "redis": of_redis,
    "minio": of_minio,
    "clickhouse": of_clickhouse,
    "qdrant": of_qdrant,
    "neo4j": of_neo4j,
    "kafka": of_kafka,
    "iceberg-rest": of_iceberg,
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
def peers(folder: Path, certs: Certificates) -> Iterator[dict[str, Peer]]:
    """All servers, started at once."""
    made = {name: make(_placed(folder / name, certs)) for name, make in PEERS.items()}
    servers: list[subprocess.Popen[bytes]] = []
    starting = [
        threading.Thread(target=_start, args=(servers, folder / name, peer))
        for name, peer in made.items()
    ]
    for thread in starting:
        thread.start()
    try:
        for thread in starting:
            thread.join()
        for name, peer in made.items():
            log = folder / name / "server.log"
            right = Caller(certs.ca)
            until(_answers(peer, right), s_max=START_S_MAX, what=log.read_text()[-2000:])
        yield made
    finally:
        _end(servers)


def _placed(folder: Path, certs: Certificates) -> Place:
    folder.mkdir()
    return Place(folder, certs)


def _start(servers: list[subprocess.Popen[bytes]], folder: Path, peer: Peer) -> None:
    account = peer.account if os.geteuid() == 0 else ""
    if account:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, account, account)
    owner = pwd.getpwnam(account).pw_uid if account else None
    env = {**ENV, **peer.env}
    with (folder / "server.log").open("wb") as log:
        for argv in peer.first:
            subprocess.run(argv, cwd=ROOT, env=env, user=owner, stdout=log, stderr=log, check=True)
        server = subprocess.Popen(peer.argv, cwd=ROOT, env=env, user=owner, stdout=log, stderr=log)
    servers.append(server)


def _end(servers: list[subprocess.Popen[bytes]]) -> None:
    for server in servers:
        server.terminate()
    for server in servers:
        try:
            server.wait(STOP_S_MAX)
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


def test_who_trusts_the_authority_and_knows_the_password_is_let_in(
    peer: Peer, certs: Certificates
) -> None:
    peer.use(Caller(certs.ca))

    assert peer.asked(Caller(certs.ca))


def test_a_server_of_another_authority_is_not_trusted(peer: Peer, certs: Certificates) -> None:
    stranger = Caller(certs.other_ca)

    for meet in (peer.use, peer.asked):
        with pytest.raises(UnavailableError, match=NOT_SIGNED):
            meet(stranger)


def test_a_wrong_password_is_refused_and_not_repeated(peer: Peer, certs: Certificates) -> None:
    meeting = [peer.use] if peer.check.service in ANSWER_ALL else [peer.use, peer.asked]

    for meet in meeting:
        with pytest.raises(UnavailableError, match=REFUSED) as caught:
            meet(Caller(certs.ca, WRONG))
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
