"""A site made of containers: the same questions, answered for one instance on one server."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import msgspec

from helix.errors import TopologyError
from helix.topology.model import (
    Exposure,
    Image,
    Placement,
    Record,
    Service,
    Size,
    Topology,
    port_of,
)
from infra.images.references import reference_of
from infra.launch import Address, Tls
from infra.substrates.digests import digest
from infra.substrates.plan import Instance

LOOPBACK = "127.0.0.1"
CONFIGURATION = Path("/etc/helix")
SCRATCH = Path("/tmp/helix")  # noqa: S108 - inside a container: nobody else's
CHECKOUT = Path("/opt/helix")
TLS = "tls"
OPERATOR = "operator"  # whoever runs the commands of the stack


class Hosted(Record, frozen=True, dict=True):
    """Everything a service may ask where it runs in a container.

    `hosts` says under which name or address others reach an instance; `bound` is what instances
    listen on, empty for their host's own address. `adopted` services are somebody else's: they
    have an address and no instance. `engines` runs our engines in place of the two official images.
    """

    topology: Topology
    stack: str
    checkout: Path  # where `pulumi up` reads the code it takes digests of
    instances: tuple[Instance, ...]
    hosts: dict[str, str]  # instance -> host
    own: Instance | None = None  # whose files are rendered; None: the operator's
    bound: str = ""
    adopted: dict[str, Address] = {}
    engines: bool = False
    images: dict[str, str] = {}  # image -> reference to run instead; "*" is every other one
    locked: dict[str, str] = {}  # image -> reference with the digest it had when it was locked
    operator: Path = Path()  # the folder of the operator's own certificate

    def of(self, instance: Instance) -> "Hosted":
        """The same site, seen from that instance."""
        return msgspec.structs.replace(self, own=instance)

    def of_service(self, service: str) -> tuple[Instance, ...]:
        """Its instances; none when it is switched off or adopted."""
        return self._by_service.get(service, ())

    @cached_property
    def _by_service(self) -> dict[str, tuple[Instance, ...]]:
        names = dict.fromkeys(one.service for one in self.instances)
        return {name: tuple(one for one in self.instances if one.service == name) for name in names}

    @property
    def instance(self) -> int:
        """Which of its service's placements is rendered."""
        return self.own.index if self.own else 0

    def address(self, service: str, port: str) -> Address:
        """Of the own instance, or of the first; `TopologyError` when the service is not there."""
        if service in self.adopted:
            return self._adopted(service, port)
        if self.own and self.own.service == service:
            return self._address(self.own, port)
        instances = self.of_service(service)
        if not instances:
            raise TopologyError(
                f"`{service}` is switched off: take it out of `disabled`, or `adopt` one"
            )
        return self._address(instances[0], port)

    def addresses(self, service: str, port: str) -> tuple[Address, ...]:
        """Of every instance."""
        if service in self.adopted:
            return (self._adopted(service, port),)
        return tuple(self._address(one, port) for one in self.of_service(service))

    def _adopted(self, service: str, port: str) -> Address:
        """The address given is that of the port the service is asked at; others as usual."""
        found, record = self.adopted[service], self.topology.service(service)
        if port == record.probe.port:
            return found
        return Address(host=found.host, port=port_of(record, port).number)

    def listen(self, service: str, port: str) -> Address:
        """What is for the server alone is bound to loopback, everything else as the site says."""
        address = self.address(service, port)
        exposure = port_of(self.topology.service(service), port).exposure
        if self.bound and exposure is not Exposure.LOOPBACK:
            return Address(host=self.bound, port=address.port)
        return address

    def _address(self, one: Instance, port: str) -> Address:
        found = port_of(self.topology.service(one.service), port)
        alone = found.exposure is Exposure.LOOPBACK
        host = LOOPBACK if alone else self.hosts[one.name]
        return Address(host=host, port=found.number + one.step)

    def size(self, service: Service) -> Size:
        """Of the own instance, or of the first."""
        if self.own and self.own.service == service.name:
            return self.own.size
        return self._by_service[service.name][0].size

    def placements(self, service: Service) -> Sequence[Placement]:
        """Where its instances are."""
        return tuple(
            Placement(server=one.server, size=one.size) for one in self.of_service(service.name)
        )

    def answers(self, service: str) -> bool:
        """Whether this stack runs it, or somebody else does for it."""
        return service in self.adopted or service in self._by_service

    def tls(self, service: Service) -> Tls:
        """Of the instance, beside its configuration; of the operator where no instance is seen."""
        return _tls(self.own.name, self.conf(service) / TLS) if self.own else self.operator_tls()

    def operator_tls(self) -> Tls:
        """Of whoever runs the stack's commands: files of their own machine."""
        return _tls(OPERATOR, self.operator)

    def data(self, service: Service) -> Path:
        """The mounted volume, or scratch space that ends with the container."""
        return Path(service.volumes[0].mount) if service.volumes else SCRATCH / service.name

    def conf(self, service: Service) -> Path:
        """Written once, when the container is made."""
        return CONFIGURATION / service.name

    def image(self, service: Service) -> Image:
        """What the service runs from."""
        engine = self.engines and service.kind == "engine"
        return self.topology.image("app" if engine else service.image)

    def reference(self, image: Image) -> str:
        """What the engines run: the stack's own choice, the locked digest, or the tag."""
        return reference_of(image, self.images, self.locked)

    def part(self, artifact: str, path: str = "") -> Path:
        """Where the image has it: the longest part that it names."""
        wanted = PurePosixPath(artifact, path)
        parts = self.image(self.topology.service(self._own().service)).parts
        for known in (wanted, *wanted.parents):
            if found := parts.get(str(known)):
                return Path(found) / wanted.relative_to(known)
        raise TopologyError(
            f"the image of `{self._own().service}` does not say where it has `{wanted}`:"
            " add it to the image's `parts` in helix/topology/catalog.py"
        )

    def _own(self) -> Instance:
        if self.own is None:
            raise TopologyError("no instance is rendered: ask the site `of` one")
        return self.own

    @property
    def java(self) -> str:
        """The image's."""
        return self.image(self.topology.service(self._own().service)).java

    @property
    def python(self) -> str:
        """The image's."""
        return self.image(self.topology.service(self._own().service)).python

    @property
    def root(self) -> Path:
        """Where the project's image has the project."""
        return CHECKOUT

    def account(self, wanted: str) -> str:
        """None: a container runs as the image's user from its first instruction."""
        del wanted
        return ""

    def digest(self, *paths: str, without: str = "") -> str:
        """Of the checkout that `pulumi up` runs from."""
        return digest(self.checkout, paths, without=without)


def _tls(name: str, folder: Path) -> Tls:
    return Tls(
        name=name,
        authority=str(folder / "ca.pem"),
        certificate=str(folder / "server.crt"),
        key=str(folder / "server.key"),
        bundle=str(folder / "server.pem"),
        keystore=str(folder / "server.p12"),
    )
