"""What the Java services of several servers say of each other, and what they keep to themselves."""

import re
from pathlib import Path

import msgspec
import pytest

from helix.topology.catalog import CATALOG
from infra.launch import Launch
from infra.provider.secrets import REFERENCE
from infra.services import kafka
from infra.services.registry import face
from infra.substrates.hosted import Hosted
from infra.substrates.plan import plan

ADDRESSES = {"server-1": "10.0.0.1", "server-2": "10.0.0.2", "server-3": "10.0.0.3"}
SERVICES = (
    "kafka",
    "zookeeper",
    "flink-jobmanager",
    "flink-taskmanager",
    "spark-master",
    "spark-worker",
    "iceberg-rest",
    "neo4j",
)


def _site(*, servers: int = 3, bound: str = "") -> Hosted:
    instances = plan(CATALOG, servers=servers)
    return Hosted(
        topology=CATALOG,
        stack="facts",
        checkout=Path("/checkout"),
        instances=instances,
        hosts={one.name: ADDRESSES[one.server] for one in instances},
        bound=bound,
    )


def _launches(service: str, site: Hosted | None = None) -> list[Launch]:
    where = site or _site()
    module = face(CATALOG.service(service))
    return [module.process(where.of(one)) for one in where.of_service(service)]


def _settings(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def _properties(launch: Launch) -> dict[str, str]:
    return _settings(launch.files["/etc/helix/kafka/server.properties"])


def _zoo(launch: Launch) -> dict[str, str]:
    return _settings(launch.files["/etc/helix/zookeeper/zoo.cfg"])


def _flink(launch: Launch) -> dict[str, dict[str, object]]:
    return msgspec.json.decode(launch.files[f"/etc/helix/{launch.name}/config.yaml"])


def _everything(launch: Launch) -> str:
    return msgspec.json.encode(launch).decode()


def test_brokers_are_numbered_and_know_every_controller() -> None:
    properties = [_properties(launch) for launch in _launches("kafka")]
    controllers = {one["controller.quorum.bootstrap.servers"] for one in properties}

    assert [one["node.id"] for one in properties] == ["1", "2", "3"]
    assert controllers == {"10.0.0.1:9093,10.0.0.2:9093,10.0.0.3:9093"}


def test_every_broker_is_formatted_for_the_same_quorum() -> None:
    arguments = {launch.files["/etc/helix/kafka/format.args"] for launch in _launches("kafka")}
    (text,) = arguments

    for node, address in enumerate(ADDRESSES.values(), 1):
        assert f"{node}@{address}:9093:{kafka.directory_id('facts', node)}" in text


def test_a_lone_broker_is_its_own_quorum_and_keeps_single_copies() -> None:
    (launch,) = _launches("kafka", _site(servers=1))

    assert "--standalone\n" in launch.files["/etc/helix/kafka/format.args"]
    assert _properties(launch)["default.replication.factor"] == "1"


def test_three_brokers_keep_three_copies_and_acknowledge_two() -> None:
    properties = _properties(_launches("kafka")[0])

    assert properties["default.replication.factor"] == "3"
    assert properties["min.insync.replicas"] == "2"
    assert properties["transaction.state.log.min.isr"] == "2"


def test_a_broker_binds_what_the_site_says_and_is_found_under_its_own_address() -> None:
    properties = _properties(_launches("kafka", _site(bound="0.0.0.0"))[1])

    assert properties["listeners"] == "SASL_SSL://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093"
    assert properties["advertised.listeners"].startswith("SASL_SSL://10.0.0.2:9092,")


def test_a_peer_writes_the_number_that_the_ensemble_knows_it_by() -> None:
    for number, launch in enumerate(_launches("zookeeper"), 1):
        (init,) = launch.init
        zoo = _zoo(launch)

        assert init.argv[-2:] == (str(number), "/data/myid")
        assert zoo[f"server.{number}"].startswith(f"{zoo['secureClientPortAddress']}:")
        assert zoo["quorumListenOnAllIPs"] == "false"


def test_a_lone_zookeeper_is_no_ensemble() -> None:
    (launch,) = _launches("zookeeper", _site(servers=1))

    assert not [name for name in _zoo(launch) if name.startswith("server.")]
    assert launch.init == ()


def test_flink_asks_every_peer_where_its_jobmanager_is() -> None:
    (jobmanager,) = _launches("flink-jobmanager")
    zookeeper = _flink(jobmanager)["high-availability"]["zookeeper"]

    assert isinstance(zookeeper, dict)
    assert zookeeper["quorum"] == "10.0.0.1:2181,10.0.0.2:2181,10.0.0.3:2181"
    assert zookeeper["client"]["acl"] == "creator"


@pytest.mark.parametrize("service", ["flink-taskmanager", "spark-worker"])
def test_two_on_one_server_share_no_port(service: str) -> None:
    port = re.compile(r"\b(?:6[01]\d\d|92\d\d|708\d|809\d)\b")
    first, second = (set(port.findall(_everything(one))) for one in _launches(service))
    others = {"6123", "6124", "9000", "9092"}  # where they are clients

    assert first - others
    assert not (first & second) - others


def test_flink_speaks_to_nobody_without_a_certificate() -> None:
    for service in ("flink-jobmanager", "flink-taskmanager"):
        ssl = _flink(_launches(service)[0])["security"]["ssl"]

        assert isinstance(ssl, dict)
        assert ssl["internal"]["enabled"] is True
        assert ssl["rest"]["authentication-enabled"] is True


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_secret_is_in_an_argument(service: str) -> None:
    for launch in _launches(service):
        steps = [word for init in launch.init for word in init.argv]
        words = [*launch.argv, *launch.health, *steps]

        assert not [word for word in words if REFERENCE.search(word)]
        assert not [word for word in words if "assword=" in word]


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_says_how_its_health_is_asked(service: str) -> None:
    for launch in _launches(service):
        assert launch.health


@pytest.mark.parametrize(
    ("service", "word"),
    [
        ("kafka", "PLAINTEXT"),
        ("zookeeper", "clientPort="),
        ("neo4j", "server.http.listen_address"),
        ("iceberg-rest", '"http://'),
    ],
)
def test_beyond_loopback_nothing_is_spoken_in_plain(service: str, word: str) -> None:
    for launch in _launches(service):
        assert not [text for text in launch.files.values() if word in text]


def test_spark_refuses_whoever_does_not_encrypt() -> None:
    for service in ("spark-master", "spark-worker"):
        for launch in _launches(service):
            defaults = launch.files[f"/etc/helix/{service}/spark-defaults.conf"]

            assert "spark.network.crypto.enabled true\n" in defaults
            assert "spark.network.crypto.saslFallback false\n" in defaults
