"""From a stack's configuration to its site and its substrate: what every command starts with."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast

import pulumi

from helix.topology.catalog import CATALOG
from helix.topology.model import Service
from infra.artifacts.fetch import cache_folder
from infra.certificates.vault import stack_vault
from infra.images import lock
from infra.launch import Site
from infra.substrates.hosted import LOOPBACK, OPERATOR, Hosted
from infra.substrates.placing import Substrate, chosen
from infra.substrates.plan import Instance, plan
from infra.substrates.site import LocalSite
from infra.substrates.wanted import Kind, Sizes, Wanted
from infra.toolchain.java import java_command
from infra.toolchain.places import state_folder

ROOT = Path(__file__).resolve().parent.parent
OPERATOR_FOLDER = "operator"
FORMED = "formed"  # a file in a stack's folder: it has been up


class Composed(Protocol):
    """What every module of `infra/substrates` that is a substrate offers."""

    def compose(self, settings: Wanted, env: Mapping[str, str], stack: str) -> Substrate:
        """The substrate of that stack."""
        ...


def now() -> datetime:
    """The machine's clock, for how long certificates hold."""
    return datetime.now(UTC)  # noqa: TID251 - this module composes what `infra` is run with


def home(env: Mapping[str, str], stack: str) -> Path:
    """The stack's folder outside the clone: master secret, certificates, a local stack's data."""
    return state_folder(env) / stack


def substrate(settings: Wanted, env: Mapping[str, str], stack: str) -> Substrate:
    """Where the stack's services are placed; its SDK is imported now, not before."""
    module = importlib.import_module(f"infra.substrates.{settings.substrate}")
    return cast("Composed", module).compose(settings, env, stack)


def site(settings: Wanted, env: Mapping[str, str], stack: str) -> LocalSite | Hosted:
    """The stack as its operator sees it."""
    if settings.substrate is Kind.LOCAL:
        return local_site(settings, env, stack)
    return hosted_site(settings, env, stack)


def services(settings: Wanted, here: Site) -> list[Service]:
    """Those to place, needs first."""
    off = set(settings.off(CATALOG))
    if isinstance(here, LocalSite):
        off |= {service.name for service in CATALOG.services if not service.laptop}
    return chosen(CATALOG.services, off, adopted=settings.adopt)


def local_site(settings: Wanted, env: Mapping[str, str], stack: str) -> LocalSite:
    """The machine as the configuration wants it used."""
    return LocalSite(
        topology=CATALOG,
        stack=stack,
        home=home(env, stack),
        cache=cache_folder(env),
        root=ROOT,
        java=str(java_command(env, report=pulumi.log.info)),
        python=sys.executable,
        port_offset=settings.port_offset,
        switches_accounts=os.geteuid() == 0,
        disabled=settings.off(CATALOG),
    )


def hosted_site(settings: Wanted, env: Mapping[str, str], stack: str) -> Hosted:
    """Containers on the servers, or in the cluster, that the configuration names."""
    instances = plan(
        CATALOG,
        servers=settings.servers,
        laptop=settings.sizes is Sizes.LAPTOP,
        without={*settings.off(CATALOG), *settings.adopt},
        memory_mib=settings.memory_mib,
    )
    on_cluster = settings.substrate is Kind.KUBERNETES
    return Hosted(
        topology=CATALOG,
        stack=stack,
        checkout=ROOT,
        instances=instances,
        hosts={one.name: _reached(settings, one) for one in instances},
        bound="0.0.0.0" if on_cluster else "",  # noqa: S104 - a pod's own address is not known
        adopted=settings.adopted(CATALOG),
        engines=settings.engines,
        images=settings.images,
        locked=lock.current(lock.read(), CATALOG),
        operator=home(env, stack) / OPERATOR_FOLDER,
    )


def _reached(settings: Wanted, one: Instance) -> str:
    if settings.substrate is Kind.KUBERNETES:
        return f"{one.name}.{settings.namespace}.svc"
    return settings.host(one.server).address


def identities(here: Hosted) -> dict[str, tuple[str, ...]]:
    """Who gets a certificate, and under which names and addresses it is reached."""
    names = {
        one.name: (here.hosts[one.name], one.name, "localhost", LOOPBACK) for one in here.instances
    }
    return names | {name: (name, "localhost", LOOPBACK) for name in (OPERATOR, "bootstrap")}


def hosted_stack(
    settings: Wanted, env: Mapping[str, str], stack: str
) -> tuple[Hosted, Callable[[str], str], Path]:
    """A hosted stack's site, the lookup of its secrets, and the mark that it has been up."""
    here, folder = hosted_site(settings, env, stack), home(env, stack)
    return here, stack_vault(folder, identities(here), now=now), folder / FORMED
