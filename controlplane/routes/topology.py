"""Topology: the catalogue, and where the stack really put everything."""

from typing import Any

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from controlplane.auth import Scope, requires
from controlplane.errors import refusals
from controlplane.placement import Instance
from helix.topology.model import Topology


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """The catalogue beside the live placement of its services."""

    catalogue: dict[str, Any]
    placement: dict[str, tuple[Instance, ...]]


@get(
    "/v1/topology",
    opt=requires(Scope.READ),
    responses=refusals(401, 403),
    summary="The catalogue and the live placement",
)
async def topology(live: NamedDependency[Live]) -> Live:
    """What should run where, and where it answers."""
    return live


def live_of(catalogue: Topology, placement: dict[str, tuple[Instance, ...]]) -> Live:
    """Both as one value, made once: neither changes while the process lives."""
    return Live(catalogue=msgspec.to_builtins(catalogue), placement=placement)


ROUTES: tuple[HTTPRouteHandler, ...] = (topology,)
