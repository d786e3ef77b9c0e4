"""The firewall of a prepared server, in a network namespace of its own."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from helix.topology.catalog import CATALOG
from helix.topology.model import Exposure
from infra.hosts.host import Host, host
from infra.hosts.script import render
from infra.substrates.plan import plan

TABLES = ("iptables", "ip6tables")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.enable_socket,
]

SERVER, OTHERS = "helixhosts", "helixhosts-far"
ADDRESS, PEER, STRANGER = "10.80.0.11", "10.80.0.12", "10.80.0.99"
ADDRESS_V6 = "fd80::11"
LISTEN = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    ready.register(server, selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in ready.select():
        key.fileobj.accept()[0].close()
"""
CONNECT = """
import socket, sys
source, host, port = sys.argv[1:]
try:
    socket.create_connection((host, int(port)), 0.5, (source, 0) if source else None).close()
except OSError:
    sys.exit(1)
"""


def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=check)


def inside(namespace: str, *argv: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    return run("ip", "netns", "exec", namespace, *argv, check=check)


@pytest.fixture(scope="module")
def here() -> Host:
    addresses = {"server-1": ADDRESS, "server-2": PEER, "server-3": "10.80.0.13"}
    return host(CATALOG, plan(CATALOG), stack="hosts", server="server-1", addresses=addresses)


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """A server and, at the other end of a cable, a peer and a stranger."""
    _clear()
    for namespace in (SERVER, OTHERS):
        run("ip", "netns", "add", namespace)
    ends = ("eth0", "netns", SERVER, "type", "veth", "peer", "name", "eth0", "netns", OTHERS)
    run("ip", "link", "add", *ends)
    for namespace, addresses in ((SERVER, (ADDRESS,)), (OTHERS, (PEER, STRANGER))):
        for address in addresses:
            inside(namespace, "ip", "addr", "add", f"{address}/24", "dev", "eth0", check=True)
        for link in ("lo", "eth0"):
            inside(namespace, "ip", "link", "set", link, "up", check=True)
    for namespace, address in ((SERVER, ADDRESS_V6), (OTHERS, "fd80::99")):
        words = ("-6", "addr", "add", f"{address}/64", "dev", "eth0", "nodad")
        inside(namespace, "ip", *words, check=True)
    yield
    _clear()


def _clear() -> None:
    for namespace in (SERVER, OTHERS):
        run("ip", "netns", "del", namespace, check=False)


@pytest.fixture(scope="module")
def listening(network: None, here: Host) -> Iterator[None]:  # noqa: ARG001 - the network first
    ports = [str(ports[0]) for ports in here.ports.values()]
    argv = ["ip", "netns", "exec", SERVER, sys.executable, "-I", "-c", LISTEN, *ports]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline()
        yield
        process.kill()


@pytest.fixture
def script(tmp_path: Path, here: Host, listening: None) -> Iterator[Path]:  # noqa: ARG001 - the same
    path = tmp_path / "prepare.sh"
    path.write_text(render(here))
    yield path
    with contextlib.suppress(subprocess.CalledProcessError):
        prepare(path, "remove")


def prepare(script: Path, verb: str) -> subprocess.CompletedProcess[str]:
    return inside(SERVER, "sh", str(script), verb, "--firewall-only")


def reaches(source: str, port: int, *, host: str = ADDRESS) -> bool:
    argv = (sys.executable, "-I", "-c", CONNECT, source, host, str(port))
    return inside(OTHERS, *argv).returncode == 0


def saved() -> Sequence[str]:
    return [inside(SERVER, table, "-S", check=True).stdout for table in TABLES]


def test_only_those_named_reach_a_port(script: Path, here: Host) -> None:
    first = {exposure: ports[0] for exposure, ports in here.ports.items()}
    assert all(reaches(STRANGER, port) for port in first.values())
    assert reaches("", first[Exposure.CLIENTS], host=ADDRESS_V6)

    assert prepare(script, "apply").returncode == 0

    admitted = {
        (source, exposure): reaches(source, port)
        for source in (PEER, STRANGER)
        for exposure, port in first.items()
    }
    assert {key for key, reached in admitted.items() if reached} == {
        (PEER, Exposure.SERVERS),
        (PEER, Exposure.CLIENTS),
        (STRANGER, Exposure.CLIENTS),
    }
    assert not reaches("", first[Exposure.CLIENTS], host=ADDRESS_V6)


def test_a_second_apply_changes_nothing(script: Path) -> None:
    said = prepare(script, "apply").stdout
    rules = saved()

    again = prepare(script, "apply")

    assert "iptables: chain HELIX-hosts is filled" in said
    assert again.stdout == ""
    assert saved() == rules
    assert prepare(script, "check").returncode == 0


def test_check_names_what_was_changed_by_hand(script: Path) -> None:
    assert "there is no chain" in prepare(script, "check").stdout
    prepare(script, "apply")
    rule = ("-p", "tcp", "--dport", "1", "-j", "ACCEPT")
    inside(SERVER, "iptables", "-D", "HELIX-hosts", "1", check=True)
    inside(SERVER, "iptables", "-A", "HELIX-hosts", *rule, check=True)

    found = prepare(script, "check")

    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "iptables lacks: -A HELIX-hosts -i lo -j RETURN",
        "iptables has: -A HELIX-hosts -p tcp -m tcp --dport 1 -j ACCEPT",
    ]
    prepare(script, "apply")
    assert prepare(script, "check").returncode == 0


def test_rules_in_another_order_are_a_difference(script: Path) -> None:
    prepare(script, "apply")
    inside(SERVER, "iptables", "-D", "HELIX-hosts", "1", check=True)
    inside(SERVER, "iptables", "-A", "HELIX-hosts", "-i", "lo", "-j", "RETURN", check=True)

    assert "in another order" in prepare(script, "check").stdout


def test_remove_leaves_the_rules_as_they_were(script: Path) -> None:
    own = ("INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT")
    inside(SERVER, "iptables", "-A", *own, check=True)
    before = saved()

    prepare(script, "apply")
    assert saved() != before
    prepare(script, "remove")

    assert saved() == before
    assert prepare(script, "remove").stdout == ""
    inside(SERVER, "iptables", "-D", *own, check=True)
