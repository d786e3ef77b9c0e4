"""The script that prepares a server, as text.

After a wanted change: `HELIX_GOLDEN=write python -m pytest tests/unit/test_hosts.py`.
"""

import os
import subprocess
from pathlib import Path

import pytest

from helix.errors import TopologyError
from helix.topology.catalog import CATALOG
from helix.topology.model import Exposure
from infra.hosts.host import MULTIPORT_MAX, Host, host, rules, rules_v6
from infra.hosts.kernel import settings
from infra.hosts.script import render
from infra.substrates.plan import plan

ADDRESSES = {"server-1": "10.77.0.11", "server-2": "10.77.0.12", "server-3": "10.77.0.13"}
GOLDEN = Path(__file__).parent / "golden" / "hosts" / "server-1.txt"


def made(server: str = "server-1", *, stack: str = "fleet", clients: str = "0.0.0.0/0") -> Host:
    return host(
        CATALOG,
        plan(CATALOG),
        stack=stack,
        server=server,
        addresses=ADDRESSES,
        clients=(clients,),
    )


def matching(here: Host, port: int) -> list[str]:
    """The rules about that port, first match first."""
    return [
        rule
        for rule in rules(here)
        if "--dports" in rule and str(port) in rule.split("--dports ")[1].split()[0].split(",")
    ]


def test_what_a_server_is_given_is_as_recorded() -> None:
    here = made()
    kernel = [f"{one.name} {one.relation} {one.value}" for one in settings(here.services)]
    text = "\n".join([*kernel, *rules(here), *rules_v6(here), ""])
    if os.environ.get("HELIX_GOLDEN") == "write":  # noqa: TID251 - a switch of this test
        GOLDEN.write_text(text)

    assert text == GOLDEN.read_text()


def test_the_script_holds_every_fact() -> None:
    script = render(made())

    assert all(line in script for line in GOLDEN.read_text().splitlines())


def test_the_script_is_a_shell_script() -> None:
    done = subprocess.run(["sh", "-n"], input=render(made()), text=True, check=False)

    assert done.returncode == 0


def test_a_port_for_the_servers_is_open_to_them_alone() -> None:
    here = made()
    for port in here.ports[Exposure.SERVERS]:
        *admitted, last = matching(here, port)

        assert last.endswith("-j DROP")
        assert [rule.split(" -p ")[0].split("-s ")[1] for rule in admitted] == [
            f"{address}/32" for address in ADDRESSES.values()
        ]


def test_a_port_for_the_machine_alone_is_open_to_nobody() -> None:
    here = made()
    assert here.ports[Exposure.LOOPBACK]
    for port in here.ports[Exposure.LOOPBACK]:
        assert [rule.split()[-1] for rule in matching(here, port)] == ["DROP"]


def test_a_port_for_clients_is_open_to_the_networks_named_and_to_the_servers() -> None:
    here = made(clients="192.0.2.77/24")
    for port in here.ports[Exposure.CLIENTS]:
        admitted = [rule for rule in matching(here, port) if rule.endswith("ACCEPT")]

        assert len(admitted) == len(ADDRESSES) + 1
        assert "-s 192.0.2.0/24 " in admitted[-1]


@pytest.mark.parametrize("server", ADDRESSES)
def test_every_port_of_a_server_is_decided(server: str) -> None:
    here = made(server)
    for port in (port for ports in here.ports.values() for port in ports):
        assert matching(here, port)[-1].endswith("-j DROP")


def test_a_rule_names_no_more_ports_than_the_kernel_takes() -> None:
    for rule in [*rules(made()), *rules_v6(made())]:
        if "--dports" in rule:
            assert rule.count(",") < MULTIPORT_MAX


def test_the_other_protocol_reaches_nothing() -> None:
    assert {rule.split()[-1] for rule in rules_v6(made())[1:]} == {"DROP"}


def test_only_the_server_of_redis_promises_memory_it_may_not_have() -> None:
    names = {server: {one.name for one in settings(made(server).services)} for server in ADDRESSES}

    assert [server for server in names if "vm.overcommit_memory" in names[server]] == ["server-1"]
    assert all("vm.max_map_count" in found for found in names.values())


def test_a_name_the_firewall_cannot_take_is_refused() -> None:
    with pytest.raises(TopologyError, match="`a-stack-with-a-very-long-name`"):
        made(stack="a-stack-with-a-very-long-name")


def test_a_server_that_runs_nothing_is_refused_with_those_that_do() -> None:
    with pytest.raises(TopologyError, match="`server-9`: use one of server-1, server-2"):
        made("server-9")


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(TopologyError, match=r"`10\.0\.0\.0/99`"):
        made(clients="10.0.0.0/99")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '"log-driver": "json-file"'),
        ('{"log-driver": "journald", "dns": ["10.0.0.53"]}', '"dns"'),
    ],
)
def test_the_engines_own_file_is_merged(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "etc" / "docker" / "daemon.json"
    path.parent.mkdir(parents=True)
    path.write_text(before)

    first, second = (prepared(tmp_path, "apply", "--docker-only") for _ in range(2))

    assert '"live-restore": true' in path.read_text()
    assert after in path.read_text()
    assert ("journald" in before) == ("json-file" not in path.read_text())
    assert "engine: live-restore is now true" in first.stdout
    assert second.stdout == ""
    assert prepared(tmp_path, "check", "--docker-only").returncode == 0


def test_a_difference_of_the_engine_is_named(tmp_path: Path) -> None:
    done = prepared(tmp_path, "check", "--docker-only")

    assert done.returncode == 1
    assert "engine: live-restore is not true" in done.stdout


def test_a_misspelt_verb_changes_nothing(tmp_path: Path) -> None:
    assert prepared(tmp_path, "aply", "--docker-only").returncode == 2
    assert list(tmp_path.iterdir()) == []


def prepared(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-s", "--", *words],
        input=render(made()),
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HELIX_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
