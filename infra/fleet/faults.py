"""What may befall a server, on purpose, and its end."""

import os
import signal
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from enum import StrEnum

from infra.fleet import network
from infra.fleet.engines import clear, pid, start
from infra.fleet.plan import Fleet, Host
from infra.fleet.waiting import until

GONE_S_MAX = 5.0


class Cut(StrEnum):
    """From whom a server is cut off."""

    PEERS = "peers"  # the other servers; clients on this machine still reach it
    ALL = "all"


def power_cut(host: Host) -> None:
    """Everything on the server ends at once, and what a reboot clears is gone."""
    clear(host)


def power_on(host: Host) -> None:
    """The engine starts again and with it the containers that are to restart."""
    start(host)


def crash(host: Host) -> None:
    """The engine alone dies; its containers go on without it."""
    if found := pid(host):
        os.kill(found, signal.SIGKILL)
        until(lambda: not pid(host), s_max=GONE_S_MAX)


def silence(hosts: Iterable[Host]) -> list[str]:
    """The rules by which a server neither hears those nor is heard by them."""
    return [
        rule
        for host in hosts
        for rule in (
            f"-A PREROUTING -s {host.address} -j DROP",
            f"-A OUTPUT -d {host.address} -j DROP",
        )
    ]


def cut(fleet: Fleet, host: Host, *, off: Cut) -> None:
    """Cut the server off until it is healed, or the fleet goes up or down."""
    match off:
        case Cut.PEERS:
            network.dropped(host, silence(fleet.peers(host)))
        case Cut.ALL:
            network.batch([f"link set {host.link} down"])


def heal(host: Host) -> None:
    """Every cut of the server ends."""
    network.batch([f"link set {host.link} up"])
    network.dropped(host, ())


@contextmanager
def while_cut(fleet: Fleet, host: Host, *, off: Cut) -> Generator[None]:
    """The server is cut off inside and healed after, whatever happened."""
    cut(fleet, host, off=off)
    try:
        yield
    finally:
        heal(host)


@contextmanager
def while_dark(host: Host) -> Generator[None]:
    """The server has no power inside and is started again after, whatever happened."""
    power_cut(host)
    try:
        yield
    finally:
        power_on(host)
