"""A fleet on no machine."""

from helix.topology.catalog import CATALOG
from infra.substrates.wanted import Host, Sizes, Wanted
from infra.substrates.wanted import Kind as Substrate


def fleet() -> Wanted:
    """Three servers that nobody asks anything."""
    hosts = {
        server.name: Host(engine="unix:///nowhere", address=f"10.77.0.{number}")
        for number, server in enumerate(CATALOG.servers, 11)
    }
    return Wanted(substrate=Substrate.DOCKER, sizes=Sizes.LAPTOP, hosts=hosts, engines=True)
