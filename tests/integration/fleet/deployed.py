"""The platform on a fleet of its own: three engines, their containers, and what may befall them."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin._metadata import ClusterMetadata, PartitionMetadata
from docker.models.containers import Container

from helix.adapters.kafka import Admin
from helix.errors import UnavailableError
from helix.topology.catalog import CATALOG
from infra.fleet import engines
from infra.fleet.plan import Fleet, Host, fleets
from infra.launch import Address
from infra.services import kafka
from infra.stack import Stack
from infra.toolchain.pulumi import command, state_folder
from tests.integration.running import Running
from tests.tree import ROOT
from tests.waiting import until

NAME = "trial"
SUBNET = "10.79.0.0/24"
HEALTHY_S_MAX = 240.0
DEPLOY_S_MAX = 1_200
LOOK_S_MAX = 5.0


@dataclass(frozen=True)
class Placed:
    """An instance, and where it is asked whether it works."""

    service: str
    name: str
    server: str
    at: Address


@dataclass(frozen=True)
class Deployed(Running):
    """A stack on the servers of a fleet."""

    fleet: Fleet

    def host(self, server: str) -> Host:
        return self.fleet.host(server)

    def containers(self) -> dict[str, str]:
        """Name -> id and health of every container, on every server that answers."""
        found: dict[str, str] = {}
        for host in self.fleet.hosts:
            if engines.answers(host):
                with engines.client(host) as client:
                    found |= {
                        _name(one, self.stack.name): _state(one) for one in client.containers.list()
                    }
        return found

    def ids(self) -> dict[str, str]:
        """Name -> id: another one is another container."""
        return {name: state.split()[0] for name, state in self.containers().items()}

    def well(self, names: set[str]) -> bool:
        """Whether each of those runs and is healthy."""
        found = self.containers()
        return all(found.get(name, "").endswith(" healthy") for name in names)

    def recovered(self, names: set[str] | None = None) -> None:
        """Wait until each of those is healthy again, or the whole fleet with every replica."""
        wanted = names or {one.name for one in self.instances()}
        until(lambda: self.well(wanted), what=f"{sorted(wanted)} healthy", s_max=HEALTHY_S_MAX)
        if names is None:
            until(self.in_sync, what="every replica is in sync", s_max=HEALTHY_S_MAX)

    def in_sync(self) -> bool:
        """Whether every partition has all its replicas."""
        found = self._log()
        return found is not None and all(len(p.isrs) == len(p.replicas) for p in partitions(found))

    def fenced(self, server: str) -> bool:
        """Whether the broker there is no broker to its peers any more, and no replica in sync."""
        found = self._log()
        if found is None:
            return False
        servers = [one.server for one in self.outputs.services["kafka"]]
        node = kafka.NODE_ID_FIRST + servers.index(server)
        in_sync = any(node in part.isrs for part in partitions(found))
        return node not in found.brokers and not in_sync

    def _log(self) -> ClusterMetadata | None:
        """What the brokers say of themselves and of every partition; None when nobody answers."""
        try:
            with Admin(self.settings.kafka).asked() as admin:
                return admin.list_topics(timeout=LOOK_S_MAX)
        except (KafkaException, UnavailableError):
            return None

    def apply_changes(self, *options: str) -> str:
        """Pulumi's `up` alone: it looks at what runs only if told to, and tells no meeting."""
        command = ("up", "--yes", "--skip-preview", *options)
        return self.run("infra.stack", "pulumi", *self.chosen, "--", *command)

    def instances(self) -> list[Placed]:
        """Every instance of the plan, by the name of its container."""
        return [
            Placed(
                service=service,
                name=one.name or service,
                server=one.server,
                at=one.ports[CATALOG.service(service).probe.port],
            )
            for service, found in self.outputs.services.items()
            for one in found
        ]

    def alive(self, service: str) -> bool:
        """Whether every instance of the service runs and is healthy."""
        found = {n: s for n, s in self.containers().items() if n.rstrip("-123") == service}
        return bool(found) and all(state.endswith(" healthy") for state in found.values())

    def kill(self, service: str) -> None:
        """End the main process of the service, or of its first instance, as a crash would."""
        for host in self.fleet.hosts:
            with engines.client(host) as client:
                for one in client.containers.list():
                    if _name(one, self.stack.name) in (service, f"{service}-1"):
                        os.kill(one.attrs["State"]["Pid"], signal.SIGKILL)
                        return
        raise AssertionError(f"`{service}` runs nowhere")

    @property
    def named(self) -> tuple[str, ...]:
        return "--name", self.fleet.name, "--subnet", self.fleet.subnet

    def fleet_command(self, action: str) -> str:
        """One of the fleet's own commands, its whole output when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.fleet", *self.named, action],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=DEPLOY_S_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def partitions(log: ClusterMetadata) -> list[PartitionMetadata]:
    """Every partition of every topic."""
    return [part for topic in log.topics.values() for part in topic.partitions.values()]


def _name(one: Container, stack: str) -> str:
    return str(one.name).removeprefix(f"{stack}-")


def _state(one: Container) -> str:
    health = one.attrs["State"].get("Health", {}).get("Status", "without")
    return f"{one.id} {health}"


def leftovers(fleet: Fleet) -> list[str]:
    """What a fleet that was withdrawn would have left: none of it may be there."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    spaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/mounts").read_text()
    found = [host.namespace for host in fleet.hosts if host.namespace in spaces]
    found += [line for line in links.splitlines() if fleet.bridge in line]
    found += [line for line in mounts.splitlines() if str(fleet.home) in line]
    found += [host.server for host in fleet.hosts if engines.pid(host)]
    found += [str(path) for path in fleet.home.glob("*/data/volumes/*/_data")]
    found += [str(path) for path in fleet.home.glob("*/data/containers/*")]
    return found


@contextlib.contextmanager
def deployed(name: str = NAME, subnet: str = SUBNET, *, keep: bool = False) -> Generator[Deployed]:
    """The platform on a fleet, brought up and taken away by the commands a user has."""
    env = dict(os.environ)  # noqa: TID251 - the composition root of the tests
    fleet = Fleet(home=fleets(state_folder(env)) / name, name=name, subnet=subnet)
    running = Deployed(Stack(name, command(env), state_folder(env)), ROOT, 0, fleet)
    try:
        running.fleet_command("deploy")
        yield running
    finally:
        if not keep:
            running.fleet_command("withdraw")
            assert leftovers(fleet) == []
