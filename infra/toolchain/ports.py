"""Which of the local stack's ports somebody else holds."""

from collections.abc import Collection, Mapping
from pathlib import Path

from helix.topology.model import Topology
from infra.provider.reaper import holder, leftovers

HOST = "127.0.0.1"


def wanted(topology: Topology, offset: int, off: Collection[str] = ()) -> dict[int, str]:
    """Port -> service of everything the local substrate runs, what is `off` left out."""
    return {
        port.number + offset: service.name
        for service in topology.services
        if service.laptop is not None and service.name not in off
        for port in service.ports
    }


def conflicts(ports: Mapping[int, str], home: Path) -> list[str]:
    """One sentence for each port on which a process listens that is not of the stack at `home`."""
    ours = leftovers(home)
    held = {port: holder(HOST, port) for port in sorted(ports)}
    return [
        f"port {port} of `{ports[port]}` is held by {who};"
        " end it, or give the stack another `port_offset`"
        for port, who in held.items()
        if who and who.pid not in ours
    ]
