"""The machine as a site: where a stack's ports, folders, artifacts and programs are."""

from collections.abc import Sequence
from pathlib import Path

from helix.errors import TopologyError
from helix.topology.model import Placement, Record, Service, Size, Topology, port_of
from infra.artifacts import fetch
from infra.launch import Address, Tls
from infra.substrates.digests import digest

HOST = "127.0.0.1"


class LocalSite(Record, frozen=True):
    """Everything a service may ask; nothing of it is read from the surroundings."""

    topology: Topology
    stack: str
    home: Path
    cache: Path
    root: Path
    java: str
    python: str
    port_offset: int = 0
    switches_accounts: bool = False  # root may, and then servers that refuse root get their own
    disabled: frozenset[str] = frozenset()

    def address(self, service: str, port: str) -> Address:
        """Loopback, the catalogue's number plus the stack's offset."""
        number = port_of(self.topology.service(service), port).number
        return Address(host=HOST, port=number + self.port_offset)

    @property
    def instance(self) -> int:
        """Each service runs once here."""
        return 0

    def addresses(self, service: str, port: str) -> tuple[Address, ...]:
        """The only one."""
        return (self.address(service, port),)

    def listen(self, service: str, port: str) -> Address:
        """Where others reach it: loopback is one for all."""
        return self.address(service, port)

    def tls(self, service: Service) -> Tls | None:
        """Nothing leaves the machine."""
        del service

    def answers(self, service: str) -> bool:
        """Whether it is neither absent nor switched off."""
        return bool(self.placements(self.topology.service(service)))

    def size(self, service: Service) -> Size:
        """The laptop size."""
        if service.laptop is None:
            raise TopologyError(f"`{service.name}` is absent here: {service.absent}")
        return service.laptop

    def placements(self, service: Service) -> Sequence[Placement]:
        """One instance of what is neither absent nor switched off."""
        if service.laptop is None or service.name in self.disabled:
            return ()
        return (Placement(server="local", size=service.laptop),)

    def data(self, service: Service) -> Path:
        """Kept by `destroy`."""
        return self.home / "data" / service.name

    def conf(self, service: Service) -> Path:
        """Rendered again before every start."""
        return self.home / "conf" / service.name

    def artifact(self, name: str) -> Path:
        """Where fetching puts it."""
        return fetch.path(self.topology.artifact(name), self.cache)

    def part(self, artifact: str, path: str = "") -> Path:
        """Below the artifact's folder."""
        return self.artifact(artifact) / path

    def account(self, wanted: str) -> str:
        """The account itself where this process may switch to it."""
        return wanted if self.switches_accounts else ""

    def digest(self, *paths: str, without: str = "") -> str:
        """Of the checkout as it is now."""
        return digest(self.root, paths, without=without)
