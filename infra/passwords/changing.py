"""A password gets another version: its server is told first where it keeps the password itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from helix.adapters.passwords import (
    change_kafka,
    change_neo4j,
    change_postgres,
    change_rabbitmq,
)
from helix.errors import InvalidError, UnavailableError
from helix.settings import Settings
from infra.provider.secrets import current_version, derive, master, set_version, vault
from infra.services import kafka

Lookup = Callable[[str], str]
Change = Callable[[Settings, str], None]


def _of_kafka(user: str) -> Change:
    return lambda settings, password: change_kafka(settings.kafka, user, password)


# By the name of the secret: servers that keep it in their data. Every other password is read when
# its server starts.
KEPT: Mapping[str, Change] = {
    "kafka": _of_kafka(kafka.USER),
    "kafka-broker": _of_kafka(kafka.USER_BROKER),
    "neo4j": lambda settings, password: change_neo4j(settings.neo4j, password),
    "postgres": lambda settings, password: change_postgres(settings.postgres, password),
    "rabbitmq": lambda settings, password: change_rabbitmq(settings.rabbitmq, password),
}
# What the members of a quorum show each other: those with the new one refuse those with the old.
SHARED = frozenset({"kafka-broker", "kafka-controller", "zookeeper"})
# Kept in a database that only the server's own tools open.
OWN = {"grafana": "change it in Grafana: `grafana cli admin reset-admin-password`"}


def change(home: Path, name: str, settings: Callable[[Lookup], Settings]) -> int:
    """Give a password its next version and say which; run `up` to hand it to its readers.

    `settings` are those of the stack's own programs, as a lookup of secrets has them. The server is
    told before the version is written: interrupted between, the next call finds that the new
    password opens the server already. `UnavailableError` when no password does, and nothing
    changed.
    """
    version = current_version(home, name) + 1
    password = derive(master(home), name, version)
    if name in KEPT:
        _tell(name, password, vault(home), settings)
    set_version(home, name, version)
    return version


def _tell(name: str, password: str, lookup: Lookup, settings: Callable[[Lookup], Settings]) -> None:
    def told(wanted: str) -> str:
        return password if wanted == name else lookup(wanted)

    try:
        KEPT[name](settings(lookup), password)
    except UnavailableError as refused:
        try:
            KEPT[name](settings(told), password)
        except UnavailableError:
            raise refused from None


def selected(names: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """Those that were named, or all; `InvalidError` for one that there is not."""
    if unknown := [name for name in names if name not in known]:
        raise InvalidError(f"there is no password `{unknown[0]}` here: {', '.join(known)}")
    return names or known


def changeable(names: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """Those to change: what only its server changes is refused, and shared ones must be named."""
    chosen = selected(names, known)
    if not names:
        return [name for name in chosen if name not in SHARED | OWN.keys()]
    if own := [name for name in names if name in OWN]:
        raise InvalidError(f"`{own[0]}` is kept where only its server changes it: {OWN[own[0]]}")
    return chosen
