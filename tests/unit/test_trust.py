"""Whom our clients trust: what they are configured with, and what a refusal is called."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import neo4j
import pytest

from controlplane.health import questions
from controlplane.placement import Address, Instance
from helix.adapters import kafka, probes, trust
from helix.adapters.neo4j import encrypted
from helix.adapters.postgres import conninfo
from helix.client import calls
from helix.client.rest import Client
from helix.errors import InvalidError, TopologyError
from helix.settings import Kafka, Postgres, Secret, Settings, from_env
from helix.topology.catalog import CATALOG
from infra.certificates.issuing import issue, new_root
from infra.engines.serving import Place

CA = "/etc/ca.pem"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
GROUPS = (
    "kafka",
    "postgres",
    "clickhouse",
    "neo4j",
    "qdrant",
    "minio",
    "redis",
    "rabbitmq",
    "iceberg",
    "stack",
)


@pytest.fixture
def ca(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_text(new_root("test", NOW).certificate)
    return str(path)


def test_without_an_authority_every_client_is_told_nothing_new() -> None:
    assert (trust.libpq(""), trust.redis(""), trust.clickhouse(""), encrypted("")) == ({},) * 4
    assert (trust.scheme(""), trust.verified("")) == ("http", True)
    assert "ssl" not in conninfo(Postgres())
    assert kafka.client_config(Kafka(user="u", password=Secret("p"))) == {
        "bootstrap.servers": Kafka().bootstrap,
        "log_level": 0,
    }


def test_with_an_authority_kafkas_clients_log_in_over_tls() -> None:
    settings = Kafka(user="u", password=Secret("p"), ca=CA)
    said = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "u",
        "sasl.password": "p",
        "ssl.ca.location": CA,
        "ssl.endpoint.identification.algorithm": "https",
    }

    for config in (kafka.client_config(settings), kafka.producer_config(settings)):
        assert said.items() <= config.items()


def test_with_an_authority_postgresql_is_verified_with_its_name() -> None:
    assert f"sslmode=verify-full sslrootcert={CA}" in conninfo(Postgres(ca=CA))


def test_with_an_authority_the_graphs_driver_trusts_it_alone() -> None:
    told = encrypted(CA)

    assert told["encrypted"]
    assert isinstance(told["trusted_certificates"], neo4j.TrustCustomCAs)


def test_a_context_trusts_one_authority_and_checks_names(ca: str) -> None:
    context = trust.context(ca)

    assert len(context.get_ca_certs()) == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_context_shows_the_own_certificate(tmp_path: Path) -> None:
    root = new_root("test", NOW)
    pair = issue(root, "me", ("localhost",), NOW)
    for name, text in (("ca", root.certificate), ("crt", pair.certificate), ("key", pair.key)):
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in ("ca", "crt", "key")]

    assert trust.context(paths[0], certificate=paths[1], key=paths[2])
    with pytest.raises(TopologyError, match="check the paths"):
        trust.context(paths[0], certificate=paths[1], key=paths[0])


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)

    with pytest.raises(TopologyError, match=r"ca\.pem"):
        trust.context(str(path))
    with pytest.raises(InvalidError, match=r"HELIX_CA.*ca\.pem"):
        calls.trusted(str(path))


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed", "NOT_SIGNED"),
        ("SSL error: certificate verify failed", "NOT_SIGNED"),
        ("certificate verify failed: IP address mismatch, certificate is not valid", "NOT_HERE"),
        ('server certificate for "a" does not match host name "b"', "NOT_HERE"),
        ("certificate verify failed: certificate has expired", "EXPIRED"),
        ("server does not support SSL, but SSL was required", "PLAIN"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "PLAIN"),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "NOT_OURS"),
        ('FATAL: password authentication failed for user "helix"', "REFUSED"),
        ("WRONGPASS invalid username-password pair", "REFUSED"),
        ("SASL authentication error: Authentication failed", "REFUSED"),
        ("Neo.ClientError.Security.Unauthorized", "REFUSED"),
        ("S3 operation failed; code: SignatureDoesNotMatch", "REFUSED"),
        ("Unexpected Response: 401 (Unauthorized)", "REFUSED"),
    ],
)
def test_a_refusal_is_called_by_its_cause(said: str, meaning: str) -> None:
    assert trust.told(OSError(said)) == f"{getattr(trust, meaning)}: {said}"


def test_a_cause_is_found_inside_other_errors() -> None:
    outer = RuntimeError("gave up")
    outer.__cause__ = ConnectionError("certificate verify failed")

    assert trust.told(outer) == f"{trust.NOT_SIGNED}: gave up"


def test_other_errors_say_their_first_line_or_their_kind() -> None:
    assert trust.told(OSError("\nfirst\nsecond")) == "first"
    assert trust.told(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize("group", GROUPS)
def test_every_store_has_an_authority_of_its_own(group: str) -> None:
    settings = from_env({f"HELIX__{group.upper()}__CA": CA})

    assert getattr(settings, group).ca == CA
    assert getattr(Settings(), group).ca == ""


def test_health_trusts_authorities_where_ports_are_sealed_and_asks_the_others_in_plain() -> None:
    env = {f"HELIX__{group.upper()}__CA": f"/{group}.pem" for group in GROUPS}
    own = {"HELIX__HTTP__CERTIFICATE": "/own.crt", "HELIX__HTTP__KEY": "/own.key"}
    placed = {
        service.name: (Instance(ports={p.name: Address("h", p.number) for p in service.ports}),)
        for service in CATALOG.services
    }
    asked = {q.service: q.check for q in questions(CATALOG, from_env(env | own), placed) if q.check}

    trusted = {name: check.ca for name, check in asked.items() if check.ca}
    assert trusted == {
        **{name: f"/{name}.pem" for name in GROUPS if name not in {"iceberg", "stack"}},
        "iceberg-rest": "/iceberg.pem",
        **dict.fromkeys(
            ("zookeeper", "flink-jobmanager", "grafana", "control-plane"), "/stack.pem"
        ),
    }
    assert asked["flink-jobmanager"].certificate == "/own.crt"
    assert (asked["prometheus"].certificate, asked["prometheus"].key) == ("", "")


def test_health_carries_the_logins_of_the_log_and_the_lake() -> None:
    env = {"HELIX__KAFKA__USER": "u", "HELIX__KAFKA__PASSWORD": "p", "HELIX__ICEBERG__TOKEN": "t"}
    placed = {
        name: (Instance(ports={port: Address("h", 1)}),)
        for name, port in (("kafka", "broker"), ("iceberg-rest", "http"))
    }
    asked = {q.service: q.check for q in questions(CATALOG, from_env(env), placed) if q.check}

    assert (asked["kafka"].user, asked["kafka"].password) == ("u", "p")
    assert asked["iceberg-rest"].password == "t"


def test_a_client_of_an_authority_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(InvalidError, match="HELIX_CA"):
        Client("https://h", "k", ca="/nowhere.pem")


def test_an_engine_is_plain_unless_a_certificate_is_named() -> None:
    place = msgspec.json.decode(b'{"host": "h", "port": 1}', type=Place)

    assert (place.certificate, place.key) == ("", "")


def test_the_probe_of_containers_says_why_there_is_no_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["http", "127.0.0.1:1", "/", "x", "--ca", "/nowhere.pem"]

    assert probes.main(words) == 1
    assert "/nowhere.pem" in capsys.readouterr().err
