"""What of `pulumi_docker` is served: every other resource, property and setting is refused."""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from helix.topology.model import Record

VERSION = "5.2.0"  # of the SDK whose names these are

Duration = Annotated[str, Meta(pattern=r"^([0-9.]+(ms|s|m|h))+$")]
Mode = Annotated[str, Meta(pattern=r"^[0-7]{3,4}$")]
Number = Annotated[str, Meta(pattern=r"^[0-9]+$")]
Cores = Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]


class Inputs(Record, frozen=True, rename="camel"):
    """Names as they cross the wire."""


class Label(Inputs, frozen=True):
    label: str
    value: str


class TmpfsOptions(Inputs, frozen=True):
    mode: int = 0
    size_bytes: int = 0


class Mount(Inputs, frozen=True):
    target: str
    type: Literal["volume", "bind", "tmpfs"]
    source: str = ""
    read_only: bool = False
    tmpfs_options: TmpfsOptions | None = None


class Bind(Inputs, frozen=True):
    container_path: str
    volume_name: str = ""
    host_path: str = ""
    read_only: bool = False


class Upload(Inputs, frozen=True):
    """A file put into the container before it starts."""

    file: str
    content: str = ""
    content_base64: str = ""
    permissions: Mode = ""
    executable: bool = False
    owner: Number = "0"  # names would be looked up on the machine that runs Pulumi
    group: Number = "0"


class Healthcheck(Inputs, frozen=True):
    tests: tuple[str, ...]
    interval: Duration = "0s"
    timeout: Duration = "0s"
    start_period: Duration = "0s"
    retries: int = 0


class Ulimit(Inputs, frozen=True):
    name: str
    soft: int
    hard: int


class Capabilities(Inputs, frozen=True):
    adds: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()


class Host(Inputs, frozen=True):
    host: str
    ip: str


class Network(Inputs, frozen=True):
    name: str
    driver: str = "bridge"
    internal: bool = False
    labels: tuple[Label, ...] = ()


class Volume(Inputs, frozen=True):
    name: str
    driver: str = "local"
    labels: tuple[Label, ...] = ()


class RemoteImage(Inputs, frozen=True):
    name: str
    keep_locally: bool = False
    pull_triggers: tuple[str, ...] = ()


class Container(Inputs, frozen=True):
    name: str
    image: str
    entrypoints: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_dir: str = ""
    envs: tuple[str, ...] = ()
    user: str = ""
    hostname: str = ""
    network_mode: str = ""
    mounts: tuple[Mount, ...] = ()
    volumes: tuple[Bind, ...] = ()
    tmpfs: dict[str, str] = {}
    uploads: tuple[Upload, ...] = ()
    healthcheck: Healthcheck | None = None
    wait: bool = False
    wait_timeout: int = 60
    memory: int = 0  # MiB, as memory_swap and shm_size
    memory_swap: int = 0
    shm_size: int = 0
    cpus: Cores = "0"
    cpu_shares: int = 0
    cpu_set: str = ""
    ulimits: tuple[Ulimit, ...] = ()
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "no"
    max_retry_count: int = 0
    log_driver: str = ""
    log_opts: dict[str, str] = {}
    labels: tuple[Label, ...] = ()
    stop_signal: str = ""
    stop_timeout: int = 0
    capabilities: Capabilities = Capabilities()
    security_opts: tuple[str, ...] = ()
    sysctls: dict[str, str] = {}
    group_adds: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    read_only: bool = False
    init: bool | None = None
    start: bool = True
    must_run: bool = True
    attach: bool = False
    logs: bool = False
    rm: bool = False
    destroy_grace_seconds: int = 0


class RegistryAuth(Inputs, frozen=True):
    address: str
    username: str
    password: str


class Settings(Inputs, frozen=True):
    """Which engine, and how it is reached."""

    host: str = "unix:///var/run/docker.sock"
    ca_material: str = ""
    cert_material: str = ""
    key_material: str = ""
    cert_path: str = ""
    registry_auth: tuple[RegistryAuth, ...] = ()
    ssh_opts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    """What has to be known of one type of resource before anything is done."""

    inputs: type[Inputs]
    outputs: tuple[str, ...]
    limits: frozenset[str] = frozenset()  # changed in place, but not taken away
    renewing: frozenset[str] = frozenset()  # changed in place, and the outputs with them
    manners: frozenset[str] = frozenset()  # how we act on it: no part of what was made
    found: frozenset[str] = frozenset()  # left out, they stay as they are
    deletes_first: bool = True  # its name is taken until the old one is gone

    def replaces(self, name: str, *, taken_away: bool) -> bool:
        """Whether another value of that input makes another resource."""
        if name in self.limits:
            return taken_away
        return name not in self.manners | self.renewing


KINDS = {
    "docker:index/network:Network": Kind(Network, ("scope",)),
    "docker:index/volume:Volume": Kind(Volume, ("mountpoint",)),
    "docker:index/remoteImage:RemoteImage": Kind(
        RemoteImage,
        ("imageId", "repoDigest"),
        renewing=frozenset({"pullTriggers"}),
        manners=frozenset({"keepLocally"}),
        deletes_first=False,
    ),
    "docker:index/container:Container": Kind(
        Container,
        ("bridge", "containerLogs", "exitCode", "hostname", "networkDatas"),
        limits=frozenset(
            {"memory", "memorySwap", "cpuShares", "cpuSet", "restart", "maxRetryCount"}
        ),
        renewing=frozenset({"start", "mustRun"}),
        manners=frozenset({"wait", "waitTimeout", "attach", "logs", "destroyGraceSeconds"}),
        found=frozenset({"hostname"}),
    ),
}
