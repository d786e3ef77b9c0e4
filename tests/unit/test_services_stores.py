"""The stores, what watches them and our programs, as they start beyond one machine."""

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from helix.settings import from_env
from helix.topology.catalog import CATALOG
from helix.topology.model import Exposure, port_of
from infra import outputs
from infra.launch import Address, Launch, Site, Tls
from infra.services import (
    bootstrap,
    clickhouse,
    grafana,
    minio,
    postgres,
    postgres_exporter,
    prometheus,
    qdrant,
    rabbitmq,
    redis,
    redis_exporter,
    registry,
    settings,
)
from infra.substrates.hosted import Hosted
from infra.substrates.plan import plan
from tests.tree import ROOT

ADDRESSES = {"server-1": "10.0.0.1", "server-2": "10.0.0.2", "server-3": "10.0.0.3"}


def _site(*, without: tuple[str, ...] = (), **changes: object) -> Hosted:
    instances = plan(CATALOG, without=without)
    site = Hosted(
        topology=CATALOG,
        stack="test",
        checkout=ROOT,
        instances=instances,
        hosts={one.name: ADDRESSES[one.server] for one in instances},
        operator=Path("/operator"),
    )
    return msgspec.structs.replace(site, **changes)


def _of(service: str, site: Hosted | None = None) -> Hosted:
    site = site or _site()
    return site.of(site.of_service(service)[0])


def _tls(service: str) -> Tls:
    return _of(service).tls(CATALOG.service(service))


def _said(launch: Launch) -> str:
    return msgspec.json.encode(launch).decode()


def _text(files: dict[str, str], name: str) -> str:
    (path,) = (path for path in files if path.endswith(f"/{name}"))
    return files[path]


def _pairs(text: str, between: str) -> dict[str, str]:
    return dict(line.split(between, 1) for line in text.splitlines())


@pytest.mark.parametrize("name", ["postgres", "redis", "rabbitmq", "minio", "control-plane"])
def test_a_service_for_clients_reads_its_own_certificate(name: str) -> None:
    launch = registry.face(CATALOG.service(name)).process(_of(name))
    said, tls = _said(launch), _tls(name)

    assert tls.key in said or f"${{secret:tls.{name}.key}}" in said
    assert tls.certificate in said or f"${{secret:tls.{name}.certificate}}" in said


def test_postgres_admits_encrypted_connections_alone() -> None:
    launch = postgres.process(_of("postgres"))
    access = _text(launch.files, "pg_hba.conf").splitlines()
    config = _pairs(_text(launch.files, "postgresql.conf"), " = ")

    assert {line.split()[0] for line in access} == {"hostssl"}
    assert {line.split()[-1] for line in access} == {"scram-sha-256"}
    assert config["ssl"] == "on"
    assert config["ssl_min_protocol_version"] == "'TLSv1.2'"


def test_postgres_copies_its_key_before_every_start_to_where_it_takes_it_from() -> None:
    launch = postgres.process(_of("postgres"))
    config = _pairs(_text(launch.files, "postgresql.conf"), " = ")
    copies = [init for init in launch.init if not init.unless]

    assert [init.argv[-2:] for init in copies] == [(_tls("postgres").key, postgres.KEY)]
    assert config["ssl_key_file"] == f"'{postgres.KEY}'"


def test_redis_has_no_port_in_plain() -> None:
    config = _pairs(_text(redis.process(_of("redis")).files, "redis.conf"), " ")

    assert config["port"] == "0"
    assert config["tls-port"] == "6379"
    assert config["requirepass"] == redis.PASSWORD


def test_redis_is_asked_without_its_password_in_an_argument() -> None:
    (*_, script) = redis.process(_of("redis")).health

    assert "REDISCLI_AUTH" in script
    assert redis.PASSWORD not in script


def test_rabbitmq_listens_encrypted_and_its_distribution_stays_on_the_server() -> None:
    launch = rabbitmq.process(_of("rabbitmq"))
    config = _pairs(_text(launch.files, "rabbitmq.conf"), " = ")

    assert config["listeners.tcp"] == "none"
    assert config["listeners.ssl.1"] == "10.0.0.1:5672"
    assert not [key for key in config if key.startswith("management.tcp")]
    assert launch.env["ERL_EPMD_ADDRESS"] == "127.0.0.1"
    assert "{127,0,0,1}" in launch.env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]


def test_the_cookie_is_made_private_in_the_nodes_own_folder() -> None:
    launch = rabbitmq.process(_of("rabbitmq"))
    (copied,) = launch.init
    source, target = copied.argv[-2:]

    assert launch.files[source] == rabbitmq.COOKIE
    assert target == f"{launch.env['HOME']}/.erlang.cookie"
    assert not copied.unless


def test_minio_finds_its_certificate_under_the_names_it_looks_for() -> None:
    launch = minio.process(_of("minio"))
    (folder,) = (word.split("=")[1] for word in launch.argv if word.startswith("--certs-dir="))

    assert {path.removeprefix(folder) for path in launch.files} == {
        "/public.crt",
        "/private.key",
        "/CAs/ca.pem",
    }
    assert folder not in launch.folders


def test_exporters_verify_whom_they_ask() -> None:
    sql = postgres_exporter.process(_of("postgres-exporter")).env["DATA_SOURCE_NAME"]
    cache = redis_exporter.process(_of("redis-exporter")).env

    assert sql.endswith(f"?sslmode=verify-full&sslrootcert={_tls('postgres-exporter').authority}")
    assert cache["REDIS_ADDR"].startswith("rediss://")
    assert cache["REDIS_EXPORTER_TLS_CA_CERT_FILE"] == _tls("redis-exporter").authority


def _scraped(site: Hosted) -> dict[str, dict[str, object]]:
    config = msgspec.json.decode(_text(prometheus.files(site), "prometheus.yml"))
    return {job["job_name"]: job for job in config["scrape_configs"]}


def test_prometheus_scrapes_every_instance_and_knows_its_server() -> None:
    jobs = _scraped(_of("prometheus"))

    assert jobs["kafka"]["static_configs"] == [
        {"targets": [f"{address}:9404"], "labels": {"server": server}}
        for server, address in ADDRESSES.items()
    ]
    assert jobs["flink-taskmanager"]["static_configs"] == [
        {"targets": ["10.0.0.1:9260"], "labels": {"server": "server-1"}},
        {"targets": ["10.0.0.1:9261"], "labels": {"server": "server-1"}},
    ]


def test_prometheus_verifies_what_is_open_to_clients() -> None:
    jobs = _scraped(_of("prometheus"))
    open_to_clients = {
        service.name
        for service in CATALOG.services
        if service.metrics and port_of(service, service.metrics.port).exposure is Exposure.CLIENTS
    }

    assert {name for name, job in jobs.items() if job.get("scheme") == "https"} == open_to_clients
    assert all(
        jobs[name]["tls_config"] == {"ca_file": _tls("prometheus").authority}
        for name in open_to_clients
    )


def test_prometheus_says_who_it_is_to_everybody_who_answers_clients() -> None:
    jobs = _scraped(_of("prometheus"))
    said = {name for name, job in jobs.items() if {"authorization", "basic_auth"} & set(job)}

    assert said == {name for name, job in jobs.items() if job.get("scheme") == "https"}
    assert jobs["control-plane"]["authorization"] == {
        "credentials": registry.face(CATALOG.service("control-plane"))
        .process(_of("control-plane"))
        .env["HELIX__HTTP__METRICS_TOKEN"]
    }
    assert minio.process(_of("minio")).env["MINIO_PROMETHEUS_AUTH_TYPE"] == "jwt"


def _clickhouse() -> tuple[ET.Element, ET.Element]:
    files = clickhouse.container(_of("clickhouse")).files
    server, users = _text(files, "config.xml"), _text(files, "users.xml")
    return ET.fromstring(server), ET.fromstring(users)


def test_the_official_clickhouse_is_asked_over_one_encrypted_port() -> None:
    server, _ = _clickhouse()

    assert server.findtext("https_port") == "8123"
    assert server.findtext("listen_host") == "10.0.0.2"
    assert not [child.tag for child in server if child.tag.startswith(("http_port", "tcp_", "my"))]
    assert server.findtext("openSSL/server/privateKeyFile") == _tls("clickhouse").key


def test_the_official_clickhouse_serves_its_figures_on_the_port_for_servers() -> None:
    server, _ = _clickhouse()
    metrics = CATALOG.service("clickhouse").metrics

    assert metrics is not None
    assert server.findtext("prometheus/endpoint") == metrics.path
    assert server.findtext("prometheus/port") == "9363"
    assert port_of(CATALOG.service("clickhouse"), metrics.port).exposure is Exposure.SERVERS


def test_the_official_clickhouse_has_a_user_who_may_only_read() -> None:
    _, users = _clickhouse()
    reader = users.find(f"users/{clickhouse.READER}")

    assert {user.tag for user in users.find("users") or ()} == {clickhouse.USER, clickhouse.READER}
    assert reader is not None
    assert reader.findtext("profile") == "reader"
    assert users.findtext("profiles/reader/readonly") == "2"
    assert [grant.text for grant in reader.iter("query")] == [
        f"GRANT SELECT ON {clickhouse.DATABASE}.*"
    ]


def test_the_official_clickhouse_stays_within_its_container() -> None:
    server, users = _clickhouse()
    limit = CATALOG.service("clickhouse").placements[0].size.memory_mib * 1024 * 1024
    memory = int(server.findtext("max_server_memory_usage") or 0)

    assert 0 < int(users.findtext("profiles/default/max_memory_usage") or 0) < memory < limit


def test_the_official_qdrant_opens_one_encrypted_port_behind_a_key() -> None:
    launch = qdrant.container(_of("qdrant"))
    config = msgspec.json.decode(_text(launch.files, "production.yaml"))

    assert config["service"]["enable_tls"] is True
    assert config["service"]["grpc_port"] is None
    assert config["service"]["api_key"] == qdrant.PASSWORD
    assert config["tls"] == {"cert": _tls("qdrant").certificate, "key": _tls("qdrant").key}


def test_our_engines_answer_encrypted_as_well() -> None:
    site = _of("qdrant", _site(engines=True))
    launch = qdrant.process(site)
    config = msgspec.json.decode(_text(launch.files, "qdrant.json"))

    assert config["certificate"] == _tls("qdrant").certificate
    assert config["key"] == _tls("qdrant").key
    assert launch.health[-1].endswith(f"--ca {_tls('qdrant').authority}")


def test_grafana_is_encrypted_and_closed_to_strangers() -> None:
    config = _text(grafana.process(_of("grafana")).files, "grafana.ini")

    assert "protocol = https" in config
    assert f"cert_key = {_tls('grafana').key}" in config
    assert f"admin_password = {grafana.PASSWORD}" in config
    assert "[auth.anonymous]\nenabled = false" in config


def test_every_panel_asks_the_one_source_that_is_provisioned() -> None:
    files = grafana.files(_of("grafana"))
    (source,) = msgspec.json.decode(_text(files, "prometheus.yaml"))["datasources"]
    panels = msgspec.json.decode(_text(files, "helix.json"))["panels"]
    (provider,) = msgspec.json.decode(_text(files, "helix.yaml"))["providers"]

    assert source["url"] == "http://10.0.0.3:9090"
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    assert len({panel["id"] for panel in panels}) == len(grafana.PANELS)
    assert f"{provider['options']['path']}/helix.json" in files


def _environment(site: Site, program: str = "control-plane") -> dict[str, str]:
    return settings.environment(site, program)


def test_programs_know_every_broker_and_whom_to_trust() -> None:
    site = _of("control-plane")
    found = from_env(_environment(site))

    assert found.kafka.bootstrap == "10.0.0.1:9092,10.0.0.2:9092,10.0.0.3:9092"
    assert (found.kafka.user, found.kafka.password.reveal()) == ("helix", "${secret:kafka}")
    assert found.iceberg.token.reveal() == "${secret:iceberg}"
    assert {
        group.ca
        for group in (found.stack, found.kafka, found.postgres, found.clickhouse, found.redis)
    } == {_tls("control-plane").authority}


def test_a_program_for_clients_answers_encrypted_and_one_for_the_servers_in_plain() -> None:
    plane = registry.face(CATALOG.service("control-plane")).process(_of("control-plane"))
    workers = registry.face(CATALOG.service("workers")).process(_of("workers"))

    assert plane.env["HELIX__HTTP__CERTIFICATE"] == _tls("control-plane").certificate
    assert "--ca" in plane.health[-1]
    assert "HELIX__HTTP__CERTIFICATE" not in workers.env
    assert "--ca" not in workers.health[-1]


def test_the_task_that_fills_the_stores_trusts_the_same_authority() -> None:
    job = bootstrap.job(_of(bootstrap.PROGRAM))

    assert job.env["HELIX__POSTGRES__CA"] == _tls(bootstrap.PROGRAM).authority


def test_what_is_switched_off_is_not_named_to_programs() -> None:
    env = _environment(_of("control-plane", _site(without=("neo4j",))))

    assert not [name for name in env if name.startswith("HELIX__NEO4J__")]
    assert env["HELIX__STACK__DISABLED"] == "neo4j"


def test_an_adopted_service_is_named_to_programs_as_any_other() -> None:
    theirs = {"postgres": Address(host="db.example", port=6432)}
    site = _of("control-plane", _site(without=("postgres",), adopted=theirs))
    env = _environment(site)
    (instance,) = outputs.document(site).services["postgres"]

    assert (env["HELIX__POSTGRES__HOST"], env["HELIX__POSTGRES__PORT"]) == ("db.example", "6432")
    assert instance.server == outputs.ADOPTED
    assert instance.ports["sql"] == theirs["postgres"]


def test_the_operator_is_told_where_its_authority_is_and_no_secret() -> None:
    document = outputs.document(_site())

    assert document.ca == "/operator/ca.pem"
    assert document.url == "https://10.0.0.1:7061"
    assert document.settings["HELIX__POSTGRES__CA"] == document.ca


def test_instances_of_one_service_have_names_servers_and_ports_of_their_own() -> None:
    document = outputs.document(_site())
    brokers, (database,) = document.services["kafka"], document.services["postgres"]

    assert [one.name for one in brokers] == ["kafka-1", "kafka-2", "kafka-3"]
    assert [one.server for one in brokers] == list(ADDRESSES)
    assert [one.ports["broker"].host for one in brokers] == list(ADDRESSES.values())
    assert database.name == ""


def test_the_document_survives_being_written_and_read() -> None:
    document = outputs.document(_site())

    assert outputs.read(msgspec.json.encode(document).decode()) == document
