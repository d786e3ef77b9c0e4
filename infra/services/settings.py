"""How our own programs are told where everything is: every setting explicit, nothing by luck."""

from collections.abc import Iterator

from helix.settings import PREFIX
from infra.launch import Site, secret
from infra.services import clickhouse, neo4j, postgres, qdrant, rabbitmq, redis, s3

Group = dict[str, object]


def environment(site: Site) -> dict[str, str]:
    """The settings of any program of the stack; services that are switched off are not named."""
    return {
        f"{PREFIX}{group}__{field}".upper(): str(value)
        for service, group, fields in _groups(site)
        if not service or site.placements(site.topology.service(service))
        for field, value in fields.items()
    }


def _groups(site: Site) -> Iterator[tuple[str, str, Group]]:
    """Service whose presence decides, group of settings, fields."""
    yield "", "stack", _stack(site)
    yield "kafka", "kafka", {"bootstrap": site.address("kafka", "broker")}
    yield "postgres", "postgres", _postgres(site)
    yield "clickhouse", "clickhouse", _clickhouse(site)
    bolt = _at(site, "neo4j", "bolt")
    yield "neo4j", "neo4j", bolt | {"user": neo4j.USER, "password": neo4j.PASSWORD}
    yield "qdrant", "qdrant", _at(site, "qdrant", "http") | {"password": qdrant.PASSWORD}
    yield "redis", "redis", _at(site, "redis", "redis") | {"password": redis.PASSWORD}
    objects = _at(site, "minio", "s3")
    yield "minio", "minio", objects | {"user": s3.USER, "password": s3.PASSWORD}
    yield "rabbitmq", "rabbitmq", _rabbitmq(site)
    yield "iceberg-rest", "iceberg", _at(site, "iceberg-rest", "http")


def _at(site: Site, service: str, port: str) -> Group:
    address = site.address(service, port)
    return {"host": address.host, "port": address.port}


def _stack(site: Site) -> Group:
    services = site.topology.services
    disabled = ",".join(service.name for service in services if not site.placements(service))
    return {"name": site.stack, "api_key": secret("api-key"), "disabled": disabled}


def _postgres(site: Site) -> Group:
    credentials: Group = {"user": postgres.USER, "password": postgres.PASSWORD}
    return _at(site, "postgres", "sql") | credentials | {"database": postgres.DATABASE}


def _clickhouse(site: Site) -> Group:
    credentials: Group = {"user": clickhouse.USER, "password": clickhouse.PASSWORD}
    return _at(site, "clickhouse", "http") | credentials | {"database": clickhouse.DATABASE}


def _rabbitmq(site: Site) -> Group:
    credentials: Group = {"user": rabbitmq.USER, "password": rabbitmq.PASSWORD}
    management = {"management_port": site.address("rabbitmq", "management").port}
    return _at(site, "rabbitmq", "amqp") | management | credentials
