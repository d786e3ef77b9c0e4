"""Every service rendered for sites that are on no machine."""

from pathlib import Path

from helix.topology.catalog import CATALOG
from helix.topology.model import Debian, Locked
from infra.substrates.containers import containers
from infra.substrates.hosted import Hosted
from infra.substrates.plan import plan
from infra.substrates.site import LocalSite

OFFSET = 20_000


class StableSite(LocalSite, frozen=True):
    """A site on no machine: nothing of it depends on where the test runs."""

    def artifact(self, name: str) -> Path:
        artifact = self.topology.artifact(name)
        if isinstance(artifact, Debian):
            return Path("/usr")
        return Path("/locked" if isinstance(artifact, Locked) else "/cache") / name

    def digest(self, *paths: str, without: str = "") -> str:  # noqa: ARG002 - the protocol has it
        return f"digest of {' '.join(paths)}"


SITE = StableSite(
    topology=CATALOG,
    stack="golden",
    home=Path("/home"),
    cache=Path("/cache"),
    root=Path("/checkout"),
    java="/java/bin/java",
    python="/python",
    port_offset=OFFSET,
    switches_accounts=True,
)


class StableHosted(Hosted, frozen=True):
    """Three servers that are nowhere."""

    def digest(self, *paths: str, without: str = "") -> str:  # noqa: ARG002 - the protocol has it
        return f"digest of {' '.join(paths)}"


INSTANCES = plan(CATALOG)


ADDRESSES = {"server-1": "10.0.0.1", "server-2": "10.0.0.2", "server-3": "10.0.0.3"}


HOSTED = StableHosted(
    topology=CATALOG,
    stack="golden",
    checkout=Path("/checkout"),
    instances=INSTANCES,
    hosts={one.name: ADDRESSES[one.server] for one in INSTANCES},
    operator=Path("/operator"),
)


CONTAINERS = [one for service in CATALOG.services for one in containers(HOSTED, service)]
