"""A server as its preparation sees it: what runs there, and who may reach which port."""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from helix.errors import TopologyError
from helix.topology.model import Exposure, Record, Topology
from infra.substrates.plan import Instance

CHAIN = "HELIX-"
CHAIN_LETTERS_MAX = 28  # iptables refuses longer names
STACK = re.compile(r"[a-z0-9][a-z0-9-]*")
EVERYBODY = "0.0.0.0/0"
MULTIPORT_MAX = 15  # ports of one rule


class Host(Record, frozen=True):
    """One server of a stack; addresses and networks are IPv4 in CIDR notation."""

    stack: str
    server: str
    services: tuple[str, ...]
    peers: tuple[str, ...]  # the stack's servers
    clients: tuple[str, ...]  # the networks that may use what is for clients
    ports: dict[Exposure, tuple[int, ...]]

    @property
    def chain(self) -> str:
        return f"{CHAIN}{self.stack}"


def host(
    topology: Topology,
    instances: Sequence[Instance],
    *,
    stack: str,
    server: str,
    addresses: Mapping[str, str],
    clients: Sequence[str] = (EVERYBODY,),
) -> Host:
    """What the plan puts on that server; `addresses` says where each server is."""
    if not STACK.fullmatch(stack) or len(CHAIN) + len(stack) > CHAIN_LETTERS_MAX:
        raise TopologyError(
            f"the stack's name `{stack}` cannot name a chain of the firewall: use at most"
            f" {CHAIN_LETTERS_MAX - len(CHAIN)} letters, digits and `-`"
        )
    own = [one for one in instances if one.server == server]
    if not own:
        known = ", ".join(sorted({one.server for one in instances}))
        raise TopologyError(f"the plan runs nothing on `{server}`: use one of {known}")
    return Host(
        stack=stack,
        server=server,
        services=tuple(dict.fromkeys(one.service for one in own)),
        peers=tuple(dict.fromkeys(_network(addresses[name]) for name in sorted(addresses))),
        clients=tuple(dict.fromkeys(map(_network, clients))),
        ports={exposure: _ports(topology, own, exposure) for exposure in Exposure},
    )


def _ports(
    topology: Topology, instances: Sequence[Instance], exposure: Exposure
) -> tuple[int, ...]:
    numbers = {
        port.number + one.step
        for one in instances
        for port in topology.service(one.service).ports
        if port.exposure is exposure
    }
    return tuple(sorted(numbers))


def _network(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text, strict=False))
    except ValueError as error:
        raise TopologyError(
            f"`{text}` is no IPv4 address or network: write 10.0.0.1 or 10.0.0.0/8"
        ) from error


def rules(here: Host) -> list[str]:
    """The chain as `iptables -S` prints it.

    What is admitted skips the host's own rules only where it must: loopback and what was admitted
    before go back to them, and ports that are not the stack's never match.
    """
    return [f"-A {here.chain} {rule}" for rule in _rules(here)]


def _rules(here: Host) -> Iterator[str]:
    yield "-i lo -j RETURN"
    yield "-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN"
    shared, public = here.ports[Exposure.SERVERS], here.ports[Exposure.CLIENTS]
    for peer in here.peers:
        yield from _each(f"-s {peer} ", sorted({*shared, *public}), "ACCEPT")
    for network in here.clients:
        yield from _each("" if network == EVERYBODY else f"-s {network} ", public, "ACCEPT")
    yield from _each("", _all(here), "DROP")


def rules_v6(here: Host) -> list[str]:
    """As `rules`, for the other protocol, which the stack does not speak: loopback alone."""
    return [
        f"-A {here.chain} {rule}" for rule in ("-i lo -j RETURN", *_each("", _all(here), "DROP"))
    ]


def _all(here: Host) -> list[int]:
    return sorted({number for ports in here.ports.values() for number in ports})


def _each(source: str, ports: Sequence[int], target: str) -> Iterator[str]:
    for start in range(0, len(ports), MULTIPORT_MAX):
        numbers = ",".join(map(str, ports[start : start + MULTIPORT_MAX]))
        yield f"{source}-p tcp -m multiport --dports {numbers} -j {target}"
