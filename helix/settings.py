"""Every setting of the programs: one frozen tree, read from the environment once, in `__main__`.

`HELIX__KAFKA__LINGER_MS` is `settings.kafka.linger_ms`. An unknown name stops the process, so that
a misspelt setting is never silently ignored. Default endpoints come from the catalogue.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from helix.errors import TopologyError
from helix.topology.catalog import CATALOG
from helix.topology.model import port_of

PREFIX = "HELIX__"
ALIASES = {
    "BIGDATA_KAFKA_BOOTSTRAP_SERVERS": "HELIX__KAFKA__BOOTSTRAP",
    "BIGDATA_CLICKHOUSE_HOST": "HELIX__CLICKHOUSE__HOST",
    "BIGDATA_CLICKHOUSE_PORT": "HELIX__CLICKHOUSE__PORT",
    "BIGDATA_CLICKHOUSE_DATABASE": "HELIX__CLICKHOUSE__DATABASE",
    "BIGDATA_CLICKHOUSE_USER": "HELIX__CLICKHOUSE__USER",
    "BIGDATA_CLICKHOUSE_PASSWORD": "HELIX__CLICKHOUSE__PASSWORD",
    "BIGDATA_NEO4J_USERNAME": "HELIX__NEO4J__USER",
    "BIGDATA_NEO4J_PASSWORD": "HELIX__NEO4J__PASSWORD",
    **{
        f"SVC_{service}_{field}": f"HELIX__{service}__{field}"
        for service in ("CLICKHOUSE", "NEO4J", "MINIO", "QDRANT", "POSTGRES", "REDIS", "RABBITMQ")
        for field in ("HOST", "PORT")
    },
}


def _port(service: str, port: str) -> int:
    return port_of(CATALOG.service(service), port).number


class Secret(str):
    """Text that prints as stars; `reveal()` is the only way to its content."""

    __slots__ = ()

    def reveal(self) -> str:
        """The secret itself, for the client library that needs it."""
        return str.__str__(self)

    def __repr__(self) -> str:
        return "'***'" if str.__len__(self) else "''"

    def __str__(self) -> str:
        return "***" if str.__len__(self) else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A concern's settings."""


class Http(Group, frozen=True):
    """Where this program answers."""

    host: str = "127.0.0.1"
    port: int = _port("control-plane", "http")
    certificate: str = ""  # path, PEM; with `key` the answers are encrypted, without they are plain
    key: str = ""  # path of its private key, PEM
    body_bytes_max: int = 4 * 1024 * 1024
    metrics_token: Secret = Secret("")  # what Prometheus shows the API; empty: nobody gets figures
    requests_per_min_max: int = 6_000  # of one key
    cors_origins: str = ""  # who may call from a browser, separated by commas; nobody by default


class Kafka(Group, frozen=True):
    """The log."""

    bootstrap: str = f"127.0.0.1:{_port('kafka', 'broker')}"  # every broker, separated by commas
    user: str = ""  # by SCRAM-SHA-512, over TLS alone
    password: Secret = Secret("")
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS
    linger_ms: int = 1  # the best p95 from 10k/s on
    deliver_ms_max: int = 10_000


class Postgres(Group, frozen=True):
    """States and watermarks."""

    host: str = "127.0.0.1"
    port: int = _port("postgres", "sql")
    user: str = "helix"
    password: Secret = Secret("")
    database: str = "helix"
    connections_max: int = 8
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS


class Clickhouse(Group, frozen=True):
    """Analytics and the warm copy."""

    host: str = "127.0.0.1"
    port: int = _port("clickhouse", "http")
    user: str = "helix"
    password: Secret = Secret("")
    database: str = "helix"
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS


class Neo4j(Group, frozen=True):
    """The graph."""

    host: str = "127.0.0.1"
    port: int = _port("neo4j", "bolt")
    user: str = "neo4j"
    password: Secret = Secret("")
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS


class Qdrant(Group, frozen=True):
    """Vectors."""

    host: str = "127.0.0.1"
    port: int = _port("qdrant", "http")
    password: Secret = Secret("")
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS


class Minio(Group, frozen=True):
    """Objects."""

    host: str = "127.0.0.1"
    port: int = _port("minio", "s3")
    user: str = "helix"
    password: Secret = Secret("")
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS


class Redis(Group, frozen=True):
    """Cache and limits."""

    host: str = "127.0.0.1"
    port: int = _port("redis", "redis")
    password: Secret = Secret("")
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS


class Rabbitmq(Group, frozen=True):
    """The queue of jobs."""

    host: str = "127.0.0.1"
    port: int = _port("rabbitmq", "amqp")
    management_port: int = _port("rabbitmq", "management")
    user: str = "helix"
    password: Secret = Secret("")
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS


class Iceberg(Group, frozen=True):
    """The lake's catalogue."""

    host: str = "127.0.0.1"
    port: int = _port("iceberg-rest", "http")
    token: Secret = Secret("")
    ca: str = ""  # path of the authority that signed its certificate, PEM; empty: no TLS


class Jwt(Group, frozen=True):
    """Tokens of somebody else's making: verified here, never issued. Off without `jwks_url`."""

    jwks_url: str = ""
    issuer: str = ""
    audience: str = ""
    tenant_claim: str = "tenant"
    scope_claim: str = "scope"


class Summariser(Group, frozen=True):
    """An OpenAI-compatible model that may write summaries. Off without `url`."""

    url: str = ""
    model: str = ""
    key: Secret = Secret("")
    answer_s_max: float = 10.0


class Stack(Group, frozen=True):
    """The stack this program belongs to."""

    name: str = "local"
    disabled: str = ""  # services that do not run here, separated by commas
    outputs: str = ""  # path of the stack's output document: where every service answers
    ca: str = ""  # path of the authority of those services that have no group here; empty: no TLS
    api_key: Secret = Secret("")  # the bootstrap key: may do everything


class Settings(Group, frozen=True):
    """All of them, by concern."""

    http: Http = Http()
    kafka: Kafka = Kafka()
    postgres: Postgres = Postgres()
    clickhouse: Clickhouse = Clickhouse()
    neo4j: Neo4j = Neo4j()
    qdrant: Qdrant = Qdrant()
    minio: Minio = Minio()
    redis: Redis = Redis()
    rabbitmq: Rabbitmq = Rabbitmq()
    iceberg: Iceberg = Iceberg()
    jwt: Jwt = Jwt()
    summariser: Summariser = Summariser()
    stack: Stack = Stack()


def from_env(env: Mapping[str, str]) -> Settings:
    """The settings the environment names; `TopologyError` names what it does not know."""
    tree: dict[str, dict[str, str]] = {}
    for name, value in _named(env).items():
        group, _, field = name.removeprefix(PREFIX).lower().partition("__")
        tree.setdefault(group, {})[field] = value
    unknown = sorted(set(_names(tree)) - set(_names(_fields())))
    if unknown:
        raise TopologyError(
            f"unknown setting `{unknown[0]}`: `python -m helix.settings` lists every setting"
        )
    try:
        return msgspec.convert(tree, Settings, strict=False, dec_hook=_secret)
    except msgspec.ValidationError as error:
        raise TopologyError(f"bad setting: {error}") from error


def listing(settings: Settings, env: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Every setting: name, value with secrets hidden, and where the value came from."""
    given = _named(env)
    for name in sorted(_names(_fields())):
        group, _, field = name.removeprefix(PREFIX).lower().partition("__")
        value = str(getattr(getattr(settings, group), field))
        yield name, value, "environment" if name in given else "default"


def _named(env: Mapping[str, str]) -> dict[str, str]:
    """Our part of the environment, aliases resolved; a real name wins over its alias."""
    aliased = {ALIASES[name]: value for name, value in env.items() if name in ALIASES}
    return aliased | {name: value for name, value in env.items() if name.startswith(PREFIX)}


def _fields() -> dict[str, dict[str, Any]]:
    groups = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    return {
        group: {field.name: field.type for field in msgspec.structs.fields(kind)}
        for group, kind in groups.items()
    }


def _names(tree: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for group, fields in tree.items():
        for field in fields:
            yield f"{PREFIX}{group}__{field}".upper()


def _secret(kind: type, value: object) -> object:
    if kind is Secret:
        return Secret(value)
    raise NotImplementedError(kind)


def main() -> None:
    """Print every setting with its value and its source."""
    env = os.environ  # noqa: TID251 - the composition root of this command
    for name, value, source in listing(from_env(env), env):
        print(f"{name:45} {value:40} {source}")  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()
