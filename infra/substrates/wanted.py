"""What a stack's configuration asks for, as one typed value; a misspelt key stops the program."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from helix.errors import TopologyError
from helix.topology.model import Record, Server, Topology, port_of
from infra.launch import Address

PREFIX = "helix:"


class Kind(StrEnum):
    """Where a stack runs."""

    LOCAL = "local"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"


class Sizes(StrEnum):
    """Which sizes of the catalogue a stack takes."""

    PRODUCTION = "production"
    LAPTOP = "laptop"


class Host(Record, frozen=True):
    """A server of a Docker stack: its engine (`unix://`, `ssh://` or `tcp://`) and its address.

    `address` is where the other servers and the clients reach it. A `tcp://` engine is spoken to
    with the certificates in the folder `certificates`.
    """

    engine: str  # where it answers: `unix://`, `ssh://` or `tcp://`
    address: str  # where the other servers and the clients reach it
    certificates: str = ""  # of a `tcp://` engine: the folder with ca.pem, cert.pem and key.pem
    memory_gib: float = 0  # how big it is; 0: as the catalogue says
    cores: int = 0  # likewise


class Wanted(Record, frozen=True):
    """The configuration of a stack: `pulumi config set helix:KEY VALUE`, objects as JSON."""

    substrate: Kind = Kind.LOCAL
    profile: str = "full"  # which part of the catalogue is run
    disabled: tuple[str, ...] = ()  # services that are not run
    adopt: dict[str, str] = {}  # service -> host:port of one that somebody else runs
    # local
    port_offset: int = 0  # added to every port of the catalogue
    # docker and kubernetes
    servers: int = 3  # 1: everything once, on one server
    sizes: Sizes = Sizes.PRODUCTION
    memory_mib: dict[str, int] = {}  # service -> limit, where the size's own does not fit
    images: dict[str, str] = {}  # image -> reference to run instead; "*" is every other one
    engines: bool = False  # our engines in place of the official ClickHouse and Qdrant
    # docker
    hosts: dict[str, Host] = {}  # server of the catalogue -> where it is
    binds: tuple[str, ...] = ()  # SOURCE:TARGET, read-only in every container: programs on a host
    # kubernetes
    kubeconfig: str = ""  # its path or its text; empty: the one of your own `kubectl`
    context: str = ""  # empty: the current one
    namespace: str = "helix"  # made by the stack, and its own
    ingress: str = ""  # the host name under which a cluster publishes the API
    render: str = ""  # a folder: manifests are written there, no cluster is asked

    def off(self, topology: Topology) -> frozenset[str]:
        """Return the services that this stack does not run; `TopologyError` names a bad profile."""
        allowed = [profile.name for profile in topology.profiles]
        if self.profile not in allowed:
            raise TopologyError(
                f"`profile` is `{self.profile}`, which is not in the catalogue:"
                f" use one of {', '.join(f'`{name}`' for name in allowed)}"
            )
        names = frozenset(service.name for service in topology.services)
        return (names - topology.served(self.profile)).union(self.disabled)

    def host(self, server: str) -> Host:
        """Where the server is; `TopologyError` when the configuration does not say."""
        if server not in self.hosts:
            raise TopologyError(
                f"`hosts` does not say where `{server}` is: set helix:hosts to"
                f' {{"{server}": {{"engine": "ssh://user@host", "address": "10.0.0.1"}}, ...}}'
            )
        return self.hosts[server]

    def sized(self, server: Server) -> Server:
        """The server as big as the configuration says."""
        where = self.hosts.get(server.name)
        return msgspec.structs.replace(
            server,
            memory_gib=(where and where.memory_gib) or server.memory_gib,
            cores=(where and where.cores) or server.cores,
        )

    def adopted(self, topology: Topology) -> dict[str, Address]:
        """Where adopted services answer; `TopologyError` names a bad entry."""
        return {name: _address(topology, name, text) for name, text in self.adopt.items()}


def wanted(env: Mapping[str, str]) -> Wanted:
    """The configuration Pulumi hands its program; `TopologyError` names a bad key or value."""
    given = json.loads(env.get("PULUMI_CONFIG") or "{}")
    ours = {key.removeprefix(PREFIX): text for key, text in given.items() if key.startswith(PREFIX)}
    return typed(ours)


def typed(given: Mapping[str, str]) -> Wanted:
    """The texts as their fields' types."""
    fields = {field.name: field.type for field in msgspec.structs.fields(Wanted)}
    if unknown := sorted(set(given) - set(fields)):
        raise TopologyError(
            f"`{PREFIX}{unknown[0]}` is no setting of a stack: use one of {', '.join(fields)}"
        )
    values = {key: _value(fields[key], key, text) for key, text in given.items()}
    try:
        return msgspec.convert(values, Wanted, strict=False)
    except msgspec.ValidationError as error:
        raise TopologyError(f"bad configuration of the stack: {error}") from error


def _value(kind: Any, key: str, text: str) -> object:
    if isinstance(kind, type) and issubclass(kind, str | int):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TopologyError(f"`{PREFIX}{key}` is no JSON: {error}") from error


def _address(topology: Topology, name: str, text: str) -> Address:
    services = {service.name: service for service in topology.services}
    if name not in services:
        raise TopologyError(f"`adopt` names `{name}`, which is not in the catalogue")
    service = services[name]
    host, _, port = text.rpartition(":")
    if not host:
        return Address(host=text, port=port_of(service, service.probe.port).number)
    if not port.isdigit():
        raise TopologyError(f"`adopt` says `{text}` for `{name}`: write HOST:PORT")
    return Address(host=host, port=int(port))
