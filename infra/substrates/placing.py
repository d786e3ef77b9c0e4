"""In which order a substrate places the catalogue: only real needs are ordered."""

import graphlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import pulumi

from helix.errors import TopologyError
from helix.topology.model import Record, Service
from infra.launch import Address
from infra.services import bootstrap
from infra.services.registry import after_bootstrap


class Substrate(Protocol):
    """Where services run: adding one is writing these five."""

    def faults(self, services: Sequence[Service]) -> list[str]:
        """What forbids placing them here: policies that a rendering breaks, lack of room."""
        ...

    def render(self, service: Service) -> Sequence[Record]:
        """What will run, one value an instance: pure."""
        ...

    def place(
        self, service: Service, after: Sequence[pulumi.Resource]
    ) -> Sequence[pulumi.Resource]:
        """The service's instances as resources that start after those."""
        ...

    def bootstrap(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """The task that fills the stores, after those."""
        ...

    def address(self, service: str, port: str) -> Address:
        """Where it answers: pure."""
        ...


def chosen(
    services: Sequence[Service], disabled: Iterable[str], *, adopted: Iterable[str] = ()
) -> list[Service]:
    """The services to place, needs first; `TopologyError` when one needs what is switched off.

    What is adopted is there without being placed.
    """
    off, there = set(disabled), set(adopted)
    if unknown := sorted(off - {service.name for service in services}):
        raise TopologyError(
            f"`disabled` names `{unknown[0]}`, which is not in the catalogue: correct the name"
        )
    placed = {s.name: s for s in services if s.name not in off | there}
    for service in placed.values():
        for need in service.needs:
            if need not in placed and need not in there:
                raise TopologyError(
                    f"`{service.name}` needs `{need}`, which is switched off or absent:"
                    f" add `{service.name}` to `disabled`, or take `{need}` out of it"
                )
    graph = {name: set(service.needs) - there for name, service in placed.items()}
    return [placed[name] for name in graphlib.TopologicalSorter(graph).static_order()]


def place_all(substrate: Substrate, services: Sequence[Service]) -> None:
    """Stores, what fills them, what reads them: each step as parallel as the needs allow.

    `TopologyError` before anything is placed when the substrate finds a fault.
    """
    if found := substrate.faults(services):
        raise TopologyError("nothing is placed:\n" + "\n".join(found))
    late = _late(services)
    placed: dict[str, Sequence[pulumi.Resource]] = {}
    for service in services:
        if service.name not in late:
            placed[service.name] = substrate.place(service, _needs(service, placed))
    stores = [one for name in bootstrap.NEEDS for one in placed.get(name, ())]
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


def _needs(service: Service, placed: dict[str, Sequence[pulumi.Resource]]) -> list[pulumi.Resource]:
    return [one for name in service.needs for one in placed.get(name, ())]
