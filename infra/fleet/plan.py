"""A fleet as a value: its servers, their names and addresses, and where their files are."""

import re
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path

from helix.errors import InvalidError
from helix.topology.catalog import CATALOG
from helix.topology.model import Record

NAME = "fleet"
SUBNET = "10.77.0.0/24"
# `hx-NAME-3` must fit into the 15 characters that the kernel gives an interface.
NAME_CHARS_MAX = 10
FIRST_SERVER = 11
# A unix socket's path has at most 107 bytes: containerd's is 47 below the fleet's home.
HOME_CHARS_MAX = 60
SERVERS = tuple(server.name for server in CATALOG.servers)

Setting = bool | str | list[str]


class Host(Record, frozen=True):
    """One server: an engine in a network namespace of its own."""

    server: str  # the catalogue's name
    address: str
    namespace: str
    link: str  # the bridge's end of its cable; the other one is `eth0`
    cgroup: str
    home: Path

    @property
    def socket(self) -> Path:
        """Where its engine answers."""
        return self.home / "docker.sock"

    @property
    def url(self) -> str:
        """The engine as Docker's clients name it."""
        return f"unix://{self.socket}"

    @property
    def settings(self) -> Path:
        """What its engine was told."""
        return self.home / "daemon.json"

    @property
    def log(self) -> Path:
        """What its engine said."""
        return self.home / "dockerd.log"

    @property
    def pidfile(self) -> Path:
        """Written by the engine while it runs."""
        return self.home / "pid"

    @property
    def volatile(self) -> Path:
        """What a reboot clears: sockets, pids, mounts."""
        return self.home / "exec"


class Fleet(Record, frozen=True, dict=True):
    """Servers on one bridge; two fleets of different name and subnet never meet.

    `engine` overrides what every engine is told, in the words of Docker's `daemon.json`.
    """

    home: Path
    name: str = NAME
    subnet: str = SUBNET
    servers: tuple[str, ...] = SERVERS
    engine: dict[str, Setting] = {}

    def __post_init__(self) -> None:
        """Refuse what the kernel would refuse later, in the middle of the work."""
        if not re.fullmatch(rf"[a-z][a-z0-9]{{0,{NAME_CHARS_MAX - 1}}}", self.name):
            raise InvalidError(
                f"`{self.name}` cannot name a fleet: take up to {NAME_CHARS_MAX} small letters"
                " and digits, a letter first"
            )
        if len(str(self.home)) > HOME_CHARS_MAX:
            raise InvalidError(
                f"`{self.home}` is too long for the sockets below it: choose a folder of up to"
                f" {HOME_CHARS_MAX} characters"
            )

    @property
    def network(self) -> IPv4Network:
        """The bridge's network."""
        return IPv4Network(self.subnet)

    @property
    def bridge(self) -> str:
        """The interface that connects the servers with this machine."""
        return f"hx-{self.name}"

    @property
    def gateway(self) -> str:
        """The address of this machine on the bridge: clients come from here."""
        return str(self.network[1])

    @cached_property
    def hosts(self) -> tuple[Host, ...]:
        """Every server of the fleet."""
        return tuple(self._host(index, name) for index, name in enumerate(self.servers))

    def host(self, server: str) -> Host:
        """The server of that name; `InvalidError` if the fleet has none."""
        found = {host.server: host for host in self.hosts}.get(server)
        if found is None:
            raise InvalidError(f"`{server}` is not in the fleet: name one of {self.servers}")
        return found

    def peers(self, host: Host) -> tuple[Host, ...]:
        """The other servers."""
        return tuple(other for other in self.hosts if other != host)

    def _host(self, index: int, server: str) -> Host:
        return Host(
            server=server,
            address=str(self.network[FIRST_SERVER + index]),
            namespace=f"helix-{self.name}-srv{index + 1}",
            link=f"{self.bridge}-{index + 1}",
            cgroup=f"helix-{self.name}-srv{index + 1}",
            home=self.home / server,
        )


def fleets(state: Path) -> Path:
    """Where the fleets of this machine live, below the folder of its state."""
    return state / "fleets"
