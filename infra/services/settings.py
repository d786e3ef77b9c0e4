"""How our own programs are told where everything is: every setting explicit, nothing by luck."""

from collections.abc import Callable
from typing import NamedTuple

from helix.settings import PREFIX
from infra.launch import Site, secret
from infra.services import clickhouse, kafka, neo4j, postgres, qdrant, rabbitmq, redis, s3

Fields = dict[str, object]


def environment(site: Site, program: str) -> dict[str, str]:
    """The settings of a program of the stack; services that are switched off are not named.

    Beyond one machine each store is asked under the authority that `program` finds beside its
    configuration.
    """
    tls = site.tls(site.topology.service(program))
    authority: Fields = {"ca": tls.authority} if tls else {}
    return {
        f"{PREFIX}{group.name}__{field}".upper(): str(value)
        for group in GROUPS
        if not group.service or site.answers(group.service)
        for field, value in (group.fields(site) | authority).items()
    }


def _at(site: Site, service: str, port: str) -> Fields:
    address = site.address(service, port)
    return {"host": address.host, "port": address.port}


def _stack(site: Site) -> Fields:
    services = site.topology.services
    disabled = ",".join(service.name for service in services if not site.answers(service.name))
    return {"name": site.stack, "api_key": secret("api-key"), "disabled": disabled}


def _kafka(site: Site) -> Fields:
    bootstrap = ",".join(str(address) for address in site.addresses("kafka", "broker"))
    if site.tls(site.topology.service("kafka")) is None:
        return {"bootstrap": bootstrap}
    return {"bootstrap": bootstrap, "user": kafka.USER, "password": kafka.PASSWORD}


def _postgres(site: Site) -> Fields:
    credentials: Fields = {"user": postgres.USER, "password": postgres.PASSWORD}
    return _at(site, "postgres", "sql") | credentials | {"database": postgres.DATABASE}


def _clickhouse(site: Site) -> Fields:
    credentials: Fields = {"user": clickhouse.USER, "password": clickhouse.PASSWORD}
    return _at(site, "clickhouse", "http") | credentials | {"database": clickhouse.DATABASE}


def _neo4j(site: Site) -> Fields:
    return _at(site, "neo4j", "bolt") | {"user": neo4j.USER, "password": neo4j.PASSWORD}


def _qdrant(site: Site) -> Fields:
    return _at(site, "qdrant", "http") | {"password": qdrant.PASSWORD}


def _redis(site: Site) -> Fields:
    return _at(site, "redis", "redis") | {"password": redis.PASSWORD}


def _minio(site: Site) -> Fields:
    return _at(site, "minio", "s3") | {"user": s3.USER, "password": s3.PASSWORD}


def _rabbitmq(site: Site) -> Fields:
    credentials: Fields = {"user": rabbitmq.USER, "password": rabbitmq.PASSWORD}
    management = {"management_port": site.address("rabbitmq", "management").port}
    return _at(site, "rabbitmq", "amqp") | management | credentials


def _iceberg(site: Site) -> Fields:
    address = _at(site, "iceberg-rest", "http")
    if site.tls(site.topology.service("iceberg-rest")) is None:
        return address
    return address | {"token": secret("iceberg")}


class Group(NamedTuple):
    """One group of settings, there when its service answers; empty: always."""

    service: str
    name: str
    fields: Callable[[Site], Fields]


GROUPS = (
    Group("", "stack", _stack),
    Group("kafka", "kafka", _kafka),
    Group("postgres", "postgres", _postgres),
    Group("clickhouse", "clickhouse", _clickhouse),
    Group("neo4j", "neo4j", _neo4j),
    Group("qdrant", "qdrant", _qdrant),
    Group("redis", "redis", _redis),
    Group("minio", "minio", _minio),
    Group("rabbitmq", "rabbitmq", _rabbitmq),
    Group("iceberg-rest", "iceberg", _iceberg),
)
