"""What a service's process is made of, as a value: two equal launches need no restart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from helix.adapters.probes import Check
from helix.topology.model import Placement, Record, Service, Size, Topology


class Init(Record, frozen=True):
    """A command run before a start; `unless` is the path that says it was done for good.

    Without `unless` it runs before every start.
    """

    argv: tuple[str, ...]
    unless: str = ""
    env: dict[str, str] = {}


class Launch(Record, frozen=True):
    """How one process is started and asked. Any text may hold `${secret:NAME}`.

    Secret references are replaced at the very edge, when the files and the environment are
    written for the process: no secret enters a golden file, an argument list or Pulumi's state.
    """

    name: str
    argv: tuple[str, ...]
    check: Check
    cwd: str
    env: dict[str, str] = {}
    user: str = ""  # the account servers that refuse root run as
    files: dict[str, str] = {}  # absolute path -> text, readable by the process's account alone
    folders: tuple[str, ...] = ()  # made before the start, owned by the process's account
    binaries: dict[str, str] = {}  # absolute path -> base64 of the content, as private as `files`
    init: tuple[Init, ...] = ()
    health: tuple[str, ...] = ()  # a command that fails while it does not work: for containers
    digest: str = ""  # of the code it runs: edited code restarts exactly this process
    nofile: int = 0
    stop_signal: str = "TERM"
    stop_s_max: int = 10


class Address(Record, frozen=True):
    """Where a port answers."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Tls(Record, frozen=True):
    """Where a program finds what proves who it is: PEM files, and one PKCS#12 for both stores.

    `bundle` is key, certificate and authority in one file. The password of `keystore`, which
    holds the key with its certificate and trusts the authority, is the secret `keystore`. What a
    launch mentions of the five is put there; under another path, as the file's text, they are
    `secret(f"tls.{name}.certificate")` and its like.
    """

    name: str
    authority: str
    certificate: str
    key: str
    bundle: str
    keystore: str


class Site(Protocol):
    """What a service may ask about the place it is rendered for; every answer is pure."""

    @property
    def topology(self) -> Topology: ...

    @property
    def stack(self) -> str: ...

    @property
    def instance(self) -> int:
        """Which of its service's placements is rendered, from 0."""
        ...

    def address(self, service: str, port: str) -> Address:
        """Where others reach that port: of the instance that is rendered, else of the first."""
        ...

    def addresses(self, service: str, port: str) -> tuple[Address, ...]:
        """Where others reach that port of every instance."""
        ...

    def listen(self, service: str, port: str) -> Address:
        """What the instance that is rendered binds."""
        ...

    def tls(self, service: Service) -> Tls | None:
        """The certificate of the service's instance; None where nothing leaves the machine."""
        ...

    def answers(self, service: str) -> bool:
        """Whether it is there to be used: run by this stack, or adopted."""
        ...

    def size(self, service: Service) -> Size:
        """What the service may use here."""
        ...

    def placements(self, service: Service) -> Sequence[Placement]:
        """The instances this substrate runs."""
        ...

    def data(self, service: Service) -> Path:
        """The folder whose content outlives the process."""
        ...

    def conf(self, service: Service) -> Path:
        """The folder for rendered configuration."""
        ...

    def part(self, artifact: str, path: str = "") -> Path:
        """Where that part of an artifact is: below its folder, or elsewhere in an image."""
        ...

    def account(self, wanted: str) -> str:
        """`wanted` where accounts can be switched, else empty: the user's own."""
        ...

    @property
    def java(self) -> str:
        """The Java command."""
        ...

    @property
    def python(self) -> str:
        """The Python command of the project's environment."""
        ...

    @property
    def root(self) -> Path:
        """The project's checkout: where our own programs are imported from."""
        ...

    def digest(self, *paths: str, without: str = "") -> str:
        """One digest of those files and folders of the checkout: it changes when the code does."""
        ...


def secret(name: str) -> str:
    """The reference that stands for a secret until it reaches its process."""
    return f"${{secret:{name}}}"


def lines(settings: Mapping[str, object], *, between: str = "=") -> str:
    """One `key=value` a line: the format of Java properties and most `.conf` files."""
    return "".join(f"{key}{between}{value}\n" for key, value in settings.items())


def check(
    site: Site, service: Service, *, user: str = "", password: str = "", database: str = ""
) -> Check:
    """The service's probe from the catalogue with its address and credentials filled in."""
    probe = service.probe
    address = site.address(service.name, probe.port)
    return Check(
        service=service.name,
        kind=probe.kind,
        host=address.host,
        port=address.port,
        path=probe.path or database,
        send=probe.send,
        expect=probe.expect,
        user=user,
        password=password,
        start_s_max=probe.start_s_max,
    )
