"""What the tests of this folder share: one Docker engine.

A module that needs engines of its own says why: it crashes them, or has the whole platform on them.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from infra.artifacts import fetch
from infra.artifacts.commands import Commands, on_stderr
from infra.artifacts.workshop import Workshop
from infra.certificates.issuing import Pair, Root, issue, new_root
from infra.fleet import engines
from infra.fleet.plan import Fleet, Host, Setting
from tests.integration.fleet.images import smallest_image

NAME = "lone"
IMAGE = "helix-test:1"
TLS_PORT = 2376


@dataclass(frozen=True)
class Engine:
    """An engine on a server of its own, behind a socket and behind TLS, with one small image."""

    host: Host
    api: docker.APIClient
    tls: str
    authority: Root
    client: Pair

    @property
    def url(self) -> str:
        """Its socket, as Docker's clients name it."""
        return self.host.url

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine says of the container."""
        return self.api.inspect_container(name)

    def names(self) -> set[str]:
        """The names of all its containers."""
        return {each["Names"][0].lstrip("/") for each in self.api.containers(all=True)}


@pytest.fixture(scope="session")
def shop() -> Workshop:
    """The workshop of this machine, with the user's own cache."""
    return Workshop(fetch.cache_folder(os.environ), on_stderr, Commands())  # noqa: TID251 - the cache of all


@pytest.fixture(scope="session")
def lone(worker_id: str) -> Iterator[Engine]:
    """The one engine of all modules that run in this process."""
    number = int(worker_id.removeprefix("gw").replace("master", "0"))
    now = datetime.now(UTC)  # noqa: TID251 - certificates are judged by the machine's own clock
    with tempfile.TemporaryDirectory(prefix="hx-") as short:  # a socket's path must be
        home = Path(short)
        name, subnet = f"{NAME}{number}", f"10.78.{number}.0/24"
        fleet = Fleet(home=home, name=name, subnet=subnet, servers=(NAME,))
        (host,) = fleet.hosts
        authority = new_root(NAME, now)
        pair = issue(authority, "engine", [host.address], now)
        for file, text in (
            ("ca.pem", authority.certificate),
            ("cert.pem", pair.certificate),
            ("key.pem", pair.key),
        ):
            (home / file).write_text(text)
        tls = f"tcp://{host.address}:{TLS_PORT}"
        told: dict[str, Setting] = {
            "hosts": [host.url, tls],
            "tlsverify": True,
            "tlscacert": str(home / "ca.pem"),
            "tlscert": str(home / "cert.pem"),
            "tlskey": str(home / "key.pem"),
        }
        fleet = msgspec.structs.replace(fleet, engine=told)
        try:
            engines.up(fleet, on_stderr)
            with contextlib.closing(docker.APIClient(base_url=host.url)) as api:
                import_image(api)
                yield Engine(host, api, tls, authority, issue(authority, "client", [], now))
        finally:
            engines.down(fleet, on_stderr)


def import_image(api: docker.APIClient) -> None:
    """Have the engine know the small image; made anew, it has another digest."""
    api.import_image_from_data(smallest_image(), *IMAGE.split(":"))


@pytest.fixture(scope="module")
def engine(lone: Engine) -> Iterator[Engine]:
    """The shared engine, empty again after each module."""
    yield lone
    for container in lone.api.containers(all=True):
        lone.api.remove_container(container["Id"], force=True, v=True)
    lone.api.prune_volumes()
