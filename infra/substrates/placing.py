"""In which order a substrate places the catalogue: only real needs are ordered."""

import graphlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import pulumi

from helix.errors import TopologyError
from helix.topology.model import Service, Topology
from infra.launch import Address, Launch
from infra.services import bootstrap
from infra.services.registry import after_bootstrap


class Substrate(Protocol):
    """Where services run: adding one is writing these four."""

    def render(self, service: Service) -> Launch:
        """What will run: pure."""
        ...

    def place(self, service: Service, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """The service as a resource that starts after those."""
        ...

    def bootstrap(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """The task that fills the stores, after those."""
        ...

    def address(self, service: str, port: str) -> Address:
        """Where it answers: pure."""
        ...


def chosen(topology: Topology, disabled: Iterable[str]) -> list[Service]:
    """The services to place, needs first; `TopologyError` when one needs what is switched off."""
    off = set(disabled)
    if unknown := sorted(off - {service.name for service in topology.services}):
        raise TopologyError(
            f"`disabled` names `{unknown[0]}`, which is not in the catalogue: correct the name"
        )
    services = {s.name: s for s in topology.services if s.laptop and s.name not in off}
    for service in services.values():
        for need in service.needs:
            if need not in services:
                raise TopologyError(
                    f"`{service.name}` needs `{need}`, which is switched off or absent:"
                    f" add `{service.name}` to `disabled`, or take `{need}` out of it"
                )
    graph = {name: service.needs for name, service in services.items()}
    return [services[name] for name in graphlib.TopologicalSorter(graph).static_order()]


def place_all(substrate: Substrate, services: Sequence[Service]) -> None:
    """Stores, what fills them, what reads them: each step as parallel as the needs allow."""
    late = _late(services)
    placed: dict[str, pulumi.Resource] = {}
    for service in services:
        if service.name not in late:
            placed[service.name] = substrate.place(service, _needs(service, placed))
    stores = [placed[name] for name in bootstrap.NEEDS if name in placed]
    filled = substrate.bootstrap(stores)
    for service in services:
        if service.name in late:
            after = [filled, *_needs(service, placed)]
            placed[service.name] = substrate.place(service, after)


def _late(services: Sequence[Service]) -> set[str]:
    """Services that wait for the bootstrap, and whoever needs one of them; needs come first."""
    late: set[str] = set()
    for service in services:
        if after_bootstrap(service) or late & set(service.needs):
            late.add(service.name)
    return late


def _needs(service: Service, placed: dict[str, pulumi.Resource]) -> list[pulumi.Resource]:
    return [placed[name] for name in service.needs]
