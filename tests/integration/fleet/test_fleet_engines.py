"""Three engines on three servers of this machine: repaired, faulted, taken away.

They are these tests' own: engines crash, cables are cut, and at last all of it goes down.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from helix.topology.catalog import CATALOG
from infra.artifacts.commands import on_stderr
from infra.artifacts.workshop import Workshop
from infra.fleet import cgroups, engines, faults, image, network
from infra.fleet.faults import Cut
from infra.fleet.image import ImageFacts
from infra.fleet.plan import Fleet, Host
from tests.tree import ROOT
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

RETURN_S_MAX = 15.0
NAME = "tried"
RESTARTED: Any = {"Name": "unless-stopped"}  # the stubs keep their type for it to themselves
IDLE = ("sh", "-c", "trap exit TERM; sleep 600 & wait")


@pytest.fixture(scope="module")
def facts(shop: Workshop) -> ImageFacts:
    return image.ensure(CATALOG, checkout=ROOT, shop=shop)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not pytest's own: its path is too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="hx-") as short:
        yield Path(short)


@pytest.fixture(scope="module")
def shared(facts: ImageFacts, folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(home=folder / "test", name="test", subnet="10.76.0.0/24")
    try:
        engines.up(fleet, on_stderr)
        image.load_all(fleet, facts)
        yield fleet
    finally:
        engines.down(fleet, on_stderr)


@pytest.fixture
def fleet(shared: Fleet) -> Iterator[Fleet]:
    """The shared fleet, whole again and empty after each test."""
    yield shared
    engines.up(shared, on_stderr)
    engines.each(shared.hosts, emptied)


def emptied(host: Host) -> None:
    with engines.client(host) as engine:
        for container in engine.containers.list(all=True):
            container.remove(force=True, v=True)


def run(host: Host, facts: ImageFacts, *argv: str, user: str = "") -> str:
    """What a container prints that ends, as the platform's containers are restricted."""
    with engines.client(host) as engine:
        output = engine.containers.run(
            facts.reference,
            list(argv),
            user=user,
            network_mode="host",
            volumes=[f"{bind}:ro" for bind in facts.binds],
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            stderr=True,
            remove=True,
        )
    return output.decode()


def idle(host: Host, facts: ImageFacts) -> Container:
    """A container that stays, and comes back with its server."""
    with engines.client(host) as engine:
        made = engine.containers.create(
            facts.reference,
            list(IDLE),
            name=NAME,
            network_mode="host",
            volumes=[f"{bind}:ro" for bind in facts.binds],
            restart_policy=RESTARTED,
        )
        made.start()
        return made


def main_pid(host: Host) -> int:
    """The first process of the idle container; 0 while it does not run."""
    with engines.client(host) as engine:
        return int(engine.containers.get(NAME).attrs["State"]["Pid"])


def hears(host: Host, facts: ImageFacts, address: str) -> bool:
    """Whether a container on that server gets an echo from the address."""
    with engines.client(host) as engine:
        found = engine.containers.list(filters={"name": NAME})
        pinger = found[0] if found else idle(host, facts)
        code, _ = pinger.exec_run(["ping", "-c", "1", "-W", "1", address])
    return code == 0


def test_a_second_up_is_a_no_op(fleet: Fleet) -> None:
    before = [engines.pid(host) for host in fleet.hosts]

    engines.up(fleet, on_stderr)

    assert [engines.pid(host) for host in fleet.hosts] == before


def test_every_engine_says_which_server_it_is(fleet: Fleet) -> None:
    labels: list[list[str]] = []
    for host in fleet.hosts:
        with engines.client(host) as engine:
            labels.append(engine.info()["Labels"])

    assert labels == [["server=server-1"], ["server=server-2"], ["server=server-3"]]


def test_a_crashed_engine_is_started_again_under_its_containers(
    fleet: Fleet, facts: ImageFacts
) -> None:
    host = fleet.host("server-1")
    idle(host, facts)
    before = main_pid(host)

    faults.crash(host)
    crashed = engines.status(fleet)[0]
    engines.up(fleet, on_stderr)

    assert not crashed.answers
    assert crashed.processes
    assert main_pid(host) == before


def test_a_cable_that_is_gone_is_laid_again(fleet: Fleet, facts: ImageFacts) -> None:
    first, second, _ = fleet.hosts
    subprocess.run(("ip", "link", "del", first.link), check=True)

    engines.up(fleet, on_stderr)

    assert hears(first, facts, second.address)


def test_a_power_cut_ends_everything_and_containers_come_back(
    fleet: Fleet, facts: ImageFacts
) -> None:
    host = fleet.host("server-2")
    idle(host, facts)

    with faults.while_dark(host):
        left = cgroups.alive(host)

    assert not left
    until(lambda: main_pid(host) > 0, what="the container is back", s_max=RETURN_S_MAX)


def test_a_server_cut_from_its_peers_still_hears_clients(fleet: Fleet, facts: ImageFacts) -> None:
    first, second, third = fleet.hosts

    with faults.while_cut(fleet, first, off=Cut.PEERS):
        heard = {other.server: hears(second, facts, other.address) for other in (first, third)}
        clients = hears(first, facts, fleet.gateway)

    assert heard == {"server-1": False, "server-3": True}
    assert clients
    assert hears(second, facts, first.address)


def test_a_server_cut_from_all_hears_nobody(fleet: Fleet, facts: ImageFacts) -> None:
    first = fleet.host("server-1")

    with faults.while_cut(fleet, first, off=Cut.ALL):
        cut = hears(first, facts, fleet.gateway)

    assert not cut
    assert hears(first, facts, fleet.gateway)


def test_up_heals_what_was_cut(fleet: Fleet, facts: ImageFacts) -> None:
    first, second, _ = fleet.hosts
    faults.cut(fleet, first, off=Cut.PEERS)
    faults.cut(fleet, first, off=Cut.ALL)

    engines.up(fleet, on_stderr)

    assert hears(second, facts, first.address)


def test_the_image_runs_servers_from_where_official_images_have_them(
    fleet: Fleet, facts: ImageFacts
) -> None:
    host = fleet.host("server-3")

    assert "17.0" in run(host, facts, "/opt/java/openjdk/bin/java", "-version", user="1000")
    assert "v=7." in run(host, facts, "/usr/local/bin/redis-server", "--version", user="999")
    assert "(PostgreSQL) 15" in run(
        host, facts, "/usr/lib/postgresql/15/bin/postgres", "--version", user="999"
    )


def test_the_image_runs_our_programs_with_their_environment(
    fleet: Fleet, facts: ImageFacts
) -> None:
    code = (
        "import os; os.chdir('/opt/helix'); import chdb, confluent_kafka, psycopg, qdrant_edge;"
        " import helix.topology.catalog; print(chdb.query('SELECT 40 + 2'))"
    )

    output = run(
        fleet.host("server-3"),
        facts,
        "/opt/helix/.venv/bin/python",
        "-c",
        f"import sys; sys.path.insert(0, ''); {code}",
        user="10001",
    )

    assert output.strip() == "42"


def test_a_fresh_volume_belongs_to_the_user_of_the_image(fleet: Fleet, facts: ImageFacts) -> None:
    with engines.client(fleet.host("server-3")) as engine:
        output = engine.containers.run(
            facts.reference,
            ["stat", "-c", "%u", "/prometheus"],
            volumes=["figures:/prometheus", *(f"{bind}:ro" for bind in facts.binds)],
            network_mode="host",
            remove=True,
        )
        engine.volumes.get("figures").remove()

    assert output.strip() == b"65534"


def test_down_leaves_nothing_but_data(shared: Fleet, facts: ImageFacts) -> None:
    for host in shared.hosts:
        idle(host, facts)

    engines.down(shared, on_stderr)

    assert network.remove(shared, network.see(shared)) == []
    assert not any(cgroups.folders(host) for host in shared.hosts)
    assert str(shared.home) not in Path("/proc/self/mounts").read_text()
    for host in shared.hosts:
        assert sorted(path.name for path in host.home.iterdir()) == [
            "daemon.json",
            "data",
            "dockerd.log",
        ]
    assert not [pid for pid in processes() if str(shared.home) in pid]


def test_a_fleet_that_is_down_goes_down_again(folder: Path) -> None:
    fleet = Fleet(home=folder / "never", name="never", subnet="10.76.1.0/24")

    engines.down(fleet, on_stderr)

    assert network.remove(fleet, network.see(fleet)) == []


def processes() -> list[str]:
    """The command lines of every process here."""
    return subprocess.run(
        ("ps", "-eo", "args"), capture_output=True, text=True, check=True
    ).stdout.splitlines()
