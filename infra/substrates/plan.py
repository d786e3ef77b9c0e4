"""Which instance of which service runs on which server: the placements, as a stack wants them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from helix.errors import TopologyError
from helix.topology.check import instance
from helix.topology.model import Placement, Record, Service, Size, Topology


class Instance(Record, frozen=True):
    """One process of a service: `index` counts the placements, `step` those on the same server."""

    service: str
    name: str  # the service's, with a number from 1 when it runs more than once
    index: int
    step: int
    server: str
    size: Size


def plan(
    topology: Topology,
    *,
    servers: int = 3,
    laptop: bool = False,
    without: Iterable[str] = (),
    memory_mib: Mapping[str, int] | None = None,
) -> tuple[Instance, ...]:
    """The instances of every service that is not in `without`.

    On one server each service runs once; on all servers as the catalogue places it. `laptop` takes
    the laptop sizes where the catalogue has one, `memory_mib` gives a service another limit.
    `TopologyError` for any other number of servers, and for a limit below what is laid out in it.
    """
    if servers not in (1, len(topology.servers)):
        raise TopologyError(
            f"`servers` is {servers}: set it to 1, or to {len(topology.servers)}"
            " for the plan of the catalogue"
        )
    off, limits = set(without), memory_mib or {}
    if unknown := sorted(set(limits) - {service.name for service in topology.services}):
        raise TopologyError(
            f"`memory_mib` names `{unknown[0]}`, which is not in the catalogue: correct the name"
        )
    return tuple(
        _limited(one, limits.get(service.name, 0))
        for service in topology.services
        if service.name not in off
        for one in _instances(topology, service, servers=servers, laptop=laptop)
    )


def _limited(one: Instance, memory_mib: int) -> Instance:
    """The instance with another limit; 0: with its own."""
    size = one.size
    if not memory_mib:
        return one
    laid_out = size.heap_mib + size.cache_mib + size.overhead_mib
    if memory_mib < laid_out:
        raise TopologyError(
            f"`memory_mib` gives `{one.service}` {memory_mib}, and {laid_out} are laid out in it:"
            " give it more, or lay it out anew in helix/topology/catalog.py"
        )
    return msgspec.structs.replace(one, size=msgspec.structs.replace(size, memory_mib=memory_mib))


def _instances(
    topology: Topology, service: Service, *, servers: int, laptop: bool
) -> Iterator[Instance]:
    chosen: Sequence[Placement] = service.placements if servers > 1 else service.placements[:1]
    for index, placement in enumerate(chosen):
        yield Instance(
            service=service.name,
            name=service.name if len(chosen) == 1 else f"{service.name}-{index + 1}",
            index=index,
            step=instance(service, index) if servers > 1 else 0,
            server=placement.server if servers > 1 else topology.servers[0].name,
            size=service.laptop if laptop and service.laptop else placement.size,
        )


def loads(instances: Sequence[Instance]) -> dict[str, tuple[int, float]]:
    """Memory in MiB and cores that the instances ask of each server."""
    memory: Counter[str] = Counter()
    cores: dict[str, float] = {}
    for one in instances:
        memory[one.server] += one.size.memory_mib
        cores[one.server] = cores.get(one.server, 0) + one.size.cores
    return {server: (memory[server], round(cores[server], 6)) for server in memory}
