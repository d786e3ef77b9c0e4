"""One bridge, one namespace and one cable a server: seen, completed, taken away."""

import json
from collections.abc import Iterable, Sequence

from helix.topology.model import Record
from infra.fleet.calls import attempt, call
from infra.fleet.plan import Fleet, Host

CABLE = "eth0"
# Cuts live in a table that firewalls leave alone: ending one leaves the server's rules as they are.
CUTS = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{}COMMIT\n"


class Seen(Record, frozen=True):
    """What of a network is there."""

    links: frozenset[str] = frozenset()  # of this machine
    namespaces: frozenset[str] = frozenset()
    wired: frozenset[str] = frozenset()  # namespaces that answer and hold their end of a cable
    sound: frozenset[str] = frozenset()  # namespaces that answer


def see(fleet: Fleet) -> Seen:
    """Look at this machine."""
    names = {host.namespace for host in fleet.hosts}
    listed = {line.split()[0] for line in call(("ip", "netns", "list")).splitlines() if line}
    inside = {name: _inside(name) for name in names & listed}
    return Seen(
        links=frozenset(_links(call(("ip", "-j", "link", "show")))),
        namespaces=frozenset(inside),
        sound=frozenset(name for name, links in inside.items() if links),
        wired=frozenset(name for name, links in inside.items() if CABLE in links),
    )


def _inside(namespace: str) -> set[str]:
    """The interfaces of a namespace; none when its name is left but nothing behind it."""
    answer = attempt(("ip", "-j", "-n", namespace, "link", "show"))
    return _links(answer.stdout) if answer.returncode == 0 else set()


def _links(text: str) -> set[str]:
    return {row["ifname"] for row in json.loads(text or "[]")}


def complete(fleet: Fleet, seen: Seen) -> list[str]:
    """What `ip -batch` must do on this machine so that nothing lacks."""
    lines = [] if fleet.bridge in seen.links else [f"link add {fleet.bridge} type bridge"]
    lines += [
        f"addr replace {fleet.gateway}/{fleet.network.prefixlen} dev {fleet.bridge}",
        f"link set {fleet.bridge} up",
    ]
    for host in fleet.hosts:
        lines += _cable(fleet, host, seen)
    return lines


def _cable(fleet: Fleet, host: Host, seen: Seen) -> list[str]:
    lines: list[str] = []
    if host.namespace in seen.namespaces - seen.sound:
        lines.append(f"netns del {host.namespace}")
    if host.namespace not in seen.sound:
        lines.append(f"netns add {host.namespace}")
    whole = host.link in seen.links and host.namespace in seen.wired
    if not whole and host.link in seen.links:
        lines.append(f"link del {host.link}")
    if not whole:
        cable = f"peer name {CABLE} netns {host.namespace}"
        lines.append(f"link add {host.link} type veth {cable}")
    return [*lines, f"link set {host.link} master {fleet.bridge} up"]


def inside(fleet: Fleet, host: Host) -> list[str]:
    """The same for a server's namespace."""
    return [
        "link set lo up",
        f"addr replace {host.address}/{fleet.network.prefixlen} dev {CABLE}",
        f"link set {CABLE} up",
        f"route replace default via {fleet.gateway}",
    ]


def up(fleet: Fleet) -> None:
    """Complete what is there; every cut is healed."""
    batch(complete(fleet, see(fleet)))
    for host in fleet.hosts:
        batch(inside(fleet, host), namespace=host.namespace)
        dropped(host, ())


def remove(fleet: Fleet, seen: Seen) -> list[str]:
    """What `ip -batch` must do so that nothing of the fleet is left."""
    hosts = [host for host in fleet.hosts if host.namespace in seen.namespaces]
    links = [host.link for host in fleet.hosts if host.link in seen.links]
    bridge = [fleet.bridge] if fleet.bridge in seen.links else []
    return [
        *(f"link del {link}" for link in (*links, *bridge)),
        *(f"netns del {host.namespace}" for host in hosts),
    ]


def down(fleet: Fleet) -> None:
    """Nothing of the fleet's network is left, however much of it was there."""
    batch(remove(fleet, see(fleet)))


def batch(lines: Sequence[str], *, namespace: str = "") -> None:
    """Have `ip` do all of it, there or on this machine."""
    if lines:
        where = ("-n", namespace) if namespace else ()
        call(("ip", *where, "-batch", "-"), text="\n".join(lines) + "\n")


def within(host: Host, argv: Iterable[str]) -> tuple[str, ...]:
    """The command as it runs on that server."""
    return ("nsenter", f"--net=/run/netns/{host.namespace}", "--", *argv)


def dropped(host: Host, rules: Iterable[str]) -> None:
    """These rules, and no others, cut the server off."""
    text = CUTS.format("".join(f"{rule}\n" for rule in rules))
    call(within(host, ("iptables-restore", "--wait")), text=text)
