"""A service's containers as values: what the Docker and the Kubernetes substrate both place."""

import hashlib
import shlex
from collections.abc import Iterator

import msgspec

from helix.errors import TopologyError
from helix.topology.model import MIB_PER_GIB, Port, Record, Service, Volume
from infra.launch import Init, Launch, Tls, check, secret
from infra.provider.secrets import OPENING
from infra.services import bootstrap
from infra.services.registry import face
from infra.substrates.hosted import CONFIGURATION, LOOPBACK, Hosted
from infra.substrates.plan import Instance

SHELL = "/bin/sh"


class Container(Record, frozen=True):
    """One container: its launch with everything it reads among its files, and what it may use."""

    instance: Instance
    reference: str  # the image: repository:tag, or with its digest
    uid: int
    fenced: bool  # the network lets nobody but the stack reach what is not for clients
    launch: Launch
    ports: tuple[Port, ...]  # with the numbers this instance listens on
    volumes: tuple[Volume, ...]
    triggers: str = ""  # of a container that ends: it runs again when they change

    @property
    def ends(self) -> bool:
        """Whether it does its work and ends."""
        return bool(self.triggers)

    @property
    def certified(self) -> bool:
        """Whether it reads a certificate of its own."""
        own = f"tls.{self.name}."
        held = (*self.launch.files.values(), *self.launch.binaries.values())
        return any(own in text for text in held)

    @property
    def start_s_max(self) -> int:
        """How long it may take to answer for the first time."""
        return self.launch.check.start_s_max

    @property
    def name(self) -> str:
        """Unique within a stack."""
        return self.instance.name

    @property
    def memory_bytes(self) -> int:
        """The hard limit."""
        return self.instance.size.memory_mib * MIB_PER_GIB**2

    @property
    def private(self) -> dict[str, str]:
        """Files that hold a secret."""
        return {path: text for path, text in self.launch.files.items() if OPENING in text}

    @property
    def public(self) -> dict[str, str]:
        """Files that anybody may read."""
        return {path: text for path, text in self.launch.files.items() if OPENING not in text}


def containers(site: Hosted, service: Service) -> tuple[Container, ...]:
    """One for each instance of the service."""
    return tuple(_container(site.of(one), service, one) for one in site.of_service(service.name))


def _container(site: Hosted, service: Service, one: Instance) -> Container:
    ports = tuple(
        msgspec.structs.replace(port, number=port.number + one.step) for port in service.ports
    )
    return _made(site, service, launched(site, service), ports=ports, volumes=service.volumes)


def _made(
    site: Hosted,
    service: Service,
    launch: Launch,
    *,
    ports: tuple[Port, ...] = (),
    volumes: tuple[Volume, ...] = (),
    triggers: str = "",
) -> Container:
    image, tls, one = site.image(service), site.tls(service), site.own
    if one is None:
        raise TopologyError(f"`{service.name}`: no instance is rendered")
    return Container(
        instance=one,
        reference=site.reference(image),
        uid=image.uid,
        fenced=bool(site.bound),
        launch=started(certified(launch, tls)),
        ports=ports,
        volumes=volumes,
        triggers=triggers,
    )


def job(site: Hosted) -> Container:
    """The container that fills the stores and ends: the workers' program with another command."""
    service = site.topology.service(bootstrap.PROGRAM)
    server = site.topology.servers[0].name
    size = service.laptop or service.placements[0].size
    one = Instance(
        service=service.name, name=bootstrap.NAME, index=0, step=0, server=server, size=size
    )
    # It is asked by nobody, and takes what it needs from others: it has no address of its own.
    hosts = site.hosts | {one.name: LOOPBACK}
    seen = msgspec.structs.replace(site, own=one, hosts=hosts)
    task = bootstrap.job(seen)
    launch = Launch(
        name=task.name, argv=task.argv, check=check(site, service), cwd=task.cwd, env=task.env
    )
    triggers = hashlib.sha256(msgspec.json.encode(task.triggers)).hexdigest()
    return _made(seen, service, launch, triggers=triggers)


def launched(site: Hosted, service: Service) -> Launch:
    """How the service starts: as everywhere, unless its official image is started differently."""
    module = face(service)
    official = site.image(service).name == service.image
    container = getattr(module, "container", module.process) if official else module.process
    return container(site)


def certified(launch: Launch, tls: Tls) -> Launch:
    """The launch with those of the certificate's files that it mentions."""
    said = msgspec.json.encode(launch).decode()
    texts = {
        tls.authority: secret("tls.ca"),
        tls.certificate: secret(f"tls.{tls.name}.certificate"),
        tls.key: secret(f"tls.{tls.name}.key"),
        tls.bundle: secret(f"tls.{tls.name}.bundle"),
    }
    stores = {tls.keystore: secret(f"tls.{tls.name}.keystore")}
    return msgspec.structs.replace(
        launch,
        files=launch.files | {path: text for path, text in texts.items() if path in said},
        binaries=launch.binaries | {path: text for path, text in stores.items() if path in said},
    )


def started(launch: Launch) -> Launch:
    """The launch begun by a script that does what has to be done before its program.

    It makes folders, runs the init steps and reads the part of the environment that holds secrets
    from a file, so that nobody who may look at a container sees them; then it becomes the program.
    """
    folder = CONFIGURATION / launch.name
    environment, script = str(folder / "environment"), str(folder / "start")
    hidden = {name: value for name, value in launch.env.items() if OPENING in value}
    files = {script: "\n".join(_script(launch, environment if hidden else "")) + "\n"}
    if hidden:
        files[environment] = "".join(_export(name, value) for name, value in hidden.items())
    return msgspec.structs.replace(
        launch,
        argv=(SHELL, script, *launch.argv),
        cwd="/",
        env={name: value for name, value in launch.env.items() if name not in hidden},
        files=launch.files | files,
        folders=(),
        init=(),
    )


def _script(launch: Launch, environment: str) -> Iterator[str]:
    yield "set -eu"
    yield "umask 077"
    if environment:
        yield f". {environment}"
    if launch.folders:
        yield f"mkdir -p {shlex.join(launch.folders)}"
    yield f"cd {shlex.quote(launch.cwd)}"
    for init in launch.init:
        yield from _init(init)
    yield 'exec "$@"'


def _init(init: Init) -> Iterator[str]:
    command = shlex.join(init.argv)
    exports = "".join(_export(name, value).rstrip("\n") + "; " for name, value in init.env.items())
    step = f"( {exports}{command} )" if exports else command
    yield f"[ -e {shlex.quote(init.unless)} ] || {step}" if init.unless else step


def _export(name: str, value: str) -> str:
    """Single quotes suffice: what a secret reference becomes has none (see the vault)."""
    quoted = f"'{value}'" if OPENING in value else shlex.quote(value)
    return f"export {name}={quoted}\n"
