"""Containers as they are shipped to a server, started as processes of this machine.

Every file, argument and step is the container's own; only where it is differs: its folders are
below a temporary one, its image's programs are this machine's, its ports are free ones here.
"""

import base64
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import msgspec

from helix.topology.catalog import CATALOG
from helix.topology.model import Service
from infra.artifacts import fetch
from infra.certificates.authority import LOCAL, PREFIX, Authority
from infra.launch import Address, Launch
from infra.provider.secrets import resolve
from infra.services import postgres
from infra.substrates.containers import containers
from infra.substrates.hosted import CONFIGURATION, LOOPBACK, SCRATCH, Hosted
from infra.substrates.plan import Instance, plan
from infra.toolchain.java import java_command
from tests.tree import ROOT

ENV = dict(os.environ)  # noqa: TID251 - a test is a composition root
ACCOUNTS = {postgres.NAME: postgres.ACCOUNT}  # what the image's user is, where root is refused
# Of the machine, and of no configuration: a JVM that lives for a minute need not optimise.
SURROUNDINGS = {"PATH": ENV["PATH"], "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}


class Here(Hosted, frozen=True):
    """A server whose image is this machine; `ports` are the free ones, by service and name."""

    ports: dict[tuple[str, str], int] = {}

    def data(self, service: Service) -> Path:
        """Scratch space for everyone: nothing outlives the test."""
        return SCRATCH / "data" / service.name

    def part(self, artifact: str, path: str = "") -> Path:
        """Where this machine has it."""
        return fetch.path(self.topology.artifact(artifact), fetch.cache_folder(ENV)) / path

    @cached_property
    def _java(self) -> str:
        return str(java_command(ENV, report=print))

    @property
    def java(self) -> str:
        """The one servers of this machine are run with."""
        return self._java

    @property
    def python(self) -> str:
        """That of the tests."""
        return sys.executable

    @property
    def root(self) -> Path:
        """The checkout the tests are of."""
        return ROOT

    def _address(self, one: Instance, port: str) -> Address:
        return Address(host=LOOPBACK, port=self.ports[one.service, port])


def site(names: Sequence[str]) -> Here:
    """A server with one instance of each of those services."""
    off = {service.name for service in CATALOG.services} - set(names)
    instances = plan(CATALOG, servers=1, laptop=True, without=off)
    wanted = [(name, port.name) for name in names for port in CATALOG.service(name).ports]
    return Here(
        topology=CATALOG,
        stack="shipped",
        checkout=ROOT,
        instances=instances,
        hosts={one.name: LOOPBACK for one in instances},
        engines=True,
        ports=dict(zip(wanted, _free(len(wanted)), strict=True)),
    )


def _free(count: int) -> list[int]:
    """That many ports nobody has, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def lookup(home: Path, names: Sequence[str], password: str) -> Callable[[str], str]:
    """The secrets of the server: certificates of its own authority, one password everywhere."""
    authority = Authority(
        home,
        now=lambda: datetime.now(UTC),  # noqa: TID251 - a test is a composition root
        password=lambda: password,
        known=dict.fromkeys(names, LOCAL),
    )
    return lambda name: authority.lookup(name) if name.startswith(PREFIX) else password


def shipped(here: Here, name: str, folder: Path, secrets: Callable[[str], str]) -> Launch:
    """The service's only container, its files written below the folder."""
    (container,) = containers(here, here.topology.service(name))
    text = msgspec.json.encode(container.launch).decode()
    for where in (CONFIGURATION, SCRATCH):
        text = text.replace(str(where), str(folder / where.relative_to("/")))
    launch = msgspec.json.decode(resolve(text, _quoted(secrets)), type=Launch)
    contents = {path: text.encode() for path, text in launch.files.items()}
    contents |= {path: base64.b64decode(text) for path, text in launch.binaries.items()}
    for path, content in contents.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
        Path(path).chmod(0o600)
    return launch


def _quoted(secrets: Callable[[str], str]) -> Callable[[str], str]:
    """A secret as it stands inside a JSON text."""
    return lambda name: msgspec.json.encode(secrets(name)).decode()[1:-1]


def started(launch: Launch, folder: Path) -> subprocess.Popen[bytes]:
    """The container's process, as the account its image runs it as where that matters."""
    account = ACCOUNTS.get(launch.name) if os.geteuid() == 0 else None
    if account:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, account, account)
    owner = pwd.getpwnam(account).pw_uid if account else None
    env = SURROUNDINGS | launch.env
    with log(folder).open("wb") as out:
        return subprocess.Popen(
            launch.argv, cwd=launch.cwd, env=env, user=owner, stdout=out, stderr=out
        )


def log(folder: Path) -> Path:
    """What the process prints."""
    return folder / "server.log"
